"""Memory of this process: how much a piece of work took at most. Linux tells; other systems have no answer."""

from __future__ import annotations

import re
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Sets the peak to the present size (man 5 proc)."""


def start() -> int | None:
    """Bytes in use now, from which on the peak counts anew; None where the system does not say."""
    try:
        CLEAR.write_text(RESET_PEAK)
        return _bytes("VmRSS")
    except OSError:
        return None


def peak_since(before: int | None) -> int | None:
    """Bytes that were in use at most since `start`, beyond those in use then."""
    return None if before is None else max(0, _bytes("VmHWM") - before)


def _bytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    if found is None:
        raise OSError(f"expected {name} in {STATUS}, found none")
    return 1024 * int(found[1])
