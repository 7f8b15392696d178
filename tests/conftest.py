"""Options, and the fixtures that all tests share."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hosted import Hosted
from hypothesis import settings
from numpy.typing import NDArray

import rnncore
from rnncore import stack
from rnncore.bench import children, measure, roofs
from rnncore.registry import MODULES
from rnncore.verification.tolerances import TOLERANCES, relative_error
from rnncore_kernels import cuda
from rnncore_kernels.cpu import buffer_pool
from rnncore_kernels.numpy import NumpyEngine, engine

Array = NDArray[Any]

ULPS = 4
"""Largest error of an elementary function on a compiled vector, in units in the last place of the exact result."""

PTX = ["ptx"] if importlib.util.find_spec("numba_cuda") else []
"""The CUDA engine on the processor, see `ptxengine`, where its compiler is installed."""

PTX_EVERY = ("test_dense", "test_deep_bidirectional_ragged")
"""Tests whose launches run under every schedule, and not for one in turn."""

PTX_BOTH = ("lstm", "gru_candidate_before")
"""Cells that run in these for every architecture too: a kernel takes seconds to compile for each."""

PTX_MODULES = (
    *("test_against_oracle", "test_cells_on_engines", "test_inference", "test_many_to_one", "test_recorded"),
    *("test_all_states", "test_network_shapes", "test_regularisation", "test_resets", "test_streams", "test_training"),
)
"""Tests of what engines compute."""

IN_FLOAT64 = ("lstm", "gru_candidate_before", "lstm_projection", "layernorm_gru")
"""Cells that the executor runs in float64 too."""

NOT_EXECUTED = ("elman_sigmoid", "elman_identity", "gru_carry_before", "minimal_gated_unit")
"""Cells that the executor leaves to those that differ in a function alone, whose kernels it has."""

settings.register_profile("rnncore", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("rnncore")

Close = Callable[..., None]

QUICK_LIMITS = """
import contextlib, os
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # others spin after their work, and are waited for
from rnncore.bench import yardstick
yardstick.SECONDS = 1e-3
with contextlib.suppress(ImportError):
    from rnncore_kernels.cpu import peak
    peak.SECONDS = 1e-4
"""
"""What processes that measure begin with in tests."""

LEFT_OUT: Counter[str] = Counter()
"""Tests that `make test` leaves out, by reason."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend", action="append", default=[], help="fail, not skip, where this backend is unavailable"
    )
    parser.addoption(
        "--require-peer",
        action="append",
        default=[],
        help="fail, not skip, where this library (torch, onnxruntime, ...) is not installed",
    )
    parser.addoption("--all-mutants", action="store_true", help="run all mutants of CUDA kernels, and count them")
    parser.addoption(
        "--all-schedules",
        action="store_true",
        help='run each launch of the backend "ptx" under every schedule and for every architecture',
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep what the tests compile out of the user's own cache."""
    if "RNNCORE_CACHE_DIR" not in os.environ and (cache := getattr(config, "cache", None)) is not None:
        os.environ["RNNCORE_CACHE_DIR"] = str(cache.mkdir("compiled"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `backend` runs over every backend that can run here; test_backends reports the others."""
    if "backend" in metafunc.fixturenames:
        names = [name for name, probe in rnncore.backends().items() if probe.available]
        names += PTX if getattr(metafunc.module, "__name__", "") in PTX_MODULES else []
        marks = {"cuda": [pytest.mark.gpu]}
        metafunc.parametrize("backend", [pytest.param(name, marks=marks.get(name, [])) for name in names])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped without one, for the probe's reason; `--require-backend cuda` refuses that.

    The executor runs most cells in float32 alone, and not all: others are the same code, and take as long to compile.
    All tests that execute PTX are marked so, and slow.
    """
    items[:] = [item for item in items if not _is_costly(getattr(item, "callspec", None))]
    for item in items:
        if _executes_ptx(item):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.ptx)
    if any(item.get_closest_marker("gpu") for item in items) and not (probe := rnncore.backends()["cuda"]).available:
        if "cuda" in (config.getoption("--require-backend") or []):
            raise pytest.UsageError(f"--require-backend cuda: {probe.reason}")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=f"cuda: {probe.reason}"))


def _is_costly(callspec: Any) -> bool:
    params = {} if callspec is None else callspec.params
    name = params.get("name", "lstm")
    if params.get("backend") != "ptx":
        return False
    return name in NOT_EXECUTED or (params.get("dtype") == "float64" and name not in IN_FLOAT64)


