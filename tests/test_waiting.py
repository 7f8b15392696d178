"""Words that threads wait for: a count, and above it who sleeps."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import llvmlite.binding as llvm
import numpy as np
import pytest

from rnncore_kernels.cpu import kernels, toolchain
from rnncore_kernels.cpu.code.emitted import DEFINITIONS, compiled
from rnncore_kernels.cpu.code.ir import Definition
from rnncore_kernels.cpu.code.system import _cycles
from rnncore_kernels.cpu.code.waiting import OPEN, SLEEPER, arrive, open_barrier
from rnncore_kernels.cpu.memory import make_words, words_address


@functools.cache
def library() -> toolchain.Library:
    def define() -> Mapping[str, Definition]:
        @compiled("test_arrive")
        def one_more(word: int, _: int) -> None:
            arrive(word)

        @compiled("test_open")
        def let_go(word: int, _: int) -> None:
            open_barrier(word)

        return DEFINITIONS

    names = ("test_arrive", "test_open")
    return toolchain.load(kernels.host_shape(np.dtype(np.float32)).target, "test_waiting", names, define)


@pytest.mark.parametrize("function", ["test_arrive", "test_open"])
@pytest.mark.parametrize("sleepers", [0, 1, 2])
def test_whoever_is_about_to_sleep_sees_the_change(function: str, sleepers: int) -> None:
    """The system compares the low half of a word alone."""
    words = make_words([sleepers * SLEEPER + 7])
    for _ in range(2):
        before = words[0] & 0xFFFFFFFF
        library().functions[function](words_address(words), 0)
        assert words[0] & 0xFFFFFFFF != before
        assert words[0] // SLEEPER == sleepers
    count = words[0] % SLEEPER
    assert count == 9 + (OPEN if function == "test_open" else 0)


@pytest.mark.parametrize(
    ("triple", "counter"), [("aarch64-unknown-linux-gnu", "CNTVCT"), ("x86_64-linux-gnu", "rdtsc")]
)
def test_the_clock_is_one_that_runs(triple: str, counter: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    definition = Definition("now", 0, returns=True, body=_cycles)
    machine = llvm.Target.from_triple(triple).create_target_machine()
    assert counter in machine.emit_assembly(llvm.parse_assembly(str(definition.emit(triple))))
