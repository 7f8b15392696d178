"""The tokens of a module, and a cursor over them."""

from __future__ import annotations

import bisect
import re

from .errors import UnsupportedInstruction
from .syntax import Immediate

_TOKEN = re.compile(r'"[^"]*"|[@!]?!?[%$.\w]+(?:::\w+[.\w]*)*|-\s*\d\w*|[{}()\[\],;:|+<>=]|\S')
_IGNORED = re.compile(
    r"//[^\n]*|/\*.*?\*/|^[ \t]*\.(?:version|target|address_size|file|loc)\b[^\n]*", re.DOTALL | re.MULTILINE
)
_NUMBER = re.compile(r"-?\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)U?$")
_FLOAT = re.compile(r"0([fFdD])([0-9a-fA-F]{8}|[0-9a-fA-F]{16})$")


class Cursor:
    """Gives one token after the other; the last is empty."""

    def __init__(self, text: str) -> None:
        # Comments, and directives that end with their line, leave every other character where it was.
        blank = _IGNORED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
        matches = list(_TOKEN.finditer(blank))
        self._tokens = [m.group() for m in matches] + ["", ""]
        self._starts = [m.start() for m in matches] + [len(text)] * 2
        self._newlines = [i for i, character in enumerate(text) if character == "\n"]
        self._at = 0

    @property
    def line(self) -> int:
        """Line of the next token, counted from 1."""
        return bisect.bisect(self._newlines, self.position) + 1

    @property
    def position(self) -> int:
        """First character of the next token."""
        return self._starts[self._at]

    def peek(self, ahead: int = 0) -> str:
        """The next token, or one after it."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def next(self) -> str:
        """Go past the next token, and return it."""
        if not self._tokens[self._at]:
            raise self.unknown("the end")
        self._at += 1
        return self._tokens[self._at - 1]

    def skip(self, count: int) -> None:
        """Go past some tokens."""
        for _ in range(count):
            self.next()

    def expect(self, word: str) -> None:
        """Go past a token that must be the next."""
        if self.peek() != word:
            raise self.unknown(self.peek())
        self.next()

    def unknown(self, word: str) -> UnsupportedInstruction:
        """The error that a token is not understood."""
        return UnsupportedInstruction(f"line {self.line}: not understood: {word!r}")

    def number(self, word: str) -> Immediate:
        """The constant that a token is."""
        match = _FLOAT.match(word)
        if match:
            return Immediate(int(match.group(2), 16), 32 if match.group(1) in "fF" else 64)
        return Immediate(self.integer(word))

    def integer(self, word: str) -> int:
        """The integer that a token is."""
        match = _NUMBER.match(word)
        if not match:
            raise self.unknown(word)
        digits = match.group(1)
        base = {"x": 16, "b": 2}.get(digits[1:2].lower(), 8 if digits[0] == "0" else 10)
        value = int(digits, base)
        return -value if word[0] == "-" else value