def _executes_ptx(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get("backend") == "ptx" or "ptx" in getattr(item, "fixturenames", ()) or "test_ptx_" in item.nodeid


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count those that `make test` leaves out."""
    if items and items[0].config.getoption("-m") == "not slow":
        for item in items:
            LEFT_OUT["execute PTX" if item.get_closest_marker("ptx") else "take long"] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, hand on what this one left out: all leave out the same."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left out"] = dict(LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process left out."""
    LEFT_OUT.update(Counter(getattr(node, "workeroutput", {}).get("left out", {})) - LEFT_OUT)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line of all tests that were left out or skipped, by reason; pytest's own `-rs` has one for each place."""
    skipped = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    spoken = [
        f"{reasons.total()} {what} ({', '.join(f'{count} {reason}' for reason, count in reasons.most_common())})"
        for what, reasons in (("left to `make test-all`", LEFT_OUT), ("skipped", skipped))
        if reasons
    ]
    if spoken:
        terminalreporter.write_line("; ".join(spoken))


@pytest.fixture(autouse=True)
def arrays_of_the_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA engine takes NumPy's arrays, but in test_gpu, so that all tests of engines can be its tests too."""
    if rnncore.backends()["cuda"].available and request.module.__name__ not in ("test_gpu", "test_docs"):
        make = cuda.make_engine
        monkeypatch.setattr(cuda, "make_engine", lambda num_threads: Hosted(make(num_threads)))


@pytest.fixture(autouse=True)
def no_earlier_runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What runs in this process have seen of the machine, which starts empty: made-up limits must not be kept."""
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(roofs, "read", kept.get)
    monkeypatch.setattr(roofs, "write", kept.__setitem__)
    return kept


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that workloads are measured on is measured itself in no time."""
    monkeypatch.setattr(measure, "PEAK_SIZE", 32)
    monkeypatch.setattr(children, "START", QUICK_LIMITS + children.START)


@pytest.fixture
def ptx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend "ptx" for a test that names it."""
    import ptxengine

    monkeypatch.setitem(MODULES, "ptx", "ptxengine")
    if request.config.getoption("--all-schedules"):
        monkeypatch.setattr(ptxengine, "chosen", ptxengine.COMBINATIONS)


@pytest.fixture(autouse=True)
def ptx_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend "ptx"; each launch under every schedule, and for every architecture, where tests are few."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("backend") == "ptx":
        import ptxengine

        monkeypatch.setitem(MODULES, "ptx", "ptxengine")
        # The kernels for few rows are tested in test_cuda_engine: each takes seconds to compile.
        monkeypatch.setattr("rnncore_kernels.cuda.launch.FEW_ROWS", 0)
        chosen = ptxengine.one_schedule(request.node.name)
        if request.node.originalname in PTX_EVERY:
            chosen = ptxengine.COMBINATIONS if callspec.params["name"] in PTX_BOTH else ptxengine.SCHEDULES
        every = request.config.getoption("--all-schedules")
        monkeypatch.setattr(ptxengine, "chosen", ptxengine.COMBINATIONS if every else chosen)


@pytest.fixture
def close() -> Close:
    """Assert that a result agrees with what is expected, in shape, dtype if given, and the table's tolerance.

    `compute` is the precision of products, where that is not the dtype.
    """

    def check(actual: Any, expected: Any, quantity: str, dtype: Any = None, compute: str = "") -> None:
        expected = np.asarray(expected)
        assert dtype is None or actual.dtype == dtype
        assert actual.shape == expected.shape
        assert relative_error(actual, expected) <= TOLERANCES[compute or actual.dtype.name, quantity]

    return check


@pytest.fixture
def nan_filled_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninitialised arrays hold NaN, so that an element that nobody wrote is found."""
    real = np.empty

    def empty(*args: Any, **kwargs: Any) -> Array:
        array: Array = real(*args, **kwargs)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        elif array.dtype == np.uint8:
            # Memory of the Numba engine: all bits set are a NaN of either dtype.
            array.fill(255)
        return array

    monkeypatch.setattr(np, "empty", empty)
    monkeypatch.setattr(buffer_pool, "_listed", {})


@pytest.fixture
def fresh_plans() -> Iterator[None]:
    """What the Numba engine remembers of sizes does not outlive a change of how they are divided."""
    from rnncore_kernels.cpu import plan

    for cached in (plan.forward_plan, plan.backward_plan):
        cached.cache_clear()
    yield
    for cached in (plan.forward_plan, plan.backward_plan):
        cached.cache_clear()


@pytest.fixture
def all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of the Numba engine have the threads that they ask for, however few cores there are and however busy."""
    from rnncore_kernels.cpu import engine as numba_engine

    monkeypatch.setattr(numba_engine, "usable_cores", lambda: 64)
    monkeypatch.setattr(numba_engine.LIMIT, "threads", lambda most: most)


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch, all_threads: None, fresh_plans: None) -> None:
    """All threads take part in a call, however small it is, and they are the engine's own."""
    from rnncore_kernels.cpu import division, openmp

    monkeypatch.setattr(openmp, "team", lambda: None)
    monkeypatch.setattr(division, "divide", lambda threads, *_, **__: division.Division(1, threads))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is done in blocks or tiles is done in several, also where it is small."""
    monkeypatch.setattr(stack, "BLOCK_BYTES", 1)
    monkeypatch.setattr(NumpyEngine, "min_block_steps", 2)
    monkeypatch.setattr(engine, "PROJECTION_BYTES", 300)


def required(request: pytest.FixtureRequest, option: str) -> list[str]:
    """The names given with --require-backend or --require-peer."""
    names: list[str] = request.config.getoption(option) or []
    return names


def require_peer(request: pytest.FixtureRequest, name: str) -> Any:
    """Import a peer library; where it is missing, skip, or fail under --require-peer."""
    if name in required(request, "--require-peer"):
        return __import__(name)
    return pytest.importorskip(name)


@pytest.fixture(autouse=True)
def fresh_graphs() -> Iterator[None]:
    """torch.compile gives up on a function, for the whole process, that it has compiled for eight modules."""
    yield
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
