"""`rnncore compare`: what is called a change, what a regression, what is left open, and what cannot be compared."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from noisy_runs import BUSY, DEFAULT, IDLE, QUICK, SHARED, Noise, noisy_run, slower
from records import SMALL, made_up, made_up_record

from rnncore.bench.comparison import Comparison, compare
from rnncore.bench.measure import Settings
from rnncore.bench.record import Record, load
from rnncore.bench.render import to_json_text
from rnncore.bench.result import Result
from rnncore.bench.shift import Shift, quantile, shifts
from rnncore.bench.workload import Workload
from rnncore.cli import main
from rnncore.cli.status import FAILED_CHECK, OK, UNDECIDED

SAMPLES = [1.000, 1.004, 0.998, 1.003, 1.000, 1.006, 0.997, 1.002, 1.001]
"""Factors of three passes, which are as far apart as on an idle machine."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "a.json", tmp_path / "b.json"


def write(files: tuple[Path, Path], before: Record, after: Record) -> list[str]:
    for path, record in zip(files, (before, after), strict=True):
        path.write_text(to_json_text(record))
    return ["compare", *map(str, files)]


def row(contender: str, factor: float = 1.0, machine: float = 1.0, workload: Workload = SMALL) -> Result:
    """One that takes `factor` times SAMPLES, on a machine that takes `machine` times as long for the yardstick."""
    samples = [sample * factor for sample in SAMPLES]
    return replace(made_up(contender, samples, workload=workload), yardsticks=(machine * 1e-3,) * len(samples))


def run(*results: Result) -> Record:
    return replace(made_up_record(*results), settings=DEFAULT)


def judged(comparison: Comparison, share: float = 0.05) -> int:
    """The exit status that the verdicts make."""
    verdicts = {comparison.verdict(part, share) for part in comparison.parts}
    return FAILED_CHECK if "regression" in verdicts else UNDECIDED if "undecided" in verdicts else OK


# Verdicts on noise -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [QUICK, DEFAULT])
@pytest.mark.parametrize("noise", [IDLE, SHARED, BUSY])
def test_a_run_that_is_ten_times_slower_is_found(noise: Noise, settings: Settings) -> None:
    rng = np.random.default_rng(0)
    for which in ("all", "numba", "training", "lstm"):
        statuses = [
            judged(compare(noisy_run(rng, noise, settings), slower(noisy_run(rng, noise, settings), 10, which)))
            for _ in range(4)
        ]
        assert OK not in statuses
        assert statuses.count(FAILED_CHECK) >= (3 if noise is BUSY else 4), which


@pytest.mark.parametrize("noise", [IDLE, SHARED, BUSY])
def test_runs_of_the_same_code_are_no_regression(noise: Noise) -> None:
    rng, statuses, directions = np.random.default_rng(1), Counter[int](), 0
    for _ in range(40):
        comparison = compare(noisy_run(rng, noise, QUICK), noisy_run(rng, noise, QUICK))
        statuses[judged(comparison, 0.2)] += 1
        directions += any(comparison.direction(part) for part in comparison.parts)
    # One and two of 40 are what a probability of DOUBT for each direction makes.
    assert statuses[FAILED_CHECK] <= 3
    assert directions <= 5
    assert statuses[OK] == (40 if noise is IDLE else 0)


def test_a_row_that_is_slower_than_the_others_is_found_and_they_are_not() -> None:
    rng = np.random.default_rng(2)
    before, after = noisy_run(rng, IDLE, QUICK), slower(noisy_run(rng, IDLE, QUICK), 1.5, "first")
    comparison = compare(before, after)
    assert [comparison.verdict(part, 0.2) for part in comparison.parts] == [
        "regression", *["fine"] * 27
    ]  # fmt: skip
    assert comparison.direction(comparison.changes[0]) == "slower"


def test_a_row_that_did_not_get_faster_with_the_others_is_no_regression() -> None:
    works = [replace(SMALL, hidden_size=size) for size in range(1, 8)]
    before = run(*(row("numba", workload=work) for work in works))
    after = run(*(row("numba", 0.5 if work.hidden_size > 1 else 1.0, workload=work) for work in works))
    comparison = compare(before, after)
    first, *others = comparison.changes
    assert first.own is not None
    assert first.own.value == pytest.approx(math.log(2), abs=0.01)
    assert judged(comparison) == OK
    assert [comparison.direction(part) for part in (first, *others)] == ["", *["faster"] * 6]


