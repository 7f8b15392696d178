"""The words that kernels are called with, one int64 each: sizes, distances in bytes, and addresses, 0 for none.

A constant named here is the place of its word.
"""
