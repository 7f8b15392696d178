"""Elman's cell, the LSTM and the GRU with the options that ONNX and Keras have beyond those of the library's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rnncore_kernels.cells import LSTM
from rnncore_kernels.cells.cell import Cell, check_flag, check_number, check_option, without_sizes

from .activations import activate, parse


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class ActivatedElman(Cell):
    """Elman's cell with any activation.

    Args:
        activation: its spelling.
        clip: bound of the size of what activations read; None for no bound.
    """

    name = "activated_elman"
    activation: str = "tanh"
    clip: float | None = None
    states, gates = "h", "a"

    def __post_init__(self) -> None:
        _check(self, "activation")

    def step(self, a: Any) -> Any:
        return activate(self.activation, a, self.clip)


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class ActivatedGRU(Cell):
    """The GRU whose update gate weighs the carry, as that of ONNX and Keras, with any activations.

    Args:
        reset: whether the reset gate acts "after" the product or "before" it.
        gate, candidate: spellings of the activations.
        clip: bound of the size of what activations read; None for no bound.
    """

    name = "activated_gru"
    reset: str = "after"
    gate: str = "sigmoid"
    candidate: str = "tanh"
    clip: float | None = None
    states, gates = "h", "r z n"

    def __post_init__(self) -> None:
        check_option("ActivatedGRU", "reset", self.reset, ("after", "before"))
        _check(self, "gate", "candidate")

    def step(self, h: Any, r: Any, z: Any, n: Any) -> Any:
        r, z = activate(self.gate, r, self.clip), activate(self.gate, z, self.clip)
        n = activate(self.candidate, n.x + r * n.h if self.reset == "after" else n.of(r * h), self.clip)
        return (1 - z) * n + z * h


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class ActivatedLSTM(Cell):
    """The LSTM with any activations.

    Args:
        peephole: whether gates see the cell.
        coupled: whether the forget gate is 1 - i; it then has no weights.
        gate, candidate, output: spellings of the activations of the gates, of the candidate, and of the cell.
        clip: bound of the size of what activations of gates and candidate read; None for no bound.
    """

    name = "activated_lstm"
    peephole: bool = False
    coupled: bool = False
    gate: str = "sigmoid"
    candidate: str = "tanh"
    output: str = "tanh"
    clip: float | None = None
    states = "h c"
    gates, units = LSTM.gates, LSTM.units  # pyright: ignore[reportAssignmentType] (properties, as the LSTM has)

    def __post_init__(self) -> None:
        check_flag("ActivatedLSTM", "peephole", self.peephole)
        check_flag("ActivatedLSTM", "coupled", self.coupled)
        _check(self, "gate", "candidate", "output")

    def step(
        self, c: Any, i: Any, g: Any, o: Any, f: Any = 0, peephole_i: Any = 0, peephole_f: Any = 0, peephole_o: Any = 0
    ) -> Any:  # fmt: skip
        i = activate(self.gate, i + peephole_i * c if self.peephole else i, self.clip)
        f = 1 - i if self.coupled else activate(self.gate, f + peephole_f * c if self.peephole else f, self.clip)
        c = f * c + i * activate(self.candidate, g, self.clip)
        o = activate(self.gate, o + peephole_o * c if self.peephole else o, self.clip)
        # ONNX Runtime does not clip what this one reads.
        return o * activate(self.output, c), c


def _check(cell: Any, *activations: str) -> None:
    for option in activations:
        try:
            parse(getattr(cell, option))
        except ValueError as error:
            raise ValueError(f"{type(cell).__name__}: {option}: {error}") from None
    if cell.clip is not None:
        check_number(type(cell).__name__, "clip", cell.clip, above=0)
