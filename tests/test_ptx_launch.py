"""Launches of the PTX executor: arguments, numbers, seeds and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ptx import machine
from ptx.errors import LaunchError, Livelock
from ptx.executor import Program

HEADER = ".version 8.0\n.target sm_80\n.address_size 64\n"

INCREMENT = f"""{HEADER}
.visible .entry increment(.param .u64 array, .param .u32 count, .param .f32 step)
{{
    .reg .b64 %rd<3>; .reg .b32 %r<5>; .reg .f32 %f<3>; .reg .pred %p<1>;
    ld.param.u64 %rd1, [array];
    ld.param.u32 %r4, [count];
    ld.param.f32 %f2, [step];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r1, %r2, %r3, %r1;
    setp.ge.u32 %p0, %r1, %r4;
    @%p0 bra DONE;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd2, %rd1, %rd2;
    ld.global.f32 %f1, [%rd2];
    add.f32 %f1, %f1, %f2;
    st.global.f32 [%rd2], %f1;
DONE:
    ret;
}}
"""


def test_each_thread_of_each_block_runs() -> None:
    array = np.arange(100, dtype=np.float32)
    execution = Program(INCREMENT).run(2, 64, [array, 100, 1.5])
    np.testing.assert_array_equal(array, np.arange(100, dtype=np.float32) + 1.5)
    # 10 instructions of all threads, 5 of those that have an element.
    assert execution.instructions == 10 * 128 + 5 * 100


@pytest.mark.parametrize(
    ("blocks", "threads", "arguments", "shared_bytes", "message"),
    [
        (0, 32, ["array", 4, 1.0], 0, "blocks"),
        (1, 0, ["array", 4, 1.0], 0, "threads"),
        (1, 1025, ["array", 4, 1.0], 0, "threads: expected 1 to 1024, got 1025"),
        (1, 32, ["array", 4, 1.0], -1, "shared_bytes: expected 0 to 166912, got -1"),
        (1, 32, ["array", 4, 1.0], 166913, "shared_bytes: expected 0 to 166912, got 166913"),
        (1, 32, ["array", 4], 0, "expected 3, got 2"),
        (1, 32, ["array", 4.0, 1.0], 0, "arguments.1.: expected .u32, got 4.0"),
        (1, 32, ["array", -1, 1.0], 0, "arguments.1.: expected .u32, got -1"),
        (1, 32, ["array", True, 1.0], 0, "arguments.1.: expected .u32, got True"),
        (1, 32, ["array", 4, 1], 0, "arguments.2.: expected .f32, got 1"),
        (1, 32, ["array", "array", 1.0], 0, "arguments.1.: expected .u32, got an array"),
    ],
)
def test_wrong_numbers_are_refused(
    blocks: int, threads: int, arguments: list[Any], shared_bytes: int, message: str
) -> None:
    array = np.zeros(4, np.float32)
    given = [array if a == "array" else a for a in arguments]
    with pytest.raises(LaunchError, match=message):
        Program(INCREMENT).run(blocks, threads, given, shared_bytes)
    assert not array.any()


def test_more_threads_than_the_kernel_is_made_for() -> None:
    bounded = INCREMENT.replace("step)\n", "step)\n.maxntid 96, 1, 1\n.minnctapersm 1\n")
    array = np.zeros(96, np.float32)
    Program(bounded).run(1, 96, [array, 96, 1.0])
    with pytest.raises(LaunchError, match="threads: expected 1 to 96, got 97"):
        Program(bounded).run(1, 97, [array, 96, 1.0])


def test_compiled_code_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The runtime comes from where it is.
    machine.runtime()
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))

    def launch() -> None:
        array = np.zeros(4, np.float32)
        Program(INCREMENT).run(1, 4, [array, 4, 1.0])
        assert array.all()

    launch()
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(machine, "compile_text", None)
        launch()
    # A file that is damaged counts for nothing.
    kept.write_bytes(kept.read_bytes()[:-40])
    launch()
    assert len(list(tmp_path.iterdir())) == 1
    kept.write_bytes(b"")
    launch()


def test_budget() -> None:
    with pytest.raises(Livelock, match="budget of 100"):
        Program(INCREMENT).run(2, 64, [np.zeros(128, np.float32), 128, 1.0], budget=100)
