"""`make gpu-report` where there is no GPU, and what its figures follow from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stand_in_gpu

from rnncore import backends, registry
from rnncore.bench.workload import Workload

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_report", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_it_says_why_there_is_no_report(gpu: Any, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick"])
    if backends()["cuda"].available:
        pytest.skip("there is a GPU")
    assert gpu.main() == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("rnncore: backend 'cuda' is not available: ")


def test_roofline(gpu: Any) -> None:
    large = Workload("lstm", "inference", 10, 64, 512, 512, "float32")
    limits = gpu.Limits(gemm=1e12, copy=1e12)
    assert gpu.roofline(large, limits) == large.flops() / 1e12
    moved = (10 * 64 * (512 + 512) + 4 * 512 * (512 + 512)) * 4
    assert gpu.roofline(large, gpu.Limits(gemm=1e30, copy=1e9)) == moved / 1e9
    training = Workload("lstm", "training", 10, 64, 512, 512, "float64")
    assert gpu.roofline(training, gpu.Limits(gemm=1e30, copy=1e9)) == 6 * moved / 1e9


@pytest.mark.slow
def test_impl_says_where_weights_are(gpu: Any) -> None:
    limits = gpu.GpuLimits((9, 0), 132, 232_448)
    assert gpu.impl(Workload("lstm", "inference", 10, 64, 512, 512, "float32"), limits).startswith("resident ")
    assert gpu.impl(Workload("lstm", "training", 10, 1, 4096, 4096, "float32"), limits).count("streamed ") == 2


class _Cuda:
    """Events of a GPU on which each task takes a millisecond, the first half a second."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.cuda = SimpleNamespace(
            Event=lambda: SimpleNamespace(at=0.0, record=lambda: None, synchronize=lambda: None),
            get_elapsed_time=lambda first, last: self.passed(),
        )
        self.calls = 0
        self.before = 0

    def task(self) -> None:
        self.clock += 1.0 if self.calls else 500.0
        self.calls += 1

    def passed(self) -> float:
        elapsed, self.clock = self.clock, 0.0
        return elapsed


def test_the_first_call_does_not_count(gpu: Any) -> None:
    cuda = _Cuda()
    assert gpu.seconds(cuda.task, cuda, 0.0) == pytest.approx(1e-3)
    assert cuda.calls == 1 + 2 + 5


def test_rows(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODULES, "cuda", "stand_in_gpu")
    registry._probe.cache_clear()
    monkeypatch.setattr(gpu, "seconds", lambda task, cupy, budget: 1e-3)
    monkeypatch.setattr(gpu, "cudnn", lambda workload, cupy, torch, budget: 2e-3)
    workload = Workload("gru", "training", 10, 4, 16, 16, "float64")
    limits = gpu.Limits(gemm=workload.flops() / 5e-4, copy=1e30)
    shown = gpu.row(workload, limits, stand_in_gpu, None, 0.0)
    error = shown.pop("error")
    assert float(error) < 1e-10
    sizes = {"T": "10", "B": "4", "H": "16"}
    ours = {"µs/step": "100", "GFLOP/s": "0.369", "of GEMM": "50 %", "of roofline": "50 %"}
    assert shown == sizes | ours | {"cuDNN, µs/step": "200", "ratio": "2.00"}
    monkeypatch.setattr(gpu.measure, "largest_error", lambda *_: np.inf)
    assert gpu.row(workload, limits, stand_in_gpu, None, 0.0)["µs/step"] == "WRONG"
    registry._probe.cache_clear()
