"""The smallest kernel, which tells whether Numba compiles here as the engine has it compile."""

from __future__ import annotations

from .emitted import compiled
from .memory import set_word, word


@compiled("trial_part")
def part(first: int, second: int) -> int:
    return min(first, second) // 2


@compiled("trial")
def trial(words: int, thread: int) -> None:
    total = 0
    for k in range(word(words, 0)):
        while total < k:
            total += part(k, thread) + 1
    set_word(words, 0, total)
