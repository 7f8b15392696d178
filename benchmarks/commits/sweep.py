"""The dashboard's tier: each backend, cell and size, measured once per commit. It is looked at; no commit fails by it.

asv starts a process for each parameter of each benchmark, and takes one number from it. All run in the folder that asv
made for `setup_cache`: the first process that asks for a point of the sweep measures it, the others read what it wrote.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import re
import timeit
from collections.abc import Callable
from pathlib import Path

from asv_runner.benchmarks._maxrss import get_maxrss
from asv_runner.benchmarks.mark import SkipNotImplemented

BACKENDS = ("numba", "numpy", "cuda")
CELLS = ("lstm", "gru", "rnn", "layernorm_lstm")
MODES = ("inference", "training")
STEPS = (10, 100)
HIDDEN = (64, 256)
BATCH = 32

SECONDS = 0.5
"""Seconds for which a point is timed."""

version = "1"
"""asv's version of all benchmarks here; another one ends their history. By default it is a hash of the code."""

GATES = {"lstm": 4, "gru": 3, "rnn": 1, "layernorm_lstm": 4}

FIRST_CALL = "make_call({backend!r}, 'lstm', {mode!r}, 10, 8, 64)()"
CALLS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import rnncore
from calls import make_call
"""
NOTHING_COMPILED = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["RNNCORE_CACHE_DIR"] = folder.name
"""

Figures = dict[str, float]


def in_unit(unit: str) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Name the unit of what a `track_` benchmark returns."""

    def name(track: Callable[..., float]) -> Callable[..., float]:
        vars(track)["unit"] = unit
        return track

    return name


class OnBackends:
    """Benchmarks whose first parameter is a backend."""

    timeout = 300

    def setup_cache(self) -> dict[str, str]:
        """Why which backends cannot run; what the others need is compiled, or points would pay in memory for that."""
        import rnncore

        from .calls import make_call

        probes = {backend: rnncore.backends()[backend] for backend in BACKENDS}
        for backend, cell, mode in itertools.product(BACKENDS, CELLS, MODES):
            # An earlier commit lacks some cells.
            with contextlib.suppress(ValueError):
                if probes[backend].available:
                    make_call(backend, cell, mode, 2, BATCH, 64)()
        return {backend: probe.reason for backend, probe in probes.items() if not probe.available}

    def setup(self, reasons: dict[str, str], backend: str, *_: object) -> None:
        """Skip, with the reason, what cannot run."""
        if backend in reasons:
            raise SkipNotImplemented(reasons[backend])


class Sweep(OnBackends):
    """Whole sequences, with frozen weights or forward and backward: B = 32, I = H, float32, all cores."""

    params = (BACKENDS, CELLS, MODES, STEPS, HIDDEN)
    param_names = ("backend", "cell", "mode", "T", "H")

    def setup(self, reasons: dict[str, str], backend: str, *point: object) -> None:
        super().setup(reasons, backend)
        kept = Path("-".join(map(str, (backend, *point))) + ".json")
        if not kept.exists():
            kept.write_text(json.dumps(measure(backend, *point)))  # type: ignore[arg-type]
        self.figures: Figures = json.loads(kept.read_text())

    @in_unit("seconds")
    def track_seconds_per_step(self, *_: object) -> float:
        return self.figures["seconds_per_step"]

    @in_unit("sequences/s")
    def track_sequences_per_second(self, *_: object) -> float:
        return self.figures["sequences_per_second"]

    @in_unit("GFLOP/s")
    def track_gflops(self, *_: object) -> float:
        """Operations of the matrix products alone, per second."""
        return self.figures["gflops"]

    @in_unit("bytes")
    def track_peak_bytes(self, *_: object) -> float:
        """Resident memory of a process that has made one call; on a GPU, the memory of CuPy's pool."""
        return self.figures["peak_bytes"]


class FirstCall(OnBackends):
    """The first call of a process, and of a network: without compiled code, and with what an earlier process kept."""

    params = (BACKENDS, MODES)
    param_names = ("backend", "mode")
    rounds = 1
    repeat = 3

    def timeraw_cold(self, _: dict[str, str], backend: str, mode: str) -> tuple[str, str]:
        return FIRST_CALL.format(backend=backend, mode=mode), CALLS + NOTHING_COMPILED

    def timeraw_warm(self, _: dict[str, str], backend: str, mode: str) -> tuple[str, str]:
        return FIRST_CALL.format(backend=backend, mode=mode), CALLS


def timeraw_import() -> str:
    """Import in a fresh interpreter, NumPy's own included."""
    return "import rnncore"


def timeraw_import_numpy() -> str:
    """What of the import is NumPy's."""
    return "import numpy"


def measure(backend: str, cell: str, mode: str, steps: int, hidden: int) -> Figures:
    """All figures of a point, in a process that has computed nothing before."""
    from .calls import make_call

    try:
        call = make_call(backend, cell, mode, steps, BATCH, hidden)
    except ValueError as error:
        raise SkipNotImplemented(str(error)) from None
    call()
    peak = peak_bytes(backend)
    about = timeit.timeit(call, number=1)
    # The fastest: a commit is measured once, and what else runs on the machine only adds.
    seconds = min(timeit.repeat(call, number=1, repeat=max(5, int(SECONDS / about))))
    # Matrix products alone count; their gradients, to either factor, are as many each.
    flops = 2 * steps * BATCH * GATES[cell] * hidden * (hidden + hidden) * (3 if mode == "training" else 1)
    return {
        "seconds_per_step": seconds / steps,
        "sequences_per_second": BATCH / seconds,
        "gflops": flops / seconds / 1e9,
        "peak_bytes": peak,
    }


def peak_bytes(backend: str) -> int:
    """The most memory that this process has had."""
    if backend == "cuda":
        return int(importlib.import_module("cupy").get_default_memory_pool().total_bytes())
    # What the system calls maxrss starts at what the parent had, which here is asv.
    status = Path("/proc/self/status")
    high_water = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(high_water[1]) * 1024 if high_water else int(get_maxrss())
