"""Data races that the PTX executor must find, and synchronisation in which it must find none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ptx.errors import DataRace, ReadOnly
from ptx.snippets import program

SHARED = ".extern .shared .align 16 .b8 dynamic[];"
SEEDS = range(4)

INDICES = """ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u64 %rd2, dynamic;
    mad.wide.u32 %rd3, %r1, 4, %rd2; xor.b32 %r4, %r1, 1; mad.wide.u32 %rd4, %r4, 4, %rd2; sub.u32 %r5, %r3, 1;
    sub.u32 %r5, %r5, %r1; mad.wide.u32 %rd5, %r5, 4, %rd2; setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r2, 0;
    and.b32 %r6, %r1, 31; setp.eq.u32 %p3, %r6, 0;"""
"""%rd3: the thread's own cell of shared memory; %rd4: that of the neighbour in the warp; %rd5: that of the thread opposite.
%p1: first of its block, %p2: in block 0, %p3: first of its warp."""


def outcomes(body: str, blocks: int = 1, threads: int = 64, words: int = 64) -> set[bool]:
    """Whether a body is found to race, for each of some seeds."""
    kernel = program(INDICES + body, before=SHARED)
    found = []
    for seed in SEEDS:
        try:
            kernel.run(blocks, threads, [np.zeros(words, np.uint32)], 1024, seed)
        except DataRace:
            found.append(True)
        else:
            found.append(False)
    return set(found)


def races(body: str, blocks: int = 1, threads: int = 64, words: int = 64) -> bool:
    """`outcomes` that do not depend on the seed."""
    (found,) = outcomes(body, blocks, threads, words)
    return found


# In a block.


@pytest.mark.parametrize(
    ("between", "opposite", "racy"),
    [
        ("bar.sync 0;", True, False),
        ("barrier.sync 0;", True, False),
        ("bar.sync 3;", True, False),
        ("", True, True),
        ("", False, True),
        ("bar.warp.sync 0xFFFFFFFF;", False, False),
        ("bar.warp.sync 0xFFFFFFFF;", True, True),
        ("fence.acq_rel.gpu;", True, True),
        ("membar.gl;", False, True),
        ("shfl.sync.bfly.b32 %r7, %r1, 1, 31, 0xFFFFFFFF;", False, True),
        ("vote.sync.any.pred %p4, %p1, 0xFFFFFFFF;", False, True),
    ],
)
def test_a_write_and_a_read_by_another_thread(between: str, opposite: bool, racy: bool) -> None:
    other = "%rd5" if opposite else "%rd4"
    # The executor may come to a cell before it is written: then there is no race yet, but an uninitialised read.
    filled = "st.shared.u32 [%rd3], 0; bar.sync 0;"
    assert races(f"{filled} st.shared.u32 [%rd3], %r1; {between} ld.shared.u32 %r8, [{other}];") == racy


@pytest.mark.parametrize(("between", "racy"), [("bar.sync 0;", False), ("", True), ("bar.warp.sync -1;", True)])
def test_a_read_and_a_write_by_another_thread(between: str, racy: bool) -> None:
    filled = "st.shared.u32 [%rd3], 0; bar.sync 0;"
    assert races(f"{filled} ld.shared.u32 %r8, [%rd5]; {between} st.shared.u32 [%rd3], %r1;") == racy


@pytest.mark.parametrize("readers", ["%p1", "%p3", "!%p1"])
@pytest.mark.parametrize(("between", "racy"), [("bar.sync 0;", False), ("", True)])
def test_a_write_after_reads_by_one_or_several_threads(readers: str, between: str, racy: bool) -> None:
    """By thread 63, of what one thread, one of each warp, or all but one have read."""
    body = f"""@%p1 st.shared.u32 [%rd2], 0; bar.sync 0; @{readers} ld.shared.u32 %r8, [%rd2]; {between}
    setp.eq.u32 %p4, %r1, 63; @%p4 st.shared.u32 [%rd2], 1;"""
    assert races(body) == racy


def test_writes_of_the_same_value() -> None:
    assert races("st.shared.u32 [%rd2], 1;")
    assert races("st.global.u32 [%rd1], 1;")
    assert not races("@%p1 st.shared.u32 [%rd2], 1;")
    assert not races("@%p1 st.shared.u32 [%rd2], 1; bar.sync 0; @!%p1 bra END; st.shared.u32 [%rd2], 1; END:")


def test_reads_do_not_race() -> None:
    assert not races("ld.global.u32 %r8, [%rd1]; ld.global.u32 %r9, [%rd1+4];", blocks=4)


def test_a_vector_meets_a_write_to_one_of_its_words() -> None:
    body = "@%p1 st.global.u32 [%rd1+12], 1; {} ld.global.v4.u32 {{%r7, %r8, %r9, %r10}}, [%rd1];"
    assert races(body.format(""))
    assert not races(body.format("bar.sync 0;"))
    body = "@%p1 st.global.u32 [%rd1+12], 1; {} @!%p1 ld.global.v2.u32 {{%r7, %r8}}, [%rd1];"
    assert not races(body.format(""))


def test_bytes_of_a_word() -> None:
    """Threads may write neighbouring bytes; not the same."""
    own = (
        "add.u64 %rd6, %rd2, {}; cvt.u64.u32 %rd7, %r1; add.u64 %rd6, %rd6, %rd7; st.shared.u8 [%rd6], %r1; bar.sync 0;"
    )
    assert not races(own.format(0))
    assert races("and.b32 %r7, %r1, 31;" + own.format(0).replace("%rd7, %r1", "%rd7, %r7"))


@pytest.mark.parametrize("left_out", [None, 0, 1, 2, 3])
def test_a_reduction_needs_each_of_its_barriers(left_out: int | None) -> None:
    """A sum over 64 threads in shared memory, and the array used again."""
    barriers = ["" if i == left_out else "bar.sync 0;" for i in range(4)]
    steps = [
        f"""{barrier} setp.lt.u32 %p4, %r1, {half}; @!%p4 bra SKIP{half}; ld.shared.u32 %r7, [%rd3];
        ld.shared.u32 %r8, [%rd3+{4 * half}]; add.u32 %r7, %r7, %r8; st.shared.u32 [%rd3], %r7; SKIP{half}:"""
        for barrier, half in zip(barriers, (32, 16), strict=False)
    ]
    body = f"""st.shared.u32 [%rd3], 0; bar.sync 0; st.shared.u32 [%rd3], %r1; {"".join(steps)} {barriers[2]}
    ld.shared.u32 %r9, [%rd2]; {barriers[3]} st.shared.u32 [%rd3], %r9;"""
    assert races(body) == (left_out is not None)


def test_barriers_of_a_part_of_a_warp() -> None:
    """Lanes 0 to 15 meet, then use one another's cells; then those of lanes 16 to 31, which they did not meet."""
    body = """st.shared.u32 [%rd3], 0; bar.sync 0; setp.lt.u32 %p4, %r6, 16; @!%p4 bra UPPER; st.shared.u32 [%rd3], 1;
    bar.warp.sync 0xFFFF; ld.shared.u32 %r8, [%rd4]; {} bra END; UPPER: st.shared.u32 [%rd3], 2; bar.warp.sync 0xFFFF0000;
    ld.shared.u32 %r8, [%rd4]; END:"""
    assert not races(body.format(""))
    assert races(body.format("xor.b32 %r9, %r1, 16; mad.wide.u32 %rd6, %r9, 4, %rd2; ld.shared.u32 %r8, [%rd6];"))


