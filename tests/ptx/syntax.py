"""What a PTX module consists of: functions, instructions, operands, variables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .types import Type


@dataclass(frozen=True)
class Register:
    """A register, by a name that is unique in its function."""

    name: str


@dataclass(frozen=True)
class Special:
    """A register of the hardware, such as %tid.x."""

    name: str


@dataclass(frozen=True)
class Immediate:
    """A number: an integer, or the bits of a float if `float_bits` is 32 or 64."""

    value: int
    float_bits: int = 0


@dataclass(frozen=True)
class Symbol:
    """A variable, a function or a label."""

    name: str


@dataclass(frozen=True)
class Address:
    """`[base+offset]`."""

    base: Register | Symbol | Immediate
    offset: int


@dataclass(frozen=True)
class Vector:
    """`{a, b, ...}`."""

    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """`a|b`: a result and its predicate."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Not:
    """`!p`."""

    register: Register


@dataclass(frozen=True)
class Group:
    """`(a, b, ...)`: results or arguments of a call."""

    items: tuple[Operand, ...]


Operand = Register | Special | Immediate | Symbol | Address | Vector | Pair | Not | Group


@dataclass(frozen=True)
class Instruction:
    """An instruction: `@predicate parts[0].parts[1]... operands;`, and where the text of the module has it.

    Attributes:
        line: counted from 1; 0 where the text has none.
        span: first character and end.
    """

    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    line: int
    predicate: Register | Not | None = None
    span: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Opcode with its modifiers."""
        return ".".join(self.parts)


def symbols_of(instruction: Instruction) -> Iterator[str]:
    """Names of the variables, functions and labels in an instruction's operands."""
    waiting = list(instruction.operands)
    while waiting:
        operand = waiting.pop()
        if isinstance(operand, Symbol):
            yield operand.name
        elif isinstance(operand, Address):
            waiting.append(operand.base)
        elif isinstance(operand, Vector | Group):
            waiting += operand.items


@dataclass(frozen=True)
class Label:
    """A place that branches name."""

    name: str


@dataclass(frozen=True)
class Variable:
    """A variable in memory, or a parameter.

    Attributes:
        type: of an element.
        count: elements; 0 of an array without a size.
        space: "global", "const", "shared", "local" or "param".
        values: initial values, one an element.
    """

    name: str
    space: str
    type: Type
    count: int
    align: int
    values: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.count * self.type.bytes


@dataclass
class Function:
    """A kernel (`.entry`) or a device function (`.func`)."""

    name: str
    entry: bool
    parameters: list[Variable] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    registers: dict[str, Type] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    body: list[Instruction | Label] = field(default_factory=list)
    max_threads: int = 1024


@dataclass
class Module:
    """What a text defines."""

    functions: dict[str, Function] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
