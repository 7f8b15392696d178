"""What kernels are made of: functions in Python for Numba, and in LLVM's representation where Python has no words."""