# Between blocks: block 0 writes, tells block 1, which reads.

RELEASES = {
    "st.release": "st.release.gpu.global.u32 [%rd8], 1;",
    "red.release": "red.release.gpu.global.add.u32 [%rd8], 1;",
    "atom.release": "atom.release.sys.global.add.u32 %r9, [%rd8], 1;",
    "atom.acq_rel": "atom.acq_rel.gpu.global.exch.b32 %r9, [%rd8], 1;",
    "generic": "red.release.gpu.add.u32 [%rd8], 1;",
    "fence, st.relaxed": "fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%rd8], 1;",
    "fence, red": "fence.sc.gpu; red.global.add.u32 [%rd8], 1;",
    "membar, st.volatile": "membar.gl; st.volatile.global.u32 [%rd8], 1;",
    "membar, cas": "membar.sys; atom.global.cas.b32 %r9, [%rd8], 0, 1;",
}
ACQUIRES = {
    "ld.acquire": "POLL: ld.acquire.gpu.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "atom.acquire": "POLL: atom.acquire.gpu.global.or.b32 %r8, [%rd8], 0; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "ld.relaxed, fence": "POLL: ld.relaxed.sys.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL; fence.acq_rel.gpu;",
    "ld.volatile, membar": "POLL: ld.volatile.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL; membar.gl;",
    "atom, fence": "POLL: atom.global.add.u32 %r8, [%rd8], 0; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL; fence.sc.sys;",
    "fence in the loop": "POLL: ld.relaxed.gpu.u32 %r8, [%rd8]; nanosleep.u32 20; fence.acq_rel.gpu; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
}
NO_RELEASES = {
    "st.relaxed": "st.relaxed.gpu.global.u32 [%rd8], 1;",
    "st.volatile": "st.volatile.global.u32 [%rd8], 1;",
    "red": "red.global.add.u32 [%rd8], 1;",
    "atom.acquire": "atom.acquire.gpu.global.add.u32 %r9, [%rd8], 1;",
    "red, fence": "red.global.add.u32 [%rd8], 1; fence.acq_rel.gpu;",
    "st": "st.global.u32 [%rd8], 1;",
    "fence, st": "fence.acq_rel.gpu; st.global.u32 [%rd8], 1;",
}
NO_ACQUIRES = {
    "ld.relaxed": "POLL: ld.relaxed.gpu.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "ld.volatile": "POLL: ld.volatile.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "atom": "POLL: atom.global.add.u32 %r8, [%rd8], 0; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "atom.release": "POLL: atom.release.gpu.global.add.u32 %r8, [%rd8], 0; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "fence, ld.relaxed": "fence.acq_rel.gpu; POLL: ld.relaxed.gpu.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
    "ld": "POLL: ld.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra POLL;",
}


