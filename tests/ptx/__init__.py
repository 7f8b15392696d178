"""An executor of NVIDIA PTX on the processor, for tests of GPU kernels where there is no GPU."""
