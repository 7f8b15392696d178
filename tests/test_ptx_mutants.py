"""One instruction of a CUDA kernel changed, a barrier left out, an address shifted: the executor or the values tell.

A selection runs; all mutants run with `pytest --all-mutants tests/test_ptx_mutants.py`, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
from conftest import Array
from ptx.errors import ExecutionError
from ptxlaunches import Case, Launch, counted, mutated, record, text_of
from ptxmutants import SYNCHRONISATION, Mutant, mutants

from rnncore.verification.tolerances import TOLERANCES
from rnncore_kernels.cuda.compiler import Source

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

SEEDS = (1, 2, 3)
RAGGED = (3, 0, 2, 3, 1, 3, 2, 3, 3)
SMALL = [
    Case(resident=True, groups=2, parts=2, whole=True, hidden=38, steps=3, batch=9),
    Case(False, 2, 2, False, 38, 3, 9, RAGGED, bidirectional=True),
    # With one slice of rows and all of k, what the last slice of units wrote is read at once.
    Case(True, 1, 2, True, 38, 3, 5, RAGGED[:5], bidirectional=True, training=False),
    Case(False, 1, 1, True, 38, 3, 5, (3, 3, 2, 1, 0)),
]
ALL = [
    *SMALL,
    Case(True, 2, 2, True, 38, 3, 9, training=False),
    # Loops that were unrolled go several ways through k.
    *(Case(False, 2, 8, True, hidden, 1, 4, lengths) for hidden in (164, 340, 404) for lengths in ((), (1, 0, 1, 1))),
]


class Trial:
    """Finds out what becomes of the mutants of a kernel in some launches."""

    def __init__(self, launches: Iterable[Launch]) -> None:
        self._launches = sorted(
            ((launch, *launch.run(mutated(launch.source), 0, 0)) for launch in launches), key=lambda one: one[2]
        )
        self._counts = [self._count(launch) for launch, _, _ in self._launches]

    @staticmethod
    def _count(launch: Launch) -> Array:
        counts = np.zeros(mutants(text_of(launch.source))[-1].site + 1, np.uint32)
        launch.run(counted(launch.source), counts, 0)
        return counts

    def is_executed(self, mutant: Mutant) -> bool:
        """Whether any launch gets there."""
        return any(counts[mutant.site] for counts in self._counts)

    def catch(self, mutant: Mutant) -> str:
        """How it was found out; empty if it was not."""
        for (launch, expected, instructions), counts in zip(self._launches, self._counts, strict=True):
            for seed in SEEDS if counts[mutant.site] else ():
                try:
                    actual, _ = launch.run(mutated(launch.source), mutant.number, seed, budget=10 * instructions)
                except ExecutionError as error:
                    return type(error).__name__
                if not all(map(_agree, actual, expected)):
                    return "other values"
        return ""


def _agree(actual: Array, expected: Array) -> bool:
    if expected.dtype.kind != "f":
        return bool(np.array_equal(actual, expected))
    tolerance = min(bound for (dtype, _), bound in TOLERANCES.items() if dtype == expected.dtype.name)
    scale = max(1.0, float(np.nanmax(np.abs(expected), initial=0)))
    return bool(np.allclose(actual, expected, rtol=0, atol=tolerance * scale, equal_nan=True))


@cache
def trials(name: str, every: bool) -> dict[str, tuple[Source, Trial]]:
    """By kernel."""
    launches = [launch for case in (ALL if every else SMALL) for launch in record(name, case)]
    sources = {launch.source for launch in launches}
    return {s.name: (s, Trial(launch for launch in launches if launch.source is s)) for s in sources}


@pytest.mark.parametrize("kernel", ["rnncore_forward", "rnncore_backward"])
def test_mutants_are_caught(kernel: str) -> None:
    """All of synchronisation, and some of the others."""
    source, trial = trials("lstm", False)[kernel]
    executed = [m for m in mutants(text_of(source)) if trial.is_executed(m)]
    of_synchronisation = [m for m in executed if m.kind in SYNCHRONISATION]
    others = [m for m in executed if m.kind not in SYNCHRONISATION]
    assert {m.kind for m in of_synchronisation} == SYNCHRONISATION
    chosen = of_synchronisation + others[:: len(others) // 15]
    assert [str(m) for m in chosen if not trial.catch(m)] == []


@pytest.mark.parametrize("kernel", ["rnncore_forward", "rnncore_backward"])
@pytest.mark.parametrize("name", ["lstm", "gru_candidate_before"])
def test_all_mutants_are_caught(
    name: str, kernel: str, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    if not pytestconfig.getoption("--all-mutants"):
        pytest.skip("takes minutes: --all-mutants")
    source, trial = trials(name, True)[kernel]
    total, dead, caught, ways = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    survivors = []
    for mutant in mutants(text_of(source)):
        total[mutant.kind] += 1
        if not trial.is_executed(mutant):
            dead[mutant.kind] += 1
        elif way := trial.catch(mutant):
            caught[mutant.kind] += 1
            ways[way] += 1
        else:
            survivors.append(str(mutant))
    with capsys.disabled():
        print(f"\n{name} {kernel}: mutants, caught, not executed, survivors")
        for kind, count in total.items():
            print(f"  {kind:24}{count:4}{caught[kind]:5}{dead[kind]:5}{count - caught[kind] - dead[kind]:5}")
        print(f"  {'all':24}{total.total():4}{caught.total():5}{dead.total():5}{len(survivors):5}")
        print("  caught by", ", ".join(f"{way} {count}" for way, count in ways.most_common()))
    assert survivors == []
    # The warps that divide k are a power of two: loops over them, unrolled by 4, never have three turns left.
    assert set(dead) <= {"shared load shifted"}
    assert dead.total() <= total.total() // 50
