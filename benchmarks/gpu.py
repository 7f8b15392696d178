"""The CUDA backend beside cuDNN, through PyTorch where it is installed with CUDA: `make gpu-report`.

Both compute on the same values and weights, in full precision (no TF32), and every result of ours is compared with the
NumPy engine in float64 first. Times are the GPU's own, between events on its stream, with calls queued one after the
other; where the GPU is done before the host has queued the next call, they are the host's. A step's time is that of a
call over T. The roofline is the time that the matrix products would take at the speed of a large one, or the arrays at
the speed of a copy, whichever is longer, both measured here before.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore import BackendUnavailableError, backends
from rnncore.bench import measure, table
from rnncore.bench.workload import MODES, Task, Workload, arrays_of
from rnncore.registry import resolve
from rnncore_kernels.cuda import launch
from rnncore_kernels.cuda.cupy_device import CupyDevice
from rnncore_kernels.cuda.device import Limits as GpuLimits

UNAVAILABLE, WRONG_RESULT = 3, 1
CELLS = ("lstm", "gru", "rnn")
GRID = (
    *((100, 64, 512), (1000, 16, 768), (50, 1, 1024)),
    *((100, 1, 256), (100, 32, 256), (100, 128, 128), (500, 64, 64), (25, 256, 1024)),
)
"""(T, B, H); I = H. The first three are the shapes that the engine was made for."""
QUICK_GRID = ((20, 16, 128), (20, 1, 256))
GEMM_SIZE, QUICK_GEMM_SIZE = 8192, 1024
COPY_BYTES = 1 << 29
BURST = 5e-3
"""Seconds of work that is queued between two events, so that what the host takes for a call hides where it can."""


@dataclass(frozen=True)
class Limits:
    """What the GPU reaches: operations per second in a large product, bytes per second read and written in a copy."""

    gemm: float
    copy: float


def main() -> int:
    """Print the report; the exit status is that of `rnncore bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=("float32",))
    parser.add_argument("--seconds", type=float, default=0.5, help="for each library and size (0.5)")
    parser.add_argument("--quick", action="store_true", help="a few small sizes, to see that it runs")
    chosen = parser.parse_args()
    try:
        resolve("cuda")
    except BackendUnavailableError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return UNAVAILABLE
    cupy = importlib.import_module("cupy")
    torch = torch_with_cuda()
    print(f"{backends()['cuda'].device}; {versions(cupy, torch)}\n")
    gpu = CupyDevice(cupy).limits
    wrong = False
    for dtype in chosen.dtypes:
        limits = measured_limits(cupy, dtype, chosen.quick, chosen.seconds)
        print(f"{dtype}: GEMM {limits.gemm / 1e12:.1f} TFLOP/s, copy {limits.copy / 1e9:.0f} GB/s\n")
        for cell, mode in itertools.product(chosen.cells, chosen.modes):
            rows = []
            for steps, batch, hidden in QUICK_GRID if chosen.quick else GRID:
                workload = Workload(cell, mode, steps, batch, hidden, hidden, dtype)
                rows.append({"impl": impl(workload, gpu)} | row(workload, limits, cupy, torch, chosen.seconds))
                wrong |= "WRONG" in rows[-1].values()
            print(f"### {cell}, {mode}, {dtype}\n\n{table.markdown(rows)}\n", flush=True)
    return WRONG_RESULT if wrong else 0


def impl(workload: Workload, gpu: GpuLimits) -> str:
    """How the recurrence was computed: forward, and in training backward."""
    cell, dtype = workload.network("numpy").cell, np.dtype(workload.dtype)
    forward, backward = launch.impl(gpu, cell, dtype, workload.batch, workload.hidden_size)
    return f"{forward}, {backward}" if workload.mode == "training" else forward


def row(workload: Workload, limits: Limits, cupy: Any, torch: Any, budget: float) -> dict[str, str]:
    """A workload's sizes and figures."""
    sizes = {"T": str(workload.steps), "B": str(workload.batch), "H": str(workload.hidden_size)}
    reference = arrays_of(workload.task(workload.network("numpy", dtype="float64"))())
    task = workload.queued(workload.network("cuda"))
    error = measure.largest_error(arrays_of(task()), reference)
    figures = dict.fromkeys(("µs/step", "GFLOP/s", "of GEMM", "of roofline", "cuDNN, µs/step", "ratio"), "-")
    if not error <= measure.CHECK_TOLERANCE[workload.dtype]:
        return sizes | figures | {"µs/step": "WRONG", "error": f"{error:.0e}"}
    ours = seconds(task, cupy, budget)
    del task
    figures |= {
        "µs/step": table.rounded(ours / workload.steps * 1e6),
        "GFLOP/s": table.rounded(workload.flops() / ours / 1e9),
        "of GEMM": table.of_limit(workload.flops() / limits.gemm / ours),
        "of roofline": table.of_limit(roofline(workload, limits) / ours),
    }
    theirs = cudnn(workload, cupy, torch, budget)
    if theirs is not None:
        figures |= {
            "cuDNN, µs/step": table.rounded(theirs / workload.steps * 1e6),
            "ratio": f"{theirs / ours:.2f}",
        }
    return sizes | figures | {"error": f"{error:.0e}"}


def roofline(workload: Workload, limits: Limits) -> float:
    """The least seconds of a call: of its products, or of its arrays, each read or written once (training: 3 times)."""
    passes = 3 if workload.mode == "training" else 1
    layers = workload.num_layers
    sequences = workload.steps * workload.batch * (workload.input_size + layers * workload.output_size)
    weights = workload.flops() // (2 * workload.steps * workload.batch * passes)
    moved = (sequences + weights) * np.dtype(workload.dtype).itemsize * passes
    return max(workload.flops() / limits.gemm, moved / limits.copy)


def cudnn(workload: Workload, cupy: Any, torch: Any, budget: float) -> float | None:
    """Seconds of a call of PyTorch's; None without it."""
    if torch is None:
        return None
    peer = importlib.import_module("rnncore.bench.pytorch_peer")
    with contextlib.ExitStack() as lasting:
        task = peer.make_task("torch", workload, lasting, device="cuda")
        # PyTorch's default stream and CuPy's are the same, so CuPy's events time both.
        return seconds(task, cupy, budget)


def seconds(task: Task, cupy: Any, budget: float) -> float:
    """Median seconds of a call on the GPU, over bursts of calls, for `budget` seconds."""

    def burst(calls: int) -> float:
        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        first.record()
        for _ in range(calls):
            task()
        last.record()
        last.synchronize()
        return float(cupy.cuda.get_elapsed_time(first, last)) / 1e3 / calls

    burst(1)
    calls = max(1, int(BURST / burst(2)))
    samples, end = [burst(calls)], time.perf_counter() + budget
    while time.perf_counter() < end:
        samples.append(burst(calls))
    return statistics.median(samples)


def measured_limits(cupy: Any, dtype: str, quick: bool, budget: float) -> Limits:
    """What the GPU reaches in this dtype."""
    size, count = QUICK_GEMM_SIZE if quick else GEMM_SIZE, COPY_BYTES // np.dtype(dtype).itemsize
    a = cupy.asarray(np.random.default_rng(0).standard_normal((size, size)).astype(dtype))
    out = cupy.empty_like(a)
    gemm = seconds(lambda: cupy.matmul(a, a, out=out), cupy, budget)
    source, target = cupy.zeros(count, dtype), cupy.empty(count, dtype)
    copied: Callable[[], Any] = lambda: cupy.copyto(target, source)  # noqa: E731
    return Limits(2 * size**3 / gemm, 2 * source.nbytes / seconds(copied, cupy, budget))


def torch_with_cuda() -> Any:
    """PyTorch, with TF32 off; None where it is not installed with CUDA."""
    if importlib.util.find_spec("torch") is None:
        return None
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return None
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return torch


def versions(cupy: Any, torch: Any) -> str:
    """Of the driver and the libraries."""
    runtime = cupy.cuda.runtime

    def shown(version: int) -> str:
        return f"{version // 1000}.{version % 1000 // 10}"

    parts = [f"driver for CUDA {shown(runtime.driverGetVersion())}", f"CuPy {cupy.__version__}"]
    if torch is None:
        return ", ".join([*parts, "nobody to compare with: no PyTorch with CUDA is installed"])
    return ", ".join([*parts, f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, TF32 off"])


if __name__ == "__main__":
    sys.exit(main())
