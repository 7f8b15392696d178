"""What follows from samples and sizes: figures, tables, turns."""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from records import SMALL, made_up, made_up_record

from rnncore.bench import clock, measure, table
from rnncore.bench.estimate import format_duration
from rnncore.bench.limits import Limits
from rnncore.bench.result import Result, joined
from rnncore.bench.workload import STEPS, Workload
from rnncore.cli import main
from rnncore.cli.terminal import parts, show


def test_a_result_that_is_not_finite_is_wrong() -> None:
    good = np.ones(3)
    assert measure.largest_error([good, good], [good, good]) == 0
    assert measure.largest_error([good, np.array([1, np.nan, 1])], [good, good]) == np.inf


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
    timing = made_up("numpy", [0.002], workload=workload)
    assert timing.step_microseconds == pytest.approx(200)
    assert timing.sequences_per_second == pytest.approx(2000)
    assert timing.flops_per_second == pytest.approx(workload.flops() * 500)


def test_tasks_take_turns() -> None:
    order: list[str] = []
    turns = {name: partial(clock.sample, partial(order.append, name)) for name in "ab"}
    samples = clock.take_turns(turns, 3, 0)
    assert order == ["a", "b"] * 3
    assert [len(samples[name]) for name in "ab"] == [3, 3]
    assert clock.take_turns({}, 3, 1) == {}


