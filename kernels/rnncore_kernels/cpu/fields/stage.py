"""Words of each stage of a cell, one stage after the other in a table; see `program.StageProgram`."""

STAGE_WORDS = 13
(
    GATES, SPLIT, COLUMNS, COLUMN, GATES_BEFORE,
    X_GATES, H_GATES,
    CARRY_IN, CARRY_OUT, GRADS_IN, GRADS_OUT,
    FORWARD, BACKWARD,
) = range(STAGE_WORDS)  # fmt: skip
"""GATES_BEFORE          gates of the stages before
X_GATES, H_GATES      tables of gate numbers, in the order of the columns that x fills, and the operand
CARRY_IN, CARRY_OUT   places among `carries` of what the stage is given and passes on, beside the operands
GRADS_IN, GRADS_OUT   places among `grads` of the cotangents of what the stage is given and passes on
FORWARD, BACKWARD     addresses of its functions, see `code.cellcode`
"""

STAGE_BYTES = 8 * STAGE_WORDS
