"""The cores that this process may use at this moment: its affinity, and the CPU quota of its control groups."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

QUOTA_SECONDS = 0.5
"""Seconds for which a quota that was read counts; to read it takes 20 to 50 microseconds."""

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy, at least 1: a quota of 1.5 counts as 2, one of 1.4 as 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota.current()
    return cores if quota is None else max(1, min(cores, int(quota + 0.5)))


class Quota:
    """The CPU quota of this process, read again when it was read some time ago."""

    def __init__(self, root: Path = CGROUPS, process: Path = Path("/proc/self/cgroup")) -> None:
        self._root, self._process = root, process
        self._read: tuple[float, float | None] = (-QUOTA_SECONDS, None)

    def current(self) -> float | None:
        """Cores' worth of time that the process may take; None if nothing limits it."""
        read_at, quota = self._read
        now = time.monotonic()
        if now - read_at >= QUOTA_SECONDS:
            quota = min(self._limits(), default=None)
            self._read = now, quota
        return quota

    def _limits(self) -> Iterator[float]:
        try:
            groups = [line.split(":", 2) for line in self._process.read_text().splitlines()]
        except OSError:
            return
        for _, controllers, path in groups:
            if not controllers:
                for folder in _folders(self._root, path) + _folders(self._root / "unified", path):
                    yield from _parse(_read(folder / "cpu.max").split())
            elif "cpu" in controllers.split(","):
                for name in {controllers, "cpu"}:
                    for folder in _folders(self._root / name, path):
                        yield from _parse([_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")])


def _folders(root: Path, path: str) -> list[Path]:
    """The group's folder and all above it; in a container the path may be the host's, and only the root there."""
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _parse(words: list[str]) -> Iterator[float]:
    """A quota and its period, in microseconds; "max", -1 or nothing is no limit."""
    if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words) and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


_quota = Quota()
