"""Engines against the oracle: small networks whose sizes reach the edges of tiles and vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rnncore_kernels.cells import Cell
from rnncore_kernels.precision import BFLOAT16, INT8, PRECISIONS
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.program import units_of

from ..registry import module
from . import oracle
from .networks import Call, make_call, step_of
from .reference import derivative_errors
from .results import results, streamed
from .tolerances import DIFFERENCES


@dataclass(frozen=True)
class Case:
    """A call: T steps of B rows, options of `Recurrent`; lengths, resets, states, how: see `networks.make_call`.

    One direction without lengths is also streamed.
    """

    name: str
    steps: int
    batch: int
    options: dict[str, Any]
    lengths: Sequence[int] | None = None
    resets: str | None = None
    states: bool = False
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def streams(self) -> bool:
        """Whether it can be computed step by step."""
        back = self.options.get("bidirectional", False) or self.options.get("direction") == "reverse"
        return self.lengths is None and not back

    def call(self, cell: Cell, backend: str, dtype: str, seed: int) -> Call:
        """The call, on the same values for every backend.

        The hidden size is at least the width of each projection, there are no more heads than the cell can have, and
        without recurrent weights nothing drops what they multiply.
        """
        program = make_program(cell)
        hidden = max([self.options["hidden_size"], *(width for shape in program.projections for width in shape)])
        options = {**self.options, "hidden_size": hidden}
        if "heads" in options:
            width = units_of(program.output_width, hidden) if program.h_gates else 1
            options["heads"] = math.gcd(options["heads"], hidden, width)
        if not program.x_gates:
            options["input_size"] = self.options.get("input_size") or 3
        if not program.h_gates:
            options.pop("recurrent_dropout", None)
        options["weights" if dtype == INT8 else "compute" if dtype == BFLOAT16 else "dtype"] = dtype
        return make_call(
            cell,
            self.steps,
            self.batch,
            lengths=self.lengths,
            seed=seed,
            resets=self.resets,
            states=self.states,
            how=self.how,
            backend=backend,
            **options,
        )


CASES = (
    Case("one unit", 3, 1, {"input_size": 1, "hidden_size": 1}),
    Case("dense", 4, 3, {"input_size": 5, "hidden_size": 17}),
    Case("one row", 6, 1, {"input_size": 7, "hidden_size": 19}),
    Case("a learnt initial state", 2, 3, {"hidden_size": 4, "learn_initial_state": True}),
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
    Case("heads, ready parts of x", 4, 3, {"input_size": None, "hidden_size": 6, "heads": 6, "num_layers": 2}),
    Case(
        "zoneout and dropout",
        4,
        3,
        {
            "hidden_size": 9,
            "num_layers": 2,
            "zoneout": 0.3,
            "recurrent_dropout": 0.4,
            "input_dropout": 0.2,
            "dropout": 0.5,
        },
        lengths=(4, 2, 3),
    ),
    Case("back, every state", 4, 3, {"hidden_size": 5, "direction": "reverse"}, lengths=(4, 0, 3), states=True),
    # These steps are two segments, whose tapes are computed again.
    Case("long", 18, 2, {"input_size": 2, "hidden_size": 3, "num_layers": 2}, how={"recompute": True}),
    Case(
        "burn-in, truncated",
        7,
        3,
        {"input_size": 2, "hidden_size": 3, "num_layers": 2},
        lengths=(7, 5, 1),
        how={"burn_in": 2, "truncate": 3},
    ),
    Case("resets", 4, 4, {"hidden_size": 5, "bidirectional": True}, lengths=(2, 4, 0, 4), resets="given"),
)
"""The calls that check each variant of a cell, in each dtype."""

REFERENCE = "reference"
"""The name in the place of a backend's of finite differences, for a cell that the oracle does not know."""


@dataclass(frozen=True)
class Finding:
    """How far a tensor is off.

    Attributes:
        case: the call's name.
        tensor: the tensor's name.
        error: the largest, relative to the largest magnitude of the expected tensor or to 1.
        tolerance: the largest error that is right.
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
    """The findings of a cell on a backend.

    Attributes:
        backend, cell, dtype: which; the backend may be REFERENCE, the dtype a precision of products of float32.
        worst: the largest error of each group of tensors.
        wrong: all tensors that are out of tolerance.
        failures: calls that raised, each with its exception.
    """

    backend: str
    cell: str
    dtype: str
    worst: dict[str, Finding] = field(default_factory=dict)
    wrong: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The outcome's name in messages."""
        return f"{self.backend}, {self.cell}, {self.dtype}"

    def add(self, group: str, finding: Finding) -> None:
        """Take account of a tensor."""
        if group not in self.worst or finding.share > self.worst[group].share:
            self.worst[group] = finding
        if not finding.ok:
            self.wrong.append(finding)


def verify(
    backends: Sequence[str], cells: Mapping[str, Cell], dtypes: Sequence[str], seed: int = 0
) -> Iterator[Outcome]:
    """Hold backends against the oracle, which computes each call once for all of them.

    The reference for a cell that the oracle does not know is the NumPy engine in float64, whose gradients are held
    against finite differences first, as the backend REFERENCE.

    Args:
        backends: such as can run here.
        cells: by the names that outcomes give them; `networks.VARIANTS` are the library's.
        dtypes: "float32", "float64", or a precision of products, on the backends that have it: "bfloat16", or "int8",
            of inference by frozen networks.
        seed: of parameters and values.
    """
    for name, cell in cells.items():
        if takes_differences(cell):
            yield _differences(name, cell, seed)
        for dtype in dtypes:
            able = [each for each in backends if dtype not in PRECISIONS or dtype in module(each).precisions]
            outcomes = [Outcome(backend, name, dtype) for backend in able]
            for case in CASES:
                expected = case.call(cell, "numpy", dtype, seed).expected()
                for outcome in outcomes:
                    _check(outcome, cell, case, expected, seed)
            yield from outcomes


def takes_differences(cell: Cell) -> bool:
    """Whether finite differences are taken: the oracle lacks the cell, and no surrogate stands for a derivative."""
    phases = make_program(cell).forward.phases
    return step_of(cell) is None and not any(
        operation == "heaviside" for phase in phases for operation, _ in phase.code.nodes
    )


def _differences(name: str, cell: Cell, seed: int) -> Outcome:
    """The reference's gradients against finite differences."""
    outcome = Outcome(REFERENCE, name, "float64")
    for case in CASES:
        if case.how.keys() & {"burn_in", "truncate"}:
            # Gradients that are cut are no derivatives.
            continue
        for tensor, error in derivative_errors(case.call(cell, "numpy", "float64", seed)):
            group = "grad state" if tensor.startswith("initial ") else f"grad {tensor.rpartition('_l')[0] or tensor}"
            outcome.add(group, Finding(case.name, f"gradient of {tensor}", error, DIFFERENCES))
    return outcome


def _check(outcome: Outcome, cell: Cell, case: Case, expected: oracle.Result, seed: int) -> None:
    try:
        call = case.call(cell, outcome.backend, outcome.dtype, seed)
        compared = [*results(call, expected, ragged=case.lengths is not None)]
        compared += streamed(call, expected) if case.streams else []
    # Whatever an engine raises is reported.
    except Exception as error:
        outcome.failures.append(f"{case.name}: {type(error).__name__}: {error}")
        return
    for one in compared:
        outcome.add(one.group, Finding(case.name, one.name, one.error(call.rnn.dtype), one.tolerance(call.precision)))
