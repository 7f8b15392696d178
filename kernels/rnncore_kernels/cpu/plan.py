"""What the words of a call and its memory are made from: all that follows from sizes alone.

Kept for the next call of these sizes: a step should take microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from .division import MIN_KEPT_FLOPS, MIN_THREAD_FLOPS, Division, divide, is_separate
from .fields.balance import even_parts
from .fields.bf16x3 import ROWS as TILE_ROWS
from .fields.bf16x3 import column_bytes as bf16_column_bytes
from .fields.bf16x3 import filled
from .fields.bf16x3 import rows_bytes as bf16_rows_bytes
from .fields.run import (
    BACKWARD_WORDS,
    BARRIERS,
    BATCH,
    BF16_BACK_ROWS,
    BF16_ROWS,
    BF16_SIZE,
    BLOCK_ROWS,
    BLOCKS,
    CARRIES,
    CARRY_VALUE,
    CHUNK_ROWS,
    FORWARD_WORDS,
    GRAD_VALUE,
    GRADS,
    HIDDEN,
    INPUT,
    KEPT_ROW,
    OPERAND_VALUE,
    OPERANDS,
    PAIR,
    PANEL_ROWS,
    PARTS,
    PRE,
    PRE_ROW,
    PROJECTED,
    PROJECTED_ROWS,
    PROJECTED_SIZE,
    ROW_THREADS,
    ROWS,
    SCRATCH,
    SCRATCH_ROWS,
    SCRATCH_SIZE,
    STAGE_TABLE,
    STAGES,
    STATE_ROWS,
    STATE_VALUE,
    STATES,
    STEPS,
    UNIT_THREADS,
    UNITS,
    WEIGHT_GROUPS,
    block_units,
)
from .layer import Layer
from .memory import Words, make_words, round_up

PROJECTION_ROWS = 192
"""Rows of x that are multiplied together where the input projection is a product of its own."""

LEAST_FILLED = 0.7
"""Least share of the tile registers that rows and sums fill if products are computed there."""

LEAST_TILED_FLOPS = 3_600_000
"""Least operations of all products of a step for which it pays to convert its rows, on two cores."""

CHUNK_BYTES = 1 << 20
"""Cotangents of pre-activations that the backward pass keeps before it turns to the products over all steps."""

CHUNK_LEAST, CHUNK_MOST = 256, 1024
"""Rows of all steps of a chunk, whatever they need; the rows of one step if these are more."""


class Template(NamedTuple):
    """What the words of a call are made from.

    Attributes:
        words: as far as they follow from sizes; those in `local` are offsets.
        local: places of the words that are addresses in memory of the call's own.
        size: of that memory, in bytes.
        barriers: offset and size of what must be zero in it.
        threads: how many the kernel expects.
        residuals: size of the memory of residuals, offsets of operands and kept in it.
        parts: offset in the memory of the words of `code.balance`.
        balance: these, as the last call left them.
    """

    words: Words
    local: tuple[int, ...]
    size: int
    barriers: tuple[int, int]
    threads: int
    residuals: tuple[int, int, int]
    parts: int
    balance: Words


def impl(layer: Layer, steps: int, batch: int, threads: int, *, training: bool) -> str:
    """Width of vectors or AMX, threads by rows x by units, whether one pass computes both products; so for backward."""
    division, separate = forward_division(layer, steps, batch, threads, keep=training)
    unit = "AMX" if uses_tile_registers(layer, batch) else f"{8 * layer.shape.vector_bytes}-bit"
    words = f"{unit} {division}{'' if separate else ' fused'}"
    return f"{words}, back {_backward_division(layer, steps, batch, threads)}" if training else words


def uses_tile_registers(layer: Layer, batch: int) -> bool:
    """Whether products are computed on tile registers: the same for any number of threads, as bits depend on it."""
    if not layer.shape.matrix or 2 * batch * layer.weights < LEAST_TILED_FLOPS:
        return False
    return filled(batch, (layer.inputs, layer.hidden)) >= LEAST_FILLED


def forward_division(
    layer: Layer, steps: int, batch: int, threads: int, *, keep: bool = False
) -> tuple[Division, bool]:
    """How threads divide a run, which keeps what the backward pass needs or not, and whether the input projection is
    separate.
    """
    step_flops, weight_bytes = 2 * batch * layer.weights, layer.weights * layer.shape.itemsize
    tiled = uses_tile_registers(layer, batch)
    division = divide(
        threads, batch, layer.units, layer.groups, steps, step_flops, weight_bytes, row_tile=_row_tile(tiled),
        min_flops=MIN_KEPT_FLOPS if keep else MIN_THREAD_FLOPS, whole_groups=tiled,
    )  # fmt: skip
    separate = is_separate(division, steps, batch, weight_bytes)
    return division, separate or tiled


def _backward_division(layer: Layer, steps: int, batch: int, threads: int) -> Division:
    step_flops = 2 * batch * layer.recurrent_weights
    return divide(
        threads, batch, layer.units, layer.back_groups, steps, step_flops, layer.recurrent_bytes,
        row_tile=_row_tile(uses_tile_registers(layer, batch)), whole_groups=True,
    )  # fmt: skip


def _row_tile(tiled: bool) -> int:
    """Rows that take as long as one: two tiles of rows are multiplied at once."""
    return 2 * TILE_ROWS if tiled else 1


@functools.lru_cache(maxsize=4096)
def forward_template(layer: Layer, steps: int, batch: int, count: int, most: int, threads: int) -> Template:
    """For inference, where `count` is -1, or training with that many rows of all steps together."""
    keep = count >= 0
    row = layer.row_bytes
    division, separate = forward_division(layer, steps, batch, threads, keep=keep)
    table_rows = max(1, batch, PROJECTION_ROWS if separate else 0)
    tiled, bf16_size = uses_tile_registers(layer, batch), 0
    projected_rows = table_rows
    if tiled:
        # Whole tiles of rows are read and written, from any row on.
        table_rows = -(-table_rows // TILE_ROWS) * TILE_ROWS
        projected_rows = table_rows + TILE_ROWS
        bf16_size = max(bf16_rows_bytes(table_rows, layer.inputs), bf16_rows_bytes(batch, layer.hidden))
    projected = round_up(projected_rows * layer.columns_bytes) if separate else 0
    scratch = round_up(24 * table_rows + BLOCK_ROWS * layer.pre_vectors * layer.shape.vector_bytes)
    block_rows = count + most if keep else 2 * batch
    operand_rows = count if keep else batch
    blocks = layer.program.states * block_rows * row
    operands = layer.later_stages * operand_rows * row
    values = _common(layer, steps, batch, division) | {
        STAGE_TABLE: layer.keep_table if keep else layer.infer_table,
        STATE_VALUE: block_rows * row,
        PAIR: 0 if keep else 1,
        OPERAND_VALUE: operand_rows * row,
        CARRY_VALUE: batch * row,
        PROJECTED_ROWS: table_rows,
        PROJECTED_SIZE: projected,
        SCRATCH_SIZE: scratch,
        SCRATCH_ROWS: table_rows,
        BF16_SIZE: bf16_size,
    }
    sizes = {
        BF16_ROWS: division.threads * bf16_size,
        CARRIES: layer.carries * batch * row,
        PROJECTED: division.row_threads * projected,
        SCRATCH: division.threads * scratch,
        BARRIERS: 64 * (division.row_threads + 1),
    }
    residuals = (0, 0, 0)
    if keep:
        places_kept = (round_up(blocks), round_up(blocks) + round_up(operands))
        residuals = (places_kept[1] + count * layer.kept_row, *places_kept)
    else:
        sizes |= {BLOCKS: blocks, OPERANDS: operands}
    return _template(values, sizes, FORWARD_WORDS, division.threads, residuals)


@functools.lru_cache(maxsize=4096)
def backward_template(layer: Layer, steps: int, batch: int, count: int, most: int, threads: int) -> Template:
    row, vectors = layer.row_bytes, layer.shape.columns * layer.shape.vector_bytes
    division = _backward_division(layer, steps, batch, threads)
    tiled = uses_tile_registers(layer, batch)
    block_rows, grad_rows, bf16_size = BLOCK_ROWS, batch, 0
    if tiled:
        # Whole tiles of rows are read and written.
        row_tiles = -(-batch // (division.row_threads * TILE_ROWS))
        block_rows, grad_rows = BF16_BACK_ROWS, row_tiles * TILE_ROWS * division.row_threads
        bf16_size = _backward_bf16(layer, row_tiles)
    chunk = max(CHUNK_LEAST, min(CHUNK_MOST, CHUNK_BYTES // max(1, layer.columns_bytes)))
    rows = max(chunk, batch)
    tables = 8 * (2 + len(layer.program.stages) + 1) * rows
    panel_vectors = min(WEIGHT_GROUPS, _weight_groups(layer)) * layer.shape.columns + block_units(layer.shape.lanes)
    panels = PANEL_ROWS * panel_vectors * layer.shape.vector_bytes
    scratch = round_up(tables + max(8 * batch, panels, 8 * block_rows + (block_rows + 1) * vectors))
    values = _common(layer, steps, batch, division) | {
        STAGE_TABLE: layer.keep_table,
        STATE_VALUE: (count + most) * row,
        OPERAND_VALUE: count * row,
        GRAD_VALUE: grad_rows * row,
        PRE_ROW: layer.pre_row,
        CHUNK_ROWS: chunk,
        ROWS: count,
        STATE_ROWS: count + most,
        SCRATCH_SIZE: scratch,
        BF16_SIZE: bf16_size,
    }
    sizes = {
        BF16_ROWS: division.threads * bf16_size,
        GRADS: (layer.program.states + layer.carried) * grad_rows * row,
        PRE: rows * layer.pre_row,
        SCRATCH: division.threads * scratch,
        BARRIERS: 64 * (division.row_threads + 1),
    }
    return _template(values, sizes, BACKWARD_WORDS, division.threads, (0, 0, 0))


def _weight_groups(layer: Layer) -> int:
    """Groups of columns of the gradients of both matrices of weights."""
    columns = layer.shape.columns * layer.shape.lanes
    return -(-layer.inputs // columns) + -(-layer.hidden // columns)


def _backward_bf16(layer: Layer, row_tiles: int) -> int:
    """Bytes of rows and columns in three parts that a thread has at once in the backward pass."""
    lanes = layer.shape.lanes
    depths = [len(stage.gates) * layer.units * lanes for stage in layer.program.stages]
    of_step = bf16_rows_bytes(row_tiles * TILE_ROWS, max(depths))
    of_x = sum(bf16_rows_bytes(BF16_BACK_ROWS, depth) for depth in depths)
    columns = min(WEIGHT_GROUPS, _weight_groups(layer)) * layer.shape.columns
    return max(of_step, of_x, (2 + columns) * bf16_column_bytes(PANEL_ROWS))


def _template(
    values: Mapping[int, int],
    sizes: Mapping[int, int],
    count: int,
    threads: int,
    residuals: tuple[int, int, int],
) -> Template:
    """From the words that are known, the sizes of what others are addresses of, and the number of words."""
    row_threads, unit_threads = values[ROW_THREADS], values[UNIT_THREADS]
    balance = make_words(even_parts(unit_threads) * row_threads + even_parts(threads))
    offsets, total = {}, 0
    sizes = {**sizes, PARTS: 8 * len(balance)}
    for place, size in sizes.items():
        if size > 0:
            offsets[place] = total
            total += round_up(size)
    words = [values.get(place, offsets.get(place, 0)) for place in range(count)]
    barriers = (offsets[BARRIERS], sizes[BARRIERS])
    return Template(make_words(words), tuple(offsets), total, barriers, threads, residuals, offsets[PARTS], balance)


def _common(layer: Layer, steps: int, batch: int, division: Division) -> dict[int, int]:
    return {
        STEPS: steps,
        BATCH: batch,
        HIDDEN: layer.hidden,
        INPUT: layer.inputs,
        UNITS: layer.units,
        ROW_THREADS: division.row_threads,
        UNIT_THREADS: division.unit_threads,
        STAGES: len(layer.program.stages),
        STATES: layer.program.states,
        KEPT_ROW: layer.kept_row,
    }
