"""Whether this process may use AMX, the tile registers of Intel's processors since Sapphire Rapids."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys

ARCH_PRCTL = 158
"""Number of the system call on x86-64."""

REQUEST_PERMISSION, TILE_DATA = 0x1023, 18
"""ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of Linux's asm/prctl.h."""


@functools.cache
def is_permitted() -> bool:
    """Ask Linux for the tile registers, whose 8 KiB it saves only for processes that asked. Other systems: no."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return False
    try:
        return int(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA)) == 0
    except (OSError, AttributeError):
        return False
