"""Symbols: the values that a cell's `step` is called with, once, to record its equations as a graph."""

from __future__ import annotations

from collections.abc import Container, Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any

Width = int
"""Units of a value in a row: HIDDEN, a number of its own behind a projection, or ROW."""

HIDDEN, ROW = -1, 0
"""As many units as the hidden size; one number for all units of a row."""


class Symbol:
    """A node of the graph that a cell's function computes: an operation and its arguments.

    It supports `+ - * /`, negation, whole powers and the functions of `cells.functions`, as every engine does, on
    symbols and numbers, and raises TypeError for anything else.

    Attributes:
        graph: the graph that it belongs to.
        operation: "add", a function's name, or the kind of a leaf ("state", "unit", ...).
        arguments: symbols and numbers; of a leaf, a name; of a product, the matrix' name and the operand.
        width: units of the value.
        extra: the derivative that stands for that of `heaviside`; None where there is none.
    """

    __slots__ = ("arguments", "extra", "graph", "operation", "width")
    __array_ufunc__ = None

    def __init__(
        self, graph: Graph, operation: str, arguments: tuple[Any, ...], width: Width, extra: Symbol | None = None
    ) -> None:
        self.graph, self.operation, self.arguments, self.width = graph, operation, arguments, width
        self.extra = extra

    def __repr__(self) -> str:
        of = f" {self.arguments[0]}" if self.arguments and isinstance(self.arguments[0], str) else ""
        return f"<{self.operation}{of}, a value of step>"

    @property
    def sources(self) -> tuple[Symbol, ...]:
        """The arguments that are symbols."""
        return tuple(a for a in self.arguments if isinstance(a, Symbol))

    def __add__(self, other: Any) -> Symbol:
        return self.graph.apply("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.graph.apply("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.graph.apply("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.graph.apply("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.graph.apply("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.graph.apply("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.graph.apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.graph.apply("div", other, self)

    def __neg__(self) -> Symbol:
        return self.graph.apply("neg", self)

    def __pow__(self, power: Any) -> Symbol:
        if type(power) is not int or power < 1:
            raise TypeError(
                f"a value of a cell can be raised to a whole number from 1 on, not to {power!r}: use sqrt, exp or 1 / v"
            )
        result, square = None, self
        while power:
            if power & 1:
                result = square if result is None else result * square
            power >>= 1
            square = square * square if power else square
        assert result is not None
        return result

    def __abs__(self) -> Symbol:
        return self.graph.apply("abs", self)

    def __gt__(self, other: Any) -> Condition:
        return Condition(self.graph, "where_greater", self, other)

    def __lt__(self, other: Any) -> Condition:
        return Condition(self.graph, "where_greater", other, self)

    def __ge__(self, other: Any) -> Condition:
        return Condition(self.graph, "where_greater_equal", self, other)

    def __le__(self, other: Any) -> Condition:
        return Condition(self.graph, "where_greater_equal", other, self)

    def _no_equality(self, other: object) -> bool:
        raise TypeError("values of a cell cannot be compared for equality: use where(a > b, x, y)")

    __eq__ = __ne__ = _no_equality
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("a value of a cell cannot decide in Python: use where(a > b, x, y)")

    def __iter__(self) -> Any:
        raise TypeError("a cell has no loop over units: write the equation of one unit, with mean and total for sums")

    def __len__(self) -> int:
        raise TypeError("a value of a cell has no length: write the equation of one unit")

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("a value of a cell has no single units to take out: write the equation of one unit")

    def _in_place(self, other: Any) -> Symbol:
        raise TypeError("a value of a cell cannot be changed in place: write x = x + y, not x += y")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = _in_place

    def __setitem__(self, index: Any, value: Any) -> None:
        self._in_place(value)

    def __rpow__(self, base: Any) -> Symbol:
        raise TypeError("a value of a cell cannot be an exponent: write exp(v * math.log(base))")

    def _no_product(self, other: Any) -> Symbol:
        raise TypeError("values of a cell have no product of matrices: write project(name, v), or g.of(v) for a gate g")

    __matmul__ = __rmatmul__ = _no_product

    def __float__(self) -> float:
        raise TypeError("a value of a cell is not a number: use the functions of rnncore.cells, not those of math")

    if not TYPE_CHECKING:  # which knows the attributes

        def __getattr__(self, name: str) -> Any:
            if name in ("x", "h", "of"):
                raise AttributeError(f"only a gate has .{name}, not {self!r}")
            raise AttributeError(
                f"a value of a cell has no {name!r}, neither methods nor a shape: use the functions of rnncore.cells"
            )


class Gate(Symbol):
    """A gate's pre-activation W_ih x + b_ih + W_hh h + b_hh, h the output state before the step."""

    __slots__ = ()

    @property
    def x(self) -> Symbol:
        """W_ih x + b_ih."""
        return self.graph.node("x", self.arguments[0], width=HIDDEN)

    @property
    def h(self) -> Symbol:
        """W_hh h + b_hh."""
        return self.graph.node("recurrent", *self.arguments, width=HIDDEN)

    def of(self, value: Any) -> Symbol:
        """W_ih x + b_ih + W_hh value + b_hh, for a value as wide as the output state."""
        name, output = self.arguments
        value = self.graph.symbol(f"{name}.of", value)
        if value.width != output.width:
            raise TypeError(
                f"{name}.of: expected {width_name(output.width)}, as of the output state, got {width_name(value.width)}"
            )
        if self.graph.depends_on_gate(value, name):
            raise TypeError(f"{name}.of: expected an operand that does not depend on the gate {name} itself")
        return self.graph.node("gate", name, value, width=HIDDEN)


class Condition:
    """A comparison, for `where` alone."""

    __slots__ = ("graph", "left", "operation", "right")

    def __init__(self, graph: Graph, operation: str, left: Any, right: Any) -> None:
        self.graph, self.operation, self.left, self.right = graph, operation, left, right

    def __repr__(self) -> str:
        return "<a comparison, for where(a > b, x, y)>"

    def __bool__(self) -> bool:
        raise TypeError(
            "a comparison of a cell's values cannot decide in Python: use where(a > b, x, y), maximum, minimum or clamp"
        )

    def _for_where(self, *other: Any) -> Any:
        raise TypeError(
            "a comparison of a cell's values is for where(a > b, x, y) alone, whose x and y may be another where"
        )

    __and__ = __or__ = __invert__ = __mul__ = __rmul__ = __add__ = __radd__ = __sub__ = __rsub__ = _for_where


class Graph:
    """The equations that were recorded; equal nodes are one.

    Attributes:
        projections: width of the result and of the operand of each matrix that `project` named.
        observed: values that `observe` named.
    """

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Symbol] = {}
        self.projections: dict[str, tuple[Width, Width]] = {}
        self.observed: dict[str, Symbol] = {}

    def node(self, operation: str, *arguments: Any, width: Width, extra: Symbol | None = None) -> Symbol:
        """The one node of an operation and its arguments."""
        key = (operation, width, id(extra), *(_key(a) for a in arguments))
        found = self._nodes.get(key)
        if found is None:
            kind = Gate if operation == "gate" else Symbol
            # Two threads that change a network's equations at once both get the node of the first.
            found = self._nodes.setdefault(key, kind(self, operation, arguments, width, extra))
        return found

    def apply(self, operation: str, *arguments: Any) -> Symbol:
        """The node of an elementwise operation, whose width follows from its arguments'."""
        operands = tuple(a if isinstance(a, Symbol) else number(operation, a) for a in arguments)
        widths = {a.width for a in operands if isinstance(a, Symbol)} - {ROW}
        if len(widths) > 1:
            wide = " and ".join(width_name(w) for w in sorted(widths))
            raise TypeError(f"{operation}: expected values of one width, got {wide}: project one of them")
        for a in operands:
            if isinstance(a, Symbol) and a.graph is not self:
                raise TypeError(f"{operation}: expected values computed from this call's arguments, got another's")
        return self.node(operation, *operands, width=widths.pop() if widths else ROW)

    def symbol(self, who: str, value: Any) -> Symbol:
        """`value`, if it is a symbol of this graph."""
        if not isinstance(value, Symbol) or value.graph is not self:
            raise TypeError(f"{who}: expected a value computed from the arguments of step, got {value!r:.60}")
        return value

    def depends_on_gate(self, value: Symbol, gate: str) -> bool:
        """Whether a value is computed from a gate's pre-activation or a part of it."""
        for node in ordered([value]):
            if node.operation in ("gate", "x", "recurrent") and node.arguments[0] == gate:
                return True
        return False


def ordered(outputs: Iterable[Symbol], leaves: Container[Symbol] = (), *, surrogates: bool = False) -> list[Symbol]:
    """The nodes that values are computed from, each behind its arguments, but for those before `leaves`.

    With `surrogates`, also those of surrogates, each before its node.
    """
    done: dict[Symbol, None] = {}
    # With a stack, not by recursion: a long cell makes deep graphs.
    pending = list(reversed(list(outputs)))
    while pending:
        node = pending[-1]
        extra = (node.extra,) if surrogates and node.extra is not None else ()
        missing = [] if node in leaves else [a for a in (*node.sources, *extra) if a not in done]
        if node in done or not missing:
            pending.pop()
            done.setdefault(node)
        else:
            pending += reversed(missing)
    return list(done)


def number(who: str, value: Any) -> float:
    """`value` as a float, if it is a number."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    hint = ": declare an array in units or unit_inputs" if getattr(value, "shape", ()) else ""
    got = f"{type(value).__name__} {value!r:.60}{hint}"
    raise TypeError(f"{who}: expected a value of the cell or a number, got {got}")


def width_name(width: Width) -> str:
    """A width in words."""
    return {HIDDEN: "hidden_size units", ROW: "one number a row"}.get(width, f"{width} units")


def _key(argument: Any) -> Any:
    # 0.0 and -0.0 are equal, and NaN is not equal to itself.
    return argument.hex() if isinstance(argument, float) else argument
