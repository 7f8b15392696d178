"""Words of the kernels `forward` and `backward`, and sizes that plans and kernels agree on."""

BLOCK_ROWS = 48
"""Rows whose pre-activations are computed before the cell runs on them: few for the cache, enough to reuse weights."""

BF16_BLOCK_ROWS, BF16_BACK_ROWS = 32, 128
"""The same on tile registers; and rows of x whose cotangents are computed there for each time that weights are read."""

PANEL_ROWS = 256
"""Rows summed in registers before they are added to a gradient of weights: sums of sums err less than one long sum."""

WEIGHT_GROUPS = 8
"""Groups of columns of a gradient of weights whose panels are kept in the second-level cache."""


def block_units(lanes: int) -> int:
    """Vectors of hidden units whose rows of such a gradient are computed together: of 16 units, or one vector."""
    return max(1, 16 // lanes)


COMMON_WORDS = 30
(
    STEPS, BATCH, HIDDEN, INPUT, UNITS, REVERSE,
    ROW_THREADS, UNIT_THREADS, BARRIERS, PARTS,
    ORDER, SIZES,
    X, X_STEP, X_ROW,
    STATE_ARRAYS,
    STAGES, STAGE_TABLE, STATES,
    BLOCKS, STATE_VALUE,
    OPERANDS, OPERAND_VALUE,
    KEPT, KEPT_ROW,
    SCRATCH, SCRATCH_SIZE,
    BF16_ROWS, BF16_SIZE,
    CANCEL,
) = range(COMMON_WORDS)  # fmt: skip
"""Of both kernels.

    UNITS                       vectors of hidden units
    ROW_THREADS, UNIT_THREADS   the threads' grid; thread = row thread + row_threads * unit thread
    BARRIERS                    a cache line for each row thread, then one for all, zero at the start
    PARTS                       see `fields.balance`: for each row thread, those of its unit threads; then those of all,
                                for the backward kernel
    ORDER, SIZES                of Rows
    STATE_ARRAYS                table of addresses: each state, (batch, hidden)
    STAGES, STAGE_TABLE         number of the cell's stages, and the words of each, see `fields.stage`
    STATES                      number of states
    BLOCKS, STATE_VALUE         the states before each step, rows of units vectors; distance from one state to the next
    OPERANDS, OPERAND_VALUE     operands of the second stage, the third, ..., rows likewise
    KEPT, KEPT_ROW              what the stages kept; distance of rows
    SCRATCH, SCRATCH_SIZE       for each thread: tables of addresses, then rows
    BF16_ROWS, BF16_SIZE        for each thread: rows in three parts, see `code.bf16x3`; 0 if there are none
    CANCEL                      not 0 when nobody wants the results any more: the kernel returns within a chunk of steps
"""

FORWARD_WORDS = COMMON_WORDS + 18
(
    OUT, OUT_STEP, OUT_ROW, LAST, LAST_ROW,
    W_X, W_H, BIAS,
    PAIR,
    CARRIES, CARRY_VALUE,
    PROJECTED, PROJECTED_ROWS, PROJECTED_SIZE,
    SCRATCH_ROWS,
    TURN,
    W_X_BF16, W_H_BF16,
) = range(COMMON_WORDS, FORWARD_WORDS)  # fmt: skip
"""Of the forward kernel.

    PAIR                            whether BLOCKS are kept for two steps only, or for all
    CARRIES, CARRY_VALUE            what else the stages pass on, beside operands, for the rows of one step
    PROJECTED, ..._ROWS, ..._SIZE   for each row thread, W_ih x + bias of that many rows, in that many bytes: groups of
                                    columns one after the other
    SCRATCH_ROWS                    rows that the tables of addresses have room for
    TURN                            number of the first step, for the order in which weights are read
    W_X_BF16, W_H_BF16              the weights in three parts
"""

BACKWARD_WORDS = COMMON_WORDS + 21
(
    GRAD_OUT, GRAD_OUT_STEP, GRAD_OUT_ROW,
    GRADS, GRAD_VALUE,
    W_H_BACK, W_X_BACK,
    PRE, PRE_ROW, CHUNK_ROWS,
    ROWS, STATE_ROWS,
    GRAD_X, GRAD_X_STEP, GRAD_X_ROW,
    GRAD_W_IH, GRAD_W_HH, GRAD_B_IH, GRAD_B_HH,
    W_H_BACK_BF16, W_X_BACK_BF16,
) = range(COMMON_WORDS, BACKWARD_WORDS)  # fmt: skip
"""Of the backward kernel.

    GRADS, GRAD_VALUE   cotangents of the states, then of what later stages are given: (batch, units vectors) each
    PRE, CHUNK_ROWS     cotangents of pre-activations of the steps that make at most that many rows, or of one step
    PRE_ROW             distance of their rows
    ROWS, STATE_ROWS    rows of all steps together; rows of BLOCKS
    W_..._BF16          the weights in three parts, where they are used
"""
