"""Engines against the oracle: small networks whose sizes reach the edges of tiles and vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import oracle
from .networks import CELLS, Call, make_call
from .results import results, streamed


@dataclass(frozen=True)
class Case:
    """A call: T steps of B rows, and options of `Recurrent`. One direction without lengths is also streamed."""

    name: str
    steps: int
    batch: int
    options: dict[str, Any]
    lengths: Sequence[int] | None = None

    @property
    def streams(self) -> bool:
        """Whether it can be computed step by step."""
        return self.lengths is None and not self.options.get("bidirectional", False)

    def call(self, cell: str, backend: str, dtype: str, seed: int) -> Call:
        """The call, on the same values for every backend."""
        return make_call(
            *CELLS[cell],
            self.steps,
            self.batch,
            lengths=self.lengths,
            seed=seed,
            backend=backend,
            dtype=dtype,
            **self.options,
        )


CASES = (
    Case("one unit", 3, 1, {"input_size": 1, "hidden_size": 1}),
    Case("dense", 4, 3, {"input_size": 5, "hidden_size": 17}),
    Case("one row", 6, 1, {"input_size": 7, "hidden_size": 19}),
    # More rows than a tile, and one unit more than whole vectors.
    Case("many rows", 2, 19, {"input_size": 2, "hidden_size": 33}),
    Case("two layers without biases", 3, 2, {"hidden_size": 5, "num_layers": 2, "bias": False}),
    Case(
        "deep bidirectional ragged",
        5,
        5,
        {"input_size": 3, "hidden_size": 5, "num_layers": 2, "bidirectional": True},
        lengths=(2, 5, 0, 3, 1),
    ),
)
"""What each variant of a cell is put through, in each dtype."""


@dataclass(frozen=True)
class Finding:
    """How far a tensor is off.

    Attributes:
        case: the call's name.
        tensor: the tensor's name.
        error: the largest, relative to the largest magnitude of the expected tensor or to 1.
        tolerance: what it may be.
    """

    case: str
    tensor: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether it is near enough; NaN is not."""
        return self.error <= self.tolerance

    @property
    def share(self) -> float:
        """Error by tolerance; infinite for NaN, so that it is the largest."""
        return math.inf if math.isnan(self.error) else self.error / self.tolerance


@dataclass
class Outcome:
    """What became of a cell on a backend.

    Attributes:
        backend, cell, dtype: which.
        worst: the largest error of each group of tensors.
        wrong: all tensors that are out of tolerance.
        failures: calls that raised, and what.
    """

    backend: str
    cell: str
    dtype: str
    worst: dict[str, Finding] = field(default_factory=dict)
    wrong: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.backend}, {self.cell}, {self.dtype}"

    def add(self, group: str, finding: Finding) -> None:
        """Take account of a tensor."""
        if group not in self.worst or finding.share > self.worst[group].share:
            self.worst[group] = finding
        if not finding.ok:
            self.wrong.append(finding)


def verify(backends: Sequence[str], cells: Sequence[str], dtypes: Sequence[str], seed: int = 0) -> Iterator[Outcome]:
    """Hold backends against the oracle, which computes each call once for all of them.

    Args:
        backends: such as can run here.
        cells: names in `networks.CELLS`.
        dtypes: "float32" or "float64".
        seed: of parameters and values.
    """
    for cell in cells:
        for dtype in dtypes:
            outcomes = [Outcome(backend, cell, dtype) for backend in backends]
            for case in CASES:
                expected = case.call(cell, "numpy", dtype, seed).expected()
                for outcome in outcomes:
                    _check(outcome, case, expected, seed)
            yield from outcomes


def _check(outcome: Outcome, case: Case, expected: oracle.Result, seed: int) -> None:
    dtype = np.dtype(outcome.dtype)
    try:
        call = case.call(outcome.cell, outcome.backend, outcome.dtype, seed)
        compared = [*results(call, expected, ragged=case.lengths is not None)]
        compared += streamed(call, expected) if case.streams else []
    # Whatever an engine raises is what is to be reported.
    except Exception as error:
        outcome.failures.append(f"{case.name}: {type(error).__name__}: {error}")
        return
    for one in compared:
        outcome.add(one.group, Finding(case.name, one.name, one.error(dtype), one.tolerance(dtype)))
