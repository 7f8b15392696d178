"""Modules in the PTX executor: variables, calls, scopes, hardware registers, and what is not known."""

from __future__ import annotations

import numpy as np
import pytest
from ptx.errors import DivisionByZero, ExecutionError, OutOfBounds, Uninitialised, UnsupportedInstruction
from ptx.executor import Program
from ptx.snippets import module, program

ADDRESS = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; "
SHARED = ".extern .shared .align 16 .b8 dynamic[];"


def test_global_variables() -> None:
    before = """.const .align 4 .f32 table[3] = {0f3F800000, 0f40000000, 0f40400000};
    .global .align 4 .u32 counter; .global .align 8 .b8 bytes[4] = {1, 2, 3, 255};"""
    body = f"""{ADDRESS} mov.u64 %rd2, table; ld.const.f32 %f1, [%rd2+8]; ld.global.u32 %r2, [counter];
    mov.u64 %rd3, bytes; ld.global.u8 %r3, [%rd3+3]; ld.const.f32 %f2, [table+4];
    cvt.rzi.u32.f32 %r4, %f1; cvt.rzi.u32.f32 %r5, %f2; st.global.u32 [counter], 9; st.global.v4.u32 [%rd1], {{%r2, %r3, %r4, %r5}};"""
    array = np.zeros(4, np.uint32)
    kernel = program(body, before=before)
    for _ in range(2):
        kernel.run(1, 1, [array])
        assert array.tolist() == [0, 255, 3, 2]
    with pytest.raises(OutOfBounds):
        program("ld.global.u32 %r2, [counter+4];", before=before).run(1, 1, [0])


FUNCTIONS = """
.func (.param .b32 result) twice(.param .b32 x)
{
    .reg .b32 %r<3>; .reg .pred %p<2>;
    ld.param.b32 %r1, [x];
    setp.eq.u32 %p1, %r1, 3;
    @%p1 ret;
    add.u32 %r2, %r1, %r1;
    st.param.b32 [result], %r2;
    ret;
}
.func (.param .b32 result) four_times(.param .b32 x)
{
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [x];
    { .param .b32 p; st.param.b32 [p], %r1; .param .b32 q; call.uni (q), twice, (p); ld.param.b32 %r1, [q]; }
    { .param .b32 p; st.param.b32 [p], %r1; .param .b32 q; call.uni (q), twice, (p); ld.param.b32 %r2, [q]; }
    st.param.b32 [result], %r2;
    ret;
}
"""
CALL = """{ .param .b32 p; st.param.b32 [p], %r1; .param .b32 q; call.uni (q), four_times, (p); ld.param.b32 %r2, [q]; }
    mad.wide.u32 %rd2, %r1, 4, %rd1; st.global.u32 [%rd2], %r2;"""


def test_calls() -> None:
    array = np.zeros(3, np.uint32)
    program(ADDRESS + CALL, before=FUNCTIONS).run(1, 3, [array])
    assert array.tolist() == [0, 4, 8]
    # A function that returns without its result.
    with pytest.raises(Uninitialised):
        program(ADDRESS + CALL, before=FUNCTIONS).run(1, 4, [np.zeros(4, np.uint32)])


def test_calls_that_are_refused() -> None:
    recursive = FUNCTIONS.replace("twice,", "four_times,")
    with pytest.raises(UnsupportedInstruction, match="a recursive call of four_times"):
        program(ADDRESS + CALL, before=recursive)
    with pytest.raises(UnsupportedInstruction, match="a call of twice, which the module does not define"):
        program("call.uni twice;", before=".extern .func twice;")


def test_registers_and_labels_of_inner_scopes() -> None:
    body = f"""{ADDRESS} .reg .u32 %x; mov.u32 %x, 1;
    {{ .reg .u32 %x; mov.u32 %x, 10; LOOP: add.u32 %x, %x, 1; setp.lt.u32 %p1, %x, 20; @%p1 bra LOOP; st.global.u32 [%rd1], %x; }}
    {{ .reg .u32 %x; mov.u32 %x, 30; LOOP: add.u32 %x, %x, 1; setp.lt.u32 %p1, %x, 40; @%p1 bra LOOP; st.global.u32 [%rd1+4], %x; }}
    st.global.u32 [%rd1+8], %x;"""
    array = np.zeros(3, np.uint32)
    program(body).run(1, 1, [array])
    assert array.tolist() == [20, 40, 1]


def test_division_by_zero() -> None:
    for instruction in ("div.u32 %r2, 1, %r1", "rem.s32 %r2, 1, %r1", "div.s64 %rd2, 1, %rd3"):
        with pytest.raises(DivisionByZero, match=r"divides an integer by zero; at line \d+"):
            program(f"{ADDRESS} mov.u64 %rd3, 0; {instruction};").run(1, 1, [0])


