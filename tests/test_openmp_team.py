"""Where PyTorch is loaded, the Numba engine computes on its OpenMP team: the same bits, signals, forks and threads."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from conftest import require_peer
from interruption import check_interruption

from rnncore import Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.cpu import division, engine, openmp, plan, threads, toolchain
from rnncore_kernels.cpu.division import Division

X = np.random.default_rng(0).standard_normal((12, 9, 40)).astype(np.float32)


@pytest.fixture(autouse=True)
def torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """PyTorch with two threads; all take part in a call, however small it is."""
    torch = require_peer(request, "torch")
    if openmp.team() is None:
        pytest.skip("PyTorch's threads are not those of an OpenMP runtime that is known")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "POOL", fresh := threads.Pool())
    monkeypatch.setattr(engine, "POOL", fresh)
    monkeypatch.setattr(engine.NumbaEngine, "_most_threads", lambda _: openmp.most_threads() or 1)
    # However busy the machine is.
    monkeypatch.setattr(engine.LIMIT, "threads", lambda most: most)
    monkeypatch.setattr(division, "divide", lambda threads, *_, **__: Division(1, threads))
    for cached in (plan.forward_plan, plan.backward_plan):
        cached.cache_clear()
    yield torch
    torch.set_num_threads(before)
    for cached in (plan.forward_plan, plan.backward_plan):
        cached.cache_clear()


def everything(cell: str, num_threads: int | None = None) -> list[bytes]:
    rnn = Recurrent(cell, 40, 67, backend="numba", seed=0, num_threads=num_threads)
    output, state, tape = rnn.forward(X)
    grads = rnn.backward(tape, output)
    return [a.tobytes() for a in (output, *as_tuple(state), grads.x, *grads.parameters.values())]


def alone(monkeypatch: pytest.MonkeyPatch, cell: str) -> list[bytes]:
    with monkeypatch.context() as patch:
        patch.setattr(engine.NumbaEngine, "_most_threads", lambda _: 1)
        return everything(cell)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_team_computes_the_same_bits(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, ran = alone(monkeypatch, cell), []
    run_team = threads.Pool._run_team

    def note(pool: threads.Pool, *arguments: Any, **options: Any) -> Any:
        ran.append(times := run_team(pool, *arguments, **options))
        return times

    monkeypatch.setattr(threads.Pool, "_run_team", note)
    assert everything(cell) == expected
    assert ran
    assert None not in ran
    assert not threads.POOL._mailboxes


def test_pytorchs_number_of_threads_is_followed(torch: Any) -> None:
    for number in (1, 3, 2):
        torch.set_num_threads(number)
        assert openmp.most_threads() == number


def test_calls_of_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = alone(monkeypatch, "gru")
    with ThreadPoolExecutor(4) as executor:
        for result in executor.map(everything, ["gru"] * 12):
            assert result == expected


def test_a_team_that_is_too_small_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    kernel = toolchain.KERNEL_TYPE(lambda words, thread: called.append(thread))
    address = ctypes.cast(kernel, ctypes.c_void_p).value or 0
    tasks = [(address, 0, thread) for thread in range(3)]
    assert threads.POOL.try_run(tasks) is None
    assert not called
    assert threads.POOL.try_run(tasks[:2]) is not None
    assert sorted(called) == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_computes_with_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything("lstm")
    child = os.fork()
    if child == 0:
        same = openmp.team() is None and everything("lstm") == expected
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class StopCallError(Exception):
    """Raised by the handler of the signal."""


@pytest.mark.parametrize("what", ["forward", "backward"])
def test_a_signal_ends_a_long_call(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise StopCallError

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        rnn = Recurrent("gru", 4, 96, backend="numba", seed=0)
        x = np.zeros((40_000, 16, 4), np.float32)
        grad = np.ones((1, 16, 96), np.float32)
        tape = rnn.forward(x)[2]
        call = {"forward": lambda: rnn.forward(x), "backward": lambda: rnn.backward(tape, grad_state=grad)}[what]
        check_interruption(call, signal.SIGUSR1, StopCallError)
        assert everything("lstm") == alone(monkeypatch, "lstm")
    finally:
        signal.signal(signal.SIGUSR1, before)
