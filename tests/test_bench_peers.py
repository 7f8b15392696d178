"""Other libraries beside ours: that they compute the same, and how they are compared."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from conftest import require_peer

from rnncore import cells
from rnncore.bench import limits, measure, peers, pytorch_code, ratios
from rnncore.bench.limits import Limits
from rnncore.bench.result import Result
from rnncore.bench.table import caption, table
from rnncore.bench.workload import MODES, STEPS, Workload, arrays_of
from rnncore.cells import GRU, LSTM, LayerNormLSTM, MinGRU
from rnncore.cli import main
from rnncore_kernels.contract import Limits as Measured
from rnncore_kernels.program.record import record

DTYPES = ("float32", "float64")
SMALL = Workload("lstm", "inference", 3, 2, 4, 5, "float32")
QUICK = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "-r", "2", "--passes", "1", "--backend", "numpy"]


def rows_of(printed: str) -> list[dict[str, str]]:
    """Rows of the Markdown table, by column."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_peer_that_is_not_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("onnx", "openvino") else find(name))
    monkeypatch.setattr(measure, "run", lambda *_: pytest.fail("measured"))
    assert main(["bench", *QUICK, "--peer", "openvino"]) == 3
    assert capsys.readouterr().err == (
        "rnncore: peer 'openvino' is not available: not installed: onnx, openvino. "
        "Install it, pip install onnx openvino, or leave out --peer openvino.\n"
    )
    with pytest.raises(SystemExit):
        main(["bench", "--peer", "keras"])
    assert (
        "argument --peer: expected some of torch, torch-bf16, torch-int8, torch-loop, cudnn, "
        "onnxruntime, onnxruntime-int8, openvino, got 'keras'" in capsys.readouterr().err
    )


