"""Barriers, exchanges in a warp, and launches that never end, in the PTX executor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ptx.errors import Deadlock, DivergentBarrier, Livelock
from ptx.snippets import program

START = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; and.b32 %r3, %r1, 31;"
SEEDS = range(3)
GRID = """.extern .func (.param .b32 result) cudaCGSynchronize (.param .b64 handle, .param .b32 flags);"""
GRID_SYNC = """{ .param .b64 given; .param .b32 flags; st.param.b64 [given], 1; st.param.b32 [flags], 0; .param .b32 done;
    call.uni (done), cudaCGSynchronize, (given, flags); }"""


def diverges(body: str, message: str, blocks: int = 1, threads: int = 64) -> None:
    kernel = program(START + body, before=GRID)
    for seed in SEEDS:
        with pytest.raises(DivergentBarrier, match=message):
            kernel.run(blocks, threads, [np.zeros(threads, np.uint32)], seed=seed)


@pytest.mark.parametrize("limit", [1, 31, 32, 63])
def test_a_barrier_that_some_threads_pass_by(limit: int) -> None:
    body = f"setp.lt.u32 %p1, %r1, {limit}; @%p1 bra END; bar.sync 0; END:"
    diverges(
        body,
        r"block 0 thread \d+: (has exited while others wait here|waits here after other threads have exited); at line \d+: .*bar\.sync",
    )
    # Other blocks have barriers of their own.
    program(START + "setp.eq.u32 %p1, %r2, 0; @%p1 bra END; bar.sync 0; END:").run(2, 64, [0])


def test_a_barrier_that_comes_after_all_others_have_exited() -> None:
    body = """setp.eq.u32 %p1, %r1, 0; @%p1 bra LAST; red.global.add.u32 [%rd1], 1; bra END;
    LAST: ld.relaxed.gpu.global.u32 %r4, [%rd1]; setp.lt.u32 %p2, %r4, 63; @%p2 bra LAST;
    mov.u32 %r5, 0; LOOP: add.u32 %r5, %r5, 1; setp.lt.u32 %p2, %r5, 1000000; @%p2 bra LOOP; bar.sync 0; END:"""
    diverges(body, "block 0 thread 0: waits here after other threads have exited")


def test_an_exit_after_all_others_have_come_to_a_barrier() -> None:
    body = """setp.ne.u32 %p1, %r1, 7; @%p1 bra MEET; mov.u32 %r5, 0;
    LOOP: add.u32 %r5, %r5, 1; setp.lt.u32 %p2, %r5, 10000000; @%p2 bra LOOP; bra END; MEET: bar.sync 0; END:"""
    diverges(body, "block 0 thread 7: has exited while others wait here")


def test_threads_at_different_barriers() -> None:
    body = "setp.lt.u32 %p1, %r1, 32; @%p1 bra LOWER; bar.sync 0; bra END; LOWER:\nbar.sync 0; END:"
    diverges(body, r"waits here while others wait at line \d+: .*; at line \d+: ")


def test_a_barrier_in_a_loop_of_different_lengths() -> None:
    body = """setp.lt.u32 %p1, %r1, 40; selp.u32 %r4, 3, 4, %p1;
    LOOP: bar.sync 0; sub.u32 %r4, %r4, 1; setp.ne.u32 %p2, %r4, 0; @%p2 bra LOOP;"""
    diverges(body, "exited")


def test_a_barrier_under_a_predicate() -> None:
    diverges("setp.ne.u32 %p1, %r1, 5; @%p1 bar.sync 0;", "exited")
    program(START + "setp.ne.u32 %p1, %r1, 64; @%p1 bar.sync 0;").run(1, 64, [0])


@pytest.mark.parametrize("missing", ["block", "thread"])
def test_a_barrier_of_the_grid_that_some_threads_pass_by(missing: str) -> None:
    condition = "%r2, 1" if missing == "block" else "%r1, 3"
    diverges(f"setp.eq.u32 %p1, {condition}; @%p1 bra END; {GRID_SYNC} END:", "exited", blocks=3)


def test_a_barrier_of_the_block_against_one_of_the_grid() -> None:
    diverges(
        f"setp.lt.u32 %p1, %r1, 32; @%p1 bra LOWER; {GRID_SYNC} bra END; LOWER:\nbar.sync 0; END:",
        "64 wait at.*64 wait for the grid",
        2,
    )


# In a warp.


def shuffled(mode: str, b: str, c: str, values: NDArray[np.uint32], mask: str = "-1") -> tuple[list[int], list[int]]:
    """Results and predicates of shfl.sync, of as many lanes as there are values."""
    body = f"""{START} mad.wide.u32 %rd2, %r1, 4, %rd1; ld.global.u32 %r4, [%rd2]; mov.u32 %r7, {b};
    shfl.sync.{mode}.b32 %r5|%p1, %r4, %r7, {c}, {mask}; selp.u32 %r6, 1, 0, %p1; st.global.u32 [%rd2], %r5;
    st.global.u32 [%rd2+{4 * len(values)}], %r6;"""
    array = np.concatenate([values, np.zeros_like(values)])
    program(body).run(1, len(values), [array], seed=1)
    return array[: len(values)].tolist(), array[len(values) :].tolist()


def sources(mode: str, b: int, width: int) -> list[int | None]:
    """The lane that each of 64 takes its value from, in groups of `width`; None where that is not in its group."""
    found: list[int | None] = []
    for lane in range(64):
        group = lane // width * width
        source = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": group + b % width}[mode]
        found.append(source if group <= source < group + width else None)
    return found


@pytest.mark.parametrize(
    ("mode", "b", "width"),
    [
        (m, b, w)
        for m in ("up", "down", "bfly", "idx")
        for b in (0, 1, 5, 16, 31)
        for w in (32, 16, 8, 1)
        if m != "bfly" or b < w
    ],
)
def test_shfl(mode: str, b: int, width: int) -> None:
    clamp = (32 - width) << 8 | (0 if mode == "up" else 31)
    values = np.random.default_rng(0).integers(0, 2**32, 64, dtype=np.uint32)
    results, inside = shuffled(mode, str(b), str(clamp), values)
    for lane, source in enumerate(sources(mode, b, width)):
        assert results[lane] == values[lane if source is None else source]
        assert inside[lane] == (source is not None)


def test_shfl_of_a_butterfly_across_groups() -> None:
    """The ISA bounds the source lane from above alone."""
    values = np.arange(32, dtype=np.uint32)
    results, inside = shuffled("bfly", "8", str((32 - 8) << 8 | 31), values)
    assert results == [lane ^ 8 if lane & 8 else lane for lane in range(32)]
    assert inside == [1 if lane & 8 else 0 for lane in range(32)]


def test_shfl_with_lanes_of_its_own_for_each() -> None:
    values = np.arange(32, dtype=np.uint32) * 7
    results, _ = shuffled("idx", "%tid.x; xor.b32 %r7, %r7, 21", "31", values)
    assert results == [7 * (lane ^ 21) for lane in range(32)]


def test_a_sum_in_a_warp_by_shfl_in_a_loop() -> None:
    body = f"""{START} cvt.rn.f32.u32 %f1, %r1; mov.u32 %r4, 16;
    LOOP: mov.b32 %r5, %f1; shfl.sync.bfly.b32 %r6, %r5, %r4, 31, 0xFFFFFFFF; mov.b32 %f2, %r6; add.f32 %f1, %f1, %f2;
    shr.u32 %r4, %r4, 1; setp.ne.u32 %p1, %r4, 0; @%p1 bra LOOP;
    mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.f32 [%rd2], %f1;"""
    array = np.zeros(96, np.float32)
    for seed in range(5):
        array[:] = 0
        program(body).run(1, 96, [array], seed=seed)
        assert array.tolist() == [sum(range(32))] * 32 + [sum(range(32, 64))] * 32 + [sum(range(64, 96))] * 32


def test_vote() -> None:
    body = f"""{START} setp.lt.u32 %p1, %r3, 5; setp.lt.u32 %p2, %r1, 32; setp.lt.u32 %p3, %r1, 64;
    vote.sync.ballot.b32 %r4, %p1, -1; vote.sync.ballot.b32 %r5, !%p1, -1; vote.sync.all.pred %p4, %p1, -1;
    vote.sync.any.pred %p5, %p1, -1; vote.sync.uni.pred %p6, %p1, -1; vote.sync.uni.pred %p7, %p2, -1; vote.sync.all.pred %p8, %p3, -1;
    selp.u32 %r6, 1, 0, %p4; selp.u32 %r7, 1, 0, %p5; selp.u32 %r8, 1, 0, %p6; selp.u32 %r9, 1, 0, %p7; selp.u32 %r10, 1, 0, %p8;
    mad.wide.u32 %rd2, %r1, 32, %rd1; st.global.v4.u32 [%rd2], {{%r4, %r5, %r6, %r7}}; st.global.v4.u32 [%rd2+16], {{%r8, %r9, %r10, 0}};"""
    array = np.zeros((64, 8), np.uint32)
    program(body).run(1, 64, [array])
    assert (array == [31, 0xFFFFFFE0, 0, 1, 0, 1, 1, 0]).all()


def test_activemask_names_at_least_the_thread_itself() -> None:
    array = np.zeros(64, np.uint32)
    program(f"{START} activemask.b32 %r4; mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.u32 [%rd2], %r4;").run(
        1, 64, [array]
    )
    assert all(value >> lane % 32 & 1 for lane, value in enumerate(array.tolist()))


@pytest.mark.parametrize(
    "exchange",
    ["shfl.sync.bfly.b32 %r4, %r1, 1, 31, {mask};", "vote.sync.any.pred %p5, %p1, {mask};", "bar.warp.sync {mask};"],
)
def test_lanes_that_do_not_arrive(exchange: str) -> None:
    full, lower = exchange.format(mask="-1"), exchange.format(mask="0xFFFF")
    some = "setp.lt.u32 %p1, %r3, 16; @!%p1 bra {}; {} {}:"
    program(START + some.format("END", lower, "END")).run(1, 64, [0])
    diverges(some.format("END", full, "END"), r"of 64 threads 32 have exited, 32 wait for lanes at line \d+")
    # They have gone elsewhere: to the same exchange at another place, or to a barrier.
    diverges(f"setp.lt.u32 %p1, %r3, 16; @%p1 bra LOWER; {full} bra END; LOWER:\n{full} END:", "wait for lanes")
    diverges(f"setp.lt.u32 %p1, %r3, 16; @%p1 bra LOWER; bar.sync 0; bra END; LOWER: {full} END:", "wait for lanes")
    diverges(
        f"setp.lt.u32 %p1, %r3, 16; selp.u32 %r5, 0xFFFF, -1, %p1; {exchange.format(mask='%r5')}", "wait for lanes"
    )


def test_masks() -> None:
    # One lane names fewer than the others, who name it.
    body = "setp.eq.u32 %p1, %r3, 3; selp.u32 %r5, 0xFFFF, -1, %p1; bar.warp.sync %r5;"
    diverges(body, "wait for lanes")
    diverges("shfl.sync.bfly.b32 %r4, %r1, 1, 31, 0xFFFF0000;", "the mask 0xffff0000 leaves out the thread itself")
    diverges("bar.warp.sync 0xFFFFFFFF;", "the mask 0xffffffff names lanes that do not exist; 8 do", threads=40)
    body = "setp.lt.u32 %p1, %r3, 16; @!%p1 bra END; shfl.sync.idx.b32 %r4, %r1, 20, 31, 0xFFFF; END:"
    diverges(body, "takes the value of lane 20, which is not in the mask")


def test_halves_of_a_warp_exchange_at_the_same_place() -> None:
    """With masks of their own; whatever half comes first."""
    body = f"""{START} setp.lt.u32 %p1, %r3, 16; selp.u32 %r4, 0xFFFF, 0xFFFF0000, %p1; mov.u32 %r8, 0;
    LOOP: shfl.sync.bfly.b32 %r5, %r1, 15, 31, %r4; add.u32 %r8, %r8, 1; setp.lt.u32 %p2, %r8, 5; @%p2 bra LOOP;
    mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.u32 [%rd2], %r5;"""
    for seed in range(5):
        array = np.zeros(64, np.uint32)
        program(body).run(1, 64, [array], seed=seed)
        assert array.tolist() == [lane ^ 15 for lane in range(64)]


# No end.


def test_a_barrier_that_an_exchange_keeps_from_ending() -> None:
    """Two warps that wait for one another by way of a barrier of the grid and one of the block."""
    body = f"setp.eq.u32 %p1, %r2, 0; @%p1 bra FIRST; {GRID_SYNC} bra END; FIRST: bar.sync 0; {GRID_SYNC} END:"
    kernel = program(START + body, before=GRID)
    # The same barrier of the grid at two places.
    for seed in SEEDS:
        with pytest.raises((DivergentBarrier, Deadlock)):
            kernel.run(2, 64, [0], seed=seed)


POLLS = {
    "ld.acquire": "POLL: ld.acquire.gpu.global.u32 %r4, [%rd1]; setp.lt.u32 %p1, %r4, {goal}; @%p1 bra POLL;",
    "ld.volatile and sleep": "POLL: nanosleep.u32 100; ld.volatile.global.u32 %r4, [%rd1]; setp.lt.u32 %p1, %r4, {goal}; @%p1 bra POLL;",
    "atom.add": "POLL: atom.global.add.u32 %r4, [%rd1], 0; setp.lt.u32 %p1, %r4, {goal}; @%p1 bra POLL;",
    "atom.cas": "POLL: atom.global.cas.b32 %r4, [%rd1], {goal}, 1000; setp.lt.u32 %p1, %r4, {goal}; @%p1 bra POLL;",
}


@pytest.mark.parametrize("poll", POLLS)
def test_threads_that_wait_for_what_nobody_does(poll: str) -> None:
    text = f"{START} red.release.gpu.global.add.u32 [%rd1], 1; {POLLS[poll]}"
    for seed in SEEDS:
        program(text.format(goal=128)).run(2, 64, [np.zeros(1, np.uint32)], seed=seed)
        with pytest.raises(Livelock, match=r"of 128 threads 0 have exited, 128 poll 128 at line \d+: (ld|atom)"):
            program(text.format(goal=129)).run(2, 64, [np.zeros(1, np.uint32)], seed=seed)


def test_some_poll_and_others_wait() -> None:
    body = f"setp.ne.u32 %p2, %r1, 0; @%p2 bra MET; {POLLS['ld.acquire'].format(goal=1)} MET: bar.sync 0;"
    with pytest.raises(Livelock, match=r"63 wait at line.*1 poll 0 at line"):
        program(START + body).run(1, 64, [np.zeros(1, np.uint32)])


def test_locks() -> None:
    """A lock that each thread takes in turn, one lane of a warp after the other."""
    body = f"""{START} TAKE: atom.acquire.gpu.global.cas.b32 %r4, [%rd1], 0, 1; setp.ne.u32 %p1, %r4, 0; @%p1 bra TAKE;
    ld.global.u32 %r5, [%rd1+4]; add.u32 %r5, %r5, 1; st.global.u32 [%rd1+4], %r5; {{}}"""
    for seed in SEEDS:
        array = np.zeros(2, np.uint32)
        program(body.format("st.release.gpu.global.u32 [%rd1], 0;")).run(2, 64, [array], seed=seed)
        assert array.tolist() == [0, 128]
    with pytest.raises(Livelock):
        program(body.format("")).run(2, 64, [np.zeros(2, np.uint32)])


def test_an_endless_loop_exceeds_its_budget() -> None:
    with pytest.raises(Livelock, match="more instructions than its budget of 100000"):
        program(f"{START} LOOP: add.u32 %r1, %r1, 1; bra LOOP;").run(1, 32, [0], budget=100_000)


# Seeds.

ORDER = f"{START} atom.global.add.u32 %r4, [%rd1], 1; mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ntid.x; mad.lo.u32 %r5, %r5, %r6, %r1;"
ORDER += "mad.wide.u32 %rd2, %r4, 4, %rd1; st.global.u32 [%rd2+4], %r5;"


def test_the_order_of_threads_depends_on_the_seed_alone() -> None:
    kernel = program(ORDER)
    orders = []
    for seed in (0, 1, 2, 3, 0, 1, 2, 3):
        array = np.zeros(257, np.uint32)
        kernel.run(4, 64, [array], seed=seed)
        assert sorted(array[1:].tolist()) == list(range(256))
        orders.append(array[1:].tolist())
    assert orders[:4] == orders[4:]
    assert len({tuple(order) for order in orders}) == 4
    assert list(range(256)) not in orders


def test_blocks_do_not_go_in_step() -> None:
    """Whichever block is first to a common counter differs from seed to seed."""
    kernel = program(ORDER)
    first = set()
    for seed in range(20):
        array = np.zeros(257, np.uint32)
        kernel.run(4, 64, [array], seed=seed)
        first.add(int(array[1]) // 64)
    assert len(first) == 4