def message(release: str, acquire: str, before: str = "bar.sync 0;", after: str = "bar.sync 0;") -> str:
    """Each thread of block 0 writes a word, thread 0 tells; thread 0 of block 1 waits, each of its threads reads a word."""
    return f"""mad.wide.u32 %rd6, %r1, 4, %rd1; mad.wide.u32 %rd7, %r5, 4, %rd1; add.u64 %rd8, %rd1, 256; @!%p2 bra READ;
    st.global.u32 [%rd6], %r1; {before} @!%p1 bra END; {release} bra END;
    READ: @!%p1 bra WAIT; {acquire} WAIT: {after} ld.global.u32 %r8, [%rd7]; END:"""


@pytest.mark.parametrize("acquire", ACQUIRES)
@pytest.mark.parametrize("release", RELEASES)
def test_release_and_acquire(release: str, acquire: str) -> None:
    assert not races(message(RELEASES[release], ACQUIRES[acquire]), blocks=2, words=65)


@pytest.mark.parametrize("release", NO_RELEASES)
def test_what_does_not_release(release: str) -> None:
    assert races(message(NO_RELEASES[release], ACQUIRES["ld.acquire"]), blocks=2, words=65)


@pytest.mark.parametrize("acquire", NO_ACQUIRES)
def test_what_does_not_acquire(acquire: str) -> None:
    assert races(message(RELEASES["red.release"], NO_ACQUIRES[acquire]), blocks=2, words=65)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "bar.sync 0;"),
        ("bar.sync 0;", ""),
        ("bar.warp.sync -1;", "bar.sync 0;"),
        ("bar.sync 0;", "bar.warp.sync -1;"),
    ],
)
def test_the_barriers_around_a_message(before: str, after: str) -> None:
    for release, acquire in itertools.product(("red.release", "membar, st.volatile"), ("ld.acquire", "atom, fence")):
        assert races(message(RELEASES[release], ACQUIRES[acquire], before, after), blocks=2, words=65)


def test_a_fence_of_each_thread_before_the_barrier_is_not_one_of_the_thread_that_tells() -> None:
    before = "fence.acq_rel.gpu; bar.sync 0;"
    assert races(message("red.global.add.u32 [%rd8], 1;", ACQUIRES["ld.acquire"], before), blocks=2, words=65)


def test_a_message_of_one_thread_about_its_own_write_needs_no_barrier() -> None:
    body = f"""add.u64 %rd8, %rd1, 256; @!%p1 bra END; @!%p2 bra READ; st.global.u32 [%rd1], 1; {{}} bra END;
    READ: {ACQUIRES["ld.acquire"]} ld.global.u32 %r8, [%rd1]; END:"""
    assert not races(body.format(RELEASES["red.release"]), blocks=2, words=65)
    # What it writes after it has told is another matter.
    assert races(body.format(RELEASES["red.release"] + "st.global.u32 [%rd1], 2;"), blocks=2, words=65)


CHAIN = """add.u64 %rd8, %rd1, 256; @!%p1 bra END; setp.eq.u32 %p5, %r2, 1; @%p5 bra SECOND; @!%p2 bra THIRD;
    st.global.u32 [%rd1], 1; red.release.gpu.global.add.u32 [%rd8], 1; bra END;
    SECOND: ld.relaxed.gpu.global.u32 %r8, [%rd8]; setp.lt.u32 %p4, %r8, 1; @%p4 bra SECOND; st.global.u32 [%rd1+4], 1; {} bra END;
    THIRD: ld.acquire.gpu.global.u32 %r8, [%rd8]; setp.lt.u32 %p4, %r8, 2; @%p4 bra THIRD; ld.global.u32 %r9, [%rd1+{}]; END:"""


