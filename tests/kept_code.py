"""A kernel whose compiled code tells which of two was kept."""

from __future__ import annotations

from typing import Any

from rnncore_kernels.cpu import toolchain
from rnncore_kernels.cpu.code.ir import I64, PREFIX, Definition, word_pointer
from rnncore_kernels.cpu.memory import make_words, words_address
from rnncore_kernels.cpu.target import Target, host_target

NAME = "writes"


def writes(value: int) -> Definition:
    """A kernel that needs no Numba: it sets the word that it is called with."""

    def body(builder: Any, words: Any, thread: Any) -> None:
        builder.store(I64(value), word_pointer(builder, words))

    return Definition(PREFIX + NAME, 2, returns=False, body=body)


def load(key: str = "test", value: int = 7, chosen: Target | None = None) -> int:
    """The number that the kernel of a key writes, which is `value` if it was compiled just now."""
    library = toolchain.load(chosen or host_target(), key, (NAME,), lambda: {PREFIX + NAME: writes(value)})
    words = make_words([0])
    library.functions[NAME](words_address(words), 0)
    return words[0]
