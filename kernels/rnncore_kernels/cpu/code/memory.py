"""Words, copies and the barrier: what compiled Python needs and Python has no words for."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir

from .emitted import compiled, emitted, make_caller
from .ir import BYTE, I64, call_external, pointer, word_pointer

SPINS_BEFORE_YIELD = 2000
"""Turns of a waiting loop before the core is offered to another thread: some 50 microseconds."""


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


def _swap_word(b: Any, address: Any, value: Any) -> Any:
    return b.atomic_rmw("xchg", word_pointer(b, address), value, "seq_cst")


def _read_word(b: Any, address: Any) -> Any:
    return b.load_atomic(word_pointer(b, address), "seq_cst", 8)


def _relax(b: Any) -> None:
    triple = b.module.triple
    if triple.startswith(("x86_64", "i386", "i686")):
        call_external(b, "llvm.x86.sse2.pause", ir.VoidType(), [])
    elif triple.startswith(("aarch64", "arm64")):
        call_external(b, "llvm.aarch64.hint", ir.VoidType(), [ir.IntType(32)(1)])


def _yield_core(b: Any) -> None:
    call_external(b, "SwitchToThread" if sys.platform == "win32" else "sched_yield", ir.IntType(32), [])


def _wait_for(b: Any, address: Any, value: Any) -> None:
    """Return when the word at `address` is at least `value`."""
    check, again = b.append_basic_block("check"), b.append_basic_block("again")
    give, done = b.append_basic_block("give"), b.append_basic_block("done")
    start = b.block
    b.branch(check)
    b.position_at_end(check)
    spins = b.phi(I64)
    spins.add_incoming(I64(0), start)
    arrived = b.icmp_signed(">=", _read_word(b, address), value)
    b.cbranch(arrived, done, again)
    b.position_at_end(again)
    _relax(b)
    more = b.add(spins, I64(1))
    spins.add_incoming(more, again)
    b.cbranch(b.icmp_signed("<", more, I64(SPINS_BEFORE_YIELD)), check, give)
    b.position_at_end(give)
    _yield_core(b)
    spins.add_incoming(I64(SPINS_BEFORE_YIELD), give)
    b.branch(check)
    b.position_at_end(done)


word = emitted("word", ("table", "index"), _word, returns=True, inline=True)
set_word = emitted("set_word", ("table", "index", "value"), _set_word, inline=True)
copy = emitted("copy", ("target", "source", "count"), _copy, inline=True)
clear = emitted("clear", ("target", "count"), _clear, inline=True)
add_word = emitted("add_word", ("address", "value"), _add_word, returns=True, inline=True)
swap_word = emitted("swap_word", ("address", "value"), _swap_word, returns=True, inline=True)
read_word = emitted("read_word", ("address",), _read_word, returns=True, inline=True)
relax = emitted("relax", (), _relax, inline=True)
wait_for = emitted("wait_for", ("address", "value"), _wait_for)
call_kernel = make_caller(("args", "thread"))


@compiled("meet")
def meet(barrier: int, arrivals: int, threads: int) -> int:
    """Wait until all threads have come here; returns the count of arrivals to pass next time.

    Only safe where all of them run at once, or are given a core when another yields its own: threads of the system are.
    """
    if threads > 1:
        arrivals += threads
        add_word(barrier, 1)
        wait_for(barrier, arrivals)
    return arrivals
