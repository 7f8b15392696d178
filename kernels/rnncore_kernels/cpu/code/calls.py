"""The arguments of kernels, as compiled Python finds them in tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..arguments import (
    Arguments,
    BackPhaseArguments,
    ColumnArguments,
    InputArguments,
    MatrixArguments,
    PhaseArguments,
    RunArguments,
    StateArguments,
    StepArguments,
    SumArguments,
    TotalArguments,
    ValueArguments,
    size_of,
)
from ..pool_arguments import TaskArguments
from .emitted import emitted
from .ir import I64, word_pointer

SomeArguments = TypeVar("SomeArguments", bound=Arguments)


def _in_table(cls: type[SomeArguments]) -> Callable[[int, int], SomeArguments]:
    """`find(table, number)`: the arguments at a place of a table."""

    def body(b: Any, table: Any, number: Any) -> Any:
        return b.add(table, b.mul(number, I64(size_of(cls))))

    found: Callable[[int, int], SomeArguments] = emitted(
        f"find_{cls.__name__}", ("table", "number"), body, returns=cls, inline=True
    )
    return found


phase_at = _in_table(PhaseArguments)
back_phase_at = _in_table(BackPhaseArguments)
column_at = _in_table(ColumnArguments)
matrix_at = _in_table(MatrixArguments)
total_at = _in_table(TotalArguments)
value_at = _in_table(ValueArguments)
input_at = _in_table(InputArguments)
state_at = _in_table(StateArguments)
sum_at = _in_table(SumArguments)
step_at = _in_table(StepArguments)
task_at = _in_table(TaskArguments)


def _is_cancelled(b: Any, run: Any) -> Any:
    return b.load_atomic(word_pointer(b, run, RunArguments.names.index("cancel")), "seq_cst", 8)


is_cancelled: Callable[[RunArguments], int] = emitted(
    "is_cancelled", ("run",), _is_cancelled, returns=True, inline=True
)
"""`is_cancelled(run)`: not 0 when nobody wants the results any more."""
