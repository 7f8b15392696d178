"""Whether LLVM makes code for the processor and the features that Numba's environment variables name.

For some names that it does not know LLVM ends the process, so it is asked in another one, and once: that the names are
good is kept on disk.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import llvmlite

from .. import cache

ASK = """
import sys
import llvmlite.binding as llvm
from rnncore_kernels.cpu.target import target
llvm.initialize_native_target()
llvm.Target.from_triple(sys.argv[1]).create_target_machine(cpu="help")
print("asked", flush=True)
target(*sys.argv[1:])
print("answered")
"""
"""Writes the names that exist to the standard error, then what LLVM says about those given."""


@functools.cache
def check_names(triple: str, cpu: str, features: str) -> None:
    """Refuse names for which LLVM makes no code.

    Raises:
        ValueError: LLVM does not know one, or not together; the message has the names that exist.
    """
    name = f"{cache.key('names', triple, cpu, features, llvmlite.__version__)}.names"
    if cache.read(name) is not None or getattr(sys, "frozen", False) or not sys.executable:
        # A frozen application would not run the script, but itself.
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ASK, triple, cpu, features]
    answer = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if "asked" not in answer.stdout:
        return
    processors, known = (re.findall(r"^  (\S+) +- ", part, re.MULTILINE) for part in _lists(answer.stderr))
    if cpu and cpu not in processors:
        raise ValueError(f"NUMBA_CPU_NAME: expected one of {', '.join(processors)}; got {cpu!r}")
    given = [each for each in features.split(",") if each]
    if any(each[0] not in "+-" or each[1:] not in known for each in given):
        raise ValueError(
            f"NUMBA_CPU_FEATURES: expected names with + or - before each, and commas between, of {', '.join(known)}; "
            f"got {features!r}"
        )
    if "answered" not in answer.stdout:
        reason = answer.stderr.strip().rpartition("\n")[2]
        raise ValueError(
            f"NUMBA_CPU_NAME, NUMBA_CPU_FEATURES: expected a processor of {triple.partition('-')[0]} and features for "
            f"which LLVM makes code, got {cpu!r} and {features!r} ({reason})"
        )
    cache.write(name, b"")


def _lists(text: str) -> tuple[str, str]:
    """The processors and the features in what LLVM wrote."""
    processors, _, rest = text.partition("Available features for this target:")
    return processors, rest.partition("Use +feature")[0]
