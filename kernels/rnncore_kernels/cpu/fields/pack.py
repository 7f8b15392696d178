"""Words of the kernels that pack weights: the caller's arrays, the packed ones, tables of addresses."""

PACK_WORDS = 18
(
    HIDDEN, INPUT, UNITS, THREADS,
    STAGES, STAGE_TABLE,
    W_IH, W_IH_ROW, W_HH, W_HH_ROW, B_IH, B_HH,
    W_X, W_H, BIAS, W_H_BACK, W_X_BACK,
    SCRATCH,
) = range(PACK_WORDS)  # fmt: skip
