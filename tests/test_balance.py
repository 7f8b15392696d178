"""Threads that share work take as much of it as they are fast, and no bit depends on who takes what."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import llvmlite.binding as llvm
import numpy as np
import pytest
from numba_networks import everything

from rnncore import Recurrent
from rnncore_kernels.cpu import division, jobs, kernels, plan, toolchain
from rnncore_kernels.cpu.code.balance import bound, edge
from rnncore_kernels.cpu.code.emitted import DEFINITIONS, compiled
from rnncore_kernels.cpu.code.ir import Definition
from rnncore_kernels.cpu.code.memory import set_word, word
from rnncore_kernels.cpu.code.system import _cycles
from rnncore_kernels.cpu.division import Division
from rnncore_kernels.cpu.fields.balance import BUSY, COUNT, PART_WORDS, WHOLE, WIDTH, even_parts
from rnncore_kernels.cpu.memory import make_words, words_address

pytestmark = pytest.mark.usefixtures("fresh_plans", "all_threads")


@functools.cache
def library() -> toolchain.Library:
    """`find`: an edge, and the first of some units of work behind it."""

    def define() -> Mapping[str, Definition]:
        @compiled("find")
        def find(args: int, thread: int) -> None:
            at = edge(word(args, 0), word(args, 1), word(args, 2))
            set_word(args, 3, bound(word(args, 3), at))
            set_word(args, 2, at)

        return DEFINITIONS

    return toolchain.load(kernels.host_shape(np.dtype(np.float32)).target, "test_balance", ("find",), define)


def find(parts: list[int], part: int, count: int = 0) -> tuple[int, int]:
    """Where a part begins, as an edge and in units of work."""
    table = make_words(parts)
    words = make_words([words_address(table), len(parts) // PART_WORDS, part, count])
    library().functions["find"](words_address(words), 0)
    return words[2], words[3]


def balanced(times: list[float], count: int, turns: int) -> list[int]:
    """Units of work of each thread in the end, where one unit takes each of them so long."""
    parts, number = even_parts(len(times)), len(times)
    for _ in range(turns):
        edges = [find(parts, k) for k in range(number + 1)]
        assert edges[0][0] == 0
        assert edges[-1][0] == WHOLE
        firsts = [find(parts, k, count)[1] for k in range(number + 1)]
        assert firsts == sorted(firsts)
        for k, time in enumerate(times):
            mine = firsts[k + 1] - firsts[k]
            place = k * PART_WORDS
            parts[place + WIDTH], parts[place + COUNT] = edges[k + 1][0] - edges[k][0], max(1, mine)
            parts[place + BUSY] = max(1, int(mine * time))
    return [find(parts, k + 1, count)[1] - find(parts, k, count)[1] for k in range(number)]


@pytest.mark.parametrize(
    ("times", "count", "expected"),
    [
        ([1000, 1000], 64, [32, 32]),
        ([1000, 1500], 100, [59, 41]),  # one in sixteen is divided evenly
        ([1000, 1030], 8, [4, 4]),
        ([1000, 2000, 1000, 1000], 70, [20, 10, 20, 20]),
        ([0, 0], 64, [32, 32]),  # no clock
        ([7000], 64, [64]),
    ],
)
def test_parts_follow_the_speed_of_threads(times: list[float], count: int, expected: list[int]) -> None:
    assert balanced(times, count, turns=30) == expected


def test_a_thread_that_was_kept_waiting_is_not_left_without_work() -> None:
    assert min(balanced([1000, 10**7], 64, turns=1)) >= 26
    assert min(balanced([1000, 10**7], 64, turns=100)) >= 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_before"])
@pytest.mark.parametrize("grid", [(1, 2), (2, 2), (1, 3), (1, 5)])
@pytest.mark.parametrize("separate", [False, True])
def test_same_bits_however_uneven_the_parts(
    cell: str, grid: tuple[int, int], separate: bool, monkeypatch: pytest.MonkeyPatch, nan_filled_empty: None
) -> None:
    sizes = (13, 13, 5, 150)
    monkeypatch.setattr(division, "is_separate", lambda *_: separate)
    monkeypatch.setattr(plan, "PROJECTION_ROWS", 40)
    monkeypatch.setattr(plan, "CHUNK_LEAST", 30)
    monkeypatch.setattr(plan, "CHUNK_BYTES", 1)
    monkeypatch.setattr(division, "divide", lambda *_, **__: Division(1, 1))
    expected = everything("numba", cell, sizes, num_threads=1)

    def uneven(number: int) -> list[int]:
        parts = even_parts(number)
        for k in range(number):
            # Faster and slower by turns, the more so the later.
            parts[k * PART_WORDS + BUSY] = 1000 * (k + 1) if k % 2 else 1000 // (k + 1)
        return parts

    plan.forward_plan.cache_clear()
    plan.backward_plan.cache_clear()
    monkeypatch.setattr(plan, "even_parts", uneven)
    monkeypatch.setattr(
        division, "divide", lambda threads, *_, **__: Division(*grid) if threads > 1 else Division(1, 1)
    )
    for _ in range(2):
        for value, reference in zip(everything("numba", cell, sizes, num_threads=20), expected, strict=True):
            np.testing.assert_array_equal(value, reference)


def test_a_call_begins_with_the_parts_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(division, "divide", lambda threads, *_, **__: Division(1, threads))
    rnn = Recurrent("lstm", 8, 200, backend="numba", seed=0, num_threads=2)
    x = np.zeros((21, 3, 8), np.float32)
    layer = rnn.freeze()._stack().packed[0].layer
    output, _, tape = rnn.forward(x)
    rnn.backward(tape, output)
    forward = plan.forward_plan(layer, 21, 3, 63, 3, 2).balance
    backward = plan.backward_plan(layer, 21, 3, 63, 3, 2).balance
    units = slice(0, 2 * PART_WORDS)
    for balance in (forward[units], backward[units], backward[2 * PART_WORDS :]):
        assert [balance[k + BUSY] > 1 for k in (0, PART_WORDS)] == [True, True]
        assert balance[WIDTH] + balance[PART_WORDS + WIDTH] == WHOLE
    assert forward[2 * PART_WORDS :].tolist() == even_parts(2)
    made = plan.forward_plan(layer, 21, 3, 63, 3, 2)
    _, memory = jobs._begin(made)
    assert memory[made.parts :].view(np.int64)[: len(forward)].tolist() == forward.tolist()


def test_words_that_make_no_sense_divide_all_the_same() -> None:
    parts = even_parts(3)
    for k in range(3):
        parts[k * PART_WORDS + WIDTH] = WHOLE
    for count in (1, 7, 64):
        firsts = [find(parts, k, count)[1] for k in range(4)]
        assert firsts == sorted(firsts)
        assert (firsts[0], firsts[-1]) == (0, count)


def test_parts_stay_where_nothing_was_measured() -> None:
    parts = even_parts(3)
    for k, count in enumerate((1, 2, 1)):
        parts[k * PART_WORDS + COUNT] = count
    assert [find(parts, k)[0] for k in range(4)] == [find(even_parts(3), k)[0] for k in range(4)]
    assert find(parts, 1)[0] == WHOLE // 3


@pytest.mark.parametrize(
    ("triple", "counter"), [("aarch64-unknown-linux-gnu", "CNTVCT"), ("x86_64-linux-gnu", "rdtsc")]
)
def test_the_clock_is_one_that_runs(triple: str, counter: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    definition = Definition("now", 0, returns=True, body=_cycles)
    machine = llvm.Target.from_triple(triple).create_target_machine()
    assert counter in machine.emit_assembly(llvm.parse_assembly(str(definition.emit(triple))))
