"""What a translated kernel calls: checks of memory, the order of accesses, and the scheduler. Compiled by Numba."""
