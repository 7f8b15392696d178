"""What an engine's code generator needs to know of a cell: its stages as expression graphs, and where values live.

In memory, the pre-activations of a stage stand in columns: first of the gates in `split` what x contributes, then the
other gates, then of the gates in `split` what the operand of the recurrent product contributes. So each of the two
products fills columns that stand side by side. Cotangents of pre-activations stand in the same order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import accumulate

from ..cells import Cell
from ..cells.symbol import Symbol
from .expression import describe

Graph = tuple[Symbol | None, ...]


@dataclass(frozen=True, eq=False)
class StageProgram:
    """One stage of a cell.

    Attributes:
        gates: indices among the cell's gates, those in `split` first: the order of the columns that x fills.
        split: how many of them are in `split`.
        inputs: number of values carried into the stage, its operand first.
        kept: index of its first value among the cell's kept values.
        column: index of its first column among the cell's.
        pre: names of the columns in the graphs.
        next_carry, keep: graphs of the forward function's results.
        grad_pre, grad_carry: graphs of the backward function's results, `grad_pre` in the order of the columns.
    """

    gates: tuple[int, ...]
    split: int
    inputs: int
    kept: int
    column: int
    pre: tuple[str, ...]
    next_carry: Graph
    keep: Graph
    grad_pre: Graph
    grad_carry: Graph

    @property
    def columns(self) -> int:
        """Number of pre-activations."""
        return len(self.pre)

    @property
    def recurrent_gates(self) -> tuple[int, ...]:
        """Indices of the gates in the order of the columns that the operand fills."""
        return self.gates[self.split :] + self.gates[: self.split]


@dataclass(frozen=True, eq=False)
class Program:
    """A cell as expression graphs; equal if the text is, which is all that code depends on.

    Inputs are named `state0`, `new0`, `carry0`, `grad0`, `kept0` and so on, pre-activations `pre_` and the gate.
    """

    states: int
    stages: tuple[StageProgram, ...]
    kept: int
    columns: int
    text: str

    @property
    def gates(self) -> int:
        """Number of the cell's gates."""
        return sum(len(stage.gates) for stage in self.stages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@functools.lru_cache(maxsize=1024)
def make_program(cell: Cell) -> Program:
    """The program of a cell that has been checked."""
    states, new = _inputs("state", len(cell.states)), _inputs("new", len(cell.states))
    first_gate = list(accumulate((len(stage.gates) for stage in cell.stages), initial=0))
    first_kept = list(accumulate((len(stage.kept) for stage in cell.stages), initial=0))
    first_column = list(accumulate((len(stage.pre) for stage in cell.stages), initial=0))
    all_kept = _inputs("kept", first_kept[-1])
    programs: list[StageProgram] = []
    carry: tuple[Symbol, ...] = states
    for number, stage in enumerate(cell.stages):
        next_carry, keep = stage.forward(tuple(Symbol("input", f"pre_{name}") for name in stage.pre), carry)
        last = number == len(cell.stages) - 1
        grad = _inputs("grad", len(cell.states) if last else len(next_carry))
        grad_pre, grad_carry = stage.backward(grad, all_kept, states, new)
        split = [gate for gate in stage.gates if gate in stage.split]
        shared = [gate for gate in stage.gates if gate not in stage.split]
        pre = [f"{gate}_x" for gate in split] + shared + [f"{gate}_h" for gate in split]
        by_name = dict(zip(stage.pre, grad_pre, strict=True))
        programs.append(
            StageProgram(
                gates=tuple(first_gate[number] + stage.gates.index(gate) for gate in split + shared),
                split=len(split),
                inputs=len(carry),
                kept=first_kept[number],
                column=first_column[number],
                pre=tuple(f"pre_{name}" for name in pre),
                next_carry=tuple(next_carry),
                keep=tuple(keep),
                grad_pre=tuple(by_name[name] for name in pre),
                grad_carry=tuple(grad_carry),
            )
        )
        carry = _inputs("carry", len(next_carry))
    stages = tuple(programs)
    return Program(len(cell.states), stages, first_kept[-1], first_column[-1], _text(cell, stages))


def _text(cell: Cell, stages: tuple[StageProgram, ...]) -> str:
    lines = [f"states {len(cell.states)}"]
    for stage in stages:
        lines.append(f"{stage.gates} {stage.split} {stage.inputs} {stage.kept} {stage.column} {stage.pre}")
        lines += map(describe, (stage.next_carry, stage.keep, stage.grad_pre, stage.grad_carry))
    return "\n".join(lines)


def _inputs(name: str, count: int) -> tuple[Symbol, ...]:
    return tuple(Symbol("input", f"{name}{i}") for i in range(count))
