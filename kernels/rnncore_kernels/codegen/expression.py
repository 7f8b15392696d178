"""The code of a phase evaluated on values: vectors of a processor, registers of a GPU's thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ..program.program import ARITHMETIC, KINDS, Code
from . import functions, logarithms, trigonometry
from .value import Value

V = TypeVar("V", bound=Value)

OPERATIONS: dict[str, Callable[..., Any]] = {
    **ARITHMETIC,
    "exp": functions.exp,
    "log": logarithms.log,
    "sqrt": functions.sqrt,
    "tanh": functions.tanh,
    "sigmoid": functions.sigmoid,
    "log_sigmoid": logarithms.log_sigmoid,
    "softplus": logarithms.softplus,
    "silu": functions.silu,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "abs": functions.absolute,
    "relu": functions.relu,
    "heaviside": functions.heaviside,
    "clamp": functions.clamp,
    "maximum": functions.maximum,
    "minimum": functions.minimum,
    "where_positive": functions.where_positive,
    "where_greater": functions.where_greater,
    "where_greater_equal": functions.where_greater_equal,
    "uniform": functions.uniform,
}


def emit(
    code: Code,
    read: Callable[[str, int], V],
    constant: Callable[[float], V],
    fenced: Collection[int] = (),
    fence: Callable[[V], V] = lambda value: value,
) -> list[V]:
    """The results of code, in the order of its outputs.

    Args:
        code: the nodes and results.
        read: gives the value of a kind and number, see `program.program`; it is called once for each, in order.
        constant: a value equal to a number, for results that are numbers.
        fenced: nodes whose values are rounded before others use them, see `differently_used`.
        fence: makes such a value of it.
    """
    values: list[Any] = []
    for place, (operation, arguments) in enumerate(code.nodes):
        if operation in KINDS:
            values.append(read(operation, int(arguments[0])))
        elif operation == "number":
            values.append(arguments[0])
        else:
            operands = [values[a] if isinstance(a, int) else a for a in arguments]
            value = OPERATIONS[operation](*operands)
            values.append(fence(value) if place in fenced else value)
    results = [values[output.node] for output in code.outputs]
    return [constant(value) if isinstance(value, float) else value for value in results]


def differently_used(code: Code, kinds: Collection[str]) -> frozenset[int]:
    """Nodes that are used less often where results of some kinds are not wanted.

    A product that is used once may become one instruction with a sum, with one rounding; one that is used twice does
    not. Fenced in both, a cell has the same bits whether it keeps something for the backward pass or not.
    """
    wanted = [output.node for output in code.outputs if output.kind not in kinds]
    some, all_uses = _uses(code, wanted), _uses(code, [output.node for output in code.outputs])
    return frozenset(place for place, count in some.items() if count != all_uses[place])


def _uses(code: Code, results: Collection[int]) -> Counter[int]:
    """How often each node is used to compute results, which count too."""
    uses = Counter(results)
    for place in range(len(code.nodes) - 1, -1, -1):
        operation, arguments = code.nodes[place]
        if uses[place] and operation not in KINDS:
            uses.update(a for a in arguments if isinstance(a, int))
    return uses