def test_a_turn_that_had_to_wait_for_a_core_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = itertools.accumulate([0.0, 9e9, 0.0, 1e3, 0.0, 7e9, 0.0, 6e9])
    monkeypatch.setattr(clock, "waiting_seconds", lambda: next(waited))
    turns = itertools.count()
    assert clock.least_disturbed(lambda _: [next(turns)], 0.0) == [1]
    assert next(turns) == clock.ATTEMPTS
    monkeypatch.setattr(clock, "waiting_seconds", lambda: 3.0)
    assert clock.least_disturbed(lambda _: [next(turns)], 0.0) == [clock.ATTEMPTS + 1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_waiting_for_a_core_is_seen() -> None:
    before = clock.waiting_seconds()
    threads = [threading.Thread(target=sum, args=(range(3_000_000),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert clock.waiting_seconds() >= before >= 0
    for thread in threads:
        thread.join()


def test_the_first_call_of_a_turn_counts_only_if_it_fills_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lasting = [0.0], itertools.chain([20.0], itertools.repeat(8.0))

    def task() -> None:
        now[0] += next(lasting)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert clock.sample(task, 50) == [8.0] * 4
    assert clock.sample(task, 5) == [8.0]


def test_numbers_are_rounded() -> None:
    assert [table.rounded(value) for value in (0.004823, 0.5, 9.04, 34.04, 185.2, 2771.4)] == [
        *("0.00482", "0.500", "9.04", "34.0", "185", "2771")
    ]


def test_bytes_are_weights_at_every_step_and_all_else_once() -> None:
    inference = Workload("gru", "inference", 10, 4, 3, 5, "float32")
    recurrent, inputs, ends = 3 * 5 * 5 * 4, 3 * 5 * 3 * 4, 10 * 4 * (3 + 5) * 4
    assert inference.weight_bytes() == recurrent
    assert inference.bytes() == 10 * recurrent + inputs + ends
    training = Workload("gru", "training", 10, 4, 3, 5, "float32")
    assert training.bytes() == 2 * inference.bytes() + recurrent + inputs + ends
    short = Workload("gru", "inference", 100, 1, 3, 5, "float32", ragged=True)
    (steps,) = short.lengths() or [0]
    assert steps < 100
    assert short.bytes() == steps * (recurrent + (3 + 5) * 4) + inputs
    deep = Workload("gru", "inference", 10, 4, 3, 5, "float64", num_layers=2, bidirectional=True)
    assert deep.weight_bytes() == 3 * 5 * 10 * 2 * 8
    assert deep.bytes() == 10 * deep.weight_bytes() + 3 * 10 * (3 + 10) * 8 + 10 * 4 * (3 + 10) * 8


def test_median_and_spread() -> None:
    row = made_up("numpy", [4.0, 1.0, 2.0, 3.0, 5.0])
    assert row.seconds == 3
    assert row.spread == pytest.approx(2 / 3)
    assert made_up("numpy", [4.0]).spread == 0


def test_passes_are_joined() -> None:
    limits = Limits(1e9, 1e9, 4e9), Limits(2e9, 4e9, 1e9)
    one = made_up("numpy", [1.0, 2.0], limits=limits[0])
    whole = joined(one, made_up("numpy", [3.0], limits=limits[1]))
    assert whole.samples == (1.0, 2.0, 3.0)
    assert whole.limits == Limits(2e9, 4e9, 4e9)
    without = joined(one, made_up("numpy", [3.0], limits=Limits(1e9)))
    assert without.limits == limits[0]
    assert joined(one, made_up("numpy", [], "failed", "it broke")).status == "failed"
    settings = measure.Settings(repeats=7, passes=3)
    assert [settings.turns(number) for number in range(3)] == [2, 2, 3]


def test_a_step_is_the_networks_and_a_frozen_step_the_copys() -> None:
    outputs = {}
    for mode in STEPS:
        workload = Workload("gru", mode, 1, 2, 3, 5, "float32")
        network = workload.network("numpy")
        task = workload.task(network)
        before = task()[0].copy()
        for values in network.parameters.values():
            values *= 2
        outputs[mode] = np.array_equal(before, task()[0])
    assert outputs == {"step": False, "frozen-step": True}


def test_steps_have_percentiles(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["-B", "1", "-H", "8", "-r", "3", "--passes", "1", "--min-time", "0"]
    arguments = ["--cell", "rnn", "--backend", "numpy", "--mode", "inference,step,frozen-step", *sizes]
    assert main(["bench", *arguments, "-o", "json"]) == 0
    whole, *steps = json.loads(capsys.readouterr().out)["results"]
    assert (whole["figures"]["p50_us"], whole["figures"]["p99_us"], whole["tails"]) == (None, None, [])
    assert [row["workload"]["mode"] for row in steps] == ["step", "frozen-step"]
    for row in steps:
        assert 0 < row["figures"]["p50_us"] == row["figures"]["step_us"] <= row["figures"]["p99_us"]
        assert len(row["tails"]) == len(row["samples"]) == 3
    rows = [
        replace(made_up("numpy", [1e-5, 2e-5, 3e-5], workload=replace(SMALL, mode=mode)), tails=tails)
        for mode, tails in (("step", (4e-5, 9e-5, 5e-5)), ("inference", ()))
    ]
    assert [row["p99, µs"] for row in table.table(rows)] == ["50.0", "-"]
    assert "p99, µs" not in table.table(rows[1:])[0]


def terminal(width: int, *results: Result, wide: bool = False) -> str:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        show(made_up_record(*results), stream, wide)
    return re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())


def test_a_wide_terminal_gets_one_table() -> None:
    workload = Workload("lstm", "training", 100, 32, 256, 256, "float32", threads=2)
    rows = made_up("numpy", [0.05], workload=workload), made_up("numba", [0.025], workload=workload)
    printed = terminal(160, *rows, wide=True)
    assert "|" not in printed
    assert "#" not in printed
    for part in ("lstm", "training", "500", "640", "201", "noisy", "2.00", "float32; I = H; threads 2; largest error"):
        assert part in printed


def test_a_narrow_terminal_gets_several_and_all_of_it() -> None:
    rows = table.table([made_up("numpy", [0.05]), made_up("numba", [0.025]), made_up("torch", [0.025])])
    found = list(parts(rows, 60))
    assert [name for part in found for name in part if name != "#"] == list(rows[0])
    assert all(part[0] == "#" for part in found)
    assert len(found) > 1
    assert list(parts(rows, 1000)) == [list(rows[0])]
    printed = terminal(60, made_up("numpy", [0.05]), made_up("numba", [0.025]), made_up("torch", [0.025]), wide=True)
    lines = printed[: printed.index("float32;")].splitlines()
    assert max(map(len, lines)) <= 60
    for cell in (cell for row in rows for cell in row.values()):
        assert cell in printed


@pytest.mark.parametrize("peers", [(), ("torch", "onnxruntime")])
def test_a_terminal_of_80_columns_gets_one_table(peers: tuple[str, ...]) -> None:
    work = Workload("lstm", "inference", 100, 128, 1024, 1024, "float32", threads=2)
    printed = terminal(80, *(made_up(name, [0.05], workload=work) for name in ("numpy", "numba", *peers)))
    header, *lines = printed.splitlines()[1:]
    figures = ["µs/step", "IQR", "of roof", "vs best" if peers else "vs numpy"]
    assert header.split() == " ".join(["cell mode T B H backend", *figures]).split()
    assert max(len(line) for line in [header, *lines] if not line.startswith("Made-up")) <= 80
    at = next(number for number, line in enumerate(lines) if line.startswith("Made-up"))
    processor, command, *said = lines[at:]
    assert said[-1].endswith("rnncore choose")
    assert processor.startswith("Made-up Processor")
    assert command.startswith("`")


def test_times_are_spoken() -> None:
    assert [format_duration(seconds) for seconds in (3.4, 89, 600, 7200)] == ["3 s", "89 s", "10 min", "2.0 h"]
