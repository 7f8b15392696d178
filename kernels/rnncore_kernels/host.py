"""The machine that the process runs on."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path


@functools.cache
def processor_name() -> str:
    """The processor's model, as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def memory_bytes() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def cache_folders() -> list[Path]:
    """Where compiled code may be kept, the preferred first: RNNCORE_CACHE_DIR, or the user's cache folder."""
    named = os.environ.get("RNNCORE_CACHE_DIR")
    if named:
        return [Path(named)]
    system, home = platform.system(), os.path.expanduser("~")
    if system == "Windows":
        base = os.environ.get("LOCALAPPDATA", "")
    elif system != "Darwin" and os.environ.get("XDG_CACHE_HOME"):
        base = os.environ["XDG_CACHE_HOME"]
    elif home == "~":
        # The user is none that the system knows.
        base = ""
    else:
        base = os.path.join(home, *(("Library", "Caches") if system == "Darwin" else (".cache",)))
    return [Path(base) / "rnncore"] if base else []
