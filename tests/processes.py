"""Python processes of their own, for tests of what a process does first, last or only once; and waiting for others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

TIMEOUT = 600
"""Seconds after which a process counts as stuck, however busy the machine is."""


def start(arguments: Sequence[str], environment: Mapping[str, str | None]) -> subprocess.Popen[str]:
    """Start Python with arguments, what this process imports from, and changes to the environment; None removes."""
    changed = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={name: value for name, value in changed.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed; it must end in time, and well."""
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == 0, f"exit status {process.returncode}\n{output}\n{errors}"
    return output


def run(script: str, *arguments: str, **environment: str | None) -> str:
    """What a script prints."""
    return finish(start(["-c", script, *arguments], environment))


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether a condition becomes true in time."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
