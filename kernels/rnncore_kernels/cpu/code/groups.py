"""Groups of units that share a tile, and how threads divide them."""

from __future__ import annotations

from collections.abc import Callable

from ..sizes import piece_count
from .emitted import compiled

FEW_ROWS = 7
"""Rows that leave registers of a tile unused, so that several groups of units are computed at once."""


pieces: Callable[[int, int], int] = compiled("pieces")(piece_count)


@compiled("part_start")
def part_start(count: int, part: int, parts: int) -> int:
    """Where a part begins, of `count` divided as evenly as can be."""
    return count * part // parts if parts > 1 else count * part


@compiled("block_start")
def block_start(count: int, block: int, part: int, parts: int) -> int:
    """The same, where parts begin with a whole block of so many."""
    return min(count, part_start((count + block - 1) // block, part, parts) * block)


@compiled("unit_offset")
def unit_offset(group: int, groups: int, units: int) -> int:
    """First unit vector of a group, where `units` are divided as evenly as can be."""
    if groups == units:
        return group
    base, more = units // groups, units % groups
    return group * base + min(group, more)


@compiled("first_multiplied")
def first_multiplied(unit: int, head: int, head_depth: int, whole: int, span: int) -> int:
    """The first of the `span` elements, of `whole`, that a group multiplies whose first element is `unit`.

    A head has `head` units, which multiply `head_depth` elements.
    """
    if span == whole:
        return 0
    return min(unit // head * head_depth, whole - span)


@compiled("unit_start")
def unit_start(units: int, groups: int, part: int, parts: int) -> int:
    """First unit vector of a part that has whole groups."""
    return unit_offset(part_start(groups, part, parts), groups, units)


@compiled("groups_together")
def groups_together(first: int, last: int, groups: int, more: int, n: int, descending: int) -> int:
    """How many groups of one size to multiply at once for n rows, of those from `first` and before `last`.

    They are the first, or with `descending` the last. The first `more` of all have one unit vector more than others.
    """
    if n > FEW_ROWS:
        return 1
    if descending != 0:
        return min(4, last - (max(first, more) if last > more else first))
    return min(4, min(last, more if first < more else groups) - first)
