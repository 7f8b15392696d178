"""The parts of kernels: functions in Python for Numba, and in LLVM's representation where Python has no words."""
