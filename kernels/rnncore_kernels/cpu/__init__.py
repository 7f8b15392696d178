"""The Numba engine: kernels compiled for the processor that the process runs on."""
