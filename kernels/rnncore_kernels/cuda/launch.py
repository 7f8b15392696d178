"""The launch of a kernel: how a layer's work is divided, and the arguments that all kernels have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..cells.symbol import Width
from ..contract import Array, Inputs, Rows, Sizes
from ..program.program import units_of
from .arguments import PRODUCT_FIELDS
from .device import Argument, Device, GpuLimits
from .layout import extent, inverse_size_bits, padded_size
from .libraries import FEW_ROWS, make_source, make_tiles
from .pack import CudaPacked
from .plan import LaunchPlan, Product, StepWork, make_plan
from .steps import Steps
from .tile import LANES


@dataclass(frozen=True)
class Ends:
    """When rows end, on the GPU: (B,) int32 the rows, the longest first, and their lengths; None if all are equal."""

    order: Array | None
    lengths: Array | None

    def inside(self, xp: ModuleType, steps: int) -> Array | None:
        """(T, B) whether a row has a step; None if all have all."""
        if self.lengths is None:
            return None
        lengths = self.lengths
        if self.order is not None:
            lengths = xp.empty_like(self.lengths)
            lengths[self.order] = self.lengths
        inside: Array = xp.arange(steps, dtype=np.int32)[:, None] < lengths
        return inside


def make_ends(device: Device, rows: Rows, batch: int) -> Ends:
    """The rows of a run."""
    if rows.batch_sizes is None:
        return Ends(None, None)
    # For the row at a position, the steps in which more rows than that are there.
    longer = np.bincount(rows.batch_sizes, minlength=batch + 1)[::-1].cumsum()[::-1]
    lengths = device.xp.asarray(longer[1 : batch + 1].astype(np.int32))
    order = None if rows.order is None else device.xp.asarray(rows.order.astype(np.int32))
    return Ends(order, lengths)


def is_few(batch: int) -> bool:
    """Whether warps multiply one row at a time."""
    return batch <= FEW_ROWS


def step_work(steps: Steps, sizes: Sizes, batch: int) -> StepWork:
    """The work of a step of a pass."""
    itemsize, padded = sizes.dtype.itemsize, padded_size(sizes.hidden, sizes.dtype.itemsize)
    tiles = make_tiles(steps, sizes.dtype, is_few(batch))
    products = []
    for visit, tile in zip(steps.visits, tiles, strict=True):
        if visit.product is not None:
            of = steps.program.products[visit.product]
            result, inner = (of.operand_width, of.width) if steps.backward else (of.width, of.operand_width)
            heads = steps.program.blocks[of.blocks[0]].heads_of(sizes.heads)
            # With heads, a transposed product multiplies each block of columns apart: a slice needs a part of it.
            blocks = len(of.blocks) if steps.backward else 1
            parts = blocks if heads > 1 else 1
            k, units = (extent(widths, itemsize).of(padded) for widths in ([inner] * (blocks // parts), [visit.width]))
            head, depth = (units_of(width, sizes.hidden) // heads for width in (result, inner))
            products.append(Product(visit.product, tile, k, units, parts, head, depth if heads > 1 else k))
    return StepWork(
        tile=tiles[0],
        products=tuple(products),
        batch=batch,
        units=tuple(extent([visit.width], itemsize).of(padded) for visit in steps.visits),
        barriers=sum(visit.waits for visit in steps.visits),
        totals=max(len(visit.totals) for visit in steps.visits),
    )


def plan_of(limits: GpuLimits, steps: Steps, sizes: Sizes, batch: int) -> LaunchPlan:
    """How the steps of a pass of a layer are divided."""
    return make_plan(limits, step_work(steps, sizes, batch))


def launch(
    device: Device,
    steps: Steps,
    packed: CudaPacked,
    ends: Ends,
    given: Sequence[Array],
    inputs: Inputs,
    values: Values,
    arguments: Mapping[str, Argument | None],
) -> None:
    """Run the kernel of a pass.

    Args:
        device: where.
        steps: the pass.
        packed: the layer.
        ends: of rows.
        given: the call's states or their cotangents, overwritten.
        inputs: of the steps of this launch.
        values: of the steps.
        arguments: those of `arguments.RUN_FIELDS` that do not follow from the above; None or a missing one is 0.
    """
    program, sizes, padded, batch = packed.program, packed.sizes, packed.padded, len(given[0])
    source = make_source(steps, sizes.dtype, is_few(batch))
    plan = plan_of(device.limits, steps, sizes, batch)
    xp, totals = device.xp, len(steps.values.totals)
    fields: dict[str, Any] = {
        "batch": batch,
        "hidden": sizes.hidden,
        "padded": padded,
        "inverse_size": inverse_size_bits(sizes.hidden, sizes.dtype),
        "order": ends.order,
        "lengths": ends.lengths,
        "resident": int(plan.resident),
        "counters": xp.zeros((plan.row_groups, LANES), np.int32),
        "saves": int(values.saved is not None),
        "partial": xp.empty((2, totals, batch, plan.slices), sizes.dtype) if totals else None,
        "bias": packed.bias,
        **{name: getattr(plan, name) for name in _OF_PLAN},
        **arguments,
    }
    run = [0 if fields.get(name) is None else fields[name] for name in source.fields]
    # A product that no visit computes has no weights.
    weights: list[Any] = [0] * PRODUCT_FIELDS * len(program.products)
    matrices = packed.backward if steps.backward else packed.forward
    assert matrices is not None
    for product, at, span in zip(plan.work.products, plan.weights_at, plan.spans, strict=True):
        first = PRODUCT_FIELDS * product.number
        numbers = at, product.k, span, product.head, product.head_depth
        weights[first : first + PRODUCT_FIELDS] = matrices[product.number], *numbers
    of_inputs = [v for array in (*inputs.rows, *inputs.units) for v in (array, array.strides[0], array.strides[1])]
    arrays = [
        *(*given, *weights, *packed.parameters, *of_inputs, *values.states, *values.operands),
        *([0] * len(program.saved) if values.saved is None else values.saved),
        *make_values(device, steps.values.carried, 1, batch, packed),
        *values.grads,
        *values.columns,
    ]
    device.launch(source, plan.blocks, LANES * plan.warps, plan.shared_bytes, [*run, *arrays])


@dataclass(frozen=True)
class Values:
    """Values of the steps of a launch, (slots, B, padded width) each, see `arguments.Arrays`.

    Attributes:
        saved: None where none are.
        grads, columns: of the backward pass.
    """

    states: tuple[Array, ...]
    operands: tuple[Array, ...]
    saved: tuple[Array, ...] | None
    grads: tuple[Array, ...] = ()
    columns: tuple[int, ...] = ()


def make_values(
    device: Device, widths: Sequence[Width], slots: int, batch: int, packed: CudaPacked
) -> tuple[Array, ...]:
    """Memory for values."""
    units = (extent([width], packed.sizes.dtype.itemsize).of(packed.padded) for width in widths)
    return tuple(device.xp.empty((slots, batch, count), packed.sizes.dtype) for count in units)


_OF_PLAN = (
    "row_groups", "unit_groups", "log_rows", "log_units", "chunk", "operand_at", "sums_at", "totals_at", "slices",
)  # fmt: skip