def test_onnxruntime_beside_ours(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    require_peer(request, "onnx")
    version = require_peer(request, "onnxruntime").__version__
    arguments = ["--cell", "lstm", "--peer", "onnxruntime", "--layers", "1,2", "--bidirectional", "--ragged"]
    assert main(["bench", *QUICK, *arguments, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert [(row["mode"], row["layers"], row["backend"]) for row in rows] == [
        (mode, layers, backend)
        for layers, mode, backend in itertools.product("12", ("inference", "training"), ("numpy", "onnxruntime"))
    ]
    for row in rows:
        assert row["impl"] == (
            "1 thread" if row["backend"] == "numpy" else "-" if row["mode"] == "training" else version
        )
        if row["backend"] == "onnxruntime":
            assert row["vs best"] == "-"
            assert (row["µs/step"] == "absent") == (row["mode"] == "training")
        else:
            assert (row["vs best"] == "-") == (row["mode"] == "training")
    for part in ("bidirectional", "ragged", "geometric mean", "(numpy, inference)", "onnxruntime: measured for inf"):
        assert part in printed


DEEP: dict[str, Any] = {"bidirectional": True, "ragged": True, "num_layers": 2}
RELU = "rnn:activation=relu"
OFFERED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "torch": [(mode, options) for mode in ("inference", "training") for options in ({}, DEEP)] + [("step", {})],
    "torch-loop": [(mode, options) for mode in ("inference", "training") for options in ({}, DEEP)] + [("step", {})],
    "onnxruntime": [("inference", {}), ("inference", DEEP)],
    "openvino": [("inference", {}), ("inference", DEEP)],
    "torch-bf16": [("inference", {}), ("inference", DEEP), ("step", {})],
    "torch-int8": [("inference", {}), ("inference", DEEP), ("frozen-step", {})],
    "onnxruntime-int8": [("inference", {}), ("inference", DEEP)],
}
LACKS = {
    ("torch-int8", "inference", RELU): r"quantizes no torch\.nn\.RNN",
    **{("onnxruntime-int8", "inference", c): "quantizes LSTMs alone" for c in ("gru", "gru:update=carry", RELU)},
}
"""Reasons why a peer does not compute a cell in a mode."""


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru:update=carry", RELU])
@pytest.mark.parametrize(("peer", "mode", "options"), [(peer, *work) for peer in OFFERED for work in OFFERED[peer]])
def test_peers_compute_the_same(
    peer: str, mode: str, options: dict[str, Any], cell: str, request: pytest.FixtureRequest
) -> None:
    for package in peers.PEERS[peer].packages:
        require_peer(request, package)
    precision = peers.PEERS[peer].precision
    workload = Workload(cell, mode, 4, 3, 5, 7, "float32", threads=1, precision=precision, **options)
    reference = arrays_of(workload.task(workload.network("numpy", dtype="float64"))())
    with contextlib.ExitStack() as lasting:
        if reason := LACKS.get((peer, mode, cell)):
            with pytest.raises(peers.NotOfferedError, match=reason):
                peers.make_task(peer, workload, lasting)
            return
        task = peers.make_task(peer, workload, lasting)
        tolerance = measure.CHECK_TOLERANCE.get(peer, measure.CHECK_TOLERANCE["float32"])
        for _ in range(2):
            error = measure.largest_error(arrays_of(task()), reference)
            assert error < tolerance
            assert precision is None or error > measure.CHECK_TOLERANCE["float32"]


UNLIKE = (
    "lstm:peephole=True:projection=3",
    "gru:reset=before",
    "layernorm_lstm",
    "fastgrnn",
    "slstm",
    "cfc",
    "lif",
    "lem",
)
"""Cells that PyTorch lacks, with all that a cell can have."""


@pytest.mark.parametrize("options", [{}, DEEP], ids=["plain", "deep"])
@pytest.mark.parametrize("cell", [*UNLIKE, "test_bench_peers:everything"])
def test_a_loop_computes_cells_that_pytorch_lacks(
    cell: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    require_peer(request, "torch")
    for mode, dtype in itertools.product(("inference", "training") if options else MODES + STEPS, DTYPES):
        workload = Workload(cell, mode, 1 if mode in STEPS else 4, 3, 5, 7, dtype, threads=1, **options)
        assert peers.contenders_of(workload, ["numpy", "torch"]) == ["numpy", "torch-loop"]
        reference = arrays_of(workload.task(workload.network("numpy", dtype="float64"))())
        with contextlib.ExitStack() as lasting:
            task = peers.make_task("torch-loop", workload, lasting)
            for _ in range(2):
                found = arrays_of(task())
                assert len(found) == len(reference)
                assert measure.largest_error(found, reference) < measure.CHECK_TOLERANCE[dtype]


def test_pytorch_stands_beside_cells_that_it_has() -> None:
    for cell in ("lstm", "lstm:projection=3", "gru", "gru:update=carry", "rnn", "rnn:activation=relu"):
        workload = Workload(cell, "training", 4, 3, 5, 7, "float32")
        assert peers.contenders_of(workload, ["torch", "torch-loop"]) == ["torch", "torch-loop"]
    workload = Workload("mgu", "training", 4, 3, 5, 7, "float32")
    assert peers.contenders_of(workload, ["torch", "numpy", "torch-loop"]) == ["torch-loop", "numpy"]


def test_cudnn_where_pytorch_finds_no_gpu(request: pytest.FixtureRequest) -> None:
    torch = require_peer(request, "torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(peers.NotOfferedError, match="PyTorch is installed without CUDA, or finds no GPU"):
        peers.make_task("cudnn", SMALL, contextlib.ExitStack())


@cells.cell(states="h c", gates="a b", units="p", scalars="s", row_inputs="dt", unit_inputs="u")
def everything(h: Any, c: Any, a: Any, b: Any, p: Any, s: Any, dt: Any, u: Any) -> Any:
    """Every function of cells, and every kind of value."""
    f, t = cells, cells.tanh(a)
    q = f.sqrt(1 + f.exp(p * c)) + f.log(1 + f.abs(s)) + f.softplus(t) + f.log_sigmoid(t) + f.silu(u) - f.relu(-h)
    q = q + f.sin(dt) + f.cos(q) + f.clamp(q, -1, 1) + f.maximum(q, 0.1) + f.minimum(0.2, q) + f.maximum(t, u)
    v = f.where(t > u, q, t) + f.where(q >= 0, u, 1.0) + f.minimum(h, c)
    n = f.layer_norm(v, p) * f.mean(v) + f.layer_norm(q) / f.total(q * q) + f.heaviside(v) + f.project("m", q)
    return f.sigmoid(b.of(n) + b.h) * t + n / 9, f.tanh(n - c) + b.x / 9


@cells.cell(states="h", gates="a")
def nearly_normalised(h: Any, a: Any) -> Any:
    """No layer norm: the mean that is taken off is another value's."""
    centred = a - cells.mean(h)
    return centred * (1 / cells.sqrt(cells.mean(centred * centred) + 1e-5))


def test_the_code_of_a_loop() -> None:
    """One product for each operand, with that of x in its sum where all gates are; one operation for a layer norm."""
    text = pytorch_code.Source(record(LSTM())).text
    assert text.startswith("def make(w0, b0):\n    def step(x, state_h, state_c):\n")
    assert "(x + functional.linear(state_h, w0, b0)).chunk(4, 1)" in text
    assert len(text.splitlines()) == 14
    text = pytorch_code.Source(record(GRU(reset="before"))).text
    assert "x_r, x_z, x_n = (x).chunk(3, 1)" in text
    assert text.count("functional.linear") == 2
    text = pytorch_code.Source(record(LayerNormLSTM())).text
    assert text.count("functional.layer_norm") == 5
    assert "sqrt" not in text
    assert "layer_norm" not in pytorch_code.Source(record(nearly_normalised)).text
    assert "functional.linear" not in pytorch_code.Source(record(MinGRU())).text


@pytest.mark.parametrize(("mode", "dtype"), [("training", "float32"), ("step", "float32"), ("inference", "float64")])
def test_what_onnx_peers_do_not_offer(mode: str, dtype: str) -> None:
    with pytest.raises(peers.NotOfferedError, match=r"inference of whole sequences alone|float32, not float64"):
        peers.make_task("onnxruntime", Workload("lstm", mode, 4, 3, 5, 7, dtype), contextlib.ExitStack())


def test_openvino_is_asked_for_the_same_work(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Where it is not installed: its options, and the order of its results, with ONNX Runtime in its place."""
    require_peer(request, "onnx")
    onnxruntime = require_peer(request, "onnxruntime")
    chosen: dict[str, Any] = {}

    class Core:
        def read_model(self, model: bytes) -> bytes:
            return model

        def compile_model(self, model: bytes, device: str, options: dict[str, Any]) -> Core:
            chosen.update(options, device=device)
            self.session = onnxruntime.InferenceSession(model)
            return self

        def create_infer_request(self) -> Core:
            return self

        def infer(self, feeds: Any, share_inputs: bool, share_outputs: bool) -> dict[int, Any]:
            return dict(enumerate(self.session.run(None, feeds)))

    fake = ModuleType("openvino")
    fake.__dict__["Core"] = Core
    monkeypatch.setitem(sys.modules, "openvino", fake)
    with contextlib.ExitStack() as lasting:
        task = peers.make_task("openvino", replace(SMALL, threads=3), lasting)
    expected = arrays_of(SMALL.task(SMALL.network("numpy", dtype="float64"))())
    assert measure.largest_error(arrays_of(task()), expected) < measure.CHECK_TOLERANCE["float32"]
    assert chosen["INFERENCE_NUM_THREADS"] == 3
    assert chosen["INFERENCE_PRECISION_HINT"] == "f32"
    assert chosen["device"] == "CPU"


# Comparison ------------------------------------------------------------------------------------------------------


def made_up(contender: str, mode: str, hidden: int, seconds: float | None) -> Result:
    workload = Workload("lstm", mode, 10, 2, 8, hidden, "float32")
    if seconds is None:
        return Result(workload, contender, "wrong", error=1.0, reason="error 1e+00 against float64")
    return Result(workload, contender, "measured", Limits(1e9), (seconds,), 1e-7)


def test_versus_the_best_peer() -> None:
    results = [
        made_up("numpy", "inference", 8, 2.0),
        made_up("torch", "inference", 8, 5.0),
        made_up("onnxruntime", "inference", 8, 4.0),
        made_up("numpy", "inference", 16, 2.0),
        made_up("torch", "inference", 16, 1.0),
        made_up("onnxruntime", "inference", 16, None),
        made_up("numpy", "training", 8, 2.0),
        made_up("onnxruntime", "training", 8, None),
        made_up("numba", "inference", 8, 1.0),
        made_up("numba", "inference", 16, None),
    ]
    found = [ratios.versus_best(result, results) for result in results]
    assert found == [2.0, None, None, 0.5, None, None, None, None, 4.0, None]
    assert ratios.geometric_means(results) == {("numpy", "inference"): 1.0, ("numba", "inference"): 4.0}
    rows = table(results)
    assert [row["vs best"] for row in rows] == ["2.00", "-", "-", "0.50", "-", "-", "-", "-", "4.00", "-"]
    assert rows[5]["µs/step"] == "WRONG"
    assert "geometric mean 1.00 (numpy, inference), 4.00 (numba, inference)" in caption(results)
    alone = [made_up("numpy", "inference", 8, 2.0)]
    assert "vs best" not in table(alone)[0]
    assert "vs best" not in caption(alone)


def test_share_of_the_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Measured:
        return Measured(fma={"float32": 2e9}[dtype] * num_threads, bandwidth=read_bytes * num_threads * 1e3)

    def products(dtype: str, num_threads: int, read_bytes: int, gemm_size: int) -> Measured:
        return Measured(gemm=1e6 * gemm_size, bandwidth=1.0)

    modules = [SimpleNamespace(limits=peak), SimpleNamespace(limits=products)]
    monkeypatch.setattr(limits, "available", lambda on_gpu: [] if on_gpu else modules)
    machine = limits.measure_limits(False, "float32", 3, 4096, 32)
    assert machine.gemm == 32e6
    assert machine.fma == 6e9
    assert machine.bandwidth is not None
    assert machine.bandwidth == 3 * 4096 * 1e3
    bound = SMALL.flops() / 6e9
    assert SMALL.bytes() / machine.bandwidth > bound
    computing = Result(SMALL, "numpy", "measured", Limits(1e9, 6e9, 1e30), (2 * bound,), 0.0)
    assert table([computing])[0]["of roof"] == "50 %"
    reading = Result(SMALL, "numpy", "measured", machine, (4 * SMALL.bytes() / machine.bandwidth,), 0.0)
    assert table([reading])[0]["of roof"] == "25 %"
    assert "multiply-adds in registers 6 GFLOP/s; reading the recurrent weights 0 GB/s" in caption([reading])


def test_a_peer_that_disagrees_is_not_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    require_peer(request, "onnxruntime")
    monkeypatch.setattr(measure, "CHECK_TOLERANCE", {"float32": 0.0})
    arguments = [*QUICK, "--cell", "lstm", "--mode", "inference", "--peer", "onnxruntime"]
    assert main(["bench", *arguments]) == 1
    assert [row["µs/step"] for row in rows_of(capsys.readouterr().out)] == ["WRONG", "WRONG"]
