"""The words that a kernel is called with: one int64 each, sizes, distances in bytes, and addresses.

`FIELDS` names them; the number of a name is its place. "0 if none" holds for every address whose object may be absent.
"""

from __future__ import annotations

BLOCK_ROWS = 48
"""Rows whose pre-activations are computed before the cell runs on them: few for the cache, enough to reuse weights."""

PANEL_ROWS = 256
"""Rows summed in registers before they are added to a gradient of weights: sums of sums err less than one long sum."""

RUN = """
steps batch hidden input units reverse
row_threads unit_threads barriers
order sizes
x x_step x_row
state_arrays
w_x w_h bias
stages stage_table states columns kept_values
blocks state_value pair
operands operand_value carries carry_value
kept kept_row
""".split()
"""Of every kernel.

    units                       vectors of hidden units
    row_threads, unit_threads   the threads' grid; thread = row thread + row_threads * unit thread
    barriers                    a word for each row thread, then one for all, zero at the start
    order, sizes                of Rows
    state_arrays                table of addresses: each state, (batch, hidden)
    stages, stage_table         number of the cell's stages, and the words of each, named in STAGE
    states, columns, kept_values  numbers of states, of pre-activations, of kept values
    blocks, state_value, pair   the states before each step, rows of units vectors; distance from one state to the next;
                                whether they are kept for two steps only, or for all
    operands, operand_value     operands of the second stage, the third, ..., rows likewise
    carries, carry_value        what else the stages pass on, for the rows of one step
    kept, kept_row              what the stages kept; distance of rows, at least kept_values * units vectors
"""

FORWARD = """
out out_step out_row last last_row
projected projected_rows projected_size
scratch scratch_size scratch_rows
""".split()
"""Of the forward kernels.

    projected, ..._rows, ..._size   for each row thread, W_ih x + bias of that many rows, in that many bytes
    scratch, ..._size, ..._rows     for each thread: tables of addresses for that many rows, then pre-activations
"""

BACKWARD = """
grad_out grad_out_step grad_out_row
grads grad_value
w_h_back w_x_back
pre pre_row chunk_rows
rows block_rows
grad_x grad_x_step grad_x_row
grad_w_ih grad_w_hh grad_b_ih grad_b_hh
scratch scratch_size
""".split()
"""Of the backward kernel.

    grads, grad_value   cotangents of the states, then of what later stages are given: (batch, units vectors) each
    pre, chunk_rows     cotangents of pre-activations of the steps that make at most that many rows, or of one step
    pre_row             distance of their rows, at least columns * units vectors
    rows, block_rows    rows of all steps together; of all blocks
    scratch, ..._size   for each thread: tables of addresses for the rows of a chunk, then packed rows
"""

PACK = """
hidden input units threads
stages stage_table
w_ih w_ih_row w_hh w_hh_row b_ih b_hh
w_x w_h bias w_h_back w_x_back
scratch
""".split()
"""Of the kernels that pack weights: the caller's arrays, the packed ones, tables of addresses."""


STAGE = """
gates split columns column gates_before
x_gates h_gates
carry_in carry_out grad_in grad_out
forward backward
""".split()
"""Of each stage of a cell; see `program.StageProgram`.

    gates_before         gates of the stages before
    x_gates, h_gates     tables of gate numbers, in the order of the columns that x fills, and the operand
    carry_in, carry_out  places among `carries` of what the stage is given and passes on, beside the operands
    grad_in, grad_out    places among `grads` of the cotangents of what the stage is given and passes on
    forward, backward    addresses of its functions, see `code.cellcode`
"""


def places(names: list[str]) -> dict[str, int]:
    """The place of each name."""
    return {name: index for index, name in enumerate(names)}
