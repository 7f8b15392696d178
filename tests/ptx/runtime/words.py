"""Words and bytes at addresses, for compiled Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from rnncore_kernels.cpu.code import memory
from rnncore_kernels.cpu.code.emitted import emitted
from rnncore_kernels.cpu.code.ir import I64, pointer


def _half(b: Any, address: Any, offset: Any) -> Any:
    place = b.bitcast(pointer(b, address, offset), ir.IntType(32).as_pointer())
    return b.zext(b.load(place, align=4), I64)


def _byte(b: Any, address: Any, offset: Any) -> Any:
    return b.zext(b.load(pointer(b, address, offset)), I64)


def _set_byte(b: Any, address: Any, offset: Any, value: Any) -> None:
    b.store(b.trunc(value, ir.IntType(8)), pointer(b, address, offset))


word: Callable[[int, int], int] = memory.word
set_word: Callable[[int, int, int], None] = memory.set_word
clear: Callable[[int, int], None] = memory.clear
copy: Callable[[int, int, int], None] = memory.copy
call_step: Callable[[int, int, int], None] = memory.call_kernel
half: Callable[[int, int], int] = emitted("ptx.half", ("address", "offset"), _half, returns=True, inline=True)
byte: Callable[[int, int], int] = emitted("ptx.byte", ("address", "offset"), _byte, returns=True, inline=True)
set_byte: Callable[[int, int, int], None] = emitted(
    "ptx.set_byte", ("address", "offset", "value"), _set_byte, inline=True
)
