"""A cell: the equations of one time step, forward alone, as one function.

`step` runs once, on symbols that stand for any engine's values; its gradient and all else follow from the graph that it
makes. Its parameters are named after

    a state           its value before the step, (B, width)
    a gate g          W_ih[g] x_t + b_ih[g] + W_hh[g] h + b_hh[g]; `g.x` and `g.h` are its two parts, and `g.of(v)` has
                      v in the place of h, the output state. A gate whose `.h` nobody uses has no recurrent weights,
                      one whose `.x` nobody uses no input weights
    a unit parameter  (H,), learnable: a peephole, a time constant, a gain
    a scalar          one learnable number
    a row input       one number a row and step, given in the call: the time since the last step, say
    a unit input      H numbers a row and step, given in the call

and it returns the new states, the first of which is the output. The functions it may use are in `cells.functions`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial, wraps
from numbers import Integral
from pickle import PicklingError
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

Names = str | tuple[str, ...]
"""Names in a tuple, or in a string with spaces between them."""

KINDS = ("states", "gates", "units", "scalars", "row_inputs", "unit_inputs")
"""Attributes of a cell that name the parameters of `step`."""


class CellError(ValueError):
    """A cell's definition contradicts itself; the message says where."""


class Cell:
    """Base of all cells: subclass it and define `step`, or use the decorator `cell` on a function.

    Attributes:
        name: identifies the cell in reports and saved files; the class name in lower case unless defined.
        states: names of the values carried from step to step; the first is the output.
        gates: names of the gates, in the order of the weights' rows.
        units, scalars: names of learnable parameters, one number for each unit, and one for all.
        row_inputs, unit_inputs: names of a call's inputs beside x, one number a row, and one for each unit.
        initial: the number that a unit parameter or scalar begins with; others are drawn as the weights are.

    A subclass with options is a frozen dataclass whose fields are strings, numbers, True, False or None. The attributes
    may be properties that depend on these; a parameter of `step` that has a default and is not declared keeps it. Names
    in a string become a tuple.
    """

    name: str
    states: Names = ()
    gates: Names = ()
    units: Names = ()
    scalars: Names = ()
    row_inputs: Names = ()
    unit_inputs: Names = ()
    initial: Mapping[str, float] = MappingProxyType({})
    step: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()
        for kind in KINDS:
            declared = cls.__dict__.get(kind)
            if isinstance(declared, str):
                setattr(cls, kind, names(declared))
            elif isinstance(declared, property) and declared.fget is not None:
                setattr(cls, kind, _property_of_names(declared.fget))

    @property
    def options(self) -> dict[str, Any]:
        """The options that distinguish this cell from others of its class, by name."""
        declared: list[str] = [f.name for f in fields(self) if f.init] if is_dataclass(self) else []
        return {name: getattr(self, name) for name in declared}

    def __reduce__(self) -> Any:
        return (partial(type(self), **self.options), ()) if is_dataclass(self) else super().__reduce__()

    def __repr__(self) -> str:
        # Options that are switched off, which is their default, are left out.
        shown = {name: value for name, value in self.options.items() if value is not False and value is not None}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class FunctionCell(Cell):
    """A cell that the decorator `cell` made of a function."""

    def __init__(self, function: Callable[..., Any], declared: Mapping[str, Any]) -> None:
        self.name, self.step = function.__name__, function
        self.__module__, self.__qualname__, self.__doc__ = function.__module__, function.__qualname__, function.__doc__
        for attribute, value in declared.items():
            setattr(self, attribute, names(value) if isinstance(value, str) else value)

    def __reduce__(self) -> str:
        # Pickled by its name, as a function is.
        found: Any = sys.modules.get(self.__module__)
        for name in self.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is not self:
            raise PicklingError(
                f"the cell {self.name} cannot be pickled: it is found by its name, and {self.__module__} has no such "
                f"cell {self.__qualname__}: define it at the top of a module, under the name of its function"
            )
        qualified: str = self.__qualname__
        return qualified

    def __copy__(self) -> FunctionCell:
        return self

    def __deepcopy__(self, memo: object) -> FunctionCell:
        return self

    def __repr__(self) -> str:
        return self.name


P = ParamSpec("P")
Made = TypeVar("Made")


def _with_names(decorator: Callable[P, Made]) -> Callable[P, Made]:
    """A decorator that says what to write where its parentheses were forgotten."""

    @wraps(decorator)
    def checked(*function: P.args, **declared: P.kwargs) -> Made:
        if function:
            raise TypeError(
                f"cell: expected names, as in @cell(states='h', gates='a'), got {function[0]!r:.60}: write the names "
                f"of the step's parameters in parentheses"
            )
        return decorator(*function, **declared)

    return checked


@_with_names
def cell(
    *,
    states: Names,
    gates: Names = (),
    units: Names = (),
    scalars: Names = (),
    row_inputs: Names = (),
    unit_inputs: Names = (),
    initial: Mapping[str, float] = MappingProxyType({}),
) -> Callable[[Callable[..., Any]], FunctionCell]:
    """A decorator that makes a cell of its `step`; the arguments are attributes of `Cell`."""
    declared: dict[str, Any] = {"states": states, "gates": gates, "units": units, "scalars": scalars}
    declared |= {"row_inputs": row_inputs, "unit_inputs": unit_inputs, "initial": initial}

    def decorate(function: Callable[..., Any]) -> FunctionCell:
        if not callable(function) or isinstance(function, type):
            raise TypeError(
                f"cell: expected a function to decorate, got {type(function).__name__}: a class derives from Cell"
            )
        return FunctionCell(function, declared)

    return decorate


def names(value: Any) -> tuple[str, ...]:
    """Declared names as a tuple."""
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


def _property_of_names(get: Callable[[Any], Any]) -> Any:
    """A property that returns names in a tuple where `get` returns them in a string."""

    @wraps(get)
    def get_names(self: Any) -> Any:
        value = get(self)
        return names(value) if isinstance(value, str) else value

    return property(get_names)


SomeCell = TypeVar("SomeCell", bound=Cell)


def without_sizes(cls: type[SomeCell]) -> type[SomeCell]:
    """The dataclass `cls`; it answers sizes, which PyTorch's networks of these names take, with the call to write."""
    init: Callable[..., None] = cls.__init__
    own = {f.name for f in fields(cls) if f.init}  # type: ignore[arg-type]

    @wraps(init)
    def checked(self: Cell, *arguments: Any, **options: Any) -> None:
        others = {name: value for name, value in options.items() if name not in own}
        given = (*arguments, *others.values())
        if not any(isinstance(value, Integral) and not isinstance(value, bool) for value in given):
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


def check_flag(cell: str, option: str, value: Any) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{cell}: {option}: expected True or False, got {value!r:.60}")


def check_number(cell: str, option: str, value: Any, above: float = -math.inf) -> None:
    """Raise unless `value` is a finite Python number greater than `above`."""
    if type(value) not in (int, float):
        raise TypeError(f"{cell}: {option}: expected a Python number, got {value!r:.60}")
    if not above < value < math.inf:
        limit = "" if above == -math.inf else f" greater than {above}"
        raise ValueError(f"{cell}: {option}: expected a finite number{limit}, got {value!r}")
