"""What a cell is: the equations of one time step, forward and backward, with no loop and no matrix product.

The engine computes the matrix products, one pre-activation per gate, and calls the cell's functions on them:

    pre-activation of a gate    W_ih x_t + b_ih + W_hh u + b_hh        u = h_{t-1} in the first stage
    forward(pre, carry)         -> next carry, kept
    backward(grad, kept, state, new_state) -> grad of pre, grad of carry

All arguments and results are tuples of values of one shape and dtype. A value is of the engine's own type - a NumPy
array, a SIMD vector, a register of a GPU thread - on which a number takes the value's dtype, so the functions use only
`+ - * /`, negation, numbers and `cells.functions`; helpers are plain functions of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial, wraps
from numbers import Integral
from typing import Any, TypeVar

Values = tuple[Any, ...]
Forward = Callable[[Values, Values], tuple[Values, Values]]
Backward = Callable[[Values, Values, Values, Values], tuple[Values, Values]]


class CellError(ValueError):
    """A cell's definition contradicts itself; the message says where."""


@dataclass(frozen=True)
class Stage:
    """One recurrent product and the elementwise functions behind it.

    Most cells have one stage. A cell whose gate multiplies something computed in the same step (the GRU that
    resets before the product: W_hn (r * h)) has two: the first stage returns that operand.

    Attributes:
        gates: names of the gates, one or more, whose rows of the weights this stage multiplies, in their order.
        forward: `forward(pre, carry) -> (next_carry, kept)`. `pre` has one value per gate, two for a gate in
            `split`. `carry` is the step's state in the first stage, else what the stage before returned; its first
            value is the operand u of the recurrent product. The last stage returns the new state.
        backward: `backward(grad, kept, state, new_state) -> (grad_pre, grad_carry)`. `grad` is the cotangent of
            `next_carry`, `kept` what all stages kept (in order), `state` and `new_state` the step's state before
            and after. In `grad_carry`, leave the recurrent product out (the engine adds it), and put None for a
            value that is used in nothing else.
        kept: names of the values that `forward` keeps for `backward`.
        split: gates whose two products arrive apart, as (W_ih x_t + b_ih, W_hh u + b_hh) in the gate's place.
    """

    gates: tuple[str, ...]
    forward: Forward
    backward: Backward
    kept: tuple[str, ...] = ()
    split: tuple[str, ...] = ()

    @property
    def pre(self) -> tuple[str, ...]:
        """Names of the pre-activations, in the order in which `forward` gets them."""
        parts = [(f"{gate}_x", f"{gate}_h") if gate in self.split else (gate,) for gate in self.gates]
        return tuple(name for names in parts for name in names)


class Cell:
    """Base of all cells: subclass it, or create one of the library's (`Elman`, `LSTM`, `GRU`).

    Attributes:
        name: identifies the cell in reports and saved files.
        states: names of the values carried from step to step; the first is the output h, the operand of the
            recurrent product.
        stages: one `Stage`, or more where a product waits for another.

    A subclass with options is a frozen dataclass whose fields are strings or numbers.
    """

    name: str
    states: tuple[str, ...]
    stages: tuple[Stage, ...]

    @property
    def gates(self) -> tuple[str, ...]:
        """All gates, in the order of the weights' rows."""
        return tuple(gate for stage in self.stages for gate in stage.gates)

    @property
    def options(self) -> dict[str, Any]:
        """What distinguishes this cell from others of its class, by name."""
        declared: list[str] = [f.name for f in fields(self) if f.init] if is_dataclass(self) else []
        return {name: getattr(self, name) for name in declared}

    def __reduce__(self) -> Any:
        # Of a dataclass, its options alone: what they chose (closures) does not pickle, and is chosen again.
        return (partial(type(self), **self.options), ()) if is_dataclass(self) else super().__reduce__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.options.items())})"


SomeCell = TypeVar("SomeCell", bound=Cell)


def chosen_stages() -> Any:
    """The field `stages` of a dataclass whose options choose them: set in `__post_init__`, no option itself."""
    return field(init=False, repr=False, compare=False)


def without_sizes(cls: type[SomeCell]) -> type[SomeCell]:
    """The dataclass `cls`; it answers sizes, which PyTorch's networks of these names take, with the call to write."""
    init: Callable[..., None] = cls.__init__
    own = {f.name for f in fields(cls) if f.init}  # type: ignore[arg-type]

    @wraps(init)
    def checked(self: Cell, *arguments: Any, **options: Any) -> None:
        others = {name: value for name, value in options.items() if name not in own}
        if not any(isinstance(value, Integral) for value in (*arguments, *others.values())):
            return init(self, *arguments, **options)
        sizes = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in others.items())]
        chosen = ", ".join(f"{name}={options[name]!r}" for name in options if name in own)
        cell = f"{cls.__name__}({chosen})" if chosen else f'"{cls.name}"'
        raise TypeError(
            f"{cls.__name__}: expected no sizes, got {', '.join(sizes)}: this is the cell, the equations of one step; "
            f"its network is Recurrent({cell}, {', '.join(sizes) if len(sizes) > 1 else 'input_size, hidden_size'})"
        )

    setattr(cls, "__init__", checked)  # noqa: B010
    return cls


def check_option(cell: str, option: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{cell}: {option}: expected one of {', '.join(map(repr, allowed))}, got {value!r}")
