"""What the arguments of a call and its memory are made from: all that follows from sizes alone.

Kept for the next call of these sizes: a step should take microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any, Generic, NamedTuple

from ..alignment import LINE_BYTES, round_up
from ..program.program import Place
from .arguments import STEP_BYTES, BackwardArguments, ForwardArguments, SomeArguments, ValueArguments
from .division import Division, backward_division, forward_division, products_of
from .layer import LayerSizes
from .products import Products
from .sizes import BLOCK_ROWS, PANEL_ROWS, WEIGHT_GROUPS, block_units
from .tables import Table, backward_table, column_table, forward_table, make_table, state_table
from .values import flow_of

PROJECTION_ROWS = 192
"""Rows of x that are multiplied together where the input projection is a product of its own."""

CHUNK_BYTES = 1 << 20
"""Cotangents of pre-activations that the backward pass keeps before it turns to the products over all steps."""

CHUNK_LEAST, CHUNK_MOST = 256, 1024
"""Rows of all steps of a chunk, whatever they need; the rows of one step if these are more."""


class Plan(NamedTuple, Generic[SomeArguments]):
    """What the arguments of a call are made from.

    Attributes:
        call: as far as they follow from sizes.
        local: names of those that are addresses in memory of the call's own, and their offsets there.
        size: of that memory, in bytes.
        barriers: offset there of the barriers, which have to be 0 at the start.
        barrier_bytes: their size.
        threads: how many the kernel expects.
        history: size of the memory that stays for the backward pass.
        products: how products are computed.
        others: what the arguments refer to.
    """

    call: SomeArguments
    local: tuple[tuple[str, int], ...]
    size: int
    barriers: int
    barrier_bytes: int
    threads: int
    history: int
    products: Products
    others: Any


def tape_bytes(layer: LayerSizes, steps: int, batch: int) -> int:
    """Size of what the forward pass keeps for the backward pass, at most: that of rows that all have every step."""
    return forward_plan(layer, steps, batch, steps * batch, batch, 1).history


@functools.lru_cache(maxsize=4096)
def forward_plan(
    layer: LayerSizes, steps: int, batch: int, count: int, most: int, threads: int
) -> Plan[ForwardArguments]:
    """For inference, where `count` is -1, or training with that many rows of all steps together."""
    keep, program = count >= 0, layer.program
    division, separate = forward_division(layer, steps, batch, threads, keep=keep)
    table_rows = _whole_lines(max(1, batch, PROJECTION_ROWS if separate else 0))
    products, prepared = products_of(layer, batch), 0
    # Whole tiles of rows are read and written, from any row on.
    table_rows = products.whole_rows(table_rows)
    projected_rows = table_rows + products.row_tile - 1
    if products.rows_bytes is not None:
        depth = max(phase.depth for phase in layer.phases)
        prepared = max(products.rows_bytes(table_rows, layer.inputs), products.rows_bytes(batch, depth))
    projected = round_up(projected_rows * layer.projected_bytes) if separate else 0
    inputs = program.row_inputs + len(program.unit_inputs)
    tables = (3 + inputs + len(program.forward.totals)) * 8 * table_rows
    scratch = round_up(STEP_BYTES + tables + BLOCK_ROWS * layer.pre_vectors * layer.shape.vector_bytes)
    block_rows, rows = (count + most, count) if keep else (2 * batch, batch)
    places, history = _history(layer, block_rows, rows, keep=keep)
    carried, size = _rows({("carried", k): w for k, w in enumerate(program.forward.carried)}, layer, batch)
    values = _values(layer, layer.forward_values, {**places, **carried})
    phases, states = forward_table(layer, products, keep=keep), state_table(layer, backward=False)
    uneven = any(phase.groups % division.unit_threads for phase in layer.phases)
    call = ForwardArguments(
        **_common(layer, steps, batch, division),
        phases=phases.count,
        phase_table=phases.address,
        state_table=states.address,
        values=values.address,
        scratch_size=scratch,
        table_rows=table_rows,
        totals=len(program.forward.totals),
        prepared_size=prepared,
        pair=not keep,
        # Rows on tile registers are not divided: they come in tiles.
        uneven=uneven and products.row_tile == 1,
        projected_rows=table_rows,
        projected_size=projected,
    )
    sizes = {
        "prepared": division.threads * prepared,
        "memory": size,
        "projected": division.row_threads * projected,
        "scratch": division.threads * scratch,
        "history": 0 if keep else history,
    }
    return _plan(call, sizes, division, history if keep else 0, products, (phases, states, values))


@functools.lru_cache(maxsize=4096)
def backward_plan(
    layer: LayerSizes, steps: int, batch: int, count: int, most: int, threads: int
) -> Plan[BackwardArguments]:
    """For the backward pass of a run with `count` rows of all steps together, `most` of one step."""
    program, shape = layer.program, layer.shape
    vectors = shape.columns * shape.vector_bytes
    division = backward_division(layer, steps, batch, threads)
    products = products_of(layer, batch)
    # Whole tiles of rows are read and written.
    thread_rows = products.whole_rows(-(-batch // division.row_threads))
    prepared = 0 if products.rows_bytes is None else _backward_prepared(layer, products, thread_rows)
    chunk = _whole_lines(max(CHUNK_LEAST, min(CHUNK_MOST, CHUNK_BYTES // max(1, layer.columns_bytes))))
    table_rows = _whole_lines(batch)
    rows, inputs, phase_count = max(chunk, table_rows), program.row_inputs + len(program.unit_inputs), len(layer.phases)
    tables = 8 * rows * (2 + phase_count + inputs) + 8 * table_rows * (2 + inputs + len(program.backward.totals))
    panel_vectors = min(WEIGHT_GROUPS, _weight_groups(layer)) * shape.columns + block_units(shape.lanes)
    panels = PANEL_ROWS * panel_vectors * shape.vector_bytes
    sums = 8 * products.back_rows * phase_count + (products.back_rows + 1) * vectors
    scratch = round_up(STEP_BYTES + tables + vectors + max(panels, sums))
    places, _ = _history(layer, count + most, count, keep=True)
    widths = {("grad", state): width for state, width in enumerate(program.states)}
    widths |= {("back", number): product.operand_width for number, product in enumerate(program.products)}
    widths |= {("carried", number): width for number, width in enumerate(program.backward.carried)}
    apart = {("grad", state) for state, turns in enumerate(flow_of(program).turns) if turns}
    local, size = _rows(widths, layer, thread_rows * division.row_threads, apart)
    columns = {("column", n): ValueArguments(offset=place, row=layer.pre_row) for n, place in enumerate(layer.columns)}
    values = _values(layer, layer.backward_values, {**places, **local, **columns})
    phases, back = forward_table(layer, products, keep=True), backward_table(layer, products)
    states, column_arguments = state_table(layer, backward=True), column_table(layer)
    call = BackwardArguments(
        **_common(layer, steps, batch, division),
        phases=phases.count,
        phase_table=phases.address,
        back_phases=back.count,
        back_table=back.address,
        columns=column_arguments.address,
        state_table=states.address,
        values=values.address,
        closes=bool(program.backward.totals),
        scratch_size=scratch,
        table_rows=table_rows,
        totals=len(program.backward.totals),
        prepared_size=prepared,
        pre_row=layer.pre_row,
        chunk_rows=chunk,
        rows=count,
        state_rows=count + most,
    )
    sizes = {
        "prepared": division.threads * prepared,
        "memory": size,
        "pre": rows * layer.pre_row,
        "scratch": division.threads * scratch,
    }
    return _plan(call, sizes, division, 0, products, (phases, back, states, values, column_arguments))


def _whole_lines(rows: int) -> int:
    """At least so many rows, whose addresses fill cache lines: what stands behind them begins at one."""
    return round_up(8 * rows) // 8


def _history(layer: LayerSizes, block_rows: int, rows: int, *, keep: bool) -> tuple[dict[Place, ValueArguments], int]:
    """Where states, operands and what else is kept are, and the size of all."""
    program = layer.program
    states, size = _rows({("state", k): width for k, width in enumerate(program.states)}, layer, block_rows)
    widths = {("operand", k): width for k, width in enumerate(program.operands)}
    operands, size = _rows(widths, layer, rows, start=size)
    saved = {}
    if keep:
        for place, offset in layer.saved_places.items():
            saved[place] = ValueArguments(offset=size + offset, row=layer.kept_row)
        size += rows * layer.kept_row
    return {**states, **operands, **saved}, size


def state_places(layer: LayerSizes, rows: int) -> list[ValueArguments]:
    """Where so many rows of each state are in what the forward pass keeps."""
    places, _ = _rows({("state", k): width for k, width in enumerate(layer.program.states)}, layer, rows)
    return list(places.values())


def _rows(
    widths: Mapping[Place, int], layer: LayerSizes, rows: int, apart: Collection[Place] = (), start: int = 0
) -> tuple[dict[Place, ValueArguments], int]:
    """Where so many rows of values of some widths are, one after the other from `start` on, and the end of all.

    Those that are `apart` are there twice.
    """
    places, offset = {}, start
    for place, width in widths.items():
        row = layer.row_bytes(width)
        size = round_up(rows * row)
        places[place] = ValueArguments(offset=offset, row=row, turn=size if place in apart else 0)
        offset += 2 * size if place in apart else size
    return places, offset


def _values(layer: LayerSizes, numbers: Mapping[Place, int], places: Mapping[Place, ValueArguments]) -> Table:
    """The table of all values of a pass."""
    packed = {place: ValueArguments(offset=offset) for place, offset in layer.packed.values.items()}
    places = {**packed, **places}
    return make_table(ValueArguments, [places.get(place, ValueArguments()) for place in numbers])


def _weight_groups(layer: LayerSizes) -> int:
    """Most groups of columns of the gradients of a phase's weights."""
    columns = layer.shape.columns * layer.shape.lanes
    of_heads = max(phase.heads * -(-(phase.depth // phase.heads) // columns) for phase in layer.phases)
    return -(-layer.inputs // columns) + of_heads


def _backward_prepared(layer: LayerSizes, products: Products, rows: int) -> int:
    """Bytes of prepared rows and columns that a thread has at once in the backward pass."""
    lanes, rows_bytes = layer.shape.lanes, products.rows_bytes
    assert rows_bytes is not None
    of_step = max(rows_bytes(rows, len(p.blocks) * p.units * lanes) for p in layer.phases)
    of_x = sum(rows_bytes(products.back_rows, len(p.x) * p.units * lanes) for p in layer.phases)
    columns = min(WEIGHT_GROUPS, _weight_groups(layer)) * layer.shape.columns
    return max(of_step, of_x, (products.left_units + columns) * products.panel_bytes)


def _plan(
    call: SomeArguments, sizes: Mapping[str, int], division: Division, history: int, products: Products, others: Any
) -> Plan[SomeArguments]:
    """From the arguments that are known, and the sizes of the memory that others are addresses of."""
    sizes = {**sizes, "barriers": LINE_BYTES * (division.row_threads + 1)}
    offsets: dict[str, int] = {}
    total = 0
    for name, size in sizes.items():
        if size > 0:
            offsets[name] = total
            total += round_up(size)
    return Plan(
        call,
        tuple(offsets.items()),
        total,
        offsets["barriers"],
        sizes["barriers"],
        division.threads,
        history,
        products,
        others,
    )


def _common(layer: LayerSizes, steps: int, batch: int, division: Division) -> dict[str, int]:
    program = layer.program
    return {
        "steps": steps,
        "batch": batch,
        "inputs": layer.inputs,
        "row_threads": division.row_threads,
        "unit_threads": division.unit_threads,
        "states": len(program.states),
        "extra_inputs": program.row_inputs + len(program.unit_inputs),
    }
