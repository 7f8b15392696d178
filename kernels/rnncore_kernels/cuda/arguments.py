"""The arguments of a kernel, `kernel(run, arrays)`: two tuples of int64, of numbers and addresses.

`run` has the names below. `arrays` has those whose number depends on the cell: see `Arrays`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from .steps import Steps

RUN_FIELDS = (
    # The steps.
    "steps",  # number of steps of this launch
    "first",  # the time of the first of them
    "reverse",  # whether steps run from the last to the first
    "batch", "hidden", "padded",  # B; H; H rounded up to whole vectors
    "inverse_size",  # bits of 1 / H in the dtype
    "order", "lengths",  # (B,) int32: which rows, the longest first, and their lengths; or 0
    # The work of a block, see `plan`.
    "row_groups", "unit_groups",  # their product is the number of blocks
    "log_rows", "log_units",  # binary logarithms of how many warps divide the rows and units of a slice
    "resident",  # whether weights stay in shared memory
    "chunk",  # elements of k in shared memory at a time
    "operand_at", "sums_at", "totals_at",  # offsets in shared memory; the weights stand before
    "counters",  # (row_groups, 32) int32, zeros: see `memory.barrier_wait`
    # Values of the steps.
    "slot_mask",  # number of a step & mask is that of its slot: a slot for each step, or two that take turns
    "saves",  # whether the forward pass saves values
    "totals",  # (kept totals, steps, B): sums over units that the backward pass reads; or 0
    "columns",  # (steps, B, columns): cotangents of the backward pass
    "partial",  # (2, totals, B, slices): sums over the units of a slice; the two take turns
    "slices",  # slices of units that the widest value has
    # Arrays of the call.
    "projection",  # (steps, B, gates, padded): W_ih x_t, gates in the order of the phases
    "bias",  # (x parts and blocks of gates, padded), in the order of the phases
    "output", "output_step", "output_row",  # (steps, B, P) address, or 0; bytes of a step and row
    "last", "last_row",  # (B, P) likewise
    "grad_output", "grad_output_step", "grad_output_row",  # (steps, B, P) likewise
)  # fmt: skip
"""Names in `run`, of every kernel; those that a pass does not need are 0."""


WEIGHTS, STAYS_AT, PART, SPAN, HEAD, HEAD_DEPTH = range(6)
PRODUCT_FIELDS = 6
"""Numbers of a product: the address of its weights, the offset at which they stay in shared memory, elements of a part
of their rows, those of it that a slice multiplies, units of a head, and elements that these multiply."""


class Arrays(NamedTuple):
    """Places in the tuple `arrays` of a pass. At the start are the call's states (B, width), or their cotangents.

    Attributes:
        weights: for each product, see PRODUCT_FIELDS.
        units, scalars: addresses of the parameters.
        rows, unit_inputs: three for each input: its address, and bytes of a step and of a row.
        states: (slots, B, padded width) before and after each step; one slot more than steps, or 2.
        operands: (slots, B, padded width), operands of products that are no states.
        saved: (steps, B, padded width).
        carried: (B, padded width), values that later phases read.
        grads: (2, B, padded width), cotangents of states, which take turns; in the backward pass alone.
        columns: bytes from the first column to each; in the backward pass alone.
        length: of the tuple.
    """

    weights: int
    units: int
    scalars: int
    rows: int
    unit_inputs: int
    states: int
    operands: int
    saved: int
    carried: int
    grads: int
    columns: int
    length: int

    @staticmethod
    def of(steps: Steps) -> Arrays:
        """The places for a pass."""
        program = steps.program
        states, columns = len(program.states), len(program.columns)
        counts = (
            *(states, PRODUCT_FIELDS * len(program.products), program.units, program.scalars),
            *(3 * program.row_inputs, 3 * len(program.unit_inputs)),
            *(states, len(program.operands), len(program.saved), len(steps.values.carried)),
            *((states, columns) if steps.backward else (0, 0)),
        )
        return Arrays(*accumulate(counts))
