"""Measurement in processes of their own: what they answer, and that none fails in silence or stays."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import TIMEOUT, wait_until

from rnncore.bench import children, clock, measure, worker
from rnncore.bench.children import Child, MeasurementError
from rnncore.bench.limits import Limits
from rnncore.bench.result import Result
from rnncore.bench.workload import Workload, arrays_of
from rnncore.cli import main

SMALL = Workload("lstm", "inference", 3, 2, 4, 5, "float32")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def child() -> Iterator[Child]:
    with children.started(["numpy"]) as started:
        yield started["numpy"]


def test_a_child_computes_what_the_parent_would(child: Child) -> None:
    for workload in (SMALL, Workload("gru", "training", 3, 2, 4, 5, "float64", ragged=True)):
        expected = arrays_of(workload.task(workload.network("numpy"))())
        for array, value in zip(child.ask("prepare", workload).results, expected, strict=True):
            np.testing.assert_array_equal(array, value)
        assert all(seconds > 0 for seconds in child.ask("turn", 0.01))
    assert child.ask("limits", "float32", 1, 4096, 32).gemm > 0


def test_a_child_that_fails_says_why_and_lives(child: Child) -> None:
    with pytest.raises(MeasurementError, match="numpy: UnknownCellError: expected one of rnn, elman, lstm, "):
        child.ask("prepare", Workload("lstn", "inference", 3, 2, 4, 5, "float32"))
    with pytest.raises(MeasurementError, match="numpy: AssertionError: turn: expected to be asked after prepare"):
        child.ask("turn", 0.0)
    assert child.ask("prepare", SMALL)


def test_a_child_that_dies_is_reported_and_replaced(child: Child) -> None:
    child.ask("prepare", SMALL)
    os.kill(child.process.pid, signal.SIGKILL)
    with pytest.raises(MeasurementError, match=r"numpy: the process that measured it was ended by signal 9 \(Killed\)"):
        child.ask("turn", 1.0)
    assert child.ask("prepare", SMALL)


def test_a_child_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "START", "raise SystemExit(7)")
    with (
        children.started(["numpy"]) as started,
        pytest.raises(MeasurementError, match="numpy: the process that measured it exited with status 7"),
    ):
        started["numpy"].ask("prepare", SMALL)


def test_what_a_library_prints_does_not_reach_the_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    printing = (
        "import os; from rnncore.bench import clock; clock.rest = lambda: (print('hello'), os.write(1, b'hello'))"
    )
    monkeypatch.setattr(children, "START", f"{printing}\n{children.START}")
    with children.started(["numpy"]) as started:
        assert len(started["numpy"].ask("prepare", SMALL).results) == 3


def test_no_child_is_left() -> None:
    processes = []
    with contextlib.suppress(KeyboardInterrupt), children.started(["numpy", "torch"]) as started:
        processes += [child.process for child in started.values()]
        raise KeyboardInterrupt
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2


@on_linux
def test_a_child_ends_with_its_parent() -> None:
    code = (
        "import os, signal, sys; from rnncore.bench.children import Child; child = Child('numpy');"
        "print(child.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False).stdout
    assert wait_until(lambda: not is_running(int(printed)))


@on_linux
def test_interrupted_from_the_terminal() -> None:
    command = [sys.executable, "-m", "rnncore", "bench", "--backend", "numpy", "--min-time", "60"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def listen() -> None:
        # What a shell starts in the background ignores interruptions, and so would what it starts.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, **pipes, env=environment(), start_new_session=True, preexec_fn=listen) as process:
        # Both children; the parent waits for them, or will soon.
        assert wait_until(lambda: sum(map(ignores_interruptions, group_of(process.pid))) == 2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130
        assert errors.endswith("rnncore: interrupted\n")
        assert wait_until(lambda: not group_of(process.pid))


def environment() -> dict[str, str]:
    """As `children` does it: what this process can import, a process that it starts can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def ignores_interruptions(pid: int) -> bool:
    with contextlib.suppress(OSError):
        ignored = re.search(r"^SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return bool(ignored and int(ignored[1], 16) & 1 << signal.SIGINT - 1)
    return False


def group_of(leader: int) -> list[int]:
    """Running processes of a process group."""
    listed = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = []
    for pid in listed:
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == leader and is_running(pid):
                found.append(pid)
    return found


# The worker, in this process --------------------------------------------------------------------------------------


def served(*requests: tuple[Any, ...]) -> list[Any]:
    """Replies of a worker of the NumPy backend."""
    replies, pending = io.BytesIO(), iter(requests)

    class LeftError(Exception):
        pass

    def next_request() -> tuple[Any, ...]:
        for request in pending:
            return request
        raise LeftError

    with contextlib.suppress(LeftError):
        worker.serve(worker.Worker("numpy"), next_request, replies)
    replies.seek(0)
    return [pickle.load(replies) for _ in requests]


def test_a_worker_answers() -> None:
    (done, prepared), (turned, samples), (failed, message) = served(("prepare", SMALL), ("turn", 0.0), ("sing",))
    assert done
    assert turned
    assert not failed
    assert [array.shape for array in prepared.results] == [(3, 2, 5), (1, 2, 5), (1, 2, 5)]
    assert len(samples) == 1
    assert prepared.impl == "1 thread"
    assert prepared.first_call > 0
    assert message == "AttributeError: 'Worker' object has no attribute 'sing'"


class Clock:
    """Time that passes only while somebody sleeps; of the process's threads until `busy_until`."""

    def __init__(self, busy_until: float) -> None:
        self.now, self.used, self._busy_until = 0.0, 0.0, busy_until

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used

    def sleep(self, seconds: float) -> None:
        self.used += max(0.0, min(seconds, self._busy_until - self.now))
        self.now += seconds


@pytest.mark.parametrize(("busy_until", "rested_at"), [(0.0, 0.002), (0.1, 0.1), (9.0, 0.5)])
def test_rest_waits_for_threads_that_spin(busy_until: float, rested_at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Clock(busy_until)
    monkeypatch.setattr(clock, "time", fake)
    clock.rest()
    assert fake.now == pytest.approx(rested_at, abs=0.003)


# The command -----------------------------------------------------------------------------------------------------


def test_a_process_that_dies_fails_its_row_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = "import sys; sys.argv[1] == 'numpy' and sys.exit(7)\n"
    monkeypatch.setattr(children, "START", dies + children.START)
    arguments = ["--backend", "numpy,numba", "-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "--cell", "lstm"]
    assert main(["bench", *arguments, "--mode", "inference"]) == 4
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| lstm")]
    assert ["FAILED" in line for line in lines] == [True, False]


def test_a_machine_that_cannot_be_measured_ends_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = "import sys; sys.argv[1] == 'machine' and sys.exit(7)\n"
    monkeypatch.setattr(children, "START", dies + children.START)
    assert main(["bench", "--backend", "numpy", "-T", "3", "-B", "2", "-H", "8", "--min-time", "0"]) == 4
    assert "rnncore: machine: the process that measured it exited with status 7\n" in capsys.readouterr().err


def test_what_was_measured_before_a_failure_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> Iterator[Result]:
        yield Result(SMALL, "numpy", "measured", Limits(1e9), (1.0,), 0.0)
        raise MeasurementError("numpy: it broke")

    monkeypatch.setattr(measure, "run", run)
    assert main(["bench", "--backend", "numpy"]) == 4
    printed = capsys.readouterr()
    assert "| numpy" in printed.out
    assert printed.err.endswith("rnncore: numpy: it broke\n")
