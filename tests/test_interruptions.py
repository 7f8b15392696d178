"""An exception at any moment, Ctrl-C or an alarm, leaves nothing behind: no lock, no limit, no memory, nothing changed.

`python -c "import test_interruptions as t; t.main('numba', 1, 50)"` in this folder interrupts fifty times as often.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import threadpoolctl

from rnncore import Recurrent, backends, clip_grad_norm
from rnncore.states import as_tuple
from rnncore_kernels import cache
from rnncore_kernels.cuda.numba_cuda_patches import with_remembered_operators

SMALL, LARGE = (3, 2, 16), (4, 64, 64)
"""T, B and I = H; memory of the large one is used again."""

MOST_GROWTH = 100 << 20
"""Bytes by which the process may grow; one call of the large network keeps about one hundredth of it."""


class InterruptedCall(BaseException):
    """Raised by the handler of the signal."""


class Subject:
    """A network, its calls by name, and how it was before.

    Each call returns the bits of what it computed.
    """

    def __init__(self, backend: str, threads: int, sizes: tuple[int, int, int]) -> None:
        steps, batch, hidden = sizes
        layers = {"num_layers": 2, "dropout": 0.5, "backend": backend, "num_threads": threads}
        self.deep = Recurrent("lstm", hidden, hidden, seed=1, **layers)  # type: ignore[arg-type]
        self.rnn = Recurrent("lstm", hidden, hidden, seed=0, backend=backend, num_threads=threads)
        self.frozen = self.rnn.freeze()
        self.x = np.random.default_rng(0).standard_normal((steps, batch, hidden)).astype(np.float32)
        self.output, self.state, self.tape = self.rnn.forward(self.x)
        self.drawn = self.deep._rng.bit_generator.state
        self.whole = True
        self.values = [self.deep.state_dict(), {k: v + 1 for k, v in self.deep.state_dict().items()}]
        self.calls: dict[str, Callable[[], bytes]] = {
            "step": lambda: bits(self.frozen.step(self.x[0], self.state)),
            "inference": lambda: bits(self.frozen(self.x)),
            "inference, not frozen": lambda: bits(self.rnn(self.x)),
            "forward": self.forward,
            "backward": self.backward,
            "generate": lambda: bits(self.frozen.generate(self.x[0], 3, self.state)),
            "freeze": lambda: bits(self.rnn.freeze().step(self.x[0], self.state)),
            "load": self.load,
            "clip": self.clip,
        }

    def forward(self) -> bytes:
        self.deep._rng.bit_generator.state = self.drawn
        self.whole = False
        output, state, _ = self.deep.forward(self.x)
        self.whole = True
        return bits((output, state))

    def backward(self) -> bytes:
        grads = self.rnn.backward(self.tape, self.output, self.state)
        return bits((grads.x, (*grads.state, *grads.parameters.values())))

    def load(self) -> bytes:
        for values in self.values[::-1]:
            self.deep.load_state_dict(values)
        return b""

    def clip(self) -> bytes:
        grads = {"x": self.x.copy()}
        clip_grad_norm(grads, 1.0)
        return bits((grads["x"],))

    def check(self) -> None:
        """Everything is as before an interruption, and seen from outside."""
        assert self.whole or self.deep._rng.bit_generator.state == self.drawn
        present = bits(tuple(self.deep.parameters.values()))
        assert present in [bits(tuple(values.values())) for values in self.values]


def bits(results: tuple[Any, ...]) -> bytes:
    return b"".join(array.tobytes() for result in results for array in as_tuple(result))


def blas_threads() -> list[Any]:
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    return [library.get_num_threads for library in libraries]


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(backend: str, threads: int, factor: float) -> None:
    """Interrupt calls at random moments; print how often."""
    swallowed: list[Any] = []
    sys.unraisablehook = swallowed.append
    fired = [False]

    def raise_it(*_: object) -> None:
        fired[0] = True
        raise InterruptedCall

    def repeat(call: Callable[[], bytes]) -> None:
        # A function: in Python 3.13, `try` does not reach to where its `while` jumps back.
        while not fired[0]:
            call()

    signal.signal(signal.SIGALRM, raise_it)
    rng, turns = random.Random(0), 0
    for sizes, count in ((SMALL, 1600), (LARGE, 250)):
        subject, getters = Subject(backend, threads, sizes), blas_threads()
        expected = {name: call() for name, call in subject.calls.items()}
        outside = [get() for get in getters], np.geterr()
        before = digest(subject.rnn)
        for name, call in subject.calls.items():
            longest = 1.2 * seconds(call)
            for _ in range(round(factor * count)):
                fired[0] = False
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0, longest) + 5e-6)
                    repeat(call)
                    raise AssertionError(f"{name}: an interruption was swallowed")
                except InterruptedCall:
                    pass
                assert ([get() for get in getters], np.geterr()) == outside, name
                turns += 1
                if turns % 8 == 0 or name in ("forward", "load"):
                    subject.check()
            subject.load()
            for other, again in subject.calls.items():
                assert again() == expected[other], (name, other)
        assert digest(subject.rnn) == before
        if backend == "numba":
            check_the_short_way(subject)
    assert not swallowed, swallowed
    check_memory(subject)
    if threads > 1 and backend == "numba":
        check_the_pool(subject)
    print(turns)


def digest(rnn: Recurrent) -> str:
    return hashlib.sha256(bits(tuple(rnn.parameters.values()))).hexdigest()


def seconds(call: Callable[[], bytes]) -> float:
    def once() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return min(once() for _ in range(5))


def check_the_short_way(subject: Subject) -> None:
    """A step is computed by what is prepared for it, not like a sequence."""
    engine: Any = subject.frozen._engine
    engine.infer = None
    try:
        subject.frozen.step(subject.x[0, 0], tuple(s[0, :1].reshape(1, -1) for s in subject.state))
        if len(subject.x[0]) <= 4:
            subject.frozen.step(subject.x[0], subject.state)
    finally:
        del engine.infer


def check_memory(subject: Subject) -> None:
    """Training goes on in the memory that there is."""
    for _ in range(3):
        subject.forward()
    gc.collect()
    before = resident()
    for _ in range(200):
        subject.forward()
        subject.backward()
    assert resident() - before < MOST_GROWTH


def check_the_pool(subject: Subject) -> None:
    """Calls have the threads that they ask for."""
    from rnncore_kernels.cpu import engine, threads

    pool: Any = threads.POOL
    real, answers = pool.try_run, []

    def record(tasks: Any, **options: Any) -> Any:
        answers.append(real(tasks, **options))
        return answers[-1]

    # However few cores there are, and whoever else uses them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "usable_cores", lambda: 64)
        patch.setattr(engine.LIMIT, "threads", lambda most: most)
        patch.setattr(pool, "try_run", record)
        subject.forward()
    assert answers
    assert None not in answers


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers that signal")
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not say how large a process is")
@pytest.mark.parametrize(
    ("name", "threads"),
    [("numpy", 2), pytest.param("numba", 1, marks=pytest.mark.slow), ("numba", 2)],
)
def test_interruptions_at_random(name: str, threads: int) -> None:
    if not backends()[name].available:
        pytest.skip(backends()[name].reason)
    script = f"import test_interruptions as t; t.main({name!r}, {threads}, 0.5)"
    assert int(processes.run(script)) >= 5_000


def test_an_interruption_before_code_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.write(cache.key("interrupted") + ".o", b"code")
    assert list(tmp_path.iterdir()) == []


class Typing:
    """Stands in for the typing context of numba-cuda."""

    def resolve_function_type(self) -> None: ...


def interrupt_remembering() -> None:
    """Interrupt what changes numba-cuda for a while, and keep the exceptions."""
    typing, rng = Typing(), random.Random(0)

    def raise_it(*_: object) -> None:
        raise InterruptedCall

    def repeat() -> None:
        for _ in range(1_000_000):
            with_remembered_operators(typing, int)

    signal.signal(signal.SIGALRM, raise_it)
    kept = []
    for _ in range(3000):
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-4))
            repeat()
        except InterruptedCall as error:
            kept.append(error)
        assert not vars(typing)
    print(len(kept))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers that signal")
def test_numba_cuda_is_told_the_truth_again() -> None:
    # A process of its own: pytest and its plugins have functions that swallow what is raised in them.
    assert processes.run("import test_interruptions as t; t.interrupt_remembering()") == "3000\n"
