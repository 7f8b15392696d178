"""The values that the forward pass keeps for the backward pass: a minimum cut of the graph.

The cut runs between values that cannot be had again (products, parts of x) and those that the backward pass reads, and
is as small as possible; states before and after, inputs, sums over units and operands of products are free. By max-flow
and min-cut, along shortest paths: L. R. Ford and D. R. Fulkerson, Flows in Networks, 1962.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

from ..cells.symbol import ROW, Symbol

SOURCES = ("x", "gate", "recurrent", "project")
"""Operations whose results cannot be had again."""

UNIT_COST, ENDLESS = 1000, 10**9
"""Cost of keeping a value for each unit, where one number a row costs 1; and a capacity that no cut may contain."""

Vertex = Any
Edges = dict[Vertex, dict[Vertex, int]]


def values_to_save(nodes: Sequence[Symbol], free: Collection[Symbol], needed: Collection[Symbol]) -> list[Symbol]:
    """Fewest of the nodes of the forward pass from which, with the free ones, all that is needed can be computed.

    Among several such sets it is the one nearest to the needed values, so that least is computed again.
    """
    edges: Edges = {}

    def edge(start: Vertex, end: Vertex, capacity: int) -> None:
        edges.setdefault(start, {})[end] = capacity
        edges.setdefault(end, {}).setdefault(start, 0)

    for node in nodes:
        if node in free:
            continue
        edge(("in", node), ("out", node), 1 if node.width == ROW else UNIT_COST)
        if node.operation in SOURCES:
            edge("source", ("in", node), ENDLESS)
        else:
            for argument in node.sources:
                if argument not in free:
                    edge(("out", argument), ("in", node), ENDLESS)
    for node in needed:
        edge(("out", node), "sink", ENDLESS)
    while path := _path(edges):
        flow = min(edges[start][end] for start, end in path)
        for start, end in path:
            edges[start][end] -= flow
            edges[end][start] += flow
    near_sink = _reaching(edges)
    return [n for n in nodes if n not in free and ("out", n) in near_sink and ("in", n) not in near_sink]


def _path(edges: Edges) -> list[tuple[Vertex, Vertex]]:
    """Edges with room left that lead from the source to the sink, as few as possible."""
    came: dict[Vertex, Vertex] = {"source": None}
    pending = deque(["source"])
    while pending and "sink" not in came:
        start = pending.popleft()
        for end, capacity in edges.get(start, {}).items():
            if capacity > 0 and end not in came:
                came[end] = start
                pending.append(end)
    path, vertex = [], "sink"
    while came.get(vertex) is not None:
        path.append((came[vertex], vertex))
        vertex = came[vertex]
    return path


def _reaching(edges: Edges) -> set[Vertex]:
    """Vertices from which there is room left to the sink."""
    reaching: set[Vertex] = {"sink"}
    pending: list[Vertex] = ["sink"]
    while pending:
        end = pending.pop()
        for start in edges.get(end, {}):
            if edges[start].get(end, 0) > 0 and start not in reaching:
                reaching.add(start)
                pending.append(start)
    return reaching
