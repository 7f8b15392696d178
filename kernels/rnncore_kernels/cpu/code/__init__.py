"""What is compiled: kernels in Python, for Numba, and tiles and cells in LLVM's intermediate representation."""
