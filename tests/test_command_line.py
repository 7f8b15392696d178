"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import rnncore
from rnncore.bench import clock, measure, report
from rnncore.bench.limits import Limits
from rnncore.bench.measure import Result, Timing
from rnncore.bench.workload import Workload
from rnncore.cli import main
from rnncore_kernels.cpu import kernels

QUICK = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0"]


@pytest.fixture(autouse=True)
def small_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PEAK_SIZE", 32)


def rows(printed: str) -> list[list[str]]:
    """Cells of the Markdown table."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]


def test_bench_prints_markdown_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    available = [name for name, probe in rnncore.backends().items() if probe.available]
    assert main(["bench", *QUICK]) == 0
    header, _, *lines = rows(capsys.readouterr().out)
    assert header == ["cell", "mode", "T", "B", "H", "backend", "µs/step", "seq/s", "GFLOP/s", "of GEMM", "of FMA"]
    assert [line[0] for line in lines[:: 2 * len(available)]] == ["lstm", "gru", "rnn"]
    assert len(lines) == 3 * 2 * len(available)
    assert {line[1] for line in lines} == {"inference", "training"}
    for line in lines:
        assert line[2:5] == ["3", "2", "8"]
        assert all(float(number) > 0 for number in line[6:9])
        assert all(re.fullmatch(r"\d+ %", share) for share in line[9:])


def test_bench_takes_lists(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cell", "gru", "--backend", "numpy", "--dtype", "float32,float64", "--mode", "training", "-I", "4"]
    assert main(["bench", *arguments, "-T", "2,3", "-B", "1,2", "-H", "8", "--min-time", "0", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    header, _, *lines = rows(printed)
    assert header[:7] == ["cell", "mode", "dtype", "T", "B", "I", "H"]
    assert [line[2:7] for line in lines] == [
        [dtype, steps, batch, "4", "8"] for dtype in ("float32", "float64") for steps in "23" for batch in "12"
    ]
    assert "I = H" not in printed


def test_bench_does_not_time_a_wrong_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "CHECK_TOLERANCE", {"float32": 0.0})
    assert main(["bench", "--cell", "lstm", "--mode", "inference", "--backend", "numpy", *QUICK]) == 1
    (line,) = rows(capsys.readouterr().out)[2:]
    assert line[6:9] == ["WRONG", "-", "-"]
    assert line[9].startswith("error ")


def test_bench_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["-T", "0"], "argument -T: expected a whole number of at least 1, got '0'"),
        (["-H", "8,x"], "argument -H: expected a whole number of at least 1, got 'x'"),
        (["--cell", "lstn"], "argument --cell: expected rnn, elman, lstm, gru, got 'lstn'"),
        (["--backend", "tpu"], "argument --backend: expected all, auto, cuda, numba, numpy, got 'tpu'"),
        (["--min-time", "soon"], "argument --min-time: expected a number of seconds, got 'soon'"),
        (["--min-time", "-1"], "argument --min-time: expected a number of seconds, got '-1'"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["bench", *arguments])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_bench_with_an_unavailable_backend(capsys: pytest.CaptureFixture[str]) -> None:
    for name, probe in rnncore.backends().items():
        if not probe.available:
            assert main(["bench", "--backend", name, *QUICK]) == 3
            assert f"rnncore: backend '{name}' is not available: {probe.reason}" in capsys.readouterr().err


def test_interruption(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run", interrupt)
    assert main(["bench", *QUICK]) == 130
    assert capsys.readouterr().err == "rnncore: interrupted\n"


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "processor: " in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    loaded = json.loads(capsys.readouterr().out)
    assert loaded["versions"]["rnncore"] == rnncore.__version__
    assert set(loaded["backends"]) == {"cuda", "numba", "numpy"}


def test_as_a_module_and_into_a_closed_pipe() -> None:
    command = [sys.executable, "-m", "rnncore", "info"]
    assert "processor: " in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_terminal_without_the_letters() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "rnncore", "bench", "--cell", "rnn", *QUICK]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "?s/step" in result.stdout


def test_not_enough_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("3 TiB")

    monkeypatch.setattr(measure, "run", fail)
    assert main(["bench", *QUICK]) == 4
    assert capsys.readouterr().err == "rnncore: not enough memory: 3 TiB\n"


def test_a_result_that_is_not_finite_is_wrong() -> None:
    good = np.ones(3)
    assert measure.largest_error([good, good], [good, good]) == 0
    assert measure.largest_error([good, np.array([1, np.nan, 1])], [good, good]) == np.inf


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"rnncore {rnncore.__version__}\n"


def test_a_terminal_gets_a_table() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    workload = Workload("lstm", "training", 100, 32, 256, 256, "float32")
    report.write([Result(workload, "numpy", Limits(2e11), 1e-7, Timing(workload, 0.05))], stream)
    printed = stream.getvalue()
    assert "|" not in printed
    for part in (
        "lstm",
        "training",
        "500",
        "640",
        "201",
        "101 %",
        "float32; I = H; largest error against float64 1.0e-07",
    ):
        assert part in printed


def test_figures_follow_from_time_and_size() -> None:
    workload = Workload("gru", "training", 10, 4, 3, 5, "float32")
    assert workload.flops() == 3 * 2 * 10 * 4 * (3 * 5) * (3 + 5)
    assert Workload("lstm", "inference", 10, 4, 3, 5, "float32").flops() == 2 * 10 * 4 * (4 * 5) * (3 + 5)
    stacked = Workload("lstm", "inference", 10, 4, 3, 5, "float32", num_layers=2, bidirectional=True)
    assert stacked.flops() == 2 * 10 * 4 * (4 * 5) * 2 * ((3 + 5) + (10 + 5))
    ragged = Workload("rnn", "inference", 10, 4, 3, 5, "float32", ragged=True)
    lengths = ragged.lengths()
    assert lengths is not None
    assert ragged.flops() == 2 * lengths.sum() * 5 * (3 + 5)
    timing = Timing(workload, 0.002)
    assert timing.step_microseconds == pytest.approx(200)
    assert timing.sequences_per_second == pytest.approx(2000)
    assert timing.flops_per_second == pytest.approx(workload.flops() * 500)


def test_tasks_take_turns() -> None:
    order: list[str] = []
    turns = {name: partial(clock.sample, partial(order.append, name)) for name in "ab"}
    times = clock.time_in_turns(turns, 0)
    assert order == ["a", "b"] * clock.FEWEST_ROUNDS
    assert set(times) == {"a", "b"}
    assert clock.time_in_turns({}, 1) == {}


def test_the_first_call_of_a_turn_counts_only_if_it_fills_the_turn() -> None:
    calls = itertools.count()
    samples = clock.sample(lambda: time.sleep(0.02 if next(calls) == 0 else 0), 0.05)
    assert len(samples) == next(calls) - 1
    assert samples[0] < 0.02
    assert len(clock.sample(lambda: time.sleep(0.01), 0.005)) == 1


def test_numbers_are_rounded() -> None:
    assert [report.rounded(value) for value in (0.004823, 0.5, 9.04, 34.04, 185.2, 2771.4)] == [
        *("0.00482", "0.500", "9.04", "34.0", "185", "2771")
    ]


def test_warmup_with_nowhere_to_keep_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert main(["warmup"]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("rnncore: no folder for compiled code can be written to (")
    assert printed.err.endswith("): name one in RNNCORE_CACHE_DIR\n")


def test_warmup_takes_lists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    for kind in ("forward_kernels", "backward_kernels", "cell_functions", "thread_kernels"):
        monkeypatch.setattr(kernels, kind, lambda *_: None)
    assert main(["warmup", "--cell", "gru,lstm,gru", "--dtype", "float64,float32"]) == 0
    names = [line.removesuffix(": already there") for line in capsys.readouterr().out.splitlines()]
    cells = [f"GRU({update=}, {reset=})" for reset in ("after", "before") for update in ("candidate", "carry")]
    for dtype, part in (("float64", names[1:8]), ("float32", names[8:15])):
        assert part == [f"{dtype} {name}" for name in ("forward", "backward", *cells, "LSTM()")]
    assert main(["warmup", "--cell", "rnn", "--mode", "inference"]) == 0
    assert "backward" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["warmup", "--mode", "both"])
    assert caught.value.code == 2
