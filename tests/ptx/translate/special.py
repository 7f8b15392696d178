"""Registers of the hardware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime import layout as at

if TYPE_CHECKING:
    from .emitter import Emitter


def special(e: Emitter, name: str) -> tuple[str, int]:
    """Value and width of a register of the hardware."""
    stem, _, axis = name[1:].partition(".")
    if stem in ("tid", "ctaid", "ntid", "nctaid") and axis in ("x", "y", "z"):
        if axis != "x":
            return ("0" if stem in ("tid", "ctaid") else "1"), 32
        if stem == "tid":
            value = e.word(at.T_INDEX)
        elif stem == "ctaid":
            value = e.let(f"lshr i64 {e.word(at.T_ID)}, 10")
        else:
            value = e.context_word(at.C_THREADS if stem == "ntid" else at.C_BLOCKS)
        return e.let(f"trunc i64 {value} to i32"), 32
    index = e.let(f"trunc i64 {e.word(at.T_INDEX)} to i32")
    lane = e.let(f"and i32 {index}, 31")
    if name == "%laneid":
        return lane, 32
    if name == "%warpid":
        return e.let(f"lshr i32 {index}, 5"), 32
    if name.startswith("%lanemask_"):
        bit = e.let(f"shl i32 1, {lane}")
        below = e.let(f"sub i32 {bit}, 1")
        if name == "%lanemask_eq":
            return bit, 32
        if name == "%lanemask_lt":
            return below, 32
        if name == "%lanemask_le":
            return e.let(f"or i32 {below}, {bit}"), 32
        if name == "%lanemask_ge":
            return e.let(f"xor i32 {below}, -1"), 32
        if name == "%lanemask_gt":
            return e.let(f"xor i32 {e.let(f'or i32 {below}, {bit}')}, -1"), 32
    if name in ("%dynamic_smem_size", "%total_smem_size"):
        word = at.C_DYNAMIC_BYTES if name == "%dynamic_smem_size" else at.C_SHARED_BYTES
        return e.let(f"trunc i64 {e.context_word(word)} to i32"), 32
    if name in ("%clock", "%clock64", "%globaltimer"):
        ticks = e.runtime("ticks")
        return (ticks, 64) if name != "%clock" else (e.let(f"trunc i64 {ticks} to i32"), 32)
    raise e.refuse(name)
