"""`rnncore compare`: what is called a change, what a regression, and what cannot be compared."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import LIMITS, SMALL, made_up, made_up_record

from rnncore.bench.comparison import chance, compare
from rnncore.bench.limits import Limits
from rnncore.bench.record import Record
from rnncore.bench.render import to_json_text
from rnncore.cli import main

SAMPLES = [1.00, 1.02, 0.99, 1.01, 1.00, 1.03, 0.98, 1.00]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "a.json", tmp_path / "b.json"


def write(files: tuple[Path, Path], before: Record, after: Record) -> list[str]:
    for path, record in zip(files, (before, after), strict=True):
        path.write_text(to_json_text(record))
    return ["compare", *map(str, files)]


def times(samples: list[float], factor: float) -> list[float]:
    return [sample * factor for sample in samples]


def test_a_regression(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = made_up_record(made_up("numba", SAMPLES), made_up("numpy", SAMPLES))
    after = made_up_record(made_up("numba", times(SAMPLES, 1.2)), made_up("numpy", times(SAMPLES, 0.8)))
    command = write(files, before, after)
    assert main(command) == 0
    slower, faster = (line for line in capsys.readouterr().out.splitlines() if "lstm" in line)
    assert "| 0.817 to 0.850 |" in slower
    assert "slower" in slower
    assert " 1.250 |" in faster
    assert "faster" in faster
    assert main([*command, "--fail-on-regression", "5%"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("REGRESSION") == 1
    assert printed.err == "rnncore: 1 of 2 rows are slower by more than 5 %\n"
    assert main([*command, "--fail-on-regression", "20%"]) == 0


def test_the_same_is_not_a_regression(files: tuple[Path, Path]) -> None:
    rng = np.random.default_rng(0)
    rows = [replace(SMALL, hidden_size=hidden) for hidden in range(1, 41)]
    for _ in range(5):
        before, after = (
            made_up_record(
                *(made_up("numba", list(np.exp(rng.normal(0, 0.05, 10))), workload=workload) for workload in rows)
            )
            for _ in range(2)
        )
        assert main([*write(files, before, after), "--fail-on-regression", "5%"]) == 0


@pytest.mark.parametrize("count", [1, 3, 6])
def test_few_samples_are_no_reason(count: int) -> None:
    rng, found = np.random.default_rng(count), 0
    works = [replace(SMALL, hidden_size=hidden) for hidden in range(1, 41)]
    for _ in range(25):
        before, after = (
            made_up_record(*(made_up("numba", list(np.exp(rng.normal(0, 0.05, count))), workload=w) for w in works))
            for _ in range(2)
        )
        found += any(change.is_regression(0) for change in compare(before, after)[0])
    assert found <= 2


def test_the_chance_is_that_of_all_orders() -> None:
    ranks = range(7)
    for size in (2, 3):
        for low in itertools.combinations(ranks, size):
            high = [rank for rank in ranks if rank not in low]
            worse = sum(one > other for one in low for other in high)
            orders = [
                sum(one > other for one in some for other in ranks if other not in some) <= worse
                for some in itertools.combinations(ranks, size)
            ]
            assert chance([float(x) for x in low], [float(x) for x in high]) == pytest.approx(np.mean(orders))
    assert chance([1.0, 1.0], [1.0, 1.0]) == 1


def test_rows_say_what_tells_them_apart(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    works = [replace(SMALL, dtype=dtype) for dtype in ("float32", "float64")]
    before = made_up_record(*(made_up("numba", SAMPLES, workload=work) for work in works))
    after = made_up_record(
        made_up("numba", SAMPLES, workload=works[0]), made_up("numba", [], "failed", "no", workload=works[1])
    )
    assert main(write(files, before, after)) == 0
    one, other = (line for line in capsys.readouterr().out.splitlines() if "lstm" in line)
    assert "dtype float32" in one
    assert "dtype float64" in other
    assert "slower" not in other
    assert other.rstrip(" |").endswith("failed")


def test_a_slower_machine_is_not_a_regression() -> None:
    slow = Limits(LIMITS.gemm / 2, (LIMITS.fma or 0) / 2, (LIMITS.bandwidth or 0) / 2)
    after = made_up_record(made_up("numba", times(SAMPLES, 2), limits=slow))
    (change,), alone = compare(made_up_record(made_up("numba", SAMPLES)), after)
    assert change.speedup == 0.5
    assert change.steady == pytest.approx(1)
    assert change.interval[1] < 0.6
    assert not change.is_regression(0.05)
    assert alone == []


def test_a_row_that_fails_now_is_a_regression(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = made_up_record(made_up("numba", SAMPLES))
    after = made_up_record(made_up("numba", [], "wrong", "error 1e+00 against float64"))
    assert main([*write(files, before, after), "--fail-on-regression", "5%"]) == 1
    assert "wrong" in capsys.readouterr().out


def test_what_cannot_be_compared(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one = made_up_record(made_up("numba", SAMPLES))
    other = made_up_record(made_up("numba", SAMPLES, workload=replace(SMALL, hidden_size=6)))
    assert main(write(files, one, other)) == 2
    assert capsys.readouterr().err.endswith(
        "are of different work: no row with the same sizes, options and backend was measured in both\n"
    )
    both = made_up_record(*one.results, *other.results, processor="another")
    assert main(write(files, one, both)) == 0
    assert capsys.readouterr().err == (
        "rnncore: warning: 1 rows are in one of the files alone\n"
        "rnncore: warning: other processor: Made-up Processor and another\n"
    )


def test_files_that_are_no_records(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    record = made_up_record(made_up("numba", SAMPLES))
    command = write(files, record, record)
    whole = json.loads(files[1].read_text())
    for text, message in (
        ("not JSON", "expected JSON from rnncore bench -o json, got something else"),
        ("[]", "expected JSON from rnncore bench with schema_version 2, got none"),
        (json.dumps(whole | {"schema_version": 99}), "expected JSON from rnncore bench with schema_version 2, got 99"),
        (json.dumps({"schema_version": 2}), "not what rnncore bench -o json writes: there is no 'command'"),
        (json.dumps(whole | {"results": [1]}), "not what rnncore bench -o json writes: "),
        (
            json.dumps(whole | {"results": [whole["results"][0] | {"samples": [10**400]}]}),
            "not what rnncore bench -o json writes: ",
        ),
    ):
        files[1].write_text(text)
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"rnncore: {files[1]}: {message}")
        assert error.count("\n") == 1
    files[1].unlink()
    assert main(command) == 2
    assert capsys.readouterr().err == f"rnncore: {files[1]}: No such file or directory\n"
