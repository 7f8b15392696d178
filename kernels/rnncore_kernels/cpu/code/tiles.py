"""Register-blocked tiles: what the two products of matrices, `multiply` and `outer`, have in common.

A tile keeps `height x vectors` sums in registers. Each sum is over k in order, so its bits depend on nothing but its
row and column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..shape import Shape
from ..vector import Vector
from .emitted import call, compiled, emitted
from .ir import I64

Sizes = Mapping[tuple[int, int], Any] | Mapping[tuple[int, int, int], Any]
"""Tiles by their sizes."""


@compiled("height_of")
def height_of(left: int, tallest: int) -> int:
    """Height of the next tile where so many rows are left."""
    if left >= tallest and not (tallest == 6 and left == 8):
        return tallest
    return 4 if left >= 4 else 2 if left >= 2 else 1


@compiled("even_height_of")
def even_height_of(left: int, tallest: int) -> int:
    """The same where tiles have any height: tiles as high as each other, if more are needed than one."""
    if left > 2 * tallest:
        return tallest
    height = left if left <= tallest else (left + 1) // 2
    return 4 if height == 7 else height


def heights(shape: Shape, width: int) -> list[int]:
    """Heights of the tiles of that many vectors."""
    return sorted({shape.rows(width), 4, 2, 1})


def even_heights(shape: Shape, width: int) -> list[int]:
    """Those of `even_height_of`."""
    return [height for height in range(1, shape.rows(width) + 1) if height != 7]


def tallest_heights(shape: Shape) -> list[int]:
    """Height of the highest tile of one, two, three and four vectors, or of as many as a tile can have."""
    return [shape.rows(min(width, shape.columns)) for width in (1, 2, 3, 4)]


def make_choice(name: str, sizes: Sequence[str], parameters: Sequence[str], tiles: Sizes) -> Any:
    """A function of a tile's sizes, each less than ten, and its arguments: calls the tile of these sizes."""

    def body(b: Any, *arguments: Any) -> None:
        number = I64(0)
        for size in arguments[: len(sizes)]:
            number = b.add(b.mul(number, I64(10)), size)
        done = b.append_basic_block("done")
        switch = b.switch(number, done)
        for size, tile in tiles.items():
            here = b.append_basic_block()
            switch.add_case(I64(int("".join(map(str, size)))), here)
            b.position_at_end(here)
            call(b, tile, arguments[len(sizes) :])
            b.branch(done)
        b.position_at_end(done)

    return emitted(name, (*sizes, *parameters), body)


Turn = Callable[[Any, list[Vector]], list[Vector]]
"""`turn(k, sums)` emits sums with the products of one k."""


def sum_products(b: Any, depth: Any, first: Sequence[Vector], turn: Turn, together: int = 1) -> list[Vector]:
    """Emit sums of products, from `first` on, over k from 0 to depth - 1.

    In one turn of the loop there are `together` of them, for the last ones in a loop of their own.
    """
    start, sums = I64(0), list(first)
    for here in sorted({1, together}, reverse=True):
        stop = b.sub(depth, b.srem(depth, I64(here))) if here > 1 else depth
        sums = _sum_turns(b, start, stop, here, sums, turn)
        start = stop
    return sums


def _sum_turns(b: Any, start: Any, stop: Any, together: int, first: Sequence[Vector], turn: Turn) -> list[Vector]:
    """The loop of `sum_products` from start to stop."""
    before, body, done = b.block, b.append_basic_block("k"), b.append_basic_block("done")
    b.cbranch(b.icmp_signed("<", start, stop), body, done)
    b.position_at_end(body)
    k = b.phi(I64)
    k.add_incoming(start, before)
    sums = [_phi(b, value, before) for value in first]
    new = sums
    for number in range(together):
        new = turn(b.add(k, I64(number)), new)
    after = b.add(k, I64(together))
    k.add_incoming(after, body)
    for total, value in zip(sums, new, strict=True):
        total.value.add_incoming(value.value, body)
    b.cbranch(b.icmp_signed("<", after, stop), body, done)
    b.position_at_end(done)
    results = [_phi(b, value, before) for value in first]
    for result, value in zip(results, new, strict=True):
        result.value.add_incoming(value.value, body)
    return results


def _phi(b: Any, value: Vector, block: Any) -> Vector:
    """What is `value` where control comes from a block."""
    phi = b.phi(value.value.type)
    phi.add_incoming(value.value, block)
    return Vector(b, phi, value.target)
