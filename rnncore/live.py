"""The arrays of parameters, and a network packed from them that is kept until somebody may have written to them.

CPython counts references to an array. Views, buffers, and tensors of other libraries all refer to the array whose
memory they use, so that the count tells whether anybody can write to it; an address alone is not counted.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rnncore_kernels.contract import Array

from .frozen import Frozen
from .kept import are_same, in_memory

COUNTED = sys.implementation.name == "cpython" and "free-threading" not in sys.version
"""Whether the number of references to an array tells whether somebody has it; where not, somebody always may."""


def _references(arrays: Mapping[str, Array], name: str) -> int:
    return sys.getrefcount(arrays[name])


UNHELD = _references({"": np.empty(0)}, "")
"""The count of an array that nobody has."""


class Kept(NamedTuple):
    """A network packed from parameters.

    Attributes:
        frozen: the network.
        handed_out: the mark of `Live` from before it was packed.
        copies: by name, the bytes that are packed of arrays which somebody has.
    """

    frozen: Frozen
    handed_out: object
    copies: dict[str, bytearray]


class Live:
    """The arrays of parameters by name.

    Attributes:
        arrays: to be read; whoever may write asks `hand_out` for them.
        handed_out: a mark, another one whenever an array has been handed out.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.handed_out = object()

    def hand_out(self, name: str) -> Array:
        """The array of a name, for somebody who may write to it."""
        array = self.arrays[name]
        # In this order: who packs in between packs under the old mark, who packs later sees that the array is held.
        self.handed_out = object()
        return array

    def keep(self, freeze: Callable[[Callable[[], Mapping[str, Array]]], Frozen], most_bytes: int) -> Kept | None:
        """A network that `freeze` makes of the arrays as they are; None if others have more than `most_bytes` of them.

        It asks for the arrays whenever it packs.
        """
        handed_out = self.handed_out
        held = [name for name in self.arrays if self._is_held(name)]
        if sum(self.arrays[name].nbytes for name in held) > most_bytes:
            return None
        copies = {name: bytearray(self.arrays[name].data) for name in held}
        return Kept(freeze(lambda: self._arrays_with(copies)), handed_out, copies)

    def _arrays_with(self, copies: Mapping[str, bytearray]) -> dict[str, Array]:
        """The arrays, those that somebody has as they were when they were copied.

        What another thread writes meanwhile would else be packed and not in the copy, or the other way round.
        """
        copied = {name: in_memory(self.arrays[name], copy) for name, copy in list(copies.items())}
        return {**self.arrays, **copied}

    def check(self, kept: Kept) -> bool:
        """Whether no array has changed since; drops the copies of arrays that nobody has any more."""
        if kept.handed_out is not self.handed_out:
            return False
        if not kept.copies:
            return True
        # At once, as another thread may drop some.
        copies = list(kept.copies.items())
        # Before they are compared: from here on nobody writes to what nobody has.
        free = [name for name, _ in copies if not self._is_held(name)]
        if not are_same([copy for _, copy in copies], [self.arrays[name] for name, _ in copies]):
            return False
        for name in free:
            kept.copies.pop(name, None)
        return True

    def _is_held(self, name: str) -> bool:
        """Whether somebody may write to the array without asking for it again."""
        if not COUNTED or _references(self.arrays, name) != UNHELD:
            return True
        array = self.arrays[name]
        return weakref.getweakrefcount(array) > 0 or not _owns_memory(array)

    def __getstate__(self) -> dict[str, Array]:
        return self.arrays

    def __setstate__(self, arrays: dict[str, Array]) -> None:
        # An unpickled array may lie in a buffer of the pickle's.
        owned = {name: array if _owns_memory(array) else array.copy() for name, array in arrays.items()}
        self.__init__(owned)  # type: ignore[misc]


def _owns_memory(array: Array) -> bool:
    # Which flags arrays of a GPU have is up to their library.
    owns: bool = getattr(array.flags, "owndata", True)
    return owns