def test_atomic_operations_carry_on_what_was_released() -> None:
    """Block 1 counts on without releasing: block 2 knows what block 0 wrote, not what block 1 wrote."""
    assert not races(CHAIN.format("red.global.add.u32 [%rd8], 1;", 0), blocks=3, words=65)
    assert races(CHAIN.format("red.global.add.u32 [%rd8], 1;", 4), blocks=3, words=65)
    assert not races(CHAIN.format("red.release.gpu.global.add.u32 [%rd8], 1;", 4), blocks=3, words=65)
    # A strong write that is not atomic ends it; block 2 then knows what block 0 wrote only if it polled before that.
    assert True in outcomes(CHAIN.format("st.relaxed.gpu.global.u32 [%rd8], 2;", 0), blocks=3, words=65)


def test_messages_are_passed_on() -> None:
    """Block 1 learns from block 0 and tells block 2, which reads what block 0 wrote."""
    body = """add.u64 %rd8, %rd1, 256; add.u64 %rd9, %rd1, 260; setp.eq.u32 %p5, %r2, 1; @%p5 bra SECOND; @!%p2 bra THIRD;
    mad.wide.u32 %rd6, %r1, 4, %rd1; st.global.u32 [%rd6], 1; bar.sync 0; @%p1 red.release.gpu.global.add.u32 [%rd8], 1; bra END;
    SECOND: @!%p1 bra MET; A: ld.acquire.gpu.global.u32 %r8, [%rd8]; setp.eq.u32 %p4, %r8, 0; @%p4 bra A; MET: {}
    setp.eq.u32 %p6, %r1, 40; @%p6 red.release.gpu.global.add.u32 [%rd9], 1; bra END;
    THIRD: @!%p1 bra MET3; B: ld.acquire.gpu.global.u32 %r8, [%rd9]; setp.eq.u32 %p4, %r8, 0; @%p4 bra B; MET3: bar.sync 0;
    mad.wide.u32 %rd7, %r5, 4, %rd1; ld.global.u32 %r9, [%rd7]; END:"""
    assert not races(body.format("bar.sync 0;"), blocks=3, words=66)
    # Thread 40 tells what thread 0 knows, but has not met it.
    assert races(body.format(""), blocks=3, words=66)


def test_atomic_operations_and_plain_accesses() -> None:
    add = "red.global.add.u32 [%rd1], 1;"
    assert not races(add * 3, blocks=4)
    assert not races(f"{add} bar.sync 0; ld.global.u32 %r8, [%rd1];")
    assert races(f"{add} ld.global.u32 %r8, [%rd1];")
    assert races(f"{add} bar.sync 0; ld.global.u32 %r8, [%rd1];", blocks=2)
    assert races(f"@%p1 st.global.u32 [%rd1], 0; {add}")
    assert not races(f"@%p1 st.global.u32 [%rd1], 0; bar.sync 0; {add} bar.sync 0; @%p1 st.global.u32 [%rd1], 0;")
    assert races(f"{add} @%p1 st.global.u32 [%rd1], 0;")
    assert races("ld.relaxed.gpu.global.u32 %r8, [%rd1]; @%p1 st.global.u32 [%rd1], 0;")
    assert not races("ld.relaxed.gpu.global.u32 %r8, [%rd1]; bar.sync 0; @%p1 st.global.u32 [%rd1], 0;")
    assert not races("ld.relaxed.gpu.global.u32 %r8, [%rd1]; ld.global.u32 %r9, [%rd1];")


def test_flags_in_shared_memory() -> None:
    """Thread 32 tells thread 0, in its own block: by any scope."""
    for scope in ("cta", "gpu"):
        body = f"""@%p1 st.shared.u32 [%rd2], 0; bar.sync 0; setp.eq.u32 %p4, %r1, 32; @%p1 bra WAIT; @!%p4 bra END;
        st.shared.u32 [%rd2+4], 1; {{}}.{scope}.shared.u32 [%rd2], 1; bra END;
        WAIT: ld.acquire.{scope}.shared.u32 %r8, [%rd2]; setp.eq.u32 %p4, %r8, 0; @%p4 bra WAIT; ld.shared.u32 %r9, [%rd2+4]; END:"""
        assert not races(body.format("st.release"))
        assert races(body.format("st.relaxed"))


@pytest.mark.parametrize("store", ["st.global.u32 [%rd1], 1;", "red.global.add.u32 [%rd1], 1;"])
@pytest.mark.parametrize("first", ["load", "store"])
def test_non_coherent_loads_of_what_is_written(first: str, store: str) -> None:
    """Are errors even by one thread."""
    load = "ld.global.nc.u32 %r8, [%rd1];"
    kernel = program(f"{INDICES} {load if first == 'load' else ''} {store} {load}", before=SHARED)
    with pytest.raises(ReadOnly, match="written in this launch and read by a non-coherent load"):
        kernel.run(1, 1, [np.zeros(1, np.uint32)], 64)
    beside = program(f"{INDICES} {load} @%p1 st.global.u32 [%rd1+4], 1; {load}", before=SHARED)
    beside.run(1, 32, [np.zeros(2, np.uint32)], 64)
