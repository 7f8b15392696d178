"""Which function translates which opcode."""

from __future__ import annotations

from collections.abc import Callable

from .emitter import Emitter
from .modifiers import Modifiers

Handler = Callable[[Emitter, Modifiers, str], None]
"""Writes an instruction: emitter, its modifiers, its opcode."""

HANDLERS: dict[str, Handler] = {}


def opcode(*names: str) -> Callable[[Handler], Handler]:
    """Decorator: the function translates these opcodes."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter
