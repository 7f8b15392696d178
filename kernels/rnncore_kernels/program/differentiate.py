"""The gradient of a cell: reverse accumulation on its graph, whose result is again a graph.

Pullbacks are written with the result where that is cheaper: tanh has d (1 - y y). A value of one number a row, or one
for all rows, keeps the cotangents that come from its use for each unit apart from those that come once a row: the
former are summed over units where `total` needs it, or by the engine at the end. A. Griewank and A. Walther, Evaluating
Derivatives, SIAM 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..cells.symbol import HIDDEN, ROW, Graph, Symbol, Width, ordered

BLOCKS = ("gate", "recurrent", "project")
"""Operations that are part of a product, of a matrix with an operand."""

LEAVES = ("x", "unit", "scalar", "row", "unit_input")
"""Leaves that have a gradient, beside states."""


class Gradient(NamedTuple):
    """The graph of the backward pass.

    Attributes:
        columns: cotangents by leaf or block of a product, and width; those of narrower leaves are summed over it.
        states: cotangents of the states before the step, without the products that multiply them; None is 0.
        backs: the node of the transposed product of each product whose operand is computed, by its number.
        outputs: cotangents of the new states, with all that reaches them within the step.
    """

    columns: dict[tuple[Symbol, Width], Symbol]
    states: tuple[Symbol | None, ...]
    backs: dict[int, Symbol]
    outputs: tuple[Symbol, ...]


def differentiate(
    graph: Graph,
    states: Sequence[Symbol],
    outputs: Sequence[Symbol],
    products: Sequence[tuple[Symbol, ...]],
    given: Mapping[int, Symbol],
) -> Gradient:
    """The gradient of `outputs`, the new states.

    `products` are the blocks of each product, of one operand each, and `given` cotangents that are added to those of
    some outputs.
    """
    found: dict[Symbol, dict[Width, Symbol]] = {}
    columns: dict[tuple[Symbol, Width], Symbol] = {}
    backs: dict[int, Symbol] = {}
    nodes = ordered(outputs)
    of_operand: dict[Symbol, list[int]] = {}
    for place, blocks in enumerate(products):
        of_operand.setdefault(blocks[0].sources[0], []).append(place)

    def add(node: Symbol, kind: Width, cotangent: Symbol) -> None:
        if node.width != ROW:
            kind = node.width
        elif kind != ROW and cotangent.width == ROW:
            # As many equal contributions as there are units.
            size: Any = 1 / graph.node("inverse_size", width=ROW) if kind == HIDDEN else float(kind)
            kind, cotangent = ROW, cotangent * size
        parts = found.setdefault(node, {})
        if kind not in parts:
            parts[kind] = cotangent
        elif cotangent.operation == "neg":
            parts[kind] = parts[kind] - cotangent.arguments[0]
        else:
            parts[kind] = parts[kind] + cotangent

    for place, output in enumerate(outputs):
        add(output, output.width, graph.node("grad", place, width=output.width))
        if place in given:
            add(output, output.width, given[place])
    for node in reversed(nodes):
        if node.operation != "state":
            for place in of_operand.get(node, ()):
                parts = tuple(columns.setdefault((b, b.width), _zero(graph, b.width)) for b in products[place])
                backs[place] = graph.node("back", float(place), *parts, width=node.width)
                add(node, node.width, backs[place])
        parts_of_node = found.get(node, {})
        if node.operation in (*BLOCKS, *LEAVES):
            columns |= _columns(graph, node, parts_of_node)
            continue
        for kind, d in parts_of_node.items():
            if node.operation == "total":
                source = node.sources[0]
                add(source, source.width, d if kind == ROW else graph.node("total", d, width=ROW))
            elif (pullback := PULLBACKS.get(node.operation)) is not None:
                contributions = pullback(node, d, *node.arguments)
                for argument, part in zip(node.arguments, contributions, strict=True):
                    if isinstance(argument, Symbol) and part is not None:
                        add(argument, kind if node.width == ROW else node.width, part)
    for blocks in products:
        for block in blocks:
            columns.setdefault((block, block.width), _zero(graph, block.width))
    for node in nodes:
        # Gradients of other leaves are 0 where nothing is added to them.
        if node.operation in ("x", "unit_input") and not any(leaf is node for leaf, _ in columns):
            columns[node, HIDDEN] = _zero(graph, HIDDEN)
    parts_of_states = (found.get(state, {}).get(state.width) for state in states)
    state_parts = tuple(
        None if d is None else _spread(graph, d, state.width) for d, state in zip(parts_of_states, states, strict=True)
    )
    return Gradient(columns, state_parts, backs, tuple(found[output][output.width] for output in outputs))


def _columns(graph: Graph, node: Symbol, parts: dict[Width, Symbol]) -> dict[tuple[Symbol, Width], Symbol]:
    """The columns of a leaf: one for each width of its cotangents, once-a-row parts spread over the units."""
    parts = dict(parts)
    if node.width == ROW and ROW in parts:
        spread = parts.pop(ROW) * graph.node("inverse_size", width=ROW)
        parts[HIDDEN] = parts[HIDDEN] + spread if HIDDEN in parts else spread
    return {(node, width): _spread(graph, d, width) for width, d in parts.items()}


def _spread(graph: Graph, value: Symbol, width: Width) -> Symbol:
    """A value of one number a row, a sum over units say, repeated for each unit; others as they are."""
    return value if value.width == width else graph.apply("add", value, _zero(graph, width))


def _zero(graph: Graph, width: Width) -> Symbol:
    return graph.node("number", 0.0, width=width)


def _select(operation: str, a: Any, b: Any, x: Any, y: Any) -> Symbol:
    graph = next(v.graph for v in (a, b, x, y) if isinstance(v, Symbol))
    return graph.apply(operation, a, b, x, y)


def _call(operation: str, *arguments: Any) -> Symbol:
    graph = next(v.graph for v in arguments if isinstance(v, Symbol))
    return graph.apply(operation, *arguments)


def _where_pullback(operation: str) -> Callable[..., tuple[Any, ...]]:
    def pullback(y: Symbol, d: Symbol, a: Any, b: Any, *_: Any) -> tuple[Any, ...]:
        return None, None, _select(operation, a, b, d, 0.0), _select(operation, a, b, 0.0, d)

    return pullback


def _greater_pullback(y: Symbol, d: Symbol, a: Any, b: Any) -> tuple[Any, ...]:
    return _select("where_greater_equal", a, b, d, 0.0), _select("where_greater_equal", a, b, 0.0, d)


def _lesser_pullback(y: Symbol, d: Symbol, a: Any, b: Any) -> tuple[Any, ...]:
    return _select("where_greater_equal", b, a, d, 0.0), _select("where_greater_equal", b, a, 0.0, d)


def _abs_pullback(y: Symbol, d: Symbol, x: Any) -> tuple[Any, ...]:
    return (_select("where_greater", x, 0.0, d, _select("where_greater", 0.0, x, -d, 0.0)),)


def _clamp_pullback(y: Symbol, d: Symbol, x: Any, low: float, high: float) -> tuple[Any, ...]:
    inside = _select("where_greater_equal", high, x, d, 0.0)
    return _select("where_greater_equal", x, low, inside, 0.0), None, None


def _quotient_pullback(y: Symbol, d: Symbol, a: Any, b: Any) -> tuple[Any, ...]:
    if isinstance(a, float):
        return None, -(d * y * y) if a == 1.0 else -(d * y / b)
    return d / b, -(d * y / b)


def _silu_pullback(y: Symbol, d: Symbol, x: Any) -> tuple[Any, ...]:
    s = _call("sigmoid", x)
    return (d * (s + y * (1 - s)),)


PULLBACKS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "add": lambda y, d, a, b: (d, d),
    "sub": lambda y, d, a, b: (d, -d),
    "mul": lambda y, d, a, b: (d * b, d * a),
    "div": _quotient_pullback,
    "neg": lambda y, d, a: (-d,),
    "exp": lambda y, d, x: (d * y,),
    "log": lambda y, d, x: (d / x,),
    "sqrt": lambda y, d, x: (d * (0.5 / y),),
    "tanh": lambda y, d, x: (d * (1 - y * y),),
    "sigmoid": lambda y, d, x: (d * y * (1 - y),),
    "log_sigmoid": lambda y, d, x: (d * _call("sigmoid", -x),),
    "softplus": lambda y, d, x: (d * _call("sigmoid", x),),
    "relu": lambda y, d, x: (_call("where_positive", y, d),),
    "silu": _silu_pullback,
    "abs": _abs_pullback,
    "sin": lambda y, d, x: (d * _call("cos", x),),
    "cos": lambda y, d, x: (-(d * _call("sin", x)),),
    "maximum": _greater_pullback,
    "minimum": _lesser_pullback,
    "clamp": _clamp_pullback,
    "where_greater": _where_pullback("where_greater"),
    "where_greater_equal": _where_pullback("where_greater_equal"),
    "heaviside": lambda y, d, x: (None if y.extra is None else d * y.extra,),
}
"""The cotangents of an operation's arguments, from its node y, the cotangent d of that and the arguments; None is 0."""