def test_a_machine_that_was_slower_altogether_is_the_machines() -> None:
    works = [replace(SMALL, hidden_size=size) for size in range(1, 8)]
    before = run(*(row("numba", workload=work) for work in works))
    after = run(*(row("numba", 1.74, 1.74, workload=work) for work in works))
    comparison = compare(before, after)
    assert comparison.machine == pytest.approx(math.log(1.74))
    assert comparison.changes[0].speedup == pytest.approx(1 / 1.74)
    assert comparison.groups[0].common.value == pytest.approx(math.log(1.74))
    assert comparison.groups[0].beyond.value == pytest.approx(0)
    assert {comparison.direction(part) for part in comparison.parts} == {""}
    # How much of it a network feels is not known that well.
    assert judged(comparison) == UNDECIDED
    assert judged(compare(before, run(*(row("numba", 1.74, workload=work) for work in works)))) == FAILED_CHECK


def test_each_precision_is_judged_by_itself() -> None:
    works = [replace(SMALL, hidden_size=size, precision=of) for size in range(1, 4) for of in (None, "int8")]
    before = run(*(row("numba", workload=work) for work in works))
    after = run(*(row("numba", 2.0 if work.precision else 1.0, workload=work) for work in works))
    comparison = compare(before, after)
    assert [(group.precision, group.rows) for group in comparison.groups] == [(None, 3), ("int8", 3)]
    assert [comparison.verdict(group, 0.05) for group in comparison.groups] == ["fine", "regression"]


# The statistics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.95, 1, 6.3138), (0.975, 4, 2.7764), (0.999, 8, 4.5008), (0.9995, 4, 8.6103), (0.975, 1000, 1.9623)],
)
def test_quantiles_are_students(probability: float, freedom: float, expected: float) -> None:
    """By tables, e.g. NIST's handbook of statistical methods, 1.3.6.7.2."""
    assert quantile(probability, freedom) == pytest.approx(expected, rel=2e-3)
    assert quantile(1 - probability, freedom) == pytest.approx(-expected, rel=2e-3)


def test_intervals_hold_what_they_should_as_often_as_they_say() -> None:
    rng, outside = np.random.default_rng(3), 0
    for _ in range(200):
        before, after = rng.normal(0, 0.1, (12, 3)), rng.normal(0.2, 0.1, (12, 4))
        outside += sum(not low < 0.2 < high for low, high in (shift.bounds(0.025) for shift in shifts(before, after)))
    assert 0.03 < outside / 2400 < 0.07


def test_errors_add_up() -> None:
    total = Shift(0.3, 0.03, 8.0).plus(Shift(0.1, 0.04, 8.0))
    assert [total.value, total.error] == pytest.approx([0.4, 0.05])
    assert 8 < total.freedom < 16
    rest = Shift(0.3, 0.03, 8.0).beyond(0.1, 0.04)
    assert [rest.value, rest.error, rest.freedom] == pytest.approx([0.2, 0.05, 60.2], rel=0.01)
    (one,) = shifts(np.zeros((1, 1)), np.ones((1, 1)))
    assert one.value == 1
    assert one.error > 0.4


# The command -----------------------------------------------------------------------------------------------------


