"""Random networks and calls, with the oracle's results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnncore_kernels.cells import (
    CELLS,
    CTRNN,
    GRU,
    JANET,
    LEM,
    LIF,
    LSTM,
    MGU,
    RAN,
    SHIPPED,
    SLSTM,
    STAR,
    UGRNN,
    Cell,
    CfC,
    CoRNN,
    Elman,
    FastGRNN,
    IndRNN,
    LayerNormGRU,
    LayerNormLSTM,
    LiGRU,
    MinGRU,
)
from rnncore_kernels.cells.cell import names
from rnncore_kernels.contract import Array
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.program import units_of

from ..devices import namespace_of, on_host
from ..frozen import Frozen
from ..recurrent import Recurrent
from . import equations, oracle
from .reference import reference
from .regularisation import Regularisation

STEPS: dict[type[Cell], Callable[[Any], oracle.Step]] = {
    Elman: lambda cell: equations.elman(cell.activation),
    LSTM: lambda cell: equations.lstm(
        peephole=cell.peephole, coupled=cell.coupled, projected=cell.projection is not None
    ),
    GRU: lambda cell: equations.gru(cell.update, cell.reset),
    MGU: lambda _: equations.mgu,
    LayerNormLSTM: lambda _: equations.layernorm_lstm,
    LayerNormGRU: lambda _: equations.layernorm_gru,
    IndRNN: lambda _: equations.indrnn,
    MinGRU: lambda _: equations.mingru,
    LiGRU: lambda _: equations.ligru,
    CTRNN: lambda _: equations.ctrnn,
    SLSTM: lambda cell: equations.slstm(cell.forget),
    FastGRNN: lambda _: equations.fastgrnn,
    JANET: lambda cell: equations.janet(cell.beta),
    LEM: lambda cell: equations.lem(cell.dt),
    CoRNN: lambda cell: equations.cornn(cell.dt, cell.gamma, cell.epsilon),
    CfC: lambda _: equations.cfc,
    STAR: lambda _: equations.star,
    RAN: lambda cell: equations.ran(cell.activation),
    LIF: lambda cell: equations.lif(cell.threshold, cell.slope),
    UGRNN: lambda _: equations.ugrnn,
}
"""The oracle's step of a cell of the library."""

VARIANTS: dict[str, Cell] = {
    **{f"elman_{name}": Elman(name) for name in equations.ACTIVATIONS},
    "lstm": LSTM(),
    "lstm_peephole": LSTM(peephole=True),
    "lstm_coupled": LSTM(coupled=True),
    "lstm_projection": LSTM(projection=3),
    "lstm_all": LSTM(peephole=True, coupled=True, projection=2),
    **{
        f"gru_{update}_{reset}": GRU(update, reset)
        for update in ("candidate", "carry")
        for reset in ("after", "before")
    },
    "slstm_exp": SLSTM("exp"),
    "ran_identity": RAN("identity"),
    **{shipped.name: shipped() for shipped in SHIPPED if shipped not in (Elman, LSTM, GRU)},
}
"""Every variant of the library's cells."""

POSITIVE = {"slstm": ("n",), "cfc": ("dt",)}
"""States and inputs that are positive by their meaning, by the name of the cell: a normaliser, an elapsed time."""


def variants(chosen: Iterable[str]) -> dict[str, Cell]:
    """All variants of the cells of these names, such as `CELLS` has."""
    wanted = tuple(CELLS[name] for name in chosen)
    return {name: cell for name, cell in VARIANTS.items() if isinstance(cell, wanted)}


def step_of(cell: Cell) -> oracle.Step | None:
    """The oracle's step of a cell; None if it is not the library's."""
    return STEPS[type(cell)](cell) if type(cell) in STEPS else None


