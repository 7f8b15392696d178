"""What the translation of every instruction uses: values, registers, modifiers, and calls of the runtime.

LLVM's text is written directly: its objects in Python take five times as long to make.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from ..errors import UnsupportedInstruction
from ..runtime import layout as at
from ..syntax import Immediate, Instruction, Not, Operand, Register, Special
from ..types import TYPES, Type
from .modifiers import unsupported
from .special import special

RUNTIME = "rnncore.ptx."
"""What the names of the runtime's functions begin with."""

I32, I64 = TYPES["b32"], TYPES["b64"]
PREDICATE = TYPES["pred"]


def integer(value: int, bits: int) -> str:
    """LLVM's constant of the low bits of an integer."""
    return ("true" if value & 1 else "false") if bits == 1 else str(value & ((1 << bits) - 1))


def real(value: float, bits: int) -> str:
    """LLVM's constant of a float."""
    floating, whole, kind = ("<f", "<I", "float") if bits == 32 else ("<d", "<Q", "double")
    (pattern,) = struct.unpack(whole, struct.pack(floating, value))
    return f"bitcast (i{bits} {pattern} to {kind})"


class Emitter:
    """Writes the instructions of one kernel.

    Attributes:
        lines: LLVM's text so far.
        sites: line, first character and end of each instruction that may fail, by the number that the runtime knows.
        symbols: for each variable in memory, LLVM's text of its address.
        declared: declarations of functions that are called, by name.
        registers: types of all registers, by name.
    """

    def __init__(
        self, registers: dict[str, Type], places: dict[str, int], flags: dict[str, int], symbols: dict[str, str]
    ) -> None:
        self.lines: list[str] = []
        self.sites: list[tuple[int, int, int]] = [(0, 0, 0)]
        self.symbols = symbols
        self.declared: dict[str, str] = {}
        self.registers, self._places, self._flags = registers, places, flags
        self._count = 0
        self._values: dict[str, tuple[str, str]] = {}
        self._casts: dict[tuple[str, str], str] = {}
        self._changed: dict[str, None] = {}
        self._instruction = Instruction((), (), 0)
        self._site = 0

    # Blocks and instructions.

    def begin_block(self) -> None:
        """Nothing is known of registers but what lies in memory."""
        self._values.clear()
        self._casts.clear()
        self._changed.clear()

    def begin(self, instruction: Instruction) -> None:
        """Go on with the next instruction."""
        self._instruction, self._site = instruction, 0

    @property
    def site(self) -> int:
        """The number of this instruction among those that may fail."""
        if self._site == 0:
            self._site = len(self.sites)
            self.sites.append((self._instruction.line, *self._instruction.span))
            if self._site >= at.MAX_SITES:
                raise UnsupportedInstruction(f"more than {at.MAX_SITES - 1} instructions that may fail")
        return self._site

    def store_registers(self, live: Callable[[str], bool]) -> None:
        """Put the registers that were written and are read later where the next block finds them."""
        for name in self._changed:
            if live(name):
                text, kind = self._values[name]
                if kind == "i1":
                    text, kind = self.let(f"zext i1 {text} to i8"), "i8"
                self.put(kind, text, self._places[name])

    # Text.

    def emit(self, line: str) -> None:
        """Write a line."""
        self.lines.append(line)

    def let(self, expression: str) -> str:
        """Write an expression, and return the name of its value."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"{name} = {expression}")
        return name

    def label(self) -> str:
        """A name for a block of LLVM's."""
        self._count += 1
        return f"l{self._count}"

    def call(self, function: str, result: str, arguments: Sequence[tuple[str, str]]) -> str:
        """Call a function with arguments of types and texts; its result, where that is not "void"."""
        if function not in self.declared:
            self.declared[function] = f"declare {result} @{function}({', '.join(kind for kind, _ in arguments)})"
        text = f"call {result} @{function}({', '.join(f'{kind} {value}' for kind, value in arguments)})"
        if result == "void":
            self.emit(text)
            return ""
        return self.let(text)

    def runtime(self, function: str, *arguments: str | int, result: bool = True) -> str:
        """Call a function of the runtime for this thread, with int64 arguments."""
        given = [("i64", "%thread"), *(("i64", str(a)) for a in arguments)]
        return self.call(f'"{RUNTIME}{function}"', "i64" if result else "void", given)

    # The thread's memory.

    def place(self, offset: int) -> str:
        """Pointer to a byte of the thread's record."""
        return self.let(f"getelementptr i8, ptr %record, i64 {offset}")

    def get(self, kind: str, offset: int) -> str:
        """Load from the thread's record."""
        return self.let(f"load {kind}, ptr {self.place(offset)}")

    def put(self, kind: str, value: str, offset: int) -> None:
        """Store to the thread's record."""
        self.emit(f"store {kind} {value}, ptr {self.place(offset)}")

    def word(self, index: int) -> str:
        """A word of the thread's record."""
        return self.get("i64", 8 * index)

    def set_word(self, index: int, value: str | int) -> None:
        """Store a word of the thread's record."""
        self.put("i64", str(value), 8 * index)

    def context_word(self, index: int) -> str:
        """A word of the launch's record."""
        context = self.let(f"inttoptr i64 {self.word(at.T_CONTEXT)} to ptr")
        return self.let(f"load i64, ptr {self.let(f'getelementptr i64, ptr {context}, i64 {index}')}")

    # Operands.

    def refuse(self, why: str = "") -> UnsupportedInstruction:
        """The error that this instruction is not known."""
        return unsupported(self._instruction, why)

    def operands(self, count: int) -> tuple[Operand, ...]:
        """The operands, which must be so many."""
        if len(self._instruction.operands) != count:
            raise self.refuse(f"expected {count} operands, got {len(self._instruction.operands)}")
        return self._instruction.operands

    def type_of(self, register: Register) -> Type:
        """Declared type of a register."""
        return self.registers[register.name]

    def value(self, operand: Operand, kind: Type, wider: bool = False) -> str:
        """An operand as a value of a type; of a register that is wider, its low bits where that is allowed."""
        if isinstance(operand, Not) and kind.kind == "p":
            return self.let(f"xor i1 {self.value(operand.register, kind)}, true")
        if isinstance(operand, Register):
            text, held = self._read(operand)
            bits = self.registers[operand.name].bits
            if wider and bits > kind.bits:
                return self.let(f"trunc i{bits} {self.cast(text, held, f'i{bits}')} to i{kind.bits}")
            if bits != kind.bits:
                raise self.refuse(f"a register of {bits} bits")
            return self.cast(text, held, kind.llvm)
        if isinstance(operand, Immediate):
            return self._constant(operand, kind)
        if isinstance(operand, Special):
            text, bits = special(self, operand.name)
            if bits != kind.bits or kind.kind == "f":
                raise self.refuse(f"{operand.name} as {kind.name}")
            return text
        raise self.refuse()

    def cast(self, text: str, held: str, wanted: str) -> str:
        """The same bits as another of LLVM's types."""
        if held == wanted:
            return text
        found = self._casts.get((text, wanted))
        if found is None:
            found = self._casts[text, wanted] = self.let(f"bitcast {held} {text} to {wanted}")
        return found

    def set(self, operand: Operand, text: str, kind: str) -> None:
        """Write a register, or nothing for `_`, with a value of LLVM's type of its width."""
        if not isinstance(operand, Register):
            if getattr(operand, "name", "") == "_":
                return
            raise self.refuse()
        self._values[operand.name] = text, kind
        self._changed[operand.name] = None
        if operand.name in self._flags:
            self.put("i8", "1", self._flags[operand.name])

    def set_typed(self, operand: Operand, text: str, kind: Type, wider: bool = False) -> None:
        """Write a value of a type; where the register may be wider, extend as the type has it."""
        if isinstance(operand, Register):
            bits = self.registers[operand.name].bits
            if wider and bits > kind.bits and kind.kind in "bus":
                extend = "sext" if kind.kind == "s" else "zext"
                text = self.let(f"{extend} {kind.integer} {text} to i{bits}")
                self.set(operand, text, f"i{bits}")
                return
            if bits != kind.bits:
                raise self.refuse(f"a register of {bits} bits")
        self.set(operand, text, kind.llvm)

    def predicate(self, operand: Register | Not) -> str:
        """The predicate of an instruction."""
        return self.value(operand, PREDICATE)

    def _read(self, register: Register) -> tuple[str, str]:
        name = register.name
        if name in self._flags and name not in self._values:
            self._check_written(name)
        if name not in self._values:
            kind = self.registers[name]
            if name not in self._places:
                raise self.refuse(f"{name} is never written")
            if kind.kind == "p":
                self._values[name] = self.let(f"trunc i8 {self.get('i8', self._places[name])} to i1"), "i1"
            else:
                self._values[name] = self.get(kind.llvm, self._places[name]), kind.llvm
        return self._values[name]

    def _check_written(self, name: str) -> None:
        """A register that some path does not write is read: has this thread written it?"""
        written = self.let(f"icmp ne i8 {self.get('i8', self._flags[name])}, 0")
        missing, after = self.label(), self.label()
        self.emit(f"br i1 {written}, label %{after}, label %{missing}")
        self.emit(f"{missing}:")
        self.runtime("fail", at.UNINITIALISED_REGISTER, self.site, 0, list(self.registers).index(name))
        self.emit(f"br label %{after}")
        self.emit(f"{after}:")

    def _constant(self, operand: Immediate, kind: Type) -> str:
        if operand.float_bits:
            if operand.float_bits != kind.bits:
                raise self.refuse("a constant of another width")
            text = str(operand.value)
            return f"bitcast (i{kind.bits} {text} to {kind.llvm})" if kind.kind == "f" else text
        if kind.kind == "f":
            raise self.refuse("an integer constant as a float")
        return integer(operand.value, kind.bits)
