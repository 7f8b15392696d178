"""How many threads a call has on a machine that others use, told by calls on a clock of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rnncore_kernels.cpu.thread_limit import FAIR, FIRST_PAUSE, GAIN, LAST_PAUSE, LOOK, ThreadLimit


class Machine:
    """A machine whose calls give their threads some rate, and last some seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = ThreadLimit(lambda: self.now)
        self.used: list[int] = []

    def call(self, most: int, rate: Callable[[int], float], seconds: float = 0.001) -> int:
        """One call that could use `most` threads; returns those that it had."""
        threads = self.limit.threads(most)
        watched = self.limit.wants_to_know()
        self.now += seconds
        if watched:
            self.limit.note(threads, seconds, rate(threads) * seconds)
        self.used.append(threads)
        return threads

    def run(self, most: int, rate: Callable[[int], float], *, until: float, seconds: float = 0.001) -> list[int]:
        """Calls, one after the other, until some time on the clock; returns the threads of each."""
        first = len(self.used)
        while self.now < until:
            self.call(most, rate, seconds)
        return self.used[first:]


def idle(threads: int) -> float:
    """Every thread has a core, and waits a little."""
    return 0.93 * threads


def crowded(threads: int) -> float:
    """Two threads take turns on one core, and lose time; one has it."""
    return 1.0 if threads == 1 else 0.8


def test_an_idle_machine_gives_what_is_asked_for() -> None:
    machine = Machine()
    assert {*machine.run(8, idle, until=5)} == {8}
    assert machine.limit.limit is None


@pytest.mark.parametrize("seconds", [0.00006, 0.001, 0.3])
def test_a_busy_machine_gives_fewer_within_some_calls(seconds: float) -> None:
    machine = Machine()
    used = machine.run(2, crowded, until=60, seconds=seconds)
    assert used[0] == 2
    # What is lost to trials is a few percent.
    assert used.count(2) / len(used) < 0.1
    assert machine.limit.limit == 1


def test_threads_come_back_when_the_machine_is_free_again() -> None:
    machine = Machine()
    machine.run(2, crowded, until=20)
    used = machine.run(2, idle, until=20 + 2 * LAST_PAUSE)
    assert used[-1] == 2
    assert machine.limit.limit is None
    assert {*machine.run(2, idle, until=40)} == {2}


def test_one_slow_call_costs_nothing() -> None:
    machine = Machine()
    machine.call(2, crowded, seconds=2 * LOOK)
    assert {*machine.run(2, idle, until=1)} == {2}


def test_a_disturbance_costs_a_short_pause() -> None:
    machine = Machine()
    machine.run(2, crowded, until=6 * LOOK, seconds=2 * LOOK)
    assert machine.limit.limit == 1
    used = machine.run(2, idle, until=machine.now + 4 * FIRST_PAUSE)
    assert used.count(1) * 0.001 < 2.5 * FIRST_PAUSE
    assert used[-1] == 2


def test_calls_that_come_in_bursts_have_all_threads() -> None:
    """The first call of each burst wakes threads, on whatever cores, and is slow for that."""
    machine = Machine()
    machine.run(2, crowded, until=6 * LOOK, seconds=2 * LOOK)
    for _ in range(200):
        machine.now += 0.2
        machine.call(2, crowded, seconds=LOOK)
        machine.run(2, idle, until=machine.now + 2.5 * LOOK, seconds=LOOK)
    assert machine.used.count(2) / len(machine.used) > 0.95


def test_time_between_calls_is_no_trial() -> None:
    """A trial that goes on in a second burst takes no longer for that, and neither does the pause behind it."""
    machine = Machine()
    machine.run(2, crowded, until=2 * FIRST_PAUSE)
    while machine.call(2, crowded, seconds=LOOK) == 1:
        pass
    machine.now += 100
    machine.run(2, crowded, until=machine.now + 2 * LOOK, seconds=LOOK)
    used = machine.run(2, idle, until=machine.now + 2 * LAST_PAUSE)
    assert used[-1] == 2


def test_two_threads_that_are_slow_but_faster_than_one_stay() -> None:
    """Where one thread has no core of its own either, two of them get more of the machine."""
    machine = Machine()
    machine.run(2, lambda threads: 0.5 if threads == 1 else 0.9, until=5)
    used = machine.run(2, lambda threads: 0.5 if threads == 1 else 0.9, until=30)
    assert used.count(2) / len(used) > 0.8


def test_many_threads_find_how_many_cores_are_left() -> None:
    machine = Machine()

    def six_cores(threads: int) -> float:
        return 0.95 * threads if threads <= 6 else 3.4

    machine.run(8, six_cores, until=5)
    used = machine.run(8, six_cores, until=60)
    assert used.count(6) / len(used) > 0.8
    assert {*machine.run(8, idle, until=90)[-100:]} == {8}


def test_smaller_calls_are_not_limited() -> None:
    machine = Machine()
    machine.run(8, lambda threads: 0.95 * threads if threads <= 3 else 1.0, until=10)
    assert machine.limit.threads(1) == 1
    assert machine.limit.threads(2) <= 2


def test_calls_of_several_numbers_in_turns_are_judged_too() -> None:
    """As in the layers of a deep network, which begin and end one after the other."""
    machine, at_once = Machine(), [8, 8, 6, 6, 6, 6, 8, 8]
    for turn in range(400):
        machine.limit.note(at_once[turn % 8], 0.0015, 0.0015)
        machine.now += 0.0015
    assert machine.limit.limit == 1


def test_calls_that_take_fewer_threads_than_they_may_tell_nothing_of_these() -> None:
    machine = Machine()
    machine.run(8, lambda threads: 0.95 * threads if threads <= 4 else 2.0, until=30)
    assert machine.limit.limit == 4
    for _ in range(100):
        machine.limit.note(1, 0.001, 0.0009)
    # Eight have a rate of 2, more than one thread's, and less than four's.
    used = machine.run(8, lambda threads: 0.95 * threads if threads <= 4 else 2.0, until=60)
    assert used.count(4) / len(used) > 0.8


def test_a_rate_that_another_thread_forgets_meanwhile() -> None:
    class Forgetful(ThreadLimit):
        """Its rate is there when it is looked at for the first time, and gone at the next."""

        looks = 0

        def __getattribute__(self, name: str) -> Any:
            if name != "_known":
                return super().__getattribute__(name)
            self.looks += 1
            return (0.0, 1.0) if self.looks == 1 else None

    assert Forgetful(lambda: 0.0)._needed(2, 1.0) == pytest.approx(min(2 * FAIR, GAIN))
