"""Which accesses the PTX executor takes for ordered: scripts whose steps always come in the same order.

A relaxed counter tells the threads when it is their turn. They see one another's steps, and yet nothing orders these but
what the steps themselves do. (A fence in a step does order them: it makes a release of the counter's next change, and an
acquire of those that the thread has waited for.)
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ptx.errors import DataRace
from ptx.snippets import program

SHARED = ".extern .shared .align 16 .b8 dynamic[];"
START = """ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r1;
    add.u64 %rd2, %rd1, 64; add.u64 %rd3, %rd1, 128; add.u64 %rd4, %rd1, 192; mov.u64 %rd5, dynamic;"""
"""%rd1: data, %rd2 and %rd3: flags, %rd4: whose turn it is, %rd5: shared memory."""

Step = tuple[int | None, str]
"""Thread of the grid, or all of them out of turn; and what it does."""


def races(steps: list[Step], blocks: int = 2, threads: int = 64) -> bool:
    """Whether the steps race."""
    lines, turn = [START], 0
    for i, (thread, action) in enumerate(steps):
        if thread is None:
            lines.append(action)
            continue
        lines.append(
            f"""setp.ne.u32 %p1, %r4, {thread}; @%p1 bra SKIP{i};
            WAIT{i}: ld.relaxed.gpu.global.u32 %r5, [%rd4]; setp.lt.u32 %p2, %r5, {turn}; @%p2 bra WAIT{i};
            {action} red.relaxed.gpu.global.add.u32 [%rd4], 1; SKIP{i}:"""
        )
        turn += 1
    kernel, found = program("\n".join(lines), before=SHARED), set()
    for seed in range(3):
        try:
            kernel.run(blocks, threads, [np.zeros(64, np.uint32)], 64, seed)
        except DataRace:
            found.add(True)
        else:
            found.add(False)
    (result,) = found
    return result


LOAD, STORE = "ld.global.u32 %r9, [%rd1];", "st.global.u32 [%rd1], 1;"
STRONG_LOAD, ADD = "ld.relaxed.gpu.global.u32 %r9, [%rd1];", "red.global.add.u32 [%rd1], 1;"
OTHER_BLOCK = 64 + 5


@pytest.mark.parametrize("other", [1, 40, OTHER_BLOCK], ids=["same warp", "same block", "other block"])
def test_pairs_of_accesses(other: int) -> None:
    """A race where one writes, unless both are strong."""
    for first, second in itertools.product((LOAD, STORE, STRONG_LOAD, ADD), repeat=2):
        writes = {first, second} & {STORE, ADD}
        strong = {first, second} <= {STRONG_LOAD, ADD}
        assert races([(0, first), (other, second)]) == (bool(writes) and not strong), (first, second)
        assert not races([(0, first), (0, second)])
        if other < 64:
            assert not races([(0, first), (None, "bar.sync 0;"), (other, second)])
        if other < 32:
            assert not races([(0, first), (None, "bar.warp.sync -1;"), (other, second)])


@pytest.mark.parametrize("space", ["global", "shared"])
def test_readers_of_several_warps(space: str) -> None:
    """None of them is forgotten when another reads, or when one of them reads again."""
    load, store = LOAD, STORE
    before: list[Step] = []
    if space == "shared":
        load, store = "ld.shared.u32 %r9, [%rd5];", "st.shared.u32 [%rd5], 1;"
        before = [(0, store), (None, "bar.sync 0;")]
    for readers in ([40], [40, 1], [40, 1, 2], [1, 2, 40], [40, 1, 1, 2, 1], [1, 2, 40, 3]):
        steps = before + [(reader, load) for reader in readers]
        assert races([*steps, (0, store)], blocks=1)
        # Warp 0 has met; warp 1 has not.
        assert races([*steps, (None, "bar.warp.sync -1;"), (0, store)], blocks=1)
        assert not races([*steps, (None, "bar.sync 0;"), (0, store)], blocks=1)
    # One whose clock has gone on, for it has released something.
    steps = [*before, (40, load), (1, load), (2, "red.release.gpu.global.add.u32 [%rd3], 1;" + load)]
    assert races([*steps, (None, "bar.warp.sync -1;"), (0, store)], blocks=1)
    lanes = before + [(reader, load) for reader in (1, 2, 3)]
    assert not races([*lanes, (None, "bar.warp.sync -1;"), (0, store)], blocks=1)
    assert races([*lanes, (0, store)], blocks=1)


def test_readers_of_several_blocks() -> None:
    steps = [(64, LOAD), (0, LOAD), (128, LOAD)]
    for writer in (0, 64, 128):
        assert races([*steps, (writer, STORE)], blocks=3)
    assert not races([(64, LOAD), (64, STORE)], blocks=3)


RELEASE, ACQUIRE = "red.release.gpu.global.add.u32 [%rd2], 1;", "ld.acquire.gpu.global.u32 %r9, [%rd2];"
FENCE = "fence.acq_rel.gpu;"


@pytest.mark.parametrize("other", [1, 40, OTHER_BLOCK], ids=["same warp", "same block", "other block"])
def test_what_a_release_covers(other: int) -> None:
    assert not races([(0, STORE + RELEASE), (other, ACQUIRE + LOAD)])
    assert races([(0, RELEASE + STORE), (other, ACQUIRE + LOAD)])
    assert races([(0, STORE), (1, RELEASE), (other + 1, ACQUIRE + LOAD)])
    assert races([(0, STORE + RELEASE), (other, LOAD + ACQUIRE)])
    # One thread has acquired; that is nothing to its neighbours.
    assert races([(0, STORE + RELEASE), (other, ACQUIRE), (other + 1, LOAD)])
    # The acquire comes too early.
    assert races([(other, ACQUIRE), (0, STORE + RELEASE), (other, LOAD)])


def test_what_a_fence_covers() -> None:
    add, read = "red.global.add.u32 [%rd2], 1;", "ld.relaxed.gpu.global.u32 %r9, [%rd2];"
    assert not races([(0, STORE + FENCE + add), (64, read + FENCE + LOAD)])
    # What comes after the fence is not released by it.
    assert races([(0, FENCE + STORE + add), (64, read + FENCE + LOAD)])
    assert races([(0, STORE + FENCE + add), (64, read + LOAD + FENCE)])
    # The second fence covers what came between the two.
    assert not races([(0, FENCE + STORE + FENCE + add), (64, read + FENCE + LOAD)])
    # A fence before a barrier does not cover what others did.
    assert races([(1, STORE), (0, FENCE), (None, "bar.sync 0;"), (0, add), (64, read + FENCE + LOAD)])
    assert not races([(1, STORE), (None, "bar.sync 0;"), (0, FENCE + add), (64, read + FENCE + LOAD)])
    # But the thread's own, and a read before a barrier may be acquired by a fence after it.
    assert not races(
        [(0, STORE + FENCE), (None, "bar.sync 0;"), (0, add), (64, read), (None, "bar.sync 0;"), (64, FENCE + LOAD)]
    )


def test_a_reduction_is_no_acquire() -> None:
    add = "red.global.add.u32 [%rd2], 1;"
    assert races([(0, STORE + RELEASE), (64, add + FENCE + LOAD)])
    assert not races(
        [(0, STORE + RELEASE), (64, add.replace("red.global.add.u32", "atom.global.add.u32 %r9,") + FENCE + LOAD)]
    )


def test_flags_apart() -> None:
    """What was released with one flag is not acquired with another."""
    assert races([(0, STORE + RELEASE), (64, ACQUIRE.replace("%rd2", "%rd3") + LOAD)])
    assert not races(
        [
            (0, STORE + RELEASE),
            (1, ACQUIRE + RELEASE.replace("%rd2", "%rd3")),
            (64, ACQUIRE.replace("%rd2", "%rd3") + LOAD),
        ]
    )


def test_values_that_replace_one_another() -> None:
    """A strong write that is not atomic ends what was released before it, also by the same thread."""
    write = "st.relaxed.gpu.global.u32 [%rd2], 5;"
    assert races([(0, STORE + RELEASE), (1, write), (64, ACQUIRE + LOAD)])
    assert not races(
        [
            (0, STORE + RELEASE),
            (1, write.replace("st.relaxed.gpu.global.u32", "atom.global.exch.b32 %r9,")),
            (64, ACQUIRE + LOAD),
        ]
    )
    assert not races([(1, write), (0, STORE + RELEASE), (64, ACQUIRE + LOAD)])


def test_two_that_release_to_one() -> None:
    second = "st.global.u32 [%rd1+4], 1;"
    both = LOAD + "ld.global.u32 %r9, [%rd1+4];"
    assert not races([(0, STORE + RELEASE), (1, second + RELEASE), (64, ACQUIRE + both)])
    assert races([(0, STORE + RELEASE), (64, ACQUIRE), (1, second + RELEASE), (64, both)])


def test_half_a_warp() -> None:
    """Lanes that met without all others know of one another alone, also if one of them has acquired something."""
    half: Step = (
        None,
        "and.b32 %r8, %r1, 31; setp.lt.u32 %p3, %r8, 16; @!%p3 bra OTHERS; bar.warp.sync 0xFFFF; OTHERS:",
    )
    assert not races([(0, STORE), half, (3, LOAD)])
    assert races([(0, STORE), half, (20, LOAD)])
    assert races([(20, STORE), half, (3, LOAD)])
    assert not races([(64, STORE + RELEASE), (0, ACQUIRE), half, (3, LOAD)])
    assert races([(64, STORE + RELEASE), (0, ACQUIRE), half, (20, LOAD)])
    whole: Step = (None, "bar.warp.sync -1;")
    assert not races([(64, STORE + RELEASE), (0, ACQUIRE), whole, (20, LOAD)])
    assert races([(64, STORE + RELEASE), (0, ACQUIRE), whole, (40, LOAD)])
    assert not races([(64, STORE), whole, (65, RELEASE), (0, ACQUIRE + LOAD)])
    assert races([(64, STORE), (65, RELEASE), (0, ACQUIRE + LOAD)])
