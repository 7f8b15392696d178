"""What an engine offers beside computing: facts of the machine, its limits, and compiling ahead."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import required

from rnncore import backends, registry
from rnncore.bench import limits, peers
from rnncore.cells import GRU, LSTM
from rnncore.machine import configuration
from rnncore_kernels.contract import Limits
from rnncore_kernels.cuda import compilations, measure
from rnncore_kernels.program.derive import make_program

PROGRAMS = {"lstm": make_program(LSTM()), "gru": make_program(GRU())}


@pytest.fixture(autouse=True)
def small_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore_kernels.numpy.measure.SECONDS", 0.001)


def require(name: str, request: pytest.FixtureRequest) -> Any:
    """The module of a backend, if it is available."""
    if not backends()[name].available and name not in required(request, "--require-backend"):
        pytest.skip(backends()[name].reason)
    return registry.module(name)


def test_the_numpy_engine() -> None:
    engine = registry.module("numpy")
    (blas,) = engine.describe().values()
    assert "threads" in blas
    found = engine.limits("float32", 1, 4096, 48)
    assert found.gemm is not None
    assert found.gemm > 0
    assert found == Limits(gemm=found.gemm)
    assert list(engine.warm_up(PROGRAMS, ["float32"], [], True)) == []


def test_the_numba_engine(request: pytest.FixtureRequest) -> None:
    engine = require("numba", request)
    assert "registers of" in engine.describe()["instruction_set"]
    found = engine.limits("float32", 1, 0, 48)
    assert found.gemm is None
    assert found.fma > 0
    assert found.bandwidth > 0
    # Twice: loading what it needs must not put anything in the function's place.
    for training in (True, False):
        names = [name for name, _ in engine.warm_up(PROGRAMS, ["float64", "float64"], [], training)]
        passes = ["float64 forward", *["float64 backward"] * training]
        weights = [f"{name} weights" for name in passes]
        assert names == ["threads", *weights, *passes, "float64 lstm", "float64 gru"]


def test_the_cuda_engine_compiles_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba_cuda")
    asked: list[tuple[str, object]] = []
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setattr(
        compilations, "CupyDevice", lambda _: SimpleNamespace(limits=SimpleNamespace(capability=(9, 0)))
    )
    monkeypatch.setattr(
        compilations, "machine_code", lambda source, capability: asked.append((source.name, capability))
    )
    for training in (True, False):
        made = dict(registry.module("cuda").warm_up(PROGRAMS, ["float32"], [], training))
        assert len(made) == (8 if training else 4)
        assert "float32 gru forward, few rows" in made
    made["float32 gru forward, few rows"]()
    assert [capability for _, capability in asked] == [(9, 0)]


def test_the_limits_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest of some calls, by the GPU's clock in milliseconds, but for the first, which loads code."""
    times = iter([9.0, 4.0, 2.0, 4.0, 4.0, 4.0, 0.5, 8.0, 8.0, 1.0, 8.0, 8.0])
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    cupy: Any = ModuleType("cupy")
    for name in ("asarray", "empty_like", "zeros", "empty", "uint8", "matmul", "copyto"):
        setattr(cupy, name, getattr(np, name))
    cupy.cuda = SimpleNamespace(Event=lambda: event, get_elapsed_time=lambda first, last: next(times))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(measure, "GEMM_SIZE", 10)
    monkeypatch.setattr(measure, "COPY_BYTES", 1000)
    measure.gpu_limits.cache_clear()
    assert registry.module("cuda").limits("float32", 1, 1, 1) == Limits(2 * 1000 / 2e-3, None, 2 * 1000 / 1e-3)
    measure.gpu_limits.cache_clear()


def test_limits_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's limits are not mixed with the processor's; rows of both are held against their own."""
    monkeypatch.setitem(registry.MODULES, "cuda", "stand_in_gpu")
    registry._probe.cache_clear()
    assert limits.measure_limits(True, "float32", 1, 4096, 32) == limits.Limits(1e9, None, 1e9)
    found = limits.measure_limits(False, "float32", 1, 4096, 32)
    assert (found.fma is not None) == backends()["numba"].available
    assert found.bandwidth != 1e9
    assert [name for name in (*peers.PEERS, *registry.MODULES, "unknown") if peers.on_gpu(name)] == ["cudnn", "cuda"]
    assert configuration()["machine"]["gpu"] == "a stand-in"
    registry._probe.cache_clear()


def test_facts_of_the_machine() -> None:
    machine = configuration()["machine"]
    known = {name: fact for module in registry.available() for name, fact in module.describe().items()}
    assert known.items() <= machine.items()
    assert list(machine)[:2] == ["processor", "instruction_set"]
    assert "gpu" in machine