def test_a_regression(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = run(row("numba"), row("numpy"))
    after = run(row("numba", 1.2), row("numpy", 0.8))
    command = write(files, before, after)
    assert main(command) == OK
    out = capsys.readouterr().out.splitlines()
    (slow, fast), groups = ([line for line in out if "lstm" in line], out[-3:-1])
    assert " 0.833 |" in slow
    assert slow.endswith(" slower |")
    assert " 1.250 |" in fast
    assert fast.endswith(" faster |")
    assert [line.split("|")[1].strip() for line in groups] == ["numba", "numpy"]
    assert [line.split("|")[5].strip() for line in groups] == ["1.000", "1.000"]
    assert main([*command, "--fail-on-regression", "5%"]) == FAILED_CHECK
    printed = capsys.readouterr()
    assert printed.out.count("REGRESSION") == 2
    assert printed.err == ("rnncore: 1 of 2 rows, and 1 of 2 backends and modes together are slower by more than 5 %\n")
    assert main([*command, "--fail-on-regression", "25%"]) == OK


def test_samples_that_cannot_decide_have_a_status_of_their_own(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(4)
    command = write(files, noisy_run(rng, SHARED, QUICK), noisy_run(rng, SHARED, QUICK))
    assert main([*command, "--fail-on-regression", "5%"]) == UNDECIDED == 5
    printed = capsys.readouterr()
    assert "| undecided |" in printed.out
    assert "REGRESSION" not in printed.out
    assert printed.err.startswith("rnncore: undecided: the samples of ")
    assert "cannot tell a change of 5 % from noise; one may be slower by up to " in printed.err
    assert main(command) == OK
    assert "undecided" not in capsys.readouterr().out


def test_every_sample_times_ten(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = noisy_run(np.random.default_rng(5), SHARED, QUICK)
    assert len(before.results) == 24
    assert {len(result.samples) for result in before.results} == {6}
    command = write(files, before, slower(before, 10))
    assert main([*command, "--fail-on-regression", "5%"]) == FAILED_CHECK
    assert "4 of 4 backends and modes together are slower by more than 5 %" in capsys.readouterr().err


def test_few_samples_are_undecided_or_found(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one = replace(
        made_up_record(*(replace(row(name), samples=(1.0,), yardsticks=(1e-3,)) for name in ("numba", "numpy"))),
        settings=Settings(repeats=1),
    )
    assert main([*write(files, one, one), "--fail-on-regression", "5%"]) == UNDECIDED
    assert "a run of one pass does not show how far runs lie apart" in capsys.readouterr().err
    assert main([*write(files, one, slower(one, 10)), "--fail-on-regression", "5%"]) == FAILED_CHECK


def test_runs_without_a_yardstick(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old = run(*(replace(row(name), yardsticks=()) for name in ("numba", "numpy")))
    assert main([*write(files, old, slower(old, 1.5)), "--fail-on-regression", "5%"]) == UNDECIDED
    printed = capsys.readouterr()
    assert "| unknown |" in printed.out
    assert "no yardstick, so a slower machine is not told from slower code" in printed.err
    assert main([*write(files, old, slower(old, 10)), "--fail-on-regression", "5%"]) == FAILED_CHECK


def test_an_interrupted_run_is_compared_by_the_passes_it_has() -> None:
    works = [replace(SMALL, hidden_size=size) for size in (1, 2)]
    before = run(*(row("numba", workload=work) for work in works), row("numpy"))
    cut = [
        replace(result, samples=result.samples[:count]) for result, count in zip(before.results, (9, 4, 3), strict=True)
    ]
    assert len(compare(before, run(*cut)).changes) == 3


def test_a_step_in_a_record_of_the_first_schema_is_a_frozen_one(tmp_path: Path) -> None:
    record = made_up_record(*(row("numba", workload=replace(SMALL, mode=mode)) for mode in ("step", "training")))
    content = json.loads(to_json_text(record)) | {"schema_version": 1}
    for result in content["results"]:
        del result["yardsticks"], result["tails"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = load(str(tmp_path / "old.json"))
    assert [result.workload.mode for result in old.results] == ["frozen-step", "training"]
    assert [result.yardsticks for result in old.results] == [(), ()]


def test_rows_say_what_tells_them_apart(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    works = [replace(SMALL, dtype=dtype) for dtype in ("float32", "float64")]
    before = run(*(row("numba", workload=work) for work in works))
    after = run(row("numba", workload=works[0]), made_up("numba", [], "failed", "no", workload=works[1]))
    assert main(write(files, before, after)) == OK
    one, other = (line for line in capsys.readouterr().out.splitlines() if "lstm" in line)
    assert "dtype float32" in one
    assert "dtype float64" in other
    assert "slower" not in other
    assert other.rstrip(" |").endswith("failed")


def test_a_row_that_fails_now_is_a_regression(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = run(row("numba"))
    after = run(made_up("numba", [], "wrong", "error 1e+00 against float64"))
    assert main([*write(files, before, after), "--fail-on-regression", "5%"]) == FAILED_CHECK
    assert "wrong" in capsys.readouterr().out


def test_what_cannot_be_compared(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, other = run(row("numba")), run(row("numba", workload=replace(SMALL, hidden_size=6)))
    assert main(write(files, one, other)) == 2
    assert capsys.readouterr().err.endswith(
        "are of different work: no row with the same sizes, options and backend was measured in both\n"
    )
    both = replace(made_up_record(*one.results, *other.results, processor="another"), settings=DEFAULT)
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
