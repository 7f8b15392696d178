"""What follows an opcode."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnsupportedInstruction
from ..syntax import Instruction
from ..types import TYPES, Type


class Modifiers:
    """What follows an opcode; each modifier must be taken by somebody."""

    def __init__(self, instruction: Instruction) -> None:
        self._instruction = instruction
        self._rest = list(instruction.parts[1:])

    def type(self) -> Type:
        """The last modifier, a type."""
        if not self._rest or self._rest[-1] not in TYPES:
            raise unsupported(self._instruction)
        return TYPES[self._rest.pop()]

    def take(self, *names: str) -> str | None:
        """The first of some modifiers that is there."""
        for name in names:
            if name in self._rest:
                self._rest.remove(name)
                return name
        return None

    def need(self, *names: str) -> str:
        """One of some modifiers, which must be there."""
        found = self.take(*names)
        if found is None:
            raise unsupported(self._instruction)
        return found

    def drop(self, unneeded: Callable[[str], bool]) -> None:
        """Leave out hints."""
        self._rest = [name for name in self._rest if not unneeded(name)]

    def end(self) -> None:
        """Refuse what is left."""
        if self._rest:
            raise unsupported(self._instruction)


def unsupported(instruction: Instruction, why: str = "") -> UnsupportedInstruction:
    """The error of an instruction that the executor does not know."""
    return UnsupportedInstruction(f"line {instruction.line}: {instruction.name}{': ' + why if why else ''}")
