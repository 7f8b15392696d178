"""Time and memory of whole sequences, and the cost of the first import."""

from __future__ import annotations

from collections.abc import Callable

import asv_runner.benchmarks.mark

import rnncore
from rnncore.bench.workload import MODES, Workload

BACKENDS = ("numpy", "numba", "cuda")
SIZES = ((1, 100, 256), (32, 100, 128), (64, 100, 512))


def _skip_unavailable(backend: str) -> None:
    probe = rnncore.backends()[backend]
    if not probe.available:
        raise asv_runner.benchmarks.mark.SkipNotImplemented(probe.reason)


def _task(backend: str, cell: str, mode: str, size: tuple[int, int, int]) -> Callable[[], object]:
    _skip_unavailable(backend)
    batch, steps, hidden = size
    workload = Workload(cell, mode, steps, batch, hidden, hidden, "float32")
    return workload.task(workload.network(backend))


class Sequence:
    """A whole sequence: inference with frozen weights, or forward and backward."""

    params = (BACKENDS, ("lstm", "gru", "rnn"), MODES, SIZES)
    param_names = ("backend", "cell", "mode", "(B, T, H)")
    timeout = 120

    def setup(self, backend: str, cell: str, mode: str, size: tuple[int, int, int]) -> None:
        self.task = _task(backend, cell, mode, size)
        self.task()

    def time_sequence(self, backend: str, cell: str, mode: str, size: tuple[int, int, int]) -> None:
        self.task()

    def peakmem_sequence(self, backend: str, cell: str, mode: str, size: tuple[int, int, int]) -> None:
        self.task()


class Step:
    """One step of a stream, B = 1."""

    params = (BACKENDS, ("lstm", "gru", "rnn"), (128, 512))
    param_names = ("backend", "cell", "H")

    def setup(self, backend: str, cell: str, hidden: int) -> None:
        self.task = _task(backend, cell, "step", (1, 1, hidden))
        self.task()

    def time_step(self, backend: str, cell: str, hidden: int) -> None:
        self.task()


def timeraw_import() -> str:
    """Import in a fresh interpreter, NumPy's own included."""
    return "import rnncore"


def timeraw_import_numpy() -> str:
    """What of the import is NumPy's."""
    return "import numpy"
