"""One function for a kernel: a turn of one thread.

The function is given the thread's record, goes on at the block of instructions that the thread stopped before, and returns
where the thread has to wait or has used up its turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import UnsupportedInstruction
from ..flow import Block, Flow, analyse, is_wait
from ..lower import Lowered
from ..runtime import layout as at
from ..syntax import Instruction, Label, Symbol, Variable, symbols_of
from ..types import TYPES, Type
from . import approximations, bits, conversions, floats, integers, memory, threads
from .emitter import Emitter
from .modifiers import Modifiers, unsupported
from .table import HANDLERS

__all__ = ["approximations", "bits", "conversions", "floats", "integers", "memory", "threads"]

STEP = "rnncore.ptx.step"
"""Name of the function."""

CELL_SHIFT = 2
"""Accesses are remembered for 4 bytes together, or for fewer where a kernel accesses fewer."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: its PTX type, place among the parameters' bytes, and size."""

    name: str
    type: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class Global:
    """A variable in global memory that a kernel uses: its size and alignment, first bytes, and whether it is constant."""

    name: str
    size: int
    align: int
    values: bytes
    constant: bool


@dataclass(frozen=True)
class Translation:
    """A kernel, and what a launch must know of it.

    Attributes:
        name: of the kernel.
        parameters: in order.
        globals: the kernel finds their addresses in a table, in this order.
        registers: names of all registers.
        sites: line, first character and end of each instruction that may fail.
        thread_bytes: size of a thread's record.
        shared_bytes: of static shared memory.
        local_bytes: of a thread's own memory.
        cell_shift: logarithm of the bytes that accesses are remembered for together.
        max_threads: in a block.
    """

    name: str
    parameters: list[Parameter]
    globals: list[Global]
    registers: list[str]
    sites: list[tuple[int, int, int]]
    thread_bytes: int
    shared_bytes: int
    local_bytes: int
    cell_shift: int
    max_threads: int


def translate(kernel: Lowered, variables: dict[str, Variable]) -> tuple[Translation, str]:
    """A kernel as LLVM's text of a function `step(thread)`.

    Args:
        kernel: as it was lowered.
        variables: those of its module.

    Raises:
        UnsupportedInstruction: for what the executor does not know.
    """
    names = list(kernel.registers)
    flow = analyse(kernel.body, names)
    places, flags, size = _record(flow, kernel.registers)
    symbols, parameters = _parameters(kernel.parameters)
    used = {name for item in kernel.body if isinstance(item, Instruction) for name in symbols_of(item)}
    visible = {v.name: v for v in [*variables.values(), *kernel.variables.values()] if v.name in used}
    shared_bytes = _lay_out(visible, "shared", symbols)
    local_bytes = _lay_out(visible, "local", symbols)
    globals_ = [_global(v) for v in visible.values() if v.space in ("global", "const")]
    symbols |= {variable.name: f"%global{i}" for i, variable in enumerate(globals_)}
    emitter = Emitter(kernel.registers, places, flags, symbols)
    for block in flow.blocks:
        _write_block(emitter, flow, block)
    result = Translation(
        kernel.name,
        parameters,
        globals_,
        names,
        emitter.sites,
        size,
        shared_bytes,
        local_bytes,
        _cell_shift(kernel.body),
        kernel.max_threads,
    )
    return result, _module(emitter, flow, len(globals_))


def _record(flow: Flow, registers: dict[str, Type]) -> tuple[dict[str, int], dict[str, int], int]:
    """Offsets in a thread's record: of registers, the widest first, and of flags of those that may be unwritten."""
    places, offset = dict[str, int](), 8 * at.T_WORDS
    for name in sorted(flow.stored, key=lambda name: -registers[name].bits):
        places[name] = offset
        offset += max(registers[name].bytes, 1)
    flags = {name: offset + i for i, name in enumerate(sorted(flow.doubtful))}
    return places, flags, (offset + len(flags) + 63) // 64 * 64


