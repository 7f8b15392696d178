"""What `rnncore bench` writes: files, lines as rows come, a bar and warnings; no row is lost."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
from records import SMALL, made_up
from test_bench_command import ONE, QUICK, rows

import rnncore
from rnncore.bench import measure, noise, record
from rnncore.bench.children import MeasurementError
from rnncore.bench.result import Result
from rnncore.cli import bench, main


@pytest.fixture(autouse=True)
def small_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "MOST_SPREAD", 1e9)
    monkeypatch.setattr(noise, "MOST_LOAD", 1e9)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Result | BaseException]:
    """What `measure.run` yields, or raises, instead of measuring."""
    steps: list[Result | BaseException] = []

    def run(*_: object) -> Iterator[Result]:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            yield step

    monkeypatch.setattr(measure, "run", run)
    return steps


def test_outputs(capsys: pytest.CaptureFixture[str], measured: list[Any], tmp_path: Path) -> None:
    measured += [made_up("numpy", [0.5, 0.25]), made_up("numba", [0.125]), made_up("torch", [], "failed", "it broke")]
    files = [f"{name}={tmp_path / name}" for name in ("csv", "jsonl", "md")] + [str(tmp_path / "run.json")]
    arguments = [part for file in files for part in ("-o", file)]
    assert main(["bench", *ONE, *QUICK, *arguments]) == 4
    assert capsys.readouterr().out == ""
    loaded = record.load(str(tmp_path / "run.json"))
    assert list(loaded.results) == measured
    assert loaded.command == shlex.join(["rnncore", "bench", *ONE, *QUICK])
    assert loaded.complete
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["schema_version"] == 2
    assert content["results"][0]["figures"]["seconds"] == 0.375
    assert content["results"][0]["figures"]["step_us"] == 0.375 / 3 * 1e6
    assert content["environment"]["machine"]["processor"]
    assert content["environment"]["versions"]["rnncore"] == rnncore.__version__
    assert [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()] == content["results"]
    first, _, last = csv.DictReader(io.StringIO((tmp_path / "csv").read_text()))
    assert first["samples"] == "0.5 0.25"
    assert first["hidden_size"] == "5"
    assert last["reason"] == "it broke"
    assert len(rows((tmp_path / "md").read_text())) == 2 + 3
    assert {path.name for path in tmp_path.iterdir()} == {"csv", "jsonl", "md", "run.json"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_files_stay_what_they_are(measured: list[Any], tmp_path: Path) -> None:
    target, link, lines = tmp_path / "target.json", tmp_path / "link.json", tmp_path / "lines"
    target.write_text("before")
    target.chmod(0o600)
    link.symlink_to(target)
    os.mkfifo(lines)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(lines.read_text().splitlines()), daemon=True)
    reader.start()
    hold = os.open(lines, os.O_WRONLY)
    measured += [made_up("numpy", [1.0]), replace(made_up("numba", [1.0]), error=float("inf"))]
    try:
        assert main(["bench", *ONE, *QUICK, "-o", str(link), "-o", f"jsonl={lines}"]) == 0
    finally:
        os.close(hold)
    reader.join(processes.TIMEOUT)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert [row["error"] for row in json.loads(target.read_text())["results"]] == [1e-7, None]
    assert len(read) == 2


def test_a_size_that_no_memory_has(tmp_path: Path) -> None:
    small_and_huge = ["-T", "1", "-B", "1", "-H", "4,10000000000"]
    command = ["bench", "--backend", "numpy", "--cell", "rnn", "--mode", "inference", *QUICK, *small_and_huge]
    assert main([*command, "-o", str(tmp_path / "a.json")]) == 4
    rows = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [row["status"] for row in rows] == ["measured", "failed"]


def test_lines_are_written_as_rows_come(measured: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("of another run\n")
    measured += [made_up("numpy", [1.0])]
    seen = []

    class Watching(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for step in measured:
                yield step
                seen.append(path.read_text())

    run = measure.run
    try:
        measure.run = lambda *_: (step for step in Watching())
        assert main(["bench", *ONE, *QUICK, "-o", str(path)]) == 0
    finally:
        measure.run = run
    assert [len(text.splitlines()) for text in seen] == [1]
    assert "another" not in seen[0]


@pytest.mark.parametrize(("end", "status"), [(KeyboardInterrupt(), 130), (MeasurementError("it broke"), 4)])
def test_rows_measured_before_the_end_are_kept(
    end: BaseException, status: int, measured: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured += [made_up("numpy", [1.0]), end]
    path = tmp_path / "run.json"
    assert main(["bench", *ONE, *QUICK, "-o", str(path), "-o", "md"]) == status
    loaded = record.load(str(path))
    assert list(loaded.results) == measured[:1]
    assert not loaded.complete
    printed = capsys.readouterr()
    assert "Interrupted: not all rows were measured." in printed.out
    assert printed.err.endswith(("rnncore: interrupted\n", "rnncore: it broke\n"))


def test_outputs_are_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "run", lambda *_: pytest.fail("measured"))
    for arguments, message in (
        (["-o", f"json={tmp_path}"], f"-o: cannot write to {tmp_path}: it is a folder"),
        (["-o", str(tmp_path / "no" / "a.csv")], f"-o: cannot write to {tmp_path}/no/a.csv: there is no folder"),
        (["-o", "md", "-o", "csv"], "-o: expected a file name for all but one format, got md and csv without"),
        (["-o", f"md={tmp_path}/a", "-o", f"csv={tmp_path}/b/../a"], "-o: expected a file of its own for each format"),
        (["-o", f"table={tmp_path}/a"], f"-o: a table goes to the terminal; for the file {tmp_path}/a, use md"),
    ):
        assert main(["bench", *ONE, *QUICK, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"rnncore: {message}")
        assert error.count("\n") == 1


def test_a_full_disk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, measured: list[Any], tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    measured += [made_up("numpy", [1.0])]
    assert main(["bench", *ONE, *QUICK, "-o", "json=/dev/full", "-o", "jsonl=/dev/full", "-o", "md"]) == 4
    printed = capsys.readouterr()
    assert "| numpy" in printed.out
    match = re.search(r"rnncore: /dev/full: No space left on device; what was measured is in (\S+)\n", printed.err)
    assert match is not None
    assert list(record.load(match[1]).results) == measured
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert main(["bench", *ONE, *QUICK, "-o", "json=/dev/full"]) == 4
    assert json.loads(capsys.readouterr().out)["results"][0]["samples"] == [1.0]


def test_progress_on_a_terminal(measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    measured += [made_up("numpy", [1.0])]
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    results: Sequence[Result] = list(
        bench._with_progress(iter(measured), [SMALL], ["numpy"], measure.Settings())  # pyright: ignore[reportPrivateUsage]
    )
    assert results == measured
    assert "1 of 1 rows" in stream.getvalue()


def test_a_noisy_machine_is_called_so(
    capsys: pytest.CaptureFixture[str], measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "MOST_SPREAD", 0.1)
    monkeypatch.setattr(noise, "MOST_LOAD", -1)
    measured += [made_up("numpy", [1.0, 2.0, 3.0]), made_up("numba", [1e-9, 1e-9])]
    assert main(["bench", *ONE, *QUICK, "--threads", "999"]) == 0
    error = capsys.readouterr().err
    for part in ("999 threads were asked for, and there are", "other processes kept ", "in 1 of 2 rows", "ticks"):
        assert part in error


def test_what_other_processes_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ticks of our cores, of which there are 100 a second, but those of this process and its children."""
    monkeypatch.setattr(noise, "STAT", tmp_path / "stat")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr("os.sysconf", lambda _: 100, raising=False)
    clocks = iter([(10.0, 4.0), (20.0, 9.0)])

    def write(*cores: int) -> None:
        lines = [f"cpu{number} {ticks} 1 2 999 999 3 4 5 6 7" for number, ticks in enumerate(cores)]
        (tmp_path / "stat").write_text("\n".join([f"cpu  {sum(cores)} 1 2 999 999 3 4 5 6 7", *lines, "intr 12 3"]))
        wall, own = next(clocks)
        monkeypatch.setattr("time.perf_counter", lambda: wall)
        monkeypatch.setattr("os.times", lambda: (own, 0.0, 0.0, 0.0, wall))

    write(1000, 1000, 1000)
    others = noise.Others()
    write(1700, 1900, 1800)
    assert others.busy() == pytest.approx((7 + 8 - 5) / 10)
    (tmp_path / "stat").unlink()
    assert others.busy() == 0
    assert noise.Others().busy() == 0


def test_a_busy_machine_is_said_in_a_line(
    measured: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "MOST_LOAD", 0.1)
    monkeypatch.setattr(noise.Others, "busy", lambda _: 1.5)
    measured += [made_up("numpy", [1.0])]
    assert main(["bench", *ONE, *QUICK]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "other processes" in line]
    assert len(lines) == 1
    assert lines[0].startswith("rnncore: warning: other processes kept 1.5 of ")
