"""Launches of the CUDA engine: recorded where the engine makes them, and run again with mutants of their kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import ptxengine
import pytest
from networks import make_call
from ptx.executor import BUDGET, Program
from ptx.memory import span_of
from ptxengine import CAPABILITIES, PtxDevice, as_words
from ptxmutants import with_counts, with_mutants

from rnncore.registry import MODULES
from rnncore.states import unwrap_state
from rnncore.verification.tolerances import TOLERANCES
from rnncore_kernels.contract import Array
from rnncore_kernels.cuda import compiler
from rnncore_kernels.cuda import launch as cuda_launch
from rnncore_kernels.cuda.compiler import Source
from rnncore_kernels.cuda.device import Argument, GpuLimits
from rnncore_kernels.cuda.plan import LaunchPlan, StepWork, _plans

SHARED_BYTES = [*(1 << power for power in range(12, 18)), 166_912]
"""Bytes of shared memory of a block, from small GPUs up to that of compute capability 8.0."""


@dataclass(frozen=True)
class Case:
    """A network, and how its work is divided.

    Attributes:
        resident: whether weights stay in shared memory.
        groups: blocks that share the hidden units.
        parts: warps that divide k.
        whole: whether all of k is in shared memory at a time, in all products, or in none.
        lengths: of rows; all are the steps if it is empty.
        training: with a backward pass.
    """

    resident: bool
    groups: int
    parts: int
    whole: bool
    hidden: int
    steps: int
    batch: int
    lengths: tuple[int, ...] = ()
    bidirectional: bool = False
    training: bool = True


@dataclass(frozen=True)
class Launch:
    """A launch, with its arguments as they were before it."""

    source: Source
    blocks: int
    threads: int
    shared_bytes: int
    arguments: Sequence[Argument]

    def run(self, program: Program, more: Argument, seed: int, budget: int = BUDGET) -> tuple[list[Array], int]:
        """Run a kernel that takes one argument more: all memory that it may write, and how much it executed."""
        arguments = [_copied(a) if isinstance(a, np.ndarray) else a for a in self.arguments]
        execution = program.run(
            self.blocks, self.threads, [*as_words(arguments), more], self.shared_bytes, seed, budget=budget
        )
        written = [a.base for a in arguments if isinstance(a, np.ndarray) and a.flags.writeable]
        return [a for a in written if a is not None], execution.instructions


def _copied(array: Array) -> Array:
    """A copy with the same strides; its base holds all from the lowest to the highest byte."""
    low, high, writeable = span_of(array)
    base = np.empty((high - low) // array.itemsize, array.dtype)
    ctypes.memmove(base.ctypes.data, low, high - low)
    view: Array = np.ndarray(array.shape, array.dtype, base, array.ctypes.data - low, array.strides)
    view.flags.writeable = writeable
    return view


@cache
def text_of(source: Source) -> str:
    """The kernel that ships."""
    return compiler.ptx(source, CAPABILITIES[0])


@cache
def mutated(source: Source) -> Program:
    """See `ptxmutants.with_mutants`."""
    return Program(with_mutants(text_of(source)))


@cache
def counted(source: Source) -> Program:
    """See `ptxmutants.with_counts`."""
    return Program(with_counts(text_of(source)))


class Recorder(PtxDevice):
    """A device that keeps its launches, and runs them with the kernels' text that has all mutants."""

    def __init__(self, limits: GpuLimits) -> None:
        super().__init__(limits)
        self.launches: list[Launch] = []

    def launch(
        self, source: Source, blocks: int, threads: int, shared_bytes: int, arguments: Sequence[Argument]
    ) -> None:
        before = [_copied(a) if isinstance(a, np.ndarray) else a for a in arguments]
        self.launches.append(Launch(source, blocks, threads, shared_bytes, before))
        mutated(source).run(blocks, threads, [*as_words(arguments), 0], shared_bytes)


def record(name: str, case: Case) -> list[Launch]:
    """The launches of a network, whose results are found right."""
    lengths = list(case.lengths) or None
    with _recorded(case) as launches:
        call = make_call(
            name, case.steps, case.batch, lengths=lengths,
            hidden_size=case.hidden, bidirectional=case.bidirectional, backend="ptx",
        )  # fmt: skip
        expected = call.expected()
        state = unwrap_state(call.state)
        if not case.training:
            _, last = call.rnn(call.x, state, lengths=lengths, return_sequence=False)
            _check(last[0] if isinstance(last, tuple) else last, expected.state[0], "state")
            return launches
        output, _, tape = call.rnn.forward(call.x, state, lengths=lengths)
        _check(output, expected.output, "output")
        grads = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
        _check(grads.x, expected.grad_x, "gradient")
    return launches


def _check(actual: Array, expected: Any, quantity: str) -> None:
    tolerance = TOLERANCES[actual.dtype.name, quantity] * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@contextmanager
def _recorded(case: Case) -> Iterator[list[Launch]]:
    def plan(limits: GpuLimits, work: StepWork) -> LaunchPlan:
        def is_case(plan: LaunchPlan) -> bool:
            parts = plan.warps >> plan.log_rows >> plan.log_units
            if (plan.resident, plan.unit_groups, parts) != (case.resident, case.groups, case.parts):
                return False
            k = [product.k for product in work.products]
            return plan.chunk >= max(k) if case.whole else plan.chunk < min(k)

        def preference(plan: LaunchPlan) -> tuple[float, ...]:
            """Blocks that have several slices of rows and of units, then few threads."""
            slices = -(-work.batch // (work.tile.rows << plan.log_rows)) // plan.row_groups
            several = (slices > 1) + (plan.unit_slices > 1)
            return -several, plan.blocks * plan.warps, plan.cycles

        every = [replace(limits, shared_bytes=shared) for shared in SHARED_BYTES]
        found = [plan for each in every for plan in _plans(each, work) if is_case(plan)]
        if not found:
            raise ValueError(f"{case}: expected one that is possible")
        return min(found, key=preference)

    device = Recorder(GpuLimits(CAPABILITIES[0], case.groups, max(SHARED_BYTES)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODULES, "ptx", "ptxengine")
        patch.setattr(ptxengine, "DEVICE", device)
        # For few rows, the kernels are others.
        patch.setattr(cuda_launch, "FEW_ROWS", 0)
        patch.setattr(cuda_launch, "make_plan", plan)
        yield device.launches
