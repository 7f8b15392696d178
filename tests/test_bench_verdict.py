"""What a measurement says in words, budgets, colours, the backward pass alone, and memory."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import made_up, made_up_record, result, workloads

from rnncore.bench import measure, memory, render, verdict
from rnncore.bench.table import narrowed, table
from rnncore.bench.workload import ALL_MODES, BACKWARD, Workload, arrays_of
from rnncore.cli import base, main, terminal
from rnncore.cli.status import UsageError

WIDTHS = workloads(cells=["lstm"], modes=["inference"], steps=[100], batches=[1], hiddens=[64, 128, 256])


def timed(hidden: int, seconds: float, contender: str = "numba") -> Any:
    work = next(work for work in WIDTHS if work.hidden_size == hidden)
    return made_up(contender, [seconds] * 5, workload=work)


def test_the_largest_that_fits() -> None:
    rows = [timed(64, 1e-3), timed(128, 3e-3), timed(256, 9e-3), timed(64, 4e-3, "torch"), timed(128, 9e-3, "torch")]
    assert verdict.verdict(rows, 5e-3) == [
        "lstm with up to H=128 fits in 5 ms at B=1, T=100, inference, on numba.",
        "lstm with up to H=64 fits in 5 ms at B=1, T=100, inference, on torch.",
    ]
    assert not [command for command in verdict.following(rows, 5e-3) if "--budget" in command or "--peer" in command]
    (none,) = verdict.verdict(rows[2:3], 5e-3)
    assert none == "lstm does not fit in 5 ms at B=1, T=100, inference, on numba, not even with H=256."
    found = verdict.by_budget(rows, 5e-3)
    assert [(row.contender, row.workload.hidden_size) for row in found] == [
        ("numba", 128), ("numba", 64), ("torch", 64), ("numba", 256), ("torch", 128),
    ]  # fmt: skip
    cells = narrowed(table(found, 5e-3))
    assert [row["fits"] for row in cells] == ["yes"] * 3 + ["no"] * 2
    assert [row["ms/call"] for row in cells][:2] == ["3.00", "1.00"]


def test_what_fits_is_a_matter_of_the_slow_calls() -> None:
    row = timed(64, 1e-3)
    assert row.fits(1e-3)
    slow = replace(row, samples=(*row.samples[:3], 9e-3, 9e-3))
    assert slow.p90_milliseconds > 5
    assert not slow.fits(5e-3)
    step = replace(row, tails=(4e-3, 6e-3, 7e-3))
    assert not step.fits(5e-3)
    assert not made_up("numba", [], "failed", "no memory").fits(5e-3)


def test_rows_are_told_apart_in_words() -> None:
    (plain,) = workloads(cells=["lstm"], modes=["inference"], steps=[100], batches=[1], hiddens=[64])
    deep = replace(plain, num_layers=2, bidirectional=True, ragged=True)
    rows = [result(work, "numba") for work in (plain, replace(plain, heads=4), deep)]
    assert verdict.verdict(rows, 1e3) == [
        f"lstm with up to H=64 fits in 1000 s at B=1, T=100, inference{options}, on numba."
        for options in ("", ", 4 heads", ", layers 2, directions 2, ragged yes")
    ]
    fast = replace(rows[1], samples=tuple(one / 2 for one in rows[1].samples))
    assert "best at lstm inference, T=100 B=1 H=64, 4 heads (" in verdict.verdict([rows[0], fast, rows[2]])[0]
    (single,) = verdict.verdict(rows[:1])
    assert single.endswith("at most, at lstm inference, T=100 B=1 H=64.")
    assert verdict.verdict(rows[:1], 1e3) == ["lstm with up to H=64 fits in 1000 s at B=1, T=100, inference, on numba."]


def test_in_words() -> None:
    work = workloads(cells=["lstm"], modes=["inference"], steps=[100], batches=[1, 32], hiddens=[256])
    rows = [result(one, "numba") for one in work]
    (of_machine,) = verdict.verdict(rows)
    assert of_machine.startswith("numba reaches ")
    assert "best at lstm inference, T=100 B=" in of_machine
    assert "rnncore bench --budget 5ms" in verdict.following(rows)
    peers = [replace(row, contender="torch", samples=tuple(2 * one for one in row.samples)) for row in rows]
    assert "numba, inference: 2.00 times as fast as the fastest of torch, in the mean." in verdict.verdict(
        [*rows, *peers]
    )
    swapped = [replace(rows[0], samples=peers[0].samples), replace(rows[1], samples=(rows[1].seconds / 8,))]
    others = [replace(row, contender="torch") for row in rows]
    (slower,) = [line for line in verdict.verdict([*swapped, *others]) if "fastest of torch" in line]
    assert "in the mean, slower at lstm inference, T=100 B=1 H=256" in slower
    assert verdict.verdict([made_up("numba", [], "failed")]) == []


@pytest.mark.parametrize(("seconds", "text"), [(5e-3, "5 ms"), (3e-4, "300 µs"), (2, "2 s"), (0.0125, "12.5 ms")])
def test_budgets_in_words(seconds: float, text: str) -> None:
    assert verdict.format_budget(seconds) == text


def test_colours_where_they_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    record = made_up_record(
        made_up("numba", [0.01]), made_up("torch", [0.02]), made_up("numpy", [], "wrong", "error 1")
    )
    for colourless in (False, True):
        if colourless:
            monkeypatch.setenv("NO_COLOR", "1")
        stream = Terminal()
        terminal.show(record, stream)
        assert ("\x1b[32m   2.00\x1b[0m" in stream.getvalue()) != colourless
        assert ("\x1b[31m  WRONG\x1b[0m" in stream.getvalue()) != colourless


def test_backward_alone(backend: str) -> None:
    """The gradients of training, without its output."""
    work = Workload("gru", "training", 3, 2, 4, 5, "float32", ragged=True)
    alone = replace(work, mode=BACKWARD)
    rnn = work.network(backend)
    _, *whole = arrays_of(work.task(rnn)())
    task = alone.task(rnn)
    for _ in range(2):
        for one, other in zip(arrays_of(task()), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    assert work.flops() == alone.flops() + replace(work, mode="inference").flops()
    assert work.bytes() == alone.bytes() + replace(work, mode="inference").bytes()
    assert BACKWARD in ALL_MODES


def test_peak_memory() -> None:
    before = memory.start()
    if before is None:
        pytest.skip("the system does not say how much memory a process takes")
    block = np.ones(8 << 20)
    del block
    peak = memory.peak_since(before)
    assert peak is not None
    assert 60 << 20 < peak < 1 << 30
    assert memory.peak_since(None) is None


@pytest.mark.slow
def test_budget_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--cell",
        "gru",
        "--backend",
        "numpy",
        "-T",
        "2",
        "-H",
        "4,8",
        "--min-time",
        "0",
        "-r",
        "2",
        "-o",
        "table",
    ]
    assert main(["bench", "--budget", "1min", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "gru with up to H=8 fits in 60 s at B=1, T=2, inference, on numpy." in " ".join(printed.split())
    assert main(["bench", "--budget", "1us", "--dry-run", "--cell", "gru", "--backend", "numpy"]) == 0
    assert "5 workloads on numpy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["bench", "--budget", "0ms"])
    assert "expected a time above 0, got '0ms'" in capsys.readouterr().err


REVISION = """
import argparse, shutil, sys
parser = argparse.ArgumentParser(prog="rnncore bench")
parser.add_argument("command")
parser.add_argument("--cell", choices=["lstm"])
for option in ("--backend", "--mode", "-o"):
    parser.add_argument(option)
