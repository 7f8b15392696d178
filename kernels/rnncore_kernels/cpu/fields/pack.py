"""Words of the kernels that pack weights: the caller's arrays, the packed ones, tables of addresses.

The kernels that convert packed weights to bf16x3 read these, and write to W_X_BF16, ....
"""

PACK_WORDS = 22
(
    HIDDEN, INPUT, UNITS, THREADS,
    STAGES, STAGE_TABLE,
    W_IH, W_IH_ROW, W_HH, W_HH_ROW, B_IH, B_HH,
    W_X, W_H, BIAS, W_H_BACK, W_X_BACK,
    SCRATCH,
    W_X_BF16, W_H_BF16, W_H_BACK_BF16, W_X_BACK_BF16,
) = range(PACK_WORDS)  # fmt: skip
