"""The best that was seen of a machine, in a run and in earlier ones: the roof that no row is above.

The speed of a shared machine changes from minute to minute. A roof that was measured in a bad one is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rnncore_kernels.cache import ROOFS, key, read, write
from rnncore_kernels.cores import usable_cores
from rnncore_kernels.host import processor_name

from ..registry import described
from .limits import Limits
from .peers import on_gpu
from .result import Result

Rates = dict[str, float]
"""Rates per second, by their names in the file."""


def raised(results: Sequence[Result]) -> tuple[Result, ...]:
    """The rows, each with the best limits that any row or an earlier run on this machine has had; they are kept.

    Where no folder can be written to, a run knows its own alone.
    """
    known = _kept()
    for result in results:
        for name, rate in _rates(result).items():
            known[name] = max(rate, known.get(name, 0.0))
    if results:
        write(_file(), json.dumps(known, sort_keys=True).encode())
    return tuple(_with(result, known) for result in results)


def _with(result: Result, known: Mapping[str, float]) -> Result:
    if result.limits is None:
        return result
    own = _rates(result)
    best = {limit: known[name] for limit, name in _names(result) if name in own}
    return replace(result, limits=Limits(**best))


def _rates(result: Result) -> Rates:
    found = {name: getattr(result.limits, limit, None) for limit, name in _names(result)}
    return {name: rate for name, rate in found.items() if rate is not None}


def _names(result: Result) -> Iterator[tuple[str, str]]:
    """Each limit and its name in the file: the machine's by threads and bytes of weights, a GPU's without these."""
    work, gpu = result.workload, on_gpu(result.contender)
    threads = "gpu" if gpu else f"{work.threads or usable_cores()} threads"
    yield "gemm", f"gemm {work.dtype} {threads}"
    yield "fma", f"fma {work.dtype} {threads}"
    yield "bandwidth", f"bandwidth {threads}" if gpu else f"bandwidth {result.work.weight_bytes} {threads}"


def _file() -> str:
    """The file of this machine: processor, vectors that are compiled for, cores, GPU."""
    facts = described()
    machine = (processor_name(), facts.get("instruction_set", ""), str(usable_cores()), facts.get("gpu", ""))
    return key("roofs", *machine) + ROOFS


def _kept() -> Rates:
    """The best rates of earlier runs; nothing where the file is none of ours."""
    try:
        content = json.loads(read(_file()) or b"{}")
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: rate for name, rate in content.items() if isinstance(rate, float) and math.isfinite(rate)}
