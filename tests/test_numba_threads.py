"""The Numba engine's threads: how many there are, calls at once, interruptions, and other threads beside them."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import denormals
import numpy as np
import processes
import pytest
from interruption import check_interruption
from threaded import X, infer, make_network, train, workers

from rnncore import Elman, Recurrent
from rnncore_kernels import cores
from rnncore_kernels.cpu import division, engine, plan, threads
from rnncore_kernels.cpu.division import Division

pytestmark = pytest.mark.usefixtures("divided")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> threads.Pool:
    """A pool that has not been used."""
    fresh = threads.Pool()
    for module in (engine, threads):
        monkeypatch.setattr(module, "POOL", fresh)
    return fresh


def test_calls_from_several_threads() -> None:
    shared = make_network().freeze()
    own = [make_network(seed) for seed in range(1, 5)]
    expected = infer(shared)
    expected_own = [(infer(rnn), train(rnn)) for rnn in own]
    begin = threading.Barrier(len(own))

    def work(number: int) -> int:
        begin.wait()
        for _ in range(40):
            assert infer(shared) == expected
            assert (infer(own[number]), train(own[number])) == expected_own[number]
        return number

    with ThreadPoolExecutor(len(own)) as executor:
        assert list(executor.map(work, range(len(own)))) == list(range(len(own)))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """An interruption raises KeyboardInterrupt, however the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_of_a_call(ctrl_c: None) -> None:
    rnn = make_network()
    expected = infer(rnn), train(rnn)
    long = np.zeros((3000, 6, 8), np.float32)

    def compute_until_interrupted(timer: threading.Timer) -> None:
        timer.start()
        while True:
            rnn.forward(long)

    for turn in range(8):
        timer = threading.Timer(0.01 * (turn + 1), signal.raise_signal, [signal.SIGINT])
        with pytest.raises(KeyboardInterrupt):
            compute_until_interrupted(timer)
        timer.join()
        assert (infer(rnn), train(rnn)) == expected


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("what", ["infer", "forward", "backward"])
def test_an_interruption_ends_a_long_call(what: str, num_threads: int, ctrl_c: None) -> None:
    steps, batch, inputs, hidden, both = 16_000, 16, 4, 96, num_threads == 2
    rnn = Recurrent("gru", inputs, hidden, bidirectional=both, backend="numba", seed=0, num_threads=num_threads)
    expected, parameters = train(rnn, inputs), rnn.state_dict()
    x, grad = np.zeros((steps, batch, inputs), np.float32), np.ones((1 + both, batch, hidden), np.float32)
    tape: Any = rnn.forward(x)[2] if what == "backward" else None
    call: dict[str, Callable[[], object]] = {
        "infer": lambda: rnn(x),
        "forward": lambda: rnn.forward(x),
        "backward": lambda: rnn.backward(tape, grad_state=grad),
    }
    check_interruption(call[what], signal.SIGINT, KeyboardInterrupt)
    assert all(np.array_equal(values, rnn.parameters[name]) for name, values in parameters.items())
    assert train(rnn, inputs) == expected
    assert threads.POOL._waited_for is None


