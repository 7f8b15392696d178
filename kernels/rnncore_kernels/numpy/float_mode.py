"""The floating-point mode of a thread: how it rounds, and whether it flushes denormal numbers to zero."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

ENVIRONMENT_BYTES = 256
"""More than any system's `fenv_t`: 32 bytes on x86-64, 8 on AArch64."""


def current_mode() -> Callable[[], None]:
    """A function that gives the thread that calls it the mode of this one; it does nothing where C has no <fenv.h>."""
    try:
        library = ctypes.CDLL(None)
        get, set_ = library.fegetenv, library.fesetenv
    except (AttributeError, OSError, TypeError):
        return lambda: None
    environment = ctypes.create_string_buffer(ENVIRONMENT_BYTES)
    get(environment)

    def adopt() -> None:
        set_(environment)

    return adopt
