"""Calls of the operating system and registers of the processor: clocks, sleep, and the floating-point mode.

Each is written out for the systems that have it; elsewhere a clock stands still, and a thread that should sleep
until it is woken sleeps for a moment.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..pool_arguments import MASK_WORDS
from .emitted import emitted
from .ir import I64, call_external, pointer

I32 = ir.IntType(32)

FUTEX = {"x86_64": 202, "i386": 240, "i686": 240, "aarch64": 98, "arm64": 98, "riscv64": 98, "powerpc64le": 221}
"""Linux's number of the system call, by LLVM's names of architectures whose words have their low half first."""
FUTEX_WAIT, FUTEX_WAKE, EVERYONE = 128, 129, 0x7FFFFFFF
"""Both for threads of one process."""
GETTID = {"x86_64": 186, "i386": 224, "i686": 224, "aarch64": 178, "arm64": 178, "riscv64": 178, "powerpc64le": 207}
"""Linux's number of the call that tells a thread's number."""
ULOCK_WAIT, ULOCK_WAKE_ALL = 1, 0x101
"""What FUTEX_WAIT and FUTEX_WAKE are on macOS."""

NAP_MICROSECONDS = 100
"""Sleep of a thread that nobody can wake, where the system is neither Linux nor macOS nor Windows."""

MONOTONIC, THREAD_TIME = (1, 6), (3, 16)
"""Clocks of `clock_gettime`: Linux's and macOS's numbers of each."""

MASK_BYTES = 8 * MASK_WORDS
"""Words of a set of cores, a bit for each of 1,024."""


def _architecture(b: Any) -> str:
    name: str = b.module.triple.split("-")[0]
    return name


def _is_linux(b: Any) -> bool:
    return "linux" in b.module.triple and _architecture(b) in FUTEX


def _is_macos(b: Any) -> bool:
    return any(name in b.module.triple for name in ("darwin", "macos"))


def _is_x86(b: Any) -> bool:
    return _architecture(b) in ("x86_64", "i386", "i686")


def _is_arm64(b: Any) -> bool:
    return _architecture(b) in ("aarch64", "arm64")


def _cycles(b: Any) -> Any:
    known = _is_x86(b) or _is_arm64(b)
    return call_external(b, "llvm.readcyclecounter", I64, []) if known else I64(0)


def _relax(b: Any) -> None:
    if _is_x86(b):
        call_external(b, "llvm.x86.sse2.pause", ir.VoidType(), [])
    elif _is_arm64(b):
        call_external(b, "llvm.aarch64.hint", ir.VoidType(), [I32(1)])


def _yield_core(b: Any) -> None:
    call_external(b, "SwitchToThread" if "windows" in b.module.triple else "sched_yield", I32, [])


def _sleep_on(b: Any, address: Any, value: Any, nanoseconds: Any) -> None:
    if _is_linux(b):
        time = b.alloca(I64, 2)
        second = I64(1_000_000_000)
        b.store(b.sdiv(nanoseconds, second), time)
        b.store(b.srem(nanoseconds, second), b.gep(time, [I64(1)]))
        forever = b.icmp_signed("==", nanoseconds, I64(0))
        limit = b.select(forever, I64(0), b.ptrtoint(time, I64))
        arguments = [I64(FUTEX[_architecture(b)]), address, I64(FUTEX_WAIT), value, limit, I64(0), I64(0)]
        call_external(b, "syscall", I64, arguments)
    elif _is_macos(b):
        microseconds = b.trunc(b.sdiv(nanoseconds, I64(1000)), I32)
        low_half = b.and_(value, I64(0xFFFFFFFF))
        call_external(b, "__ulock_wait", I32, [I32(ULOCK_WAIT), pointer(b, address), low_half, microseconds])
    elif "windows" in b.module.triple:
        call_external(b, "Sleep", ir.VoidType(), [I32(1)])
    else:
        call_external(b, "usleep", I32, [I32(NAP_MICROSECONDS)])


def _wake(b: Any, address: Any) -> None:
    if _is_linux(b):
        arguments = [I64(FUTEX[_architecture(b)]), address, I64(FUTEX_WAKE), I64(EVERYONE), I64(0), I64(0), I64(0)]
        call_external(b, "syscall", I64, arguments)
    elif _is_macos(b):
        call_external(b, "__ulock_wake", I32, [I32(ULOCK_WAKE_ALL), pointer(b, address), I64(0)])


def _nanoseconds(b: Any, linux: int, macos: int) -> Any:
    if not _is_linux(b) and not _is_macos(b):
        return I64(0)
    time = b.alloca(I64, 2)
    call_external(b, "clock_gettime", I32, [I32(macos if _is_macos(b) else linux), time])
    return b.add(b.mul(b.load(time), I64(1_000_000_000)), b.load(b.gep(time, [I64(1)])))


def _float_mode(b: Any) -> Any:
    if _is_arm64(b):
        return call_external(b, "llvm.aarch64.get.fpcr", I64, [])
    if not _is_x86(b):
        return I64(0)
    mode = b.alloca(I32)
    call_external(b, "llvm.x86.sse.stmxcsr", ir.VoidType(), [b.bitcast(mode, ir.IntType(8).as_pointer())])
    return b.zext(b.load(mode), I64)


def _set_float_mode(b: Any, value: Any) -> None:
    if _is_arm64(b):
        call_external(b, "llvm.aarch64.set.fpcr", ir.VoidType(), [value])
    elif _is_x86(b):
        mode = b.alloca(I32)
        b.store(b.trunc(value, I32), mode)
        call_external(b, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [b.bitcast(mode, ir.IntType(8).as_pointer())])


def _current_core(b: Any) -> Any:
    return b.sext(call_external(b, "sched_getcpu", I32, []), I64) if _is_linux(b) else I64(-1)


def _thread_number(b: Any) -> Any:
    return call_external(b, "syscall", I64, [I64(GETTID[_architecture(b)])]) if _is_linux(b) else I64(-1)


def _get_cores(b: Any, mask: Any) -> None:
    if _is_linux(b):
        call_external(b, "sched_getaffinity", I32, [I32(0), I64(MASK_BYTES), pointer(b, mask)])


def _set_cores(b: Any, thread: Any, mask: Any) -> None:
    if _is_linux(b):
        call_external(b, "sched_setaffinity", I32, [b.trunc(thread, I32), I64(MASK_BYTES), pointer(b, mask)])


cycles = emitted("cycles", (), _cycles, returns=True, inline=True)
"""`cycles()`: a clock that all cores have and that costs little; 0 where none is known."""
relax = emitted("relax", (), _relax, inline=True)
yield_core = emitted("yield_core", (), _yield_core)
sleep_on = emitted("sleep_on", ("address", "value", "nanoseconds"), _sleep_on)
"""`sleep_on(address, value, nanoseconds)`: sleep until `wake`, unless the word at the address has another low half.

