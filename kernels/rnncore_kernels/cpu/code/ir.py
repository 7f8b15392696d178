"""Functions in LLVM's intermediate representation, and the few constructs that they are written with.

All arguments are int64: sizes, and addresses in bytes. Nothing is bounds-checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

I64 = ir.IntType(64)
BYTE = ir.IntType(8)
PREFIX = "rnncore."

Body = Callable[..., Any]


@dataclass(frozen=True)
class Definition:
    """A function as it was written.

    Attributes:
        name: in LLVM.
        arity: number of arguments.
        returns: whether there is a result.
        kinds: names of the classes of arguments of which some of these, or the result, are the address, see
            `arguments`; by their place, the result behind the last.
        body: writes LLVM's instructions, `body(builder, *arguments)`; None if there is `python`.
        python: a Python function for Numba to compile; None if there is `body`.
        finished: whether `body` writes it as it should run, so that LLVM need not optimise it before it selects
            instructions; such a function calls none of these.
    """

    name: str
    arity: int
    returns: bool
    kinds: tuple[tuple[int, str], ...] = ()
    body: Body | None = None
    python: Body | None = None
    finished: bool = False

    def declare(self, module: Any) -> Any:
        """The function in an LLVM module, for a call."""
        if self.name in module.globals:
            return module.globals[self.name]
        return ir.Function(
            module, ir.FunctionType(I64 if self.returns else ir.VoidType(), [I64] * self.arity), self.name
        )

    def emit(self, triple: str) -> Any:
        """An LLVM module with the instructions of `body`."""
        assert self.body is not None
        module = ir.Module()
        module.triple = triple
        function = self.declare(module)
        # Inlined into loops that are then unrolled and unswitched, tiles would be compiled many times over.
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        result = self.body(builder, *function.args)
        builder.ret(result) if self.returns else builder.ret_void()
        return module


def size_of(kind: Any) -> int:
    """Bytes of a value of LLVM's type of numbers, or of vectors or arrays of them."""
    if isinstance(kind, (ir.VectorType, ir.ArrayType)):
        return int(kind.count) * size_of(kind.element)
    return int(kind.width) // 8 if isinstance(kind, ir.IntType) else {"float": 4, "double": 8}[str(kind)]


def pointer(builder: Any, address: Any, offset: Any = 0) -> Any:
    """The address plus an offset in bytes (LLVM's value or an int) as a pointer."""
    if not isinstance(offset, int):
        address = builder.add(address, offset)
    elif offset:
        address = builder.add(address, I64(offset))
    return builder.inttoptr(address, BYTE.as_pointer())


@contextlib.contextmanager
def loop(builder: Any, count: Any) -> Iterator[Any]:
    """`with loop(builder, count) as i:` repeats what is emitted inside for i from 0 to count - 1."""
    check, turn, done = (builder.append_basic_block(name) for name in ("check", "turn", "done"))
    start = builder.block
    builder.branch(check)
    builder.position_at_end(check)
    index = builder.phi(I64)
    index.add_incoming(I64(0), start)
    builder.cbranch(builder.icmp_signed("<", index, count), turn, done)
    builder.position_at_end(turn)
    yield index
    index.add_incoming(builder.add(index, I64(1)), builder.block)
    builder.branch(check)
    builder.position_at_end(done)


def clamped(builder: Any, value: Any, high: int) -> Any:
    """A value, but at least 0 and at most `high`."""
    low = builder.select(builder.icmp_signed("<", value, I64(0)), I64(0), value)
    return builder.select(builder.icmp_signed(">", low, I64(high)), I64(high), low)


def word_pointer(builder: Any, address: Any, index: Any = 0) -> Any:
    """Pointer to an int64 of a table at an address."""
    typed = builder.inttoptr(address, I64.as_pointer())
    return builder.gep(typed, [I64(index) if isinstance(index, int) else index])


def call_external(builder: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Call a function of LLVM's or of the C library, declared in the module at its first use."""
    module = builder.module
    if name not in module.globals:
        ir.Function(module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(module.globals[name], arguments)


def prefetch(builder: Any, place: Any, *, level: int = 2) -> None:
    """Ask for the cache line at a pointer, for a cache of that level; nothing happens where there is no memory."""
    read, locality, data = (ir.IntType(32)(number) for number in (0, 4 - level, 1))
    call_external(builder, "llvm.prefetch.p0", ir.VoidType(), [place, read, locality, data])


def call_address(builder: Any, address: Any, arguments: Sequence[Any]) -> Any:
    """Call the function of int64 at an address."""
    kind = ir.FunctionType(ir.VoidType(), [I64] * len(arguments))
    return builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


def call_function(builder: Any, address: Any, arguments: Sequence[Any], bits: int) -> Any:
    """Call the C function at an address, with int64 for its arguments; its result has so many bits, 0 for none."""
    result = ir.IntType(bits) if bits else ir.VoidType()
    kind = ir.FunctionType(result, [I64] * len(arguments))
    value = builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)
    return builder.sext(value, I64) if 0 < bits < 64 else value
