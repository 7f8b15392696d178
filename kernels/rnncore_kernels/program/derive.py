"""From a recorded cell to its program: products, gradient, saved values and phases."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..cells.cell import Cell
from ..cells.symbol import HIDDEN, Graph, Symbol, ordered
from .differentiate import Gradient, differentiate
from .graphs import rewritten
from .phases import Schedule, Work, levels_of
from .program import Block, Column, Pass, Place, Product, Program
from .record import FLOW, GRAD, LEAVES, Recorded, record
from .saved import values_to_save

ALWAYS = {"states": "state"} | {attribute: kind for attribute, (kind, _) in LEAVES.items()}
"""Kind of the values that every phase can read, by the attribute of a cell that names them."""


@functools.lru_cache(maxsize=1024)
def make_program(cell: Cell) -> Program:
    """The program of a cell; TypeError or CellError as from `record`."""
    return derive(record(cell))


def derive(recorded: Recorded) -> Program:
    """The program of recorded equations."""
    return _Derivation(recorded).program()


class _Derivation:
    """The parts of a program while it is made."""

    def __init__(self, recorded: Recorded) -> None:
        self.names, self.graph = recorded.names, recorded.graph
        self.outputs = separated(recorded.graph, recorded.outputs)
        self.nodes = ordered(self.outputs)
        node = {(n.operation, n.arguments[0]): n for n in self.nodes if n.arguments}
        self.always: dict[Symbol, Place] = {
            node[kind, name]: (kind, index)
            for attribute, kind in ALWAYS.items()
            for index, name in enumerate(self.names[attribute])
            if (kind, name) in node
        }
        self.always[self.graph.node("inverse_size", width=0)] = ("inverse_size", 0)
        self.always |= {n: ("index", 0) for n in self.nodes if n.operation == "index"}
        self.of_outputs = {kind: self._of_outputs(kind) for kind in (GRAD, FLOW)}
        self.always |= {symbol: ("unit_input", k) for k, symbol in self.of_outputs[GRAD].values()}
        named = zip(self.names["states"], self.outputs, strict=True)
        self.states = [self.graph.node("state", name, width=output.width) for name, output in named]
        used = [(n.operation, n.arguments[0]) for n in self.nodes if n.operation in ("gate", "x", "recurrent")]
        gates = self.names["gates"]
        self.x_gates = [g for g in gates if {("gate", g), ("x", g)} & set(used)]
        self.h_gates = [g for g in gates if {("gate", g), ("recurrent", g)} & set(used)]
        self.x = {n: self.x_gates.index(n.arguments[0]) for n in self.nodes if n.operation == "x"}
        self.products = self._products()
        self.blocks = {b: k for k, b in enumerate(block for blocks in self.products for block in blocks)}
        self.operands = self._operands()
        self.operand_places: dict[Symbol, Place] = {
            symbol: ("operand", index) for index, symbol in enumerate(self.operands)
        }

    def _of_outputs(self, kind: str) -> dict[int, tuple[int, Symbol]]:
        """Unit inputs that belong to new states, by the number of the state: their own number, and symbol."""
        found = {}
        for number, (name, output) in enumerate(zip(self.names["states"], self.outputs, strict=True)):
            if (own := f"{kind} {name}") in self.names["unit_inputs"]:
                symbol = self.graph.node("unit_input", own, width=output.width)
                found[number] = self.names["unit_inputs"].index(own), symbol
        return found

    def _products(self) -> list[tuple[Symbol, ...]]:
        """The blocks of each product, in the order of computing: fused ones first, then in the order of gates."""
        groups: dict[tuple[Symbol, str], list[Symbol]] = {}
        for n in self.nodes:
            if n.operation in ("gate", "recurrent"):
                groups.setdefault((n.sources[0], ""), []).append(n)
            elif n.operation == "project":
                groups.setdefault((n.sources[0], n.arguments[0]), []).append(n)
        order = self.names["gates"]
        place = {n: p for p, n in enumerate(self.nodes)}
        operands = {n: [s for s in n.sources if s.operation != "state"] for blocks in groups.values() for n in blocks}
        levels = levels_of(self.nodes, operands)
        made = [
            tuple(
                sorted(
                    g, key=lambda n: (n.operation != "gate", n.operation != "project" and order.index(n.arguments[0]))
                )
            )
            for g in groups.values()
        ]
        return sorted(made, key=lambda blocks: (levels[blocks[0]], place[blocks[0]]))

    def _operands(self) -> list[Symbol]:
        """Operands of products that are no states."""
        operands = (blocks[0].sources[0] for blocks in self.products)
        states = (*self.states, *self.outputs)
        return list(dict.fromkeys(o for o in operands if not any(o is s for s in states)))

    def program(self) -> Program:
        """The program."""
        given = {number: symbol for number, (_, symbol) in self.of_outputs[GRAD].items()}
        gradient = differentiate(self.graph, self.states, self.outputs, self.products, given)
        saved = self._saved(gradient)
        forward = self._forward(saved)
        forward_pass = forward.make()
        columns, symbols = self._columns(gradient, forward_pass)
        totals: dict[Symbol, Place] = {symbol: ("total", index) for symbol, index in forward.totals.items()}
        backward = self._backward(gradient, symbols, saved, totals)
        backward_pass = backward.make()
        read = {place for phase in backward_pass.phases for place in phase.code.reads()}
        blocks = tuple(self._block(b) for b in self.blocks)
        projections = self.graph.projections
        inputs = {place: symbol.width for symbol, place in self.always.items()}
        inputs |= {("unit_input", k): symbol.width for k, symbol in self.of_outputs[FLOW].values()}
        return Program(
            states=tuple(output.width for output in self.outputs),
            x_gates=tuple(self.names["gates"].index(g) for g in self.x_gates),
            h_gates=tuple(self.names["gates"].index(g) for g in self.h_gates),
            projections=tuple(projections[name] for name in projections),
            units=len(self.names["units"]),
            scalars=len(self.names["scalars"]),
            row_inputs=len(self.names["row_inputs"]),
            unit_inputs=tuple(inputs.get(("unit_input", k), HIDDEN) for k, _ in enumerate(self.names["unit_inputs"])),
            blocks=blocks,
            products=tuple(self._product(p) for p in self.products),
            operands=tuple(symbol.width for symbol in self.operands),
            saved=tuple(symbol.width for symbol in saved),
            kept_totals=tuple(sorted(index for kind, index in read if kind == "total")),
            forward=forward_pass,
            backward=backward_pass,
            columns=columns,
        )

    def _block(self, block: Symbol) -> Block:
        name = block.arguments[0]
        if block.operation == "project":
            return Block(None, list(self.graph.projections).index(name), None)
        x = self.x_gates.index(name) if block.operation == "gate" else None
        return Block(self.h_gates.index(name), None, x)

    def _product(self, blocks: tuple[Symbol, ...]) -> Product:
        operand = blocks[0].sources[0]
        numbers = tuple(self.blocks[b] for b in blocks)
        return Product(self._operand_place(operand), operand.width, blocks[0].width, numbers)

    def _operand_place(self, operand: Symbol) -> Place:
        for kind, symbols in (("state", self.states), ("new", self.outputs)):
            for index, symbol in enumerate(symbols):
                if symbol is operand:
                    return kind, index
        return self.operand_places[operand]

    def _free(self) -> dict[Symbol, Place]:
        """Values of the forward pass that the backward pass has for nothing, beside totals."""
        new: dict[Symbol, Place] = {symbol: ("new", index) for index, symbol in enumerate(self.outputs)}
        return {**self.operand_places, **new, **self.always}

    def _saved(self, gradient: Gradient) -> list[Symbol]:
        forward = set(self.nodes)
        results = [*gradient.columns.values(), *(s for s in gradient.states if s is not None)]
        free = {*self._free(), *(n for n in self.nodes if n.operation == "total")}
        backward = [n for n in ordered(results, forward) if n not in forward]
        read = dict.fromkeys(a for n in backward for a in n.sources if a in forward)
        needed = [n for n in {**read, **dict.fromkeys(r for r in results if r in forward)} if n not in free]
        return values_to_save(self.nodes, free, needed)

    def _forward(self, saved: Sequence[Symbol]) -> Schedule:
        targets: list[tuple[Place, Symbol]] = [(("new", i), s) for i, s in enumerate(self.outputs)]
        targets += [(place, symbol) for symbol, place in self.operand_places.items()]
        targets += [(("saved", i), s) for i, s in enumerate(saved)]
        products = {}
        for number, blocks in enumerate(self.products):
            operand = blocks[0].sources[0]
            products[number] = (blocks, () if operand.operation == "state" else (operand,))
        result: dict[Symbol, Place] = {block: ("product", index) for block, index in self.blocks.items()}
        return Schedule(Work(targets, self.always, products, {}, result, "total", self.x))

    def _backward(
        self, gradient: Gradient, columns: Sequence[Symbol], saved: Sequence[Symbol], totals: dict[Symbol, Place]
    ) -> Schedule:
        targets: list[tuple[Place, Symbol]] = [(("column", i), s) for i, s in enumerate(columns)]
        targets += [(("grad_state", i), s) for i, s in enumerate(gradient.states) if s is not None]
        available = {s: ("saved", i) for i, s in enumerate(saved)} | totals | self._free()
        grads = [self.graph.node("grad", i, width=s.width) for i, s in enumerate(self.outputs)]
        available |= {symbol: ("grad", index) for index, symbol in enumerate(grads)}
        reached = set(ordered([symbol for _, symbol in targets], available))
        products: dict[int, tuple[tuple[Symbol, ...], tuple[Symbol, ...]]] = {}
        result: dict[Symbol, Place] = {}
        into: dict[int, int] = {}
        for number, blocks in enumerate(self.products):
            factors = tuple(gradient.columns[b, b.width] for b in blocks)
            kind, index = self._operand_place(blocks[0].sources[0])
            if kind == "state":
                into[number], products[number] = index, ((), factors)
            elif (back := gradient.backs[number]) in reached:
                products[number], result[back] = ((back,), factors), ("back", number)
        return Schedule(Work(targets, available, products, into, result, "grad_total", {}))

    def _columns(self, gradient: Gradient, forward: Pass) -> tuple[tuple[Column, ...], list[Symbol]]:
        """The columns, those of x parts and blocks in the order of the forward pass, and their symbols."""
        columns: list[Column] = []
        symbols: list[Symbol] = []
        by_x = {index: symbol for symbol, index in self.x.items()}
        for phase in forward.phases:
            for index in phase.x:
                columns.append(Column("gate", 0, HIDDEN, index, None))
                symbols.append(gradient.columns[by_x[index], HIDDEN])
            for block in self.products[phase.product] if phase.product is not None else ():
                made = self._block(block)
                kind = "gate" if made.projection is None else "projection"
                columns.append(Column(kind, made.projection or 0, block.width, made.x, self.blocks[block]))
                symbols.append(gradient.columns[block, block.width])
        for (leaf, width), symbol in gradient.columns.items():
            if leaf in self.always and leaf.operation != "state":
                kind, index = self.always[leaf]
                columns.append(Column(kind, index, width, None, None))
                symbols.append(symbol)
        for number, (index, symbol) in self.of_outputs[FLOW].items():
            columns.append(Column("unit_input", index, symbol.width, None, None))
            symbols.append(gradient.outputs[number])
        return tuple(columns), symbols


def separated(graph: Graph, outputs: Sequence[Symbol]) -> tuple[Symbol, ...]:
    """The outputs, with gates whose parts are used apart, or that multiply several operands, as sums of their parts."""
    uses: dict[str, set[Symbol]] = {}
    for node in ordered(outputs, surrogates=True):
        if node.operation in ("gate", "x", "recurrent"):
            uses.setdefault(node.arguments[0], set()).add(node)

    def rule(node: Symbol, arguments: tuple[Any, ...]) -> Symbol | None:
        if node.operation != "gate" or len(uses[arguments[0]]) == 1:
            return None
        parts = graph.node("x", arguments[0], width=HIDDEN), graph.node("recurrent", *arguments, width=HIDDEN)
        return graph.apply("add", *parts)

    return rewritten(graph, outputs, rule)


__all__ = ["derive", "make_program", "separated"]
