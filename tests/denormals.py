"""A thread that flushes denormal numbers to zero, as `torch.set_flush_denormal(True)` makes it do."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from collections.abc import Iterator

import pytest

needs_x86_64_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="where the mode is, is known of x86-64 and Linux"
)
TINY = 1e-39
"""A denormal number of float32."""


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """The calling thread flushes results to zero and takes denormal operands for zero."""
    system = ctypes.CDLL(None)
    before, changed = (ctypes.create_string_buffer(32) for _ in range(2))
    system.fegetenv(before)
    system.fegetenv(changed)
    ctypes.c_uint32.from_buffer(changed, 28).value |= 0x8040
    system.fesetenv(changed)
    try:
        yield
    finally:
        system.fesetenv(before)
