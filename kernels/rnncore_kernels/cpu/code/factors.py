"""The factors of products, as tiles read and multiply them.

A word is what a tile reads at once of a row, and of each column of weights: one or more k, side by side. Sums are
vectors of the shape's numbers, which may stand for bits of others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ..shape import Shape
from ..vector import ELEMENTS, Vector


@dataclass(frozen=True, eq=False)
class Factors:
    """How two kinds of words are multiplied.

    Attributes:
        name: tells these from others, in names of functions.
        depth: k of a word.
        parts: products that are added up for each word, one after the other.
        row_word: LLVM's type of a word of a row.
        column_words: LLVM's type of a vector of words, one of each column.
        splat: `splat(b, place, part)`: a factor in all lanes, of the word of a row at a pointer.
        load: `load(b, place, part)`: a factor, of the words of columns at a pointer.
        add: `add(x, y, total)`: the total with the product of two factors.
        behind: bytes behind the words of a vector of columns.
        finish: `finish(b, total, row, column, distance, start)`: the sum, from `start` on, of a total from 0 on; `row`
            is where the row's words are, `column` what is behind those of a vector of columns, in pieces of a vector
            at a distance. None where totals begin with `start`.
    """

    name: str
    depth: int
    parts: int
    row_word: Any
    column_words: Any
    splat: Callable[[Any, Any, int], Vector]
    load: Callable[[Any, Any, int], Vector]
    add: Callable[[Vector, Vector, Vector], Vector]
    behind: int = 0
    finish: Callable[[Any, Vector, Any, Any, int, Vector], Vector] | None = None


@functools.cache
def own_factors(shape: Shape) -> Factors:
    """Numbers of the shape's dtype, multiplied as they are."""
    element = ELEMENTS[shape.dtype]
    return Factors(
        name=shape.dtype.name,
        depth=1,
        parts=1,
        row_word=element,
        column_words=ir.VectorType(element, shape.lanes),
        splat=lambda b, place, _: splat_number(b, shape, place),
        load=lambda b, place, _: Vector.load(b, shape.target, shape.dtype, place),
        add=lambda x, y, total: x.fma(y, total),
    )


def splat_number(b: Any, shape: Shape, place: Any) -> Vector:
    """The number at a pointer in all lanes."""
    element = ELEMENTS[shape.dtype]
    place = b.bitcast(place, element.as_pointer())
    return Vector.splat(b, shape.target, b.load(place, align=shape.itemsize, typ=element))
