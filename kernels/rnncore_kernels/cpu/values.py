"""The values of a program that kernels keep in memory, and how the cotangents of states flow through a step."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..program.program import Code, Place, Program


@functools.lru_cache(maxsize=256)
def forward_values(program: Program) -> dict[Place, int]:
    """Numbers of the values of the forward pass."""
    return _numbered([*_common(program), *_places("carried", len(program.forward.carried))])


@functools.lru_cache(maxsize=256)
def backward_values(program: Program) -> dict[Place, int]:
    """Numbers of the values of the backward pass; those that both passes have are the same."""
    grads = [*_places("grad", len(program.states)), *_places("back", len(program.products))]
    carried = _places("carried", len(program.backward.carried))
    return _numbered([*_common(program), *grads, *carried, *_places("column", len(program.columns))])


def saved_values(program: Program) -> list[Place]:
    """What the forward pass keeps for the backward pass, beside states and operands."""
    return [*_places("saved", len(program.saved)), *(("total", number) for number in program.kept_totals)]


def parameter_values(program: Program) -> list[Place]:
    """Parameters, and the number that follows from the hidden size where code reads it."""
    phases = (*program.forward.phases, *program.backward.phases)
    number = [("inverse_size", 0)] if any(("inverse_size", 0) in phase.code.reads() for phase in phases) else []
    return [*_places("unit", program.units), *_places("scalar", program.scalars), *number]


@functools.lru_cache(maxsize=256)
def second_blocks(program: Program) -> tuple[int, ...]:
    """Blocks of gates that have another block: the gradients of both are added up in the end."""
    gates = [block.gate for block in program.blocks]
    return tuple(number for number, gate in enumerate(gates) if gate is not None and gate in gates[:number])


def _common(program: Program) -> list[Place]:
    states, operands = _places("state", len(program.states)), _places("operand", len(program.operands))
    return [*states, *operands, *saved_values(program), *parameter_values(program)]


def _places(kind: str, count: int) -> list[Place]:
    return [(kind, number) for number in range(count)]


def _numbered(places: list[Place]) -> dict[Place, int]:
    return {place: number for number, place in enumerate(places)}


class Flow(NamedTuple):
    """How the backward pass treats the cotangents of the states.

    Attributes:
        turns: of each state, whether the cotangent before the step and that after it are apart.
        clears: of each, whether the former is 0 at first.
        adds: phases that add to it what they compute, and its number.
    """

    turns: tuple[bool, ...]
    clears: tuple[bool, ...]
    adds: frozenset[tuple[int, int]]


@functools.lru_cache(maxsize=256)
def flow_of(program: Program) -> Flow:
    """The flow of a program."""
    turns, clears, adds = [], [], set[tuple[int, int]]()
    phases = program.backward.phases
    for state in range(len(program.states)):
        writers = [n for n, phase in enumerate(phases) if phase.into == state or _writes(phase.code, state)]
        readers = [n for n, phase in enumerate(phases) if ("grad", state) in phase.code.reads()]
        turns.append(not writers or any(reader > writers[0] for reader in readers))
        clears.append(not writers)
        adds |= {(n, state) for n in writers[1:]}
    return Flow(tuple(turns), tuple(clears), frozenset(adds))


def _writes(code: Code, state: int) -> bool:
    return any((output.kind, output.number) == ("grad_state", state) for output in code.outputs)
