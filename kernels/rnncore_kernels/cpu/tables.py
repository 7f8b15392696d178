"""The arguments of phases, in tables that kernels read: made once for a layer."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..program.program import Pass, Phase, Place
from . import kernels
from .arguments import (
    AFTER,
    BEFORE,
    INDEX,
    Arguments,
    BackPhaseArguments,
    ColumnArguments,
    PhaseArguments,
    StateArguments,
    TotalArguments,
)
from .layer import LayerSizes, Packing, PhaseSizes
from .products import Products
from .values import flow_of

OPERAND_ROWS = {"state": BEFORE, "new": AFTER, "operand": INDEX}
"""Which rows a product multiplies, by the kind of its operand."""


@dataclass(frozen=True)
class Table:
    """Arguments one after the other.

    Attributes:
        address: where they begin.
        count: how many there are.
        memory: the memory that they are in, and what they refer to.
    """

    address: int
    count: int
    memory: Any


EMPTY = Table(0, 0, None)


def make_table(cls: type[Arguments], entries: Sequence[Arguments], *others: object) -> Table:
    """A table of some arguments, which refer to others."""
    table = (cls * len(entries))(*entries)
    return Table(ctypes.addressof(table) if entries else 0, len(entries), (table, *others))


@functools.lru_cache(maxsize=1024)
def forward_table(layer: LayerSizes, products: Products, *, keep: bool) -> Table:
    """PhaseArguments of the phases of the forward pass, which keeps what the backward pass needs or not."""
    library = kernels.cell_functions(layer.shape, layer.program)
    packing = layer.packing(products)
    kind = "forward_{}_keep" if keep else "forward_{}"
    entries, memory = [], []
    for number, sizes in enumerate(layer.phases):
        kept = layer.forward_values if keep else {}
        totals = _totals(layer, layer.program.forward, sizes.phase, layer.forward_values, kept)
        memory.append(totals)
        entries.append(_phase(layer, packing, number, sizes, totals, library.addresses[kind.format(number)]))
    return make_table(PhaseArguments, entries, memory, library)


def _phase(
    layer: LayerSizes, packing: Packing, number: int, sizes: PhaseSizes, totals: Table, cell: int
) -> PhaseArguments:
    operand: Place = ("state", 0)
    if sizes.phase.product is not None:
        operand = layer.program.products[sizes.phase.product].operand
    kind, index = operand
    return PhaseArguments(
        columns=sizes.columns,
        split=sizes.split,
        x_columns=len(sizes.x),
        h_columns=len(sizes.blocks),
        first_column=sizes.first_column,
        width=sizes.width,
        units=sizes.units,
        groups=sizes.groups,
        w_x=packing.w_x[number],
        w_h=packing.w_h[number],
        bias=layer.packed.bias[number],
        w_h_back=packing.w_h_back[number],
        w_x_back=packing.w_x_back[number],
        operand=layer.forward_values["state" if kind == "new" else kind, index],
        operand_rows=OPERAND_ROWS[kind],
        depth=sizes.depth,
        depth_units=sizes.depth_units,
        head=sizes.width // sizes.heads,
        head_depth=sizes.depth // sizes.heads,
        span=sizes.span,
        back_span=sizes.back_span,
        meets=layer.meets[number],
        projected=sizes.projected,
        totals=totals.address,
        total_count=totals.count,
        cell=cell,
        place=sizes.place,
    )


@functools.lru_cache(maxsize=1024)
def column_table(layer: LayerSizes) -> Table:
    """ColumnArguments of all columns of the forward pass."""
    blocks, entries = layer.program.blocks, []
    others = layer.second_blocks
    first_other = 2 + len(layer.program.projections)
    for phase in layer.phases:
        for number in range(phase.columns):
            x_row = phase.x[number] * layer.hidden if number < len(phase.x) else -1
            matrix, h_row = -1, -1
            if number >= phase.split:
                block = phase.blocks[number - phase.split]
                gate, projection = blocks[block].gate, blocks[block].projection
                if block in others:
                    matrix, h_row = first_other + others.index(block), 0
                elif projection is not None:
                    matrix, h_row = 2 + projection, 0
                else:
                    assert gate is not None
                    matrix, h_row = 1, gate * layer.hidden
            entries.append(ColumnArguments(x_row=x_row, matrix=matrix, h_row=h_row))
    return make_table(ColumnArguments, entries)


@functools.lru_cache(maxsize=1024)
def backward_table(layer: LayerSizes, products: Products) -> Table:
    """BackPhaseArguments of the phases of the backward pass."""
    shape, program, values = layer.shape, layer.program, layer.backward_values
    library, flow = kernels.cell_functions(shape, program), flow_of(program)
    packing = layer.packing(products)
    entries, memory = [], []
    for number, phase in enumerate(program.backward.phases):
        totals = _totals(layer, program.backward, phase, values, {})
        memory.append(totals)
        units = layer.vectors(layer.width(phase.width))
        product: dict[str, int] = {}
        if phase.product is not None:
            there = next(n for n, sizes in enumerate(layer.phases) if sizes.phase.product == phase.product)
            sizes = layer.phases[there]
            depth = len(sizes.blocks) * sizes.units * shape.lanes
            target = ("back", phase.product) if phase.into is None else ("grad", phase.into)
            product = {
                "place": sizes.place + sizes.split * sizes.units * shape.vector_bytes,
                "depth": depth,
                # With heads, each column is multiplied apart: a group needs a part of it.
                "parts": len(sizes.blocks) if sizes.heads > 1 else 1,
                "span": sizes.back_span if sizes.heads > 1 else depth,
                "whole": sizes.width if sizes.heads > 1 else depth,
                "head": sizes.depth // sizes.heads,
                "head_depth": sizes.width // sizes.heads,
                "w": packing.w_h_back[there],
                "target": values[target],
                "target_units": sizes.depth_units,
                "target_groups": -(-sizes.depth_units // shape.columns),
                "adds": (number, phase.into) in flow.adds,
            }
        entries.append(
            BackPhaseArguments(
                width=layer.width(phase.width),
                units=units,
                groups=-(-units // shape.columns),
                meets=phase.meets,
                totals=totals.address,
                total_count=totals.count,
                cell=library.addresses[f"backward_{number}"] if phase.code.outputs else 0,
                **product,
            )
        )
    return make_table(BackPhaseArguments, entries, memory, library)


def _totals(
    layer: LayerSizes, whole: Pass, phase: Phase, values: Mapping[Place, int], kept: Mapping[Place, int]
) -> Table:
    entries = []
    for index in phase.totals:
        carried = whole.totals[index]
        width = layer.width(whole.carried[carried])
        place = kept.get(("total", index), -1)
        entries.append(TotalArguments(value=values["carried", carried], width=width, index=index, kept=place))
    return make_table(TotalArguments, entries)


@functools.lru_cache(maxsize=1024)
def state_table(layer: LayerSizes, *, backward: bool) -> Table:
    """StateArguments of the states, or of their cotangents."""
    flow, entries = flow_of(layer.program), []
    values = layer.backward_values if backward else layer.forward_values
    for number, width in enumerate(layer.program.states):
        units = layer.vectors(layer.width(width))
        entries.append(
            StateArguments(
                value=values["grad" if backward else "state", number],
                width=layer.width(width),
                units=units,
                groups=-(-units // layer.shape.columns),
                clears=backward and flow.clears[number],
            )
        )
    return make_table(StateArguments, entries)