Returns early for a signal, after so many nanoseconds unless these are 0, and at times for no reason.
"""
wake = emitted("wake", ("address",), _wake)
"""`wake(address)`: wake all who sleep on it. The memory need not be there any more."""
wall_time = emitted("wall_time", (), lambda b: _nanoseconds(b, *MONOTONIC), returns=True)
thread_time = emitted("thread_time", (), lambda b: _nanoseconds(b, *THREAD_TIME), returns=True)
"""`thread_time()`: nanoseconds for which the calling thread has had a core."""
float_mode = emitted("float_mode", (), _float_mode, returns=True)
set_float_mode = emitted("set_float_mode", ("mode",), _set_float_mode)
"""`set_float_mode(mode)`: round, and flush denormal numbers to zero, as the thread does that called `float_mode()`."""

current_core = emitted("current_core", (), _current_core, returns=True)
"""`current_core()`: number of the core that the thread is on; negative where the system does not say."""
thread_number = emitted("thread_number", (), _thread_number, returns=True)
"""`thread_number()`: the system's number of the calling thread."""
get_cores = emitted("get_cores", ("mask",), _get_cores)
"""`get_cores(mask)`: the cores that the calling thread may run on."""
set_cores = emitted("set_cores", ("thread", "mask"), _set_cores)
"""`set_cores(thread, mask)`: let a thread run on these cores alone."""
