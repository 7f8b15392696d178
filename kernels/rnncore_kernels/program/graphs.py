"""Graphs as a whole: as plain data, made from that again, and with other values in the place of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..cells.symbol import Graph, Symbol, Width, ordered


class Line(NamedTuple):
    """A node as plain data; the place of another node, an int, stands for it.

    Attributes:
        operation, arguments, width, extra: as of `Symbol`.
    """

    operation: str
    arguments: tuple[str | float | int, ...]
    width: Width
    extra: int | None


def flattened(values: Sequence[Symbol]) -> tuple[tuple[Line, ...], tuple[int, ...]]:
    """All nodes that values are computed from, each behind its arguments, and the places of the values."""
    places: dict[Symbol, int] = {}
    lines = []
    for node in ordered(values, surrogates=True):
        arguments = tuple(places[a] if isinstance(a, Symbol) else a for a in node.arguments)
        lines.append(Line(node.operation, arguments, node.width, None if node.extra is None else places[node.extra]))
        places[node] = len(places)
    return tuple(lines), tuple(places[value] for value in values)


def rebuilt(graph: Graph, lines: Sequence[Line], places: Sequence[int]) -> tuple[Symbol, ...]:
    """The inverse of `flattened`, in a graph."""
    nodes: list[Symbol] = []
    for operation, arguments, width, extra in lines:
        given: list[Any] = [nodes[a] if type(a) is int else a for a in arguments]
        nodes.append(graph.node(operation, *given, width=width, extra=None if extra is None else nodes[extra]))
    return tuple(nodes[place] for place in places)


def substituted(graph: Graph, values: Sequence[Symbol], others: Mapping[Symbol, Symbol]) -> tuple[Symbol, ...]:
    """The values with others in the place of some of the nodes that they are computed from."""
    return rewritten(graph, values, lambda node, _: others.get(node))


def rewritten(
    graph: Graph, values: Sequence[Symbol], rule: Callable[[Symbol, tuple[Any, ...]], Symbol | None]
) -> tuple[Symbol, ...]:
    """The values with `rule(node, arguments)`, where it is not None, in the place of nodes that have new arguments."""
    new: dict[Symbol, Symbol] = {}
    for node in ordered(values, surrogates=True):
        arguments = tuple(new[a] if isinstance(a, Symbol) else a for a in node.arguments)
        extra = None if node.extra is None else new[node.extra]
        made = rule(node, arguments)
        new[node] = graph.node(node.operation, *arguments, width=node.width, extra=extra) if made is None else made
    return tuple(new[value] for value in values)