def _parameters(variables: Iterable[Variable]) -> tuple[dict[str, str], list[Parameter]]:
    symbols, found, offset = dict[str, str](), list[Parameter](), 0
    for variable in variables:
        offset = -(-offset // variable.align) * variable.align
        symbols[f"param {variable.name}"] = str(offset)
        found.append(Parameter(variable.name, variable.type.name, offset, variable.bytes))
        offset += variable.bytes
    return symbols, found


def _lay_out(variables: dict[str, Variable], space: str, symbols: dict[str, str]) -> int:
    """Give the variables of a space their offsets, those without a size the end. Returns the size of all."""
    offset = 0
    mine = [v for v in variables.values() if v.space == space]
    for variable in mine:
        if variable.count:
            offset = -(-offset // variable.align) * variable.align
            symbols[variable.name] = str(offset)
            offset += variable.bytes
    dynamic = [v for v in mine if not v.count]
    if dynamic:
        offset = -(-offset // 16) * 16
        symbols |= {v.name: str(offset) for v in dynamic}
    return offset


def _global(variable: Variable) -> Global:
    size = variable.type.bytes
    values = b"".join((v % (1 << 8 * size)).to_bytes(size, "little") for v in variable.values)
    return Global(variable.name, variable.bytes, variable.align, values, variable.space == "const")


def _cell_shift(body: list[Instruction | Label]) -> int:
    """So many bytes as the smallest access, but no more than a word."""
    shift = CELL_SHIFT
    for item in body:
        if isinstance(item, Instruction) and item.parts[0] in ("ld", "st") and "param" not in item.parts:
            kind = TYPES.get(item.parts[-1])
            if kind is not None:
                shift = min(shift, kind.bytes.bit_length() - 1)
    return shift


def _bits(number: int) -> Iterator[int]:
    """Numbers of the bits that are set, of thousands few."""
    digits = f"{number:b}"[::-1]
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)


def _write_block(e: Emitter, flow: Flow, block: Block) -> None:
    e.begin_block()
    e.emit(f"block{block.number}:")
    for instruction in block.instructions[:-1]:
        _write(e, instruction)
    last = block.instructions[-1]
    registers = list(e.registers)
    live = {registers[i] for i in _bits(block.live)}
    opcode = last.parts[0]
    if opcode in ("bra", "exit"):
        e.begin(last)
        condition = e.predicate(last.predicate) if last.predicate is not None else None
        e.store_registers(live.__contains__)
        left = e.let(f"sub i64 {e.word(at.T_QUANTUM)}, {len(block.instructions)}")
        e.set_word(at.T_QUANTUM, left)
        if opcode == "exit":
            e.set_word(at.T_STATUS, at.EXITED)
            e.emit("ret void")
            return
        (target,) = last.operands
        assert isinstance(target, Symbol)
        taken = flow.labels[target.name]
        if condition is None:
            _go(e, flow, taken, left)
            return
        yes, no = e.label(), e.label()
        e.emit(f"br i1 {condition}, label %{yes}, label %{no}")
        e.emit(f"{yes}:")
        _go(e, flow, taken, left)
        e.emit(f"{no}:")
        _go(e, flow, block.number + 1, left)
        return
    _write(e, last)
    e.store_registers(live.__contains__)
    left = e.let(f"sub i64 {e.word(at.T_QUANTUM)}, {len(block.instructions)}")
    e.set_word(at.T_QUANTUM, left)
    if is_wait(last):
        e.set_word(at.T_PC, block.number + 1)
        e.emit("ret void")
    else:
        _go(e, flow, block.number + 1, left)


def _go(e: Emitter, flow: Flow, number: int, left: str) -> None:
    """Go on with a block, unless the turn is over and a thread may stop there."""
    if not flow.blocks[number].resumes:
        e.emit(f"br label %block{number}")
        return
    stop = e.label()
    e.emit(f"br i1 {e.let(f'icmp sle i64 {left}, 0')}, label %{stop}, label %block{number}")
    e.emit(f"{stop}:")
    e.set_word(at.T_PC, number)
    e.emit("ret void")


def _write(e: Emitter, instruction: Instruction) -> None:
    handler = HANDLERS.get(instruction.parts[0])
    if handler is None:
        raise unsupported(instruction)
    e.begin(instruction)
    modifiers = Modifiers(instruction)
    try:
        handler(e, modifiers, instruction.parts[0])
    except UnsupportedInstruction:
        raise
    except (AssertionError, KeyError, ValueError) as error:
        raise unsupported(instruction, "operands of this form") from error
    modifiers.end()


def _module(e: Emitter, flow: Flow, globals_: int) -> str:
    """The function with its entry, and declarations of what it calls."""
    resumed = [b.number for b in flow.blocks if b.resumes]
    lines = [*e.declared.values(), f'define void @"{STEP}"(i64 %thread, i64 %unused) {{', "entry:"]
    lines.append("%record = inttoptr i64 %thread to ptr")
    if globals_:
        lines += [
            "%context = load ptr, ptr %record",
            f"%table.place = getelementptr i64, ptr %context, i64 {at.C_VARIABLES}",
            "%table = load ptr, ptr %table.place",
        ]
        for i in range(globals_):
            lines.append(f"%global{i}.place = getelementptr i64, ptr %table, i64 {i}")
            lines.append(f"%global{i} = load i64, ptr %global{i}.place")
    lines += [f"%pc.place = getelementptr i64, ptr %record, i64 {at.T_PC}", "%pc = load i64, ptr %pc.place"]
    cases = " ".join(f"i64 {number}, label %block{number}" for number in resumed)
    lines.append(f"switch i64 %pc, label %block0 [{cases}]")
    return "\n".join([*lines, *e.lines, "}", ""])