def test_an_interruption_of_the_first_call(pool: threads.Pool, ctrl_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn = make_network()
    start = threads._start_thread

    def interrupted(*arguments: Any) -> None:
        start(*arguments)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(threads, "_start_thread", interrupted)
        with pytest.raises(KeyboardInterrupt):
            rnn(X)
    assert (infer(rnn), train(rnn)) == (infer(make_network(0, 1)), train(make_network(0, 1)))
    assert workers() == 1


@pytest.mark.parametrize("grid", [(1, 8), (2, 4), (8, 1)])
def test_more_threads_than_cores(grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = make_network(num_threads=1)
    expected = infer(alone), train(alone)
    monkeypatch.setattr(
        division, "divide", lambda threads, *_, **__: Division(*grid) if threads > 1 else Division(1, 1)
    )
    for cached in (plan.forward_plan, plan.backward_plan):
        cached.cache_clear()
    crowded = make_network(num_threads=16)
    assert (infer(crowded), train(crowded)) == expected
    assert workers() >= 7
    stop = threading.Event()

    def compete() -> None:
        data = bytes(1 << 20)
        while not stop.is_set():
            hashlib.sha256(data)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(compete)
        try:
            for _ in range(3):
                assert (infer(crowded), train(crowded)) == expected
        finally:
            stop.set()


def test_as_many_threads_as_asked_for(pool: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = workers()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    expected = infer(make_network(num_threads=None))
    assert workers() == before
    assert infer(make_network(num_threads=3)) == expected
    assert workers() == before + 2
    monkeypatch.setenv("NUMBA_NUM_THREADS", "4")
    assert infer(make_network(num_threads=None)) == expected
    assert workers() == before + 3
    assert infer(make_network(num_threads=2)) == expected
    assert workers() == before + 3


def test_a_system_that_gives_no_more_threads(pool: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("the system gives no more threads")

    rnn = make_network()
    expected = infer(make_network(num_threads=1))
    with monkeypatch.context() as refusing:
        refusing.setattr(threads, "_start_thread", refuse)
        assert [infer(rnn) for _ in range(3)] == [expected] * 3
    assert workers() == 0
    assert infer(rnn) == expected
    assert workers() == 1


@pytest.mark.parametrize("missing", ["pthread_create", "any library"])
def test_a_system_without_posix_threads(missing: str, pool: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_nothing(_: None) -> Any:
        if missing == "any library":
            raise TypeError("no such library")
        return object()

    monkeypatch.setattr("ctypes.CDLL", load_nothing)
    assert infer(make_network()) == infer(make_network(num_threads=1))
    assert workers() == 1
    assert any(thread.name == "rnncore" for thread in threading.enumerate())


@pytest.mark.parametrize("value", ["", "0", "-3", "two", "²"])
def test_a_number_of_threads_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", value)
    monkeypatch.setattr(engine, "usable_cores", lambda: 5)
    assert engine.NumbaEngine(None)._most_threads() == 5
    assert engine.NumbaEngine(3)._most_threads() == 3


@pytest.mark.parametrize(("asked", "cores", "used"), [(5000, 2, 2), (5000, 1, 0), (2, 5000, 2), (None, 3, 3)])
def test_no_more_threads_than_cores(
    asked: int | None, cores: int, used: int, pool: threads.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks: list[int] = []
    run = pool.try_run

    def count(these: Any, **options: Any) -> Any:
        tasks.append(len(these))
        return run(these, **options)

    monkeypatch.setattr(pool, "try_run", count)
    rnn = make_network(num_threads=asked)
    expected = infer(make_network(num_threads=1))
    # Cores that come and go count at the time of the call.
    monkeypatch.setattr(engine, "usable_cores", lambda: cores)
    assert infer(rnn) == expected
    assert {*tasks} == ({used} if used else set())
    assert workers() == max(0, used - 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity_that_changes_between_calls(pool: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "usable_cores", cores.usable_cores)
    allowed = os.sched_getaffinity(0)
    rnn = make_network(num_threads=None)
    expected = infer(rnn)
    before = workers()
    try:
        os.sched_setaffinity(0, {min(allowed)})
        pool.__init__()  # type: ignore[misc]
        assert infer(rnn) == expected
        assert workers() == 0
    finally:
        os.sched_setaffinity(0, allowed)
    assert infer(rnn) == expected
    assert workers() == before == cores.usable_cores() - 1


@denormals.needs_x86_64_linux
def test_workers_have_the_callers_floating_point_mode() -> None:
    def smallest(num_threads: int) -> float:
        rnn = Recurrent(Elman(activation="identity"), 1, 70, bias=False, backend="numba", num_threads=num_threads)
        rnn.parameters["weight_ih_l0"][...] = denormals.TINY
        rnn.parameters["weight_hh_l0"][...] = 0
        return float(rnn(np.ones((3, 2, 1), np.float32))[0].min())

    for _ in range(2):
        assert [smallest(n) for n in (1, 2)] == [float(np.float32(denormals.TINY))] * 2
        with denormals.flushed():
            assert [smallest(n) for n in (1, 2)] == [0.0, 0.0]


def test_threads_sleep_between_calls() -> None:
    rnn = make_network()
    expected = infer(rnn)

    def all_sleep() -> bool:
        start = time.process_time()
        time.sleep(0.5)
        # Threads that spin would take some tenths; where others use the cores, less, and are not seen.
        return time.process_time() - start < 0.1

    # Not at once, perhaps: threads of a BLAS may spin on after an earlier test.
    assert processes.wait_until(all_sleep)
    assert infer(rnn) == expected
