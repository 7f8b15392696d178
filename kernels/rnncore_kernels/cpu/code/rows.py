"""Which rows a thread computes at a step, and where they are.

Rows are numbered in the order of `order`, so those of a step come first. Thread i of k has the rows i, i+k, i+2k, ...:
its share is even however long the rows are.
"""

from __future__ import annotations

from typing import Any

from ..shape import Shape
from .emitted import compiled
from .memory import clear, copy, set_word, word

FEW_ROWS = 7
"""Rows that leave registers of a tile unused, so that several groups of units are computed at once."""


@compiled("active")
def active(sizes: int, batch: int, t: int) -> int:
    """Number of rows that have step t."""
    return word(sizes, t) if sizes != 0 else batch


@compiled("share")
def share(n: int, thread: int, threads: int) -> int:
    """How many of the first n rows are the thread's."""
    if threads == 1:
        return n
    return (n - thread + threads - 1) // threads if n > thread else 0


@compiled("place")
def place(order: int, row: int) -> int:
    """Index in the caller's arrays of a row."""
    return word(order, row) if order != 0 else row


@compiled("fill_table")
def fill_table(table: int, n: int, base: int, distance: int) -> None:
    """Addresses of n rows at a constant distance."""
    for i in range(n):
        set_word(table, i, base + i * distance)


@compiled("fill_table_placed")
def fill_table_placed(table: int, n: int, base: int, distance: int, order: int, thread: int, threads: int) -> None:
    """Addresses of n of the thread's rows in an array of the caller's."""
    for i in range(n):
        set_word(table, i, base + place(order, thread + i * threads) * distance)


@compiled("part_start")
def part_start(count: int, part: int, parts: int) -> int:
    """Where a part begins, of `count` divided as evenly as can be."""
    return count * part // parts if parts > 1 else count * part


@compiled("unit_offset")
def unit_offset(group: int, groups: int, units: int) -> int:
    """First unit vector of a group, where `units` are divided as evenly as can be."""
    if groups == units:
        return group
    base, more = units // groups, units % groups
    return group * base + min(group, more)


def make_most_per_group(shape: Shape) -> Any:
    """`most_per_group(gates)`: most unit vectors that share a tile, as many as fill its columns."""
    most = shape.columns

    @compiled("most_per_group")
    def most_per_group(gates: int) -> int:
        return max(1, most // gates)

    return most_per_group


@compiled("groups_together")
def groups_together(first: int, last: int, groups: int, more: int, n: int, down: int) -> int:
    """How many groups of one size to multiply at once for n rows, of those from `first` and before `last`.

    They are the first, or with `down` the last. The first `more` of all have one unit vector more than the others.
    """
    if n > FEW_ROWS:
        return 1
    if down != 0:
        return min(4, last - (max(first, more) if last > more else first))
    return min(4, min(last, more if first < more else groups) - first)


@compiled("copy_units")
def copy_units(target: int, source: int, first: int, last: int, hidden: int, vector: int, item: int) -> None:
    """Copy the unit vectors from first to last of a row of `hidden` elements, as far as they go."""
    start = first * vector
    count = min(last * vector, hidden * item) - start
    if count > 0:
        copy(target + start, source + start, count)


@compiled("enter")
def enter(
    block: int, row_bytes: int, value_bytes: int, arrays: int, values: int, first: int, last: int, thread: int,
    threads: int, order: int, hidden: int, u0: int, u1: int, vector: int, item: int,
) -> None:  # fmt: skip
    """Copy the thread's rows from first to last out of the caller's arrays into padded rows; zeros behind them."""
    for q in range(first, last):
        row = thread + q * threads
        source = place(order, row) * hidden * item
        for value in range(values):
            to = block + row * row_bytes + value * value_bytes
            clear(to + u0 * vector, (u1 - u0) * vector)
            copy_units(to, word(arrays, value) + source, u0, u1, hidden, vector, item)


@compiled("leave")
def leave(
    block: int, row_bytes: int, target: int, target_row: int, first: int, last: int, thread: int, threads: int,
    order: int, hidden: int, u0: int, u1: int, vector: int, item: int,
) -> None:  # fmt: skip
    """Copy the thread's rows from first to last out of padded rows into an array of the caller's."""
    for q in range(first, last):
        row = thread + q * threads
        to = target + place(order, row) * target_row
        copy_units(to, block + row * row_bytes, u0, u1, hidden, vector, item)


@compiled("clear_output")
def clear_output(
    out: int, out_row: int, first: int, last: int, order: int, thread: int, threads: int, u0: int, u1: int, hidden: int,
    vector: int, item: int,
) -> None:  # fmt: skip
    """Zero the units of the thread's rows from first to last in an array of the caller's."""
    start = u0 * vector
    count = min(u1 * vector, hidden * item) - start
    for q in range(first, last):
        if count > 0:
            clear(out + place(order, thread + q * threads) * out_row + start, count)