def test_trap() -> None:
    with pytest.raises(ExecutionError, match="trap"):
        program(f"{ADDRESS} setp.eq.u32 %p1, %r1, 5; @%p1 trap;").run(1, 6, [0])
    program(f"{ADDRESS} setp.eq.u32 %p1, %r1, 5; @%p1 trap;").run(1, 5, [0])


def test_special_registers() -> None:
    names = ["%tid.x", "%ctaid.x", "%ntid.x", "%nctaid.x", "%laneid", "%warpid", "%lanemask_lt", "%lanemask_le"]
    names += ["%lanemask_eq", "%lanemask_ge", "%lanemask_gt", "%dynamic_smem_size", "%tid.y", "%ntid.z"]
    count = len(names)
    body = f"{ADDRESS} mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r1, %r2, %r3, %r1;"
    body += f"mad.wide.u32 %rd1, %r1, {4 * count}, %rd1; mov.u64 %rd2, dynamic;"
    body += "".join(f"mov.u32 %r4, {name}; st.global.u32 [%rd1+{4 * i}], %r4;" for i, name in enumerate(names))
    array = np.zeros((2, 40, count), np.uint32)
    program(body, before=SHARED).run(2, 40, [array], 48)
    for block in range(2):
        for thread in range(40):
            bit = 1 << thread % 32
            full = 0xFFFFFFFF
            expected = [thread, block, 40, 2, thread % 32, thread // 32, bit - 1, 2 * bit - 1, bit]
            expected += [full & ~(bit - 1), full & ~(2 * bit - 1), 48, 0, 1]
            assert array[block, thread].tolist() == expected


@pytest.mark.parametrize(
    "instruction",
    [
        "brx.idx %r1, LABELS",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4},{%r1,%r2,%r3,%r4},{%r5,%r6},{%f1,%f2,%f3,%f4}",
        "ld.global.L2::cache_hint.u32 %r1, [%rd1], %rd2",
        "ld.acquire.cta.global.u32 %r1, [%rd1]",
        "ld.relaxed.cluster.global.u32 %r1, [%rd1]",
        "ld.mmio.relaxed.sys.global.u32 %r1, [%rd1]",
        "ld.shared::cluster.u32 %r1, [%rd1]",
        "fence.acq_rel.cta",
        "membar.cta",
        "fence.proxy.async",
        "bar.sync 0, 32",
        "bar.arrive 0, 32",
        "bar.sync %r1",
        "bar.red.popc.u32 %r1, 0, %p1",
        "match.any.sync.b32 %r1, %r2, -1",
        "redux.sync.add.s32 %r1, %r2, -1",
        "atom.global.add.noftz.f16x2 %r1, [%rd1], %r2",
        "atom.global.cta.add.u32 %r1, [%rd1], 1",
        "red.acq_rel.gpu.global.add.u32 [%rd1], 1",
        "mad.wide.cc.u32 %rd1, %r1, %r1, %rd1",
        "min.cc.u32 %r1, %r1, %r1",
        "cp.async.ca.shared.global [%r1], [%rd1], 16",
        "mov.u32 %r1, %smid",
        "mov.u32 %r1, nothing",
        "bra NOWHERE",
        "setp.lo.s32 %p1, %r1, %r1",
        "shl.b32 %r1, %rd1, %r1",
        "tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [%rd1, {%f1,%f2}]",
    ],
)  # fmt: skip
def test_instructions_that_are_not_known_are_refused(instruction: str) -> None:
    registers = "mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u64 %rd1, 0; mov.f32 %f1, 0f00000000; setp.eq.u32 %p1, %r1, %r1;"
    with pytest.raises(UnsupportedInstruction, match=r"line \d+"):
        program(f"{registers} {instruction};")


def test_an_entry_among_several() -> None:
    text = module("") + ".visible .entry second(.param .u64 a) { ret; }"
    assert Program(text, "second").name == "second"
    with pytest.raises(ValueError, match=r"expected a name, the module has \['k', 'second'\]"):
        Program(text)
    with pytest.raises(ValueError, match="expected one of"):
        Program(text, "third")


def test_lines_and_text_of_a_report() -> None:
    """Comments and directives do not move them."""
    text = """// a comment
.version 8.0 // another
.target sm_90
/* one of two
   lines */
.address_size 64
.visible .entry k(.param .u64 a)
{
    .loc 1 2 3
    .reg .b64 %rd<2>; /* here */ .reg .b32 %r1;
    ld.param.u64 %rd1, [a]; // and here
    /* and
    here */ ld.global.u32 %r1,
        [%rd1]; ret;
}
"""
    with pytest.raises(OutOfBounds, match=r"at line 13: ld\.global\.u32 %r1, \[%rd1\];$"):
        Program(text).run(1, 1, [16])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "add.u32",
        ".visible .entry k(",
        ".visible .entry k() { add.u32 %r1",
        "\n@#",
        ".visible .entry k() { .reg .f16 %h; }",
    ],
)
def test_texts_that_are_no_modules(text: str) -> None:
    with pytest.raises((UnsupportedInstruction, ValueError)):
        Program(text)
