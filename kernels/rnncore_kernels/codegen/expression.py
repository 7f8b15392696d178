"""Expressions of `Symbol`s, as a cell's functions make them: evaluated on values, and described in a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..cells.symbol import Symbol
from . import functions
from .value import Value

V = TypeVar("V", bound=Value)

OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "exp": functions.exp,
    "tanh": functions.tanh,
    "sigmoid": functions.sigmoid,
    "relu": functions.relu,
    "heaviside": functions.heaviside,
    "clamp": functions.clamp,
    "where_positive": functions.where_positive,
}

Node = tuple[str, tuple[int | str, ...]]
"""An operation and its arguments: the places of other nodes, or text: a number as float.hex gives it, a name."""


def emit(outputs: Sequence[Symbol | None], inputs: Mapping[str, V]) -> list[V | None]:
    """The values of expressions, where their inputs have the given values.

    What occurs in several places, of one expression or several, is computed once.

    Raises:
        KeyError: an expression has an input that is not given.
    """
    nodes, places = numbered(outputs)
    values: list[V] = []
    for operation, arguments in nodes:
        if operation == "input":
            values.append(inputs[str(arguments[0])])
        else:
            operands = [values[a] if isinstance(a, int) else float.fromhex(a) for a in arguments]
            values.append(OPERATIONS[operation](*operands))
    return [None if place is None else values[place] for place in places]


def describe(outputs: Sequence[Symbol | None]) -> str:
    """A text that is the same for the same expressions and no others: a line a node, then the outputs' places.

    Expressions are the same if they apply the same operations in the same order of arguments; an int is the float.
    """
    nodes, places = numbered(outputs)
    lines = [f"{operation} {' '.join(map(repr, arguments))}" for operation, arguments in nodes]
    return "\n".join([*lines, f"outputs {' '.join(map(str, places))}"])


def numbered(outputs: Sequence[Symbol | None]) -> tuple[list[Node], list[int | None]]:
    """The different nodes of expressions, each behind its arguments, and the places of the outputs among them."""
    places: dict[Node, int] = {}
    # By identity, as a symbol cannot be compared; the outputs hold all symbols, so that none is another's successor.
    known: dict[int, int] = {}

    def argument(value: Any) -> int | str:
        if isinstance(value, Symbol):
            return known[id(value)]
        return value if isinstance(value, str) else float(value).hex()

    # With a stack, not by recursion: a cell with a long loop makes deep expressions.
    pending = [output for output in reversed(outputs) if output is not None]
    while pending:
        symbol = pending[-1]
        missing = [a for a in symbol.arguments if isinstance(a, Symbol) and id(a) not in known]
        if missing:
            pending += reversed(missing)
            continue
        pending.pop()
        if id(symbol) not in known:
            node = (symbol.operation, tuple(argument(a) for a in symbol.arguments))
            known[id(symbol)] = places.setdefault(node, len(places))
    return list(places), [None if output is None else known[id(output)] for output in outputs]
