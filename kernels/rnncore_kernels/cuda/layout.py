"""Where values stand in the engine's arrays, in which each is padded to whole vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..cells.symbol import HIDDEN, Width
from ..program.program import Phase, Program
from .tile import VECTOR_BYTES


class Extent(NamedTuple):
    """A number of elements: the padded hidden size so many times, and a constant."""

    hidden: int
    constant: int

    def of(self, padded: int) -> int:
        """The number for a padded hidden size."""
        return self.hidden * padded + self.constant


def padded_size(units: int, itemsize: int) -> int:
    """Units rounded up to whole vectors."""
    vector = VECTOR_BYTES // itemsize
    return -(-units // vector) * vector


def extent(widths: Sequence[Width], itemsize: int) -> Extent:
    """The padded units of some values together."""
    constant = sum(padded_size(width, itemsize) for width in widths if width != HIDDEN)
    return Extent(sum(width == HIDDEN for width in widths), constant)


class Columns(NamedTuple):
    """Which columns of the backward pass belong to a phase of the forward pass.

    Attributes:
        first: number of its first column.
        x: gates that W_ih x is computed for, in the order of the columns: those of its x parts, then of fused blocks.
        blocks: numbers of its product's blocks; their columns begin behind the x parts.
        parts: number of x parts.
    """

    first: int
    x: tuple[int, ...]
    blocks: tuple[int, ...]
    parts: int

    @property
    def first_block(self) -> int:
        """Number of the first block's column."""
        return self.first + self.parts


def columns_of(program: Program) -> list[Columns]:
    """The columns of each phase of the forward pass."""
    result, first = [], 0
    for phase in program.forward.phases:
        blocks = _blocks(program, phase)
        fused = tuple(x for x in (program.blocks[b].x for b in blocks) if x is not None)
        result.append(Columns(first, phase.x + fused, blocks, len(phase.x)))
        first += len(phase.x) + len(blocks)
    return result


def x_order(program: Program) -> tuple[int, ...]:
    """The gates that have input weights, by their places among these, in the order of the phases."""
    return tuple(x for columns in columns_of(program) for x in columns.x)


def bias_columns(program: Program) -> list[int]:
    """The columns that have a bias: those of gates' x parts and blocks."""
    return [number for number, column in enumerate(program.columns) if column.kind == "gate"]


def _blocks(program: Program, phase: Phase) -> tuple[int, ...]:
    return () if phase.product is None else program.products[phase.product].blocks


def inverse_size_bits(hidden: int, dtype: np.dtype[np.generic]) -> int:
    """The bits of 1 / H in a dtype, as an integer."""
    kind = np.int32 if dtype.itemsize == 4 else np.int64
    return int(np.array(1 / hidden, dtype).view(kind))
