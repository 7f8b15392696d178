"""`rnncore bench`: axes, presets, the table, what it refuses, and exit statuses."""

from __future__ import annotations

import json
import re

import pytest

import rnncore
from rnncore.bench import measure, noise
from rnncore.cli import main
from rnncore.cli.values import share, sizes

QUICK = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "-r", "2", "--passes", "1"]
ONE = ["--cell", "lstm", "--mode", "inference", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def small_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "MOST_SPREAD", 1e9)
    monkeypatch.setattr(noise, "MOST_LOAD", 1e9)


def rows(printed: str) -> list[list[str]]:
    """Cells of the Markdown table."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]


def test_bench_prints_markdown_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    available = [name for name, probe in rnncore.backends().items() if probe.available]
    assert main(["bench", *QUICK]) == 0
    header, _, *lines = rows(capsys.readouterr().out)
    assert header[:6] == ["cell", "mode", "T", "B", "H", "backend"]
    assert header[6:] == [
        *("µs/step", "ms/call", "p90, ms", "IQR", "seq/s", "GFLOP/s", "GB/s", "of roof", "vs numpy", "error"),
        *("peak, MiB", "first call, s", "impl"),
    ]
    assert [line[0] for line in lines[:: 2 * len(available)]] == ["lstm", "gru", "rnn"]
    assert len(lines) == 3 * 2 * len(available)
    assert {line[1] for line in lines} == {"inference", "training"}
    for line in lines:
        assert line[2:5] == ["3", "2", "8"]
        assert all(float(number) > 0 for number in (*line[6:9], *line[10:13], line[15], line[17]))
        assert all(re.fullmatch(r"[\d,]+ %|noisy", cell) for cell in (line[9], line[13]))


def test_bench_takes_lists(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cell", "gru", "--backend", "numpy", "--dtype", "float32,float64", "--mode", "training", "-I", "4"]
    arguments += ["--min-time", "0", "-r", "2", "--passes", "1"]
    assert main(["bench", *arguments, "-T", "2,3", "-B", "2", "-H", "8", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    header, _, *lines = rows(printed)
    assert header[:7] == ["cell", "mode", "dtype", "T", "B", "I", "H"]
    assert [line[2:7] for line in lines] == [
        [dtype, steps, "2", "4", "8"] for dtype in ("float32", "float64") for steps in "23"
    ]
    assert "I = H" not in printed


def test_bench_does_not_time_a_wrong_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "CHECK_TOLERANCE", {"float32": 0.0})
    assert main(["bench", *ONE, *QUICK]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"numpy: error \de-\d\d against float64", printed)
    (line,) = rows(printed)[2:]
    assert line[6:9] == ["WRONG", "-", "-"]


def test_bench_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["-T", "0"], "argument -T: expected a whole number of at least 1, got '0'"),
        (["-B", "8-4"], "argument -B: expected a range that is not empty, got '8-4': 8 is more than 4"),
        (["-H", "8-"], "argument -H: expected a range like 1-4, 64-256+64 or 32-1024*2, got '8-'"),
        (["-H", "1-8*1"], "argument -H: expected a range that grows, by +1 or *2 at least, got '1-8*1'"),
        (["-r", "0"], "argument -r/--repeats: expected a whole number of at least 1, got '0'"),
        (["-o", "xml"], "expected table, md, csv, json, jsonl, html, alone or as FORMAT=FILE, got 'xml'"),
        (["-o", "json="], "argument -o/--output: expected a file name after 'json='"),
        (["--ragged", "maybe"], "argument --ragged: expected some of yes, no, got 'maybe'"),
        (["-H", "8,x"], "argument -H: expected a whole number of at least 1, got 'x'"),
        (["--mode", "step,trainig"], "got 'trainig': did you mean 'training'?"),
        (["--cell", "lstn"], "argument --cell: expected one of rnn, elman, lstm, gru, mgu, "),
        (["--backend", "tpu"], "argument --backend: expected some of all, auto, cuda, numba, numpy, got 'tpu'"),
        (
            ["--min-time", "soon"],
            "argument --min-time: expected a number of seconds, or a time as 5ms, 300us, 2min, got 'soon'",
        ),
        (
            ["--min-time", "-1"],
            "argument --min-time: expected a number of seconds, or a time as 5ms, 300us, 2min, got '-1'",
        ),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["bench", *arguments])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_bench_with_an_unavailable_backend(capsys: pytest.CaptureFixture[str]) -> None:
    for name, probe in rnncore.backends().items():
        if not probe.available:
            assert main(["bench", "--backend", name, *QUICK]) == 3
            error = capsys.readouterr().err
            assert error.startswith(f"rnncore: backend '{name}' is not available: {probe.reason}")
            assert error.count("\n") == 1


def test_sizes_are_lists_and_ranges() -> None:
    assert sizes("32,128") == [32, 128]
    assert sizes("32-1024*2") == [32, 64, 128, 256, 512, 1024]
    assert sizes("64-256+64") == [64, 128, 192, 256]
    assert sizes("1-4,9") == [1, 2, 3, 4, 9]
    assert sizes("5-5") == [5]
    assert sizes("10-35*3") == [10, 30]
    assert share("5%") == share("0.05") == 0.05


def test_axes_multiply(capsys: pytest.CaptureFixture[str]) -> None:
    axes = ["--layers", "1-2", "--bidirectional", "no,yes", "--ragged", "no,yes", "--threads", "1,2"]
    assert main(["bench", *ONE, *QUICK, *axes, "--dry-run", "--mode", "inference,step,frozen-step"]) == 0
    printed = capsys.readouterr().out
    assert "24 workloads on numpy: about " in printed
    assert printed.count(" step") == printed.count("frozen-step") == 2 * 2
    assert main(["bench", "--dry-run", "--preset", "full", "--cell", "gru", "--backend", "numpy"]) == 0
    assert "34 workloads on numpy: about " in capsys.readouterr().out


def test_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--mode", "step", "-H", "8", "--ragged"]) == 2
    assert capsys.readouterr().err.startswith("rnncore: nothing to measure: a step has one direction and no lengths")
    assert main(["bench", "--seed", "-1"]) == 2
    assert main(["bench", "--warmup", "-1"]) == 2


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    printed = capsys.readouterr().out
    for line in ("  lstm\n", "  step\n", "  numpy\n", "  quick: inference,training at (T,B,I,H) (100,1,256,256)"):
        assert line in printed


def test_a_step_without_a_check_in_two_passes(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--mode", "step", "--no-check", "-B", "1", "-H", "8", "-r", "2", "--min-time", "0", "--warmup", "3"]
    assert main(["bench", "--cell", "gru", "--backend", "numpy,numba", *arguments, "-o", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["error"] for row in content["results"]] == [None, None]
    assert [len(row["samples"]) for row in content["results"]] == [2, 2]
    assert content["results"][0]["workload"]["steps"] == 1
    assert content["settings"] == {"repeats": 2, "passes": 2, "min_time": 0.0, "warmup": 3, "check": False}
