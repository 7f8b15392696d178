"""Memory of the PTX executor: loads, stores, and accesses that no kernel may make."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.errors import (
    Misaligned,
    OutOfBounds,
    ReadOnly,
    Uninitialised,
    UnsupportedInstruction,
)
from ptx.memory import empty
from ptx.runtime.layout import POISON
from ptx.snippets import program

ADDRESS = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; "
SHARED = ".extern .shared .align 16 .b8 dynamic[];"


def load_at(offset: str, instruction: str = "ld.global.f32 %f1") -> str:
    return f"{ADDRESS} {instruction}, [%rd1+{offset}]; st.global.f32 [%rd1], %f1;"


@pytest.mark.parametrize("offset", ["-4", "40", "1000000", "-1000000"])
def test_loads_out_of_bounds(offset: str) -> None:
    with pytest.raises(OutOfBounds, match=r"kernel k: block 0 thread 0: 4 bytes at .*; at line \d+: .*ld\.global\.f32"):
        program(load_at(offset)).run(1, 1, [np.zeros(10, np.float32)])


@pytest.mark.parametrize("offset", ["-4", "40", "36"])
def test_stores_out_of_bounds(offset: str) -> None:
    kernel = program(f"{ADDRESS} st.global.v2.f32 [%rd1+{offset}], {{0f00000000, 0f00000000}};")
    with pytest.raises((OutOfBounds, Misaligned)):
        kernel.run(1, 1, [np.zeros(10, np.float32)])


def test_null() -> None:
    with pytest.raises(OutOfBounds, match="0x0"):
        program("mov.u64 %rd1, 0; ld.global.f32 %f1, [%rd1];").run(1, 1, [0])
    with pytest.raises(OutOfBounds):
        program("mov.u64 %rd1, 0; ld.f32 %f1, [%rd1];").run(1, 1, [0])


def test_a_view_with_strides_is_accessible_from_its_lowest_to_its_highest_byte() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    kernel = program(f"{ADDRESS} ld.global.f32 %f1, [%rd1+-48]; st.global.f32 [%rd1], %f1;")
    # From row 3 back to row 1, columns 1 and 3.
    view = array[3:0:-1, 1:4:2]
    kernel.run(1, 1, [view])
    assert array[3, 1] == 7
    for offset in (-52, 12):
        with pytest.raises(OutOfBounds):
            program(f"{ADDRESS} ld.global.f32 %f1, [%rd1+{offset}];").run(1, 1, [view])


def test_arrays_of_the_same_memory() -> None:
    array = np.zeros(8, np.float32)
    body = "ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; st.global.f32 [%rd2+12], 0f3F800000; ld.global.f32 %f1, [%rd1+20];"
    body += "st.global.f32 [%rd1], %f1;"
    program(body, ".param .u64 a, .param .u64 b").run(1, 1, [array[:6], array[2:]])
    assert array[0] == 1


@pytest.mark.parametrize(
    ("instruction", "offset"), [("v4.f32 {%f1, %f2, %f3, %f4}", 8), ("v2.f32 {%f1, %f2}", 4), ("f64 %fd1", 4)]
)
def test_misaligned(instruction: str, offset: int) -> None:
    array = np.zeros(16, np.float64).view(np.float32)
    kernel = program(f"{ADDRESS} ld.global.{instruction}, [%rd1+{offset}];")
    # An array's memory may begin at any multiple of 16 bytes.
    assert array.ctypes.data % 16 == 0
    with pytest.raises(Misaligned, match="not a multiple of their size"):
        kernel.run(1, 1, [array])


def test_misaligned_in_shared_memory() -> None:
    with pytest.raises(Misaligned):
        program("mov.u64 %rd1, dynamic; st.shared.f64 [%rd1+4], 0d0000000000000000;", before=SHARED).run(1, 1, [0], 64)


def test_read_only() -> None:
    array = np.ones(4, np.float32)
    array.flags.writeable = False
    program(f"{ADDRESS} ld.global.f32 %f1, [%rd1];").run(1, 1, [array])
    for store in (
        "st.global.f32 [%rd1], 0f00000000;",
        "red.global.add.f32 [%rd1], 0f3F800000;",
        "st.f32 [%rd1], 0f00000000;",
    ):
        with pytest.raises(ReadOnly, match=r"argument 0 \+ 0 bytes, in an array that is not writeable"):
            program(f"{ADDRESS} {store}").run(1, 1, [array])


@pytest.mark.parametrize("offset", [0, 4, 12])
@pytest.mark.parametrize("size", [16, 64])
def test_bounds_of_shared_memory(size: int, offset: int) -> None:
    """Static and dynamic memory together; a write of 4 bytes, then one past the end."""
    static = ".shared .align 4 .b8 fixed[16];"
    body = f"mov.u64 %rd1, {{}}; st.shared.u32 [%rd1+{offset}], 1;"
    program(body.format("fixed"), before=static).run(1, 1, [0])
    program(body.format("dynamic"), before=static + SHARED).run(1, 1, [0], size)
    with pytest.raises(OutOfBounds, match=r"shared memory \+ 16 bytes of 16"):
        program("mov.u64 %rd1, fixed; st.shared.u32 [%rd1+16], 1;", before=static).run(1, 1, [0])
    beyond = f"mov.u64 %rd1, fixed; mov.u64 %rd2, dynamic; st.shared.u32 [%rd1], 1; st.shared.u32 [%rd2+{size}], 1;"
    with pytest.raises(OutOfBounds):
        program(beyond, before=static + SHARED).run(1, 1, [0], size)


def test_shared_memory_of_a_block_is_its_own() -> None:
    body = f"""{ADDRESS}
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r1;
    mov.u32 %r5, dynamic; mad.lo.u32 %r6, %r1, 4, %r5; st.shared.u32 [%r6], %r4;
    bar.sync 0;
    sub.u32 %r7, %r3, 1; sub.u32 %r7, %r7, %r1; mad.lo.u32 %r6, %r7, 4, %r5; ld.shared.u32 %r8, [%r6];
    mad.wide.u32 %rd2, %r4, 4, %rd1; st.global.u32 [%rd2], %r8;"""
    array = np.zeros((3, 64), np.uint32)
    program(body, before=SHARED).run(3, 64, [array], 256, seed=5)
    np.testing.assert_array_equal(array, np.arange(192).reshape(3, 64)[:, ::-1])


def test_generic_addresses() -> None:
    """The same instructions read shared, local and global memory."""
    body = f"""{ADDRESS}
    .local .align 8 .b8 own[16];
    mov.u64 %rd2, dynamic; cvta.shared.u64 %rd3, %rd2;
    mov.u64 %rd4, own; cvta.local.u64 %rd5, %rd4;
    st.u32 [%rd3], 5; st.u32 [%rd5+4], 6;
    ld.u32 %r2, [%rd3]; ld.shared.u32 %r3, [%rd2]; ld.u32 %r4, [%rd5+4]; ld.local.u32 %r5, [%rd4+4];
    cvta.to.shared.u64 %rd6, %rd3; sub.u64 %rd6, %rd6, %rd2; cvt.u32.u64 %r6, %rd6;
    isspacep.shared %p1, %rd3; isspacep.local %p2, %rd5; isspacep.global %p3, %rd1; isspacep.global %p4, %rd3;
    selp.u32 %r7, 1, 0, %p1; selp.u32 %r8, 1, 0, %p2; selp.u32 %r9, 1, 0, %p3; selp.u32 %r10, 1, 0, %p4;
    st.v4.u32 [%rd1], {{%r2, %r3, %r4, %r5}}; st.v4.u32 [%rd1+16], {{%r6, %r7, %r8, %r9}}; st.u32 [%rd1+32], %r10;"""
    array = np.zeros(10, np.uint32)
    program(body, before=SHARED).run(1, 1, [array], 16)
    assert array.tolist() == [5, 5, 6, 6, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("space", ["global", "shared"])
def test_vectors_and_narrow_values(space: str) -> None:
    body = f"""{ADDRESS}
    mov.u64 %rd2, dynamic; mov.u64 %rd3, {"%rd1" if space == "global" else "%rd2"};
    st.{space}.v4.u32 [%rd3+16], {{1, 2, 3, -4}}; ld.{space}.v4.b32 {{%r2, %r3, _, %r4}}, [%rd3+16];
    st.{space}.v2.f64 [%rd3+32], {{0d3FF0000000000000, 0d4000000000000000}}; ld.{space}.v2.f64 {{%fd1, %fd2}}, [%rd3+32];
    st.{space}.u8 [%rd3+48], 200; st.{space}.u16 [%rd3+50], 50000; st.{space}.u8 [%rd3+49], 7;
    ld.{space}.u8 %r5, [%rd3+48]; ld.{space}.s8 %r6, [%rd3+48]; ld.{space}.s16 %r7, [%rd3+50]; ld.{space}.u8 %h1, [%rd3+49];
    cvt.u32.u16 %r8, %h1; add.f64 %fd1, %fd1, %fd2; cvt.rzi.s32.f64 %r9, %fd1;
    st.global.v4.u32 [%rd1+64], {{%r2, %r3, %r4, %r5}}; st.global.v4.u32 [%rd1+80], {{%r6, %r7, %r8, %r9}};"""
    array = np.zeros(64, np.int32)
    program(body, before=SHARED).run(1, 1, [array], 64)
    assert array[16:24].tolist() == [1, 2, -4, 200, -56, 50000 - 65536, 7, 3]


def test_hints_for_caches() -> None:
    body = f"""{ADDRESS} ld.global.cg.u32 %r2, [%rd1]; ld.global.L1::no_allocate.L2::128B.v2.u32 {{%r3, %r4}}, [%rd1];
    st.global.wb.u32 [%rd1+8], %r2; st.global.cs.u32 [%rd1+12], %r4; ld.weak.global.u32 %r5, [%rd1]; ld.global.nc.u32 %r6, [%rd1];"""
    array = np.array([3, 4, 0, 0], np.uint32)
    program(body).run(1, 1, [array])
    assert array.tolist() == [3, 4, 3, 4]


# What nobody has written.


def test_shared_memory_that_is_not_initialised() -> None:
    body = "mov.u64 %rd1, dynamic; {} ld.shared.v2.u32 {{%r1, %r2}}, [%rd1+8];"
    program(body.format("st.shared.u32 [%rd1+8], 1; st.shared.u32 [%rd1+12], 1;"), before=SHARED).run(1, 1, [0], 16)
    for store in ("", "st.shared.u32 [%rd1+8], 1;", "st.shared.u32 [%rd1+12], 1;"):
        with pytest.raises(Uninitialised, match=r"shared memory \+ 8 bytes of 16, which nobody has written"):
            program(body.format(store), before=SHARED).run(1, 1, [0], 16)


def test_shared_memory_is_initialised_byte_by_byte_where_it_is_read_so() -> None:
    body = "mov.u64 %rd1, dynamic; st.shared.u8 [%rd1], 1; ld.shared.u8 %r1, [%rd1+{}];"
    program(body.format(0), before=SHARED).run(1, 1, [0], 16)
    with pytest.raises(Uninitialised):
        program(body.format(1), before=SHARED).run(1, 1, [0], 16)


def test_an_atomic_operation_on_what_is_not_initialised() -> None:
    with pytest.raises(Uninitialised):
        program("mov.u64 %rd1, dynamic; atom.shared.add.u32 %r1, [%rd1], 1;", before=SHARED).run(1, 1, [0], 16)
    body = f"{ADDRESS} red.global.add.u32 [%rd1], 1;"
    with pytest.raises(Uninitialised):
        program(body).run(1, 1, [empty(1, np.uint32)])


@pytest.mark.parametrize("threads", [1, 2, 40])
def test_registers_that_are_not_written_on_every_path(threads: int) -> None:
    """Thread 0 writes %r2 and the predicate; the others find them unwritten, but only if they read them."""
    body = f"{ADDRESS} setp.ne.u32 %p1, %r1, 0; @%p1 bra AFTER; mov.u32 %r2, 7; AFTER: {{}} add.u32 %r3, %r2, 1;"
    program(body.format("@%p1 bra END;") + " END:").run(1, threads, [0])
    kernel = program(body.format(""))
    if threads == 1:
        kernel.run(1, 1, [0])
        return
    with pytest.raises(
        Uninitialised, match=r"thread [1-9]\d*: reads register %r2 before it is written; at line \d+: .*add\.u32"
    ):
        kernel.run(1, threads, [0], seed=1)


def test_registers_that_are_written_under_a_predicate() -> None:
    body = f"{ADDRESS} setp.eq.u32 %p1, %r1, 0; @%p1 mov.f32 %f1, 0f3F800000; {{}}add.f32 %f2, %f1, %f1;"
    program(body.format("@%p1 ")).run(1, 32, [0])
    with pytest.raises(Uninitialised):
        program(body.format("")).run(1, 32, [0])


def test_a_register_that_nothing_writes_is_an_error_of_the_run_or_is_refused() -> None:
    with pytest.raises((Uninitialised, UnsupportedInstruction), match="%r2"):
        program("add.u32 %r3, %r2, 1;").run(1, 1, [0])


def test_local_memory() -> None:
    body = f"""{ADDRESS} .local .align 4 .b8 own[8]; mov.u64 %rd2, own; st.local.u32 [%rd2+4], %r1; {{}}
    ld.local.u32 %r2, [%rd2+4]; mad.wide.u32 %rd3, %r1, 4, %rd1; st.global.u32 [%rd3], %r2;"""
    array = np.zeros(64, np.uint32)
    program(body.format("bar.sync 0;")).run(1, 64, [array])
    assert array.tolist() == list(range(64))
    with pytest.raises(Uninitialised, match="local memory"):
        program(body.format("ld.local.u32 %r3, [%rd2];")).run(1, 64, [array])
    with pytest.raises(OutOfBounds, match="local memory"):
        program(body.format("ld.local.u32 %r3, [%rd2+8];")).run(1, 64, [array])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_memory_that_the_host_did_not_fill(dtype: type) -> None:
    array = empty((3, 5), dtype)
    assert array.shape == (3, 5)
    assert array.tobytes() == (np.full(32, POISON, "<u4").tobytes())[: array.nbytes]
    body = f"{ADDRESS} ld.global.u32 %r2, [%rd1+{{}}];"
    array.reshape(-1).view(np.uint8)[:4] = 0
    program(body.format(0)).run(1, 1, [array])
    with pytest.raises(Uninitialised, match=r"argument 0 \+ 4 bytes, which nobody has written"):
        program(body.format(4)).run(1, 1, [array])
    # Written by the kernel, it can be read.
    program(f"{ADDRESS} st.global.u32 [%rd1+4], 1; ld.global.u32 %r2, [%rd1+4];").run(1, 1, [array])


def test_the_second_word_of_a_vector_that_the_host_did_not_fill() -> None:
    array = empty(4, np.float32)
    array[:3] = 0
    for load in ("v4.f32 {%f1, %f2, %f3, %f4}", "v4.b32 {%r1, %r2, %r3, %r4}"):
        for modifier in ("", "nc.", "volatile."):
            text = f"ld.volatile.global.{load}" if modifier == "volatile." else f"ld.global.{modifier}{load}"
            with pytest.raises(Uninitialised):
                program(f"{ADDRESS} {text}, [%rd1];").run(1, 1, [array])


def test_empty_and_reachable_arrays() -> None:
    body = f"{ADDRESS} ld.global.u64 %rd2, [%rd1]; ld.global.u32 %r2, [%rd2]; add.u32 %r2, %r2, 1; st.global.u32 [%rd2], %r2;"
    target = np.array([41], np.uint32)
    table = np.array([target.ctypes.data], np.uint64)
    program(body).run(1, 1, [table], reachable=[target])
    assert target[0] == 42
    with pytest.raises(OutOfBounds):
        program(body).run(1, 1, [table])
    program("ld.param.u64 %rd1, [a];").run(1, 1, [np.zeros(0, np.float32)])