parser.add_argument("--dry-run", action="store_true")
arguments = parser.parse_args()
if not getattr(arguments, "dry_run", False):
    print(sys.argv[1:-2], file=sys.stderr)
    shutil.copy({made!r}, arguments.o[5:])
"""
"""A command line whose bench copies a record."""


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a library whose bench copies a made-up record, and a cache of its own."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "checkout"
    (root / "rnncore").mkdir(parents=True)
    made = tmp_path / "made.json"
    made.write_text(render.to_json_text(made_up_record(timed(64, 2e-3))))
    (root / "rnncore" / "__init__.py").write_text("")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    git = [["add", "."], [*identity, "commit", "-qm", "one"]]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    # The first revision has no plans.
    for without in ("--dry-run", "nothing"):
        lines = [line for line in REVISION.format(made=str(made)).splitlines() if f'"{without}"' not in line]
        (root / "rnncore" / "__main__.py").write_text("\n".join(lines))
        for command in git:
            subprocess.run(["git", *command], cwd=root, check=True)
    monkeypatch.setattr(base, "ROOT", root)
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path / "cache"))
    return root


def test_another_revision_is_measured_once(revisions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for message in ("measuring HEAD", ""):
        found = base.measured("HEAD", ["--cell", "lstm"])
        assert found.results[0].seconds == 2e-3
        error = capfd.readouterr().err
        assert message in error
        assert ("['bench', '--cell', 'lstm']" in error) == bool(message)
    trees = subprocess.run(["git", "worktree", "list"], cwd=revisions, check=True, capture_output=True, text=True)
    assert trees.stdout.count("\n") == 1


def test_a_revision_that_lacks_an_option(revisions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lacking = "has no option --precision: leave it out, or name a later revision"
    for revision, arguments, message in (
        ("HEAD", ["--precision", "bfloat16"], lacking),
        ("HEAD~1", ["--precision=bfloat16"], lacking),
        (
            "HEAD",
            ["--precision", "bfloat16", "--cell=lstm", "--tails"],
            lacking.replace("--precision", "--precision, --tails"),
        ),
        (
            "HEAD",
            ["--cell", "gru"],
            "refuses these arguments: rnncore bench: error: argument --cell: invalid choice: 'gru'",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            base.measured(revision, arguments)
        assert str(caught.value).startswith(f"--base: {revision} {message}")
        assert "\n" not in str(caught.value)
    assert "error" not in capfd.readouterr().err
    assert base.measured("HEAD~1", ["--cell", "lstm"]).results
    trees = subprocess.run(["git", "worktree", "list"], cwd=revisions, check=True, capture_output=True, text=True)
    assert trees.stdout.count("\n") == 1


def test_a_plan_takes_no_unknown_revision(revisions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--base", "HEAD", "--dry-run", "--backend", "numpy"]) == 0
    assert main(["bench", "--base", "none", "--dry-run", "--backend", "numpy"]) == 2
    assert "--base: expected a revision of a checkout with git, got 'none'" in capsys.readouterr().err


def test_base_command(revisions: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "run", lambda *_: (row for row in [timed(64, 1e-3)]))
    arguments = ["bench", "--cell", "lstm", "--backend", "numpy", "--mode", "inference", "-o", "md", "--base=HEAD"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "2.000" in captured.out
