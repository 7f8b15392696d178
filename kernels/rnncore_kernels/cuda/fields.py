"""Names of the arguments of kernels: all are int64, numbers and addresses of arrays."""

from __future__ import annotations

BLOCK_FIELDS = (
    "steps",  # number of steps of this launch
    "first",  # the time of the first of them
    "reverse",  # whether steps run from the last to the first
    "batch", "hidden", "padded",  # B; H; H rounded up to whole vectors, the width of all arrays inside the engine
    "order", "lengths",  # (B,) int32: which rows, the longest first, and their lengths; or 0
    "row_groups", "unit_groups",  # their product is the number of blocks
    "log_rows", "log_units",  # binary logarithms of how many warps divide the rows and units of a slice
    "unit_slices",  # most slices of the units that a block computes
    "resident",  # whether weights stay in shared memory
    "chunk",  # elements of k in shared memory at a time
    "operand_at", "sums_at",  # offsets in shared memory; the weights stand before
    "counters",  # (row_groups, 32) int32, zeros: see `memory.meet`
    "weights",  # of each product (padded, columns, k)
)  # fmt: skip
"""Of every kernel."""

FORWARD_FIELDS = (
    *BLOCK_FIELDS,
    "projection",  # (steps, B, gates, padded): W_ih x_t, gates in the order of the program's columns
    "bias",  # (columns, padded)
    "states",  # (states, slots, B, padded): before and after each step
    "slots",  # number of slots: `steps` + 1, or 2
    "operands",  # (stages - 1, operand_slots, B, padded): operands of the later stages
    "operand_slots",  # number of slots: `steps`, or 1
    "rest",  # (carried values, B, padded): what a stage carries on beside the operand
    "kept", "kept_steps",  # (kept values, kept_steps, B, padded); nothing is kept if `kept_steps` is 0
    "output", "output_step", "output_row",  # (steps, B, H) address, or 0; bytes of a step and row
    "last", "last_row",  # (B, H) likewise
)  # fmt: skip
"""Of the kernels of the forward pass, `code.forward`."""

BACKWARD_FIELDS = (
    *BLOCK_FIELDS,
    "states",  # (states, steps + 1, B, padded), as the forward kernel left it
    "kept",  # (kept values, steps, B, padded) likewise
    "pre",  # (steps, B, columns, padded): cotangents of the columns; written
    "grad",  # (values, B, padded): cotangents of what is carried; as many as any stage has
    "grad_output", "grad_output_step", "grad_output_row",  # (steps, B, H) address, or 0; bytes of a step and row
)  # fmt: skip
"""Of the kernel of the backward pass, `code.backward`."""
