"""Words and copies: memory that compiled Python reads and writes by address."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .emitted import emitted, make_caller
from .ir import BYTE, I64, call_external, pointer, word_pointer


def _word(b: Any, table: Any, index: Any) -> Any:
    return b.load(word_pointer(b, table, index))


def _set_word(b: Any, table: Any, index: Any, value: Any) -> None:
    b.store(value, word_pointer(b, table, index))


def _copy(b: Any, target: Any, source: Any, count: Any) -> None:
    no = ir.Constant(ir.IntType(1), 0)
    call_external(b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [pointer(b, target), pointer(b, source), count, no])


def _clear(b: Any, target: Any, count: Any) -> None:
    no = ir.Constant(ir.IntType(1), 0)
    call_external(b, "llvm.memset.p0.i64", ir.VoidType(), [pointer(b, target), BYTE(0), count, no])


def _add_word(b: Any, address: Any, value: Any) -> Any:
    return b.atomic_rmw("add", word_pointer(b, address), value, "seq_cst")


def _or_word(b: Any, address: Any, value: Any) -> Any:
    return b.atomic_rmw("or", word_pointer(b, address), value, "seq_cst")


def _swap_word_if(b: Any, address: Any, old: Any, new: Any) -> Any:
    pair = b.cmpxchg(word_pointer(b, address), old, new, "seq_cst", "seq_cst")
    return b.zext(b.extract_value(pair, 1), I64)


def _read_word(b: Any, address: Any) -> Any:
    return b.load_atomic(word_pointer(b, address), "seq_cst", 8)


word = emitted("word", ("table", "index"), _word, returns=True, inline=True)
set_word = emitted("set_word", ("table", "index", "value"), _set_word, inline=True)
copy = emitted("copy", ("target", "source", "count"), _copy, inline=True)
clear = emitted("clear", ("target", "count"), _clear, inline=True)
add_word = emitted("add_word", ("address", "value"), _add_word, returns=True, inline=True)
or_word = emitted("or_word", ("address", "value"), _or_word, returns=True, inline=True)
read_word = emitted("read_word", ("address",), _read_word, returns=True, inline=True)
swap_word_if = emitted("swap_word_if", ("address", "old", "new"), _swap_word_if, returns=True, inline=True)
call_kernel = make_caller(("args", "thread"))
