"""Basic blocks of a kernel, and which registers live where.

A thread's registers are LLVM's values within a block and lie in the thread's memory between blocks, those of them that
live so long. A thread can stop at the end of a block and go on with the next one: at a barrier, before an operation by
which threads communicate, and where it jumps back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import UnsupportedInstruction
from .lower import CARRY, GRID_SYNC
from .syntax import Address, Group, Instruction, Label, Not, Operand, Pair, Register, Symbol, Vector

WITHOUT_RESULT = frozenset(
    {"st", "red", "bar", "barrier", "bra", "exit", "membar", "fence", "nanosleep", "trap", GRID_SYNC[0], "prefetch"}
)
"""Opcodes whose first operand is no result."""

STRONG = frozenset({"volatile", "relaxed", "acquire", "release"})
"""Modifiers of loads and stores by which threads may communicate."""

RECEIVE = "'receive"
"""Opcode of the second half of an exchange in a warp: the results, once all lanes have arrived."""


@dataclass
class Block:
    """Instructions that run one after the other.

    Attributes:
        resumes: a thread may stop before this block.
        following: blocks that may come next.
        used: registers read before the block writes them, as a set of bits.
        written: registers that the block writes.
        live: registers that are read after the block.
    """

    number: int
    instructions: list[Instruction] = field(default_factory=list)
    resumes: bool = False
    following: list[int] = field(default_factory=list)
    used: int = 0
    written: int = 0
    live: int = 0


@dataclass(frozen=True)
class Flow:
    """A kernel's blocks.

    Attributes:
        labels: number of the block at each label.
        stored: registers that live from one block to another.
        doubtful: registers that some path reads before it writes them.
    """

    blocks: list[Block]
    labels: dict[str, int]
    stored: list[str]
    doubtful: frozenset[str]


def registers_of(operand: Operand) -> Iterator[str]:
    """Names of the registers in an operand."""
    if isinstance(operand, Register):
        yield operand.name
    elif isinstance(operand, Not):
        yield operand.register.name
    elif isinstance(operand, Address):
        if isinstance(operand.base, Register):
            yield operand.base.name
    elif isinstance(operand, Vector | Group):
        for item in operand.items:
            yield from registers_of(item)
    elif isinstance(operand, Pair):
        yield from registers_of(operand.first)
        yield from registers_of(operand.second)


def reads_and_writes(instruction: Instruction) -> tuple[list[str], list[str]]:
    """Registers that an instruction reads, and those that it writes."""
    opcode, operands = instruction.parts[0], instruction.operands
    reads = list(registers_of(instruction.predicate)) if instruction.predicate else []
    if opcode in ("addc", "subc", "madc"):
        reads.append(CARRY)
    if opcode == RECEIVE:
        return reads, [r for operand in operands for r in registers_of(operand)]
    if opcode in ("shfl", "vote") or opcode in WITHOUT_RESULT:
        given = operands[1:] if opcode in ("shfl", "vote") else operands
        return reads + [r for operand in given for r in registers_of(operand)], []
    writes = list(registers_of(operands[0])) if operands else []
    if "cc" in instruction.parts:
        writes.append(CARRY)
    return reads + [r for operand in operands[1:] for r in registers_of(operand)], writes


def is_wait(instruction: Instruction) -> bool:
    """Whether a thread stops at the instruction until others arrive."""
    parts = instruction.parts
    if parts[0] in ("bar", "barrier"):
        return True
    return parts == GRID_SYNC or parts[0] in ("shfl", "vote")


def is_strong(instruction: Instruction) -> bool:
    """Whether threads may communicate by the instruction without a race."""
    return instruction.parts[0] in ("atom", "red") or (
        instruction.parts[0] in ("ld", "st") and not STRONG.isdisjoint(instruction.parts)
    )


def analyse(body: list[Instruction | Label], registers: list[str]) -> Flow:
    """The blocks of a kernel that has been lowered."""
    blocks, labels = _split(body)
    for block in blocks:
        _connect(block, blocks, labels)
    bits = {name: 1 << i for i, name in enumerate(registers)}
    for block in blocks:
        for instruction in block.instructions:
            reads, writes = reads_and_writes(instruction)
            for name in reads:
                block.used |= bits[name] & ~block.written
            for name in writes:
                block.written |= bits[name]
    _find_live(blocks)
    before = _find_written(blocks, (1 << len(registers)) - 1)
    stored = doubtful = 0
    for block in blocks:
        stored |= block.used
        doubtful |= block.used & ~before[block.number]
    return Flow(blocks, labels, _names(stored, registers), frozenset(_names(doubtful, registers)))


def _names(bits: int, registers: list[str]) -> list[str]:
    return [name for i, name in enumerate(registers) if bits >> i & 1]


def _split(body: list[Instruction | Label]) -> tuple[list[Block], dict[str, int]]:
    blocks, labels = [Block(0)], dict[str, int]()

    def start() -> Block:
        if blocks[-1].instructions:
            blocks.append(Block(len(blocks)))
        return blocks[-1]

    for item in body:
        if isinstance(item, Label):
            labels[item.name] = start().number
            continue
        if is_strong(item):
            start().resumes = True
        blocks[-1].instructions.append(item)
        if is_wait(item):
            start().resumes = True
            if item.parts[0] in ("shfl", "vote"):
                blocks[-1].instructions.append(Instruction((RECEIVE, *item.parts), item.operands[:1], item.line))
        elif item.parts[0] in ("bra", "exit"):
            start()
    # Also where the text ends without one.
    blocks[-1].instructions.append(Instruction(("exit",), (), 0))
    return blocks, labels


def _connect(block: Block, blocks: list[Block], labels: dict[str, int]) -> None:
    last = block.instructions[-1]
    if last.parts[0] == "bra":
        (target,) = last.operands
        if not isinstance(target, Symbol) or target.name not in labels or last.parts[1:] not in ((), ("uni",)):
            raise UnsupportedInstruction(f"line {last.line}: {last.name}")
        number = labels[target.name]
        block.following.append(number)
        if number <= block.number:
            blocks[number].resumes = True
    if last.parts[0] != "exit" and (last.parts[0] != "bra" or last.predicate is not None):
        block.following.append(block.number + 1)


def _repeat(blocks: list[Block], step: Callable[[Block], bool], backwards: bool) -> None:
    """Take a step for each block until none changes anything."""
    changed = True
    while changed:
        changed = False
        for block in reversed(blocks) if backwards else blocks:
            changed |= step(block)


def _find_live(blocks: list[Block]) -> None:
    entering = [0] * len(blocks)

    def step(block: Block) -> bool:
        block.live = 0
        for number in block.following:
            block.live |= entering[number]
        before = entering[block.number]
        entering[block.number] = block.used | (block.live & ~block.written)
        return entering[block.number] != before

    _repeat(blocks, step, backwards=True)


def _find_written(blocks: list[Block], everything: int) -> list[int]:
    """Registers that are written on all paths to each block."""
    before = [0] + [everything] * (len(blocks) - 1)

    def step(block: Block) -> bool:
        changed = False
        for number in block.following:
            common = before[number] & (before[block.number] | block.written)
            changed |= common != before[number]
            before[number] = common
        return changed

    _repeat(blocks, step, backwards=False)
    return before