@dataclass
class Call:
    """A network with the arguments of a forward and backward pass, time first; states are always tuples here."""

    rnn: Recurrent
    step: oracle.Step | None
    x: Array
    state: tuple[Array, ...]
    lengths: list[int]
    grad_output: Array
    grad_state: tuple[Array, ...]
    inputs: dict[str, Array] = field(default_factory=dict)
    resets: Array | None = None
    reset_state: tuple[Array, ...] = ()
    grad_states: tuple[Array, ...] = ()
    how: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    weights: str | None = None

    @property
    def precision(self) -> str:
        """That of products of inference, as the table of tolerances has it."""
        return self.weights or self.rnn.compute

    @property
    def network(self) -> Recurrent | Frozen:
        """What computes inference: the network itself, or a frozen one with `weights`."""
        return self.rnn if self.weights is None else self.rnn.freeze(self.weights)

    def prepare(self) -> None:
        """Let the next call of training draw what `expected` has drawn."""
        self.rnn.reseed(self.seed)

    def expected(self) -> oracle.Result:
        """The oracle's results, in float64; of a cell that it does not know, those of the NumPy engine."""
        self.prepare()
        drawn = self.weights is None and self.rnn._architecture.draws
        result = reference(self) if self.step is None else self._run(self.step, self.rnn._draw_key() if drawn else None)
        if self.step is not None and drawn:
            result.inference = self._run(self.step, None)
        if self.rnn.learn_initial_state:
            for name, grad in zip(names(self.rnn.cell.states), result.grad_state, strict=True):
                result.grad_parameters[f"{name}_0"] = grad.sum(axis=1)
        return result

    def _run(self, step: oracle.Step, key: int | None) -> oracle.Result:
        rnn, kept, states = self.rnn, self.rnn.zoneout, names(self.rnn.cell.states)
        rates = [kept.get(name, 0.0) if isinstance(kept, dict) else kept for name in states]
        dropout = rnn.recurrent_dropout, rnn.input_dropout, rnn.dropout
        return oracle.run(
            step,
            {name: on_host(values) for name, values in self.rnn.parameters.items()},
            self.x,
            self.state,
            self.lengths,
            self.grad_output,
            self.grad_state,
            hidden_size=self.rnn.hidden_size,
            heads=self.rnn.heads,
            num_layers=self.rnn.num_layers,
            bidirectional=self.rnn.bidirectional,
            reverse=self.rnn.direction == "reverse",
            regularisation=Regularisation(rates, *dropout, rnn.variational, key),
            row_inputs={name: self.inputs[name] for name in names(self.rnn.cell.row_inputs)},
            unit_inputs={name: self.inputs[name] for name in names(self.rnn.cell.unit_inputs)},
            resets=self.resets,
            reset_state=self.reset_state,
            grad_states=self.grad_states,
            burn_in=self.how.get("burn_in", 0),
            truncate=self.how.get("truncate"),
            precision=self.weights or self.rnn._architecture.precision,
        )


def make_call(
    cell: Cell,
    steps: int,
    batch: int,
    *,
    step: oracle.Step | None = None,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    resets: str | None = None,
    states: bool = False,
    how: dict[str, Any] | None = None,
    weights: str | None = None,
    **options: Any,
) -> Call:
    """A call on random values, the same on every backend.

    Args:
        cell: of the network.
        steps: T.
        batch: B.
        step: the oracle's step of the cell; of the library's it is known.
        lengths: steps of each row; None for T of each.
        seed: of parameters and values.
        resets: "zeros" or "given", the state that rows begin anew with at a third of all steps; None for no resets.
        states: whether every state of the last layer has a cotangent at each step.
        how: burn_in, truncate and recompute of the pass whose gradients are taken.
        weights: of a frozen network, for inference alone; None for the network itself.
        options: go to `Recurrent`, with small sizes where they name none.
    """
    rnn = Recurrent(cell, **{"input_size": 3, "hidden_size": 4, "seed": seed, **options})
    rng = np.random.default_rng(seed)
    positive = POSITIVE.get(cell.name, ())

    def some(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(rnn.dtype)

    def signed(name: str, values: Array) -> Array:
        return np.abs(values) if name in positive else values

    directions = 2 if rnn.bidirectional else 1
    depth = rnn.num_layers * directions
    program = make_program(cell)
    widths = [units_of(width, rnn.hidden_size) for width in program.states]
    x_size = len(program.x_gates) * rnn.hidden_size if rnn.input_size is None else rnn.input_size
    state, grad_state = (tuple(some(depth, batch, width) for width in widths) for _ in range(2))
    call = Call(
        rnn,
        step or step_of(cell),
        some(steps, batch, x_size),
        tuple(signed(name, values) for name, values in zip(names(cell.states), state, strict=True)),
        [steps] * batch if lengths is None else list(lengths),
        some(steps, batch, directions * widths[0]),
        grad_state,
    )
    call.inputs |= {name: signed(name, some(steps, batch)) for name in names(cell.row_inputs)}
    call.inputs |= {name: signed(name, some(steps, batch, rnn.hidden_size)) for name in names(cell.unit_inputs)}
    if resets is not None:
        call.resets = rng.random((steps, batch)) < 1 / 3
    if resets == "given":
        begun = tuple(some(*s.shape) for s in state)
        call.reset_state = tuple(signed(name, s) for name, s in zip(names(cell.states), begun, strict=True))
    call.how |= how or {}
    call.weights = weights
    if rnn.learn_initial_state:
        call.state = tuple(np.repeat(s[:, :1], batch, axis=1) for s in call.state)
        for name, s in zip(names(cell.states), call.state, strict=True):
            rnn.parameters[f"{name}_0"][...] = namespace_of(rnn.parameters[f"{name}_0"]).asarray(s[:, 0])
    if states:
        call.grad_states = tuple(some(steps, batch, directions * width) for width in widths[1:])
    # The number that a parameter begins with, 1 of a gain say, hides its effect.
    for name, values in rnn.parameters.items():
        if name.rpartition("_l")[0] in cell.initial:
            values[...] = namespace_of(values).asarray(some(*values.shape))
    return call
