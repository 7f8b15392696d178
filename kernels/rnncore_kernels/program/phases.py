"""From a graph to the phases of a step: where it is cut, and which values cross the cuts.

The level of a value is the number of products of computed operands, and of sums over units, that come before it. Values
of one level and width are one phase's, and of several products of a level each has a phase. A value of one number a row
is computed wherever it is read, and so is a simple function of values that are there anyway; others are carried. A
value that follows from parameters, inputs and saved values alone is computed in the first phase that reads it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from ..cells.symbol import ROW, Symbol, Width, ordered
from .program import Code, Node, Output, Pass, Phase, Place

CHEAP = frozenset({"add", "sub", "mul", "neg"})
"""Operations that are computed again rather than carried, on values that every phase can read."""

Key = tuple[int, int, int]
"""A phase: its level, width, and number among the products of these."""


class Work(NamedTuple):
    """The task of the phases of a pass.

    Attributes:
        targets: values to be written, and their symbols.
        available: symbols that every phase can read.
        products: of each product, the symbols of its results, and those that it multiplies (none if states alone).
        into: the state that a transposed product is added to, by the product's number.
        result: kind of a product's results, "product" or "back", and their numbers.
        total: kind of sums over units.
        x: numbers of the gates' parts of x by symbol.
    """

    targets: Sequence[tuple[Place, Symbol]]
    available: Mapping[Symbol, Place]
    products: Mapping[int, tuple[tuple[Symbol, ...], tuple[Symbol, ...]]]
    into: Mapping[int, int]
    result: Mapping[Symbol, Place]
    total: str
    x: Mapping[Symbol, int]


class Schedule:
    """The cuts of a pass; `make` gives its phases."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._by_result = {s: p for p, (results, _) in work.products.items() for s in results}
        self._nodes = ordered([symbol for _, symbol in work.targets], work.available)
        operands = {symbol: work.products[product][1] for symbol, product in self._by_result.items()}
        self._levels = levels_of(self._nodes, operands, work.available)
        self._homes = self._find_homes()
        self._keys, self._last, self._of_product = self._phases()
        self._carried: dict[Symbol, int] = {}
        self._totals: dict[Symbol, int] = {}
        self._requests: dict[Key, list[tuple[Place, Symbol]]] = {key: [] for key in self._keys}
        self._written: dict[Symbol, tuple[Key, Place]] = {}

    def _find_homes(self) -> dict[Symbol, tuple[int, Width]]:
        """The level and width at which each value with units is computed."""
        first = {symbol: self._levels[symbol] for _, symbol in self._work.targets}
        homes: dict[Symbol, tuple[int, Width]] = {}
        early = self._static()
        for node in reversed(self._nodes):
            level = first.get(node, self._levels[node]) if node in early else self._levels[node]
            if node.width != ROW:
                homes[node] = (level, node.width)
            for source in () if node in self._work.available else node.sources:
                before = level - 1 if node.operation == "total" else level
                first[source] = min(first.get(source, before), before)
        return homes

    def _static(self) -> set[Symbol]:
        """Parts of x, and values that follow from them and from those that every phase can read."""
        static: set[Symbol] = set()
        for node in self._nodes:
            made = node not in self._by_result and node.operation != "total"
            if (
                node in self._work.available
                or node in self._work.x
                or (made and all(a in static for a in node.sources))
            ):
                static.add(node)
        return static

    def _phases(self) -> tuple[list[Key], dict[tuple[int, Width], Key], dict[int, Key]]:
        """All phases in order, the last of each level and width, and that of each product."""
        products: dict[tuple[int, Width], list[int]] = {}
        for product, (results, operands) in self._work.products.items():
            width = results[0].width if results else ROW
            products.setdefault((_behind(operands, self._levels), width), []).append(product)
        keys: list[Key] = []
        last: dict[tuple[int, Width], Key] = {}
        of_product: dict[int, Key] = {}
        for level, width in sorted({*products, *self._homes.values()}):
            # The product of most blocks comes last, with the code: the results of the others are carried.
            here = sorted(products.get((level, width), []), key=lambda p: len(self._work.products[p][0]))
            for number in range(max(1, len(here))):
                key = (level, width, number)
                keys.append(key)
                last[level, width] = key
                if here:
                    of_product[here[number]] = key
        return keys, last, of_product

    @property
    def totals(self) -> dict[Symbol, int]:
        """The numbers of the sums over units, once the phases are made."""
        return self._totals

    def home(self, symbol: Symbol) -> Key:
        """The phase that computes a value."""
        if symbol in self._by_result:
            return self._of_product[self._by_result[symbol]]
        return self._last[self._homes[symbol]]

    def make(self) -> Pass:
        """The phases, without those that do nothing."""
        for place, symbol in self._work.targets:
            key = self.home(symbol)
            self._requests[key].append((place, symbol))
            if place[0] in ("new", "operand"):
                self._written.setdefault(symbol, (key, place))
        made: dict[Key, tuple[Code, tuple[int, ...], list[Symbol]]] = {}
        for key in reversed(self._keys):
            made[key] = self._code(key)
        firsts = self._first_readers(made)
        phases = []
        for key in self._keys:
            code, x, _ = made[key]
            product = next((p for p, k in self._of_product.items() if k == key), None)
            totals = tuple(self._totals[t] for t, k in firsts.items() if k == key)
            if product is None and not code.outputs:
                continue
            into = None if product is None else self._work.into.get(product)
            meets = bool(totals) or (product is not None and bool(self._work.products[product][1]))
            phases.append(Phase(product, into, x, totals, key[1], code, meets))
        carried = tuple(symbol.width for symbol in self._carried)
        return Pass(tuple(phases), carried, tuple(self._carried[t.sources[0]] for t in self._totals))

    def _first_readers(self, made: Mapping[Key, tuple[Code, tuple[int, ...], list[Symbol]]]) -> dict[Symbol, Key]:
        """The first phase that reads each total."""
        first: dict[Symbol, Key] = {}
        for key in self._keys:
            for symbol in made[key][2]:
                first.setdefault(symbol, key)
        return first

    def _code(self, key: Key) -> tuple[Code, tuple[int, ...], list[Symbol]]:
        """The code of a phase, the parts of x and the totals that it reads; earlier phases get its requests."""
        places: dict[Symbol, int] = {}
        nodes: list[Node] = []
        x: list[int] = []
        totals: dict[Symbol, None] = {}
        known: dict[Node, int] = {}

        def place_of(node: Node) -> int:
            if node not in known:
                known[node] = len(nodes)
                nodes.append(node)
            return known[node]

        requests = self._requests[key]
        pending = [symbol for _, symbol in reversed(requests)]
        while pending:
            symbol = pending[-1]
            if symbol in places:
                pending.pop()
                continue
            leaf = self._leaf(symbol, key)
            if leaf is None:
                missing = [a for a in symbol.sources if a not in places]
                if missing:
                    pending += reversed(missing)
                    continue
                arguments = tuple(places[a] if isinstance(a, Symbol) else float(a) for a in symbol.arguments)
                leaf_node: Node = (symbol.operation, arguments)
            else:
                leaf_node = (leaf[0], (leaf[1],))
                if leaf[0] == "x" and leaf[1] not in x:
                    x.append(leaf[1])
                if symbol in self._totals:
                    totals.setdefault(symbol)
            pending.pop()
            places[symbol] = place_of(leaf_node)
        outputs = tuple(Output(*place, places[symbol]) for place, symbol in requests)
        return Code(tuple(nodes), outputs), tuple(sorted(x)), list(totals)

    def _leaf(self, symbol: Symbol, key: Key) -> Place | None:
        """The value that a phase reads for a symbol; None if it computes it."""
        work = self._work
        if symbol in work.available:
            return work.available[symbol]
        if symbol.operation == "total":
            return work.total, self._total(symbol)
        if symbol.operation == "number" or symbol.width == ROW:
            return None
        home = self.home(symbol)
        if home == key:
            if symbol in work.x:
                return "x", work.x[symbol]
            return work.result.get(symbol)
        written = self._written.get(symbol)
        if written is not None and written[0] < key:
            return written[1]
        if symbol.operation in CHEAP and all(a in work.available for a in symbol.sources):
            return None
        return "carried", self._carry(symbol)

    def _carry(self, symbol: Symbol) -> int:
        """The number of a carried value, which its phase is asked for."""
        if symbol not in self._carried:
            self._carried[symbol] = len(self._carried)
            self._requests[self.home(symbol)].append((("carried", self._carried[symbol]), symbol))
        return self._carried[symbol]

    def _total(self, symbol: Symbol) -> int:
        if symbol not in self._totals:
            self._totals[symbol] = len(self._totals)
            self._carry(symbol.sources[0])
        return self._totals[symbol]


def levels_of(
    nodes: Sequence[Symbol], operands: Mapping[Symbol, Sequence[Symbol]], available: Container[Symbol] = ()
) -> dict[Symbol, int]:
    """The level of each node.

    Args:
        nodes: each behind its arguments.
        operands: by each result of a product, the computed values that are multiplied.
        available: nodes that are there before the first phase.
    """
    levels: dict[Symbol, int] = {}
    for node in nodes:
        if node in available:
            levels[node] = 0
        elif node in operands:
            levels[node] = _behind(operands[node], levels)
        else:
            levels[node] = max((levels[a] for a in node.sources), default=0) + (node.operation == "total")
    return levels


def _behind(operands: Sequence[Symbol], levels: Mapping[Symbol, int]) -> int:
    """The level of a product."""
    return max((1 + levels[symbol] for symbol in operands), default=0)
