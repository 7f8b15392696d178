"""The program of a cell: the phases of a step, forward and backward, as plain data that every engine runs.

A phase computes at most one matrix product, then one piece of pointwise code on values of one width. Values are named
by a kind and a number:

    state, new     a state before and after the step
    x              W_ih x + b_ih of a gate, where it is not part of a product's block
    product        a block of a product, `Program.blocks`; a fused one begins with W_ih x + b_ih, each gate's with b_hh
    carried        a value that a later phase of the step reads
    operand        the operand of a product, if it is no state; kept for all steps in training
    saved          a value that the forward pass keeps for the backward pass
    total          the sum over the units of a row of a carried value; the backward pass reads those of the forward pass
    unit, scalar, row, unit_input          parameters and inputs of the call
    inverse_size   1 / hidden_size
    index          numbers of units, as the bits of integers
    grad           cotangent of a new state, that of the output included      (backward, and all that follow)
    back           transposed product: cotangent of the operand of a product
    grad_total     the sum over the units of a row of a carried value of the backward pass
    column         a cotangent whose sums and products over all steps are gradients, `Program.columns`
    grad_state     cotangent of a state before the step, without the products that multiply the state
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

from ..cells.symbol import HIDDEN, ROW, Width

Place = tuple[str, int]
"""A value: its kind and number."""

Node = tuple[str, tuple[int | float, ...]]
"""An operation on places of earlier nodes (int) and numbers (float), or the kind of a value and its number."""

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
}
"""Operations that arrays and values in registers have as Python's operators."""

KINDS = frozenset(
    {
        *("state", "new", "x", "product", "carried", "operand", "saved", "total", "unit", "scalar", "row"),
        *("unit_input", "inverse_size", "index", "grad", "back", "grad_total"),
    }
)
"""Kinds of values that code reads."""


class Output(NamedTuple):
    """A result of code: kind and number of the value that is written, and its node."""

    kind: str
    number: int
    node: int


@dataclass(frozen=True)
class Code:
    """Pointwise code: nodes in the order of computing, and which of them are results."""

    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]

    def reads(self) -> list[Place]:
        """The values that the code reads."""
        return [(operation, int(arguments[0])) for operation, arguments in self.nodes if operation in KINDS]

    def without(self, kinds: Collection[str]) -> Code:
        """The code that computes the results of other kinds alone."""
        outputs = [output for output in self.outputs if output.kind not in kinds]
        used = {output.node for output in outputs}
        for place in range(len(self.nodes) - 1, -1, -1):
            operation, arguments = self.nodes[place]
            if place in used and operation not in KINDS:
                used.update(a for a in arguments if isinstance(a, int))
        new = {old: place for place, old in enumerate(sorted(used))}
        nodes = []
        for old in new:
            operation, arguments = self.nodes[old]
            if operation not in KINDS:
                arguments = tuple(new[a] if isinstance(a, int) else a for a in arguments)
            nodes.append((operation, arguments))
        return Code(tuple(nodes), tuple(output._replace(node=new[output.node]) for output in outputs))


@dataclass(frozen=True)
class Phase:
    """A part of a step.

    Attributes:
        product: the product, or in the backward pass the transposed product, that is computed first; None for none.
        into: in the backward pass, the state whose cotangent the transposed product is added to; then there is no code.
            None where code reads it, as `back`.
        x: gates whose parts of x code reads, `x` values; no other phase reads them.
        totals: sums over units that are computed before the code.
        width: units of the values that code computes.
        code: computed last.
        meets: whether the phase reads values of other units of this step, so that threads that share rows must meet.
    """

    product: int | None
    into: int | None
    x: tuple[int, ...]
    totals: tuple[int, ...]
    width: Width
    code: Code
    meets: bool


@dataclass(frozen=True)
class Pass:
    """The phases of a step, forward or backward.

    Attributes:
        phases: in the order of computing.
        carried: width of each carried value.
        totals: the carried value that each total sums.
    """

    phases: tuple[Phase, ...]
    carried: tuple[Width, ...]
    totals: tuple[int, ...]


class Block(NamedTuple):
    """A block of rows of a product: of the recurrent weights of a gate, or a whole projection.

    Attributes:
        gate: the gate's place among those that have recurrent weights; None for a projection.
        projection: its number; None for a gate.
        x: where W_ih x + b_ih is added in the same sum, the gate's place among those that have input weights.
    """

    gate: int | None
    projection: int | None
    x: int | None

    def heads_of(self, heads: int) -> int:
        """The number of its heads in a layer with heads: a projection is not divided."""
        return heads if self.projection is None else 1


@dataclass(frozen=True)
class Product:
    """A product of weights with one operand.

    Attributes:
        operand: the value that is multiplied: a "state", a "new" state or an "operand".
        operand_width, width: units of the operand, and of each block of the result.
        blocks: numbers of its blocks in `Program.blocks`, the fused ones first.
    """

    operand: Place
    operand_width: Width
    width: Width
    blocks: tuple[int, ...]


class Column(NamedTuple):
    """A cotangent (T, B, width) of the backward pass, and the owner of the gradient that it gives.

    Attributes:
        kind: "gate" for x parts and blocks of gates, "projection", "unit", "scalar", "row" or "unit_input".
        number: of the projection, parameter or input; of a gate, 0.
        width: units; scalars and row inputs get the sum over these.
        x: of a gate, its place among those that have input weights, or None: gives dW_ih, db_ih and dx.
        block: of a gate or projection, its block, or None: gives dW and db_hh by the operand of the block's product.
    """

    kind: str
    number: int
    width: Width
    x: int | None
    block: int | None


@dataclass(frozen=True, eq=False)
class Program:
    """A cell, as far as engines need to know it; equal if the text is.

    Attributes:
        states: width of each state; the first is the output.
        x_gates, h_gates: numbers of the gates that have input and recurrent weights, in the cell's order of gates.
        projections: widths of result and operand of each projection.
        units, scalars, row_inputs: how many there are.
        unit_inputs: width of each.
        blocks, products: of the forward pass, in the order of computing.
        operands: width of each computed operand.
        saved: width of each value that is saved.
        kept_totals: totals of the forward pass that the backward pass reads.
        forward, backward: the passes.
        columns: of the backward pass. Those of the phases of the forward pass come first: each phase's x parts, then
            its product's blocks, the fused ones first.
    """

    states: tuple[Width, ...]
    x_gates: tuple[int, ...]
    h_gates: tuple[int, ...]
    projections: tuple[tuple[Width, Width], ...]
    units: int
    scalars: int
    row_inputs: int
    unit_inputs: tuple[Width, ...]
    blocks: tuple[Block, ...]
    products: tuple[Product, ...]
    operands: tuple[Width, ...]
    saved: tuple[Width, ...]
    kept_totals: tuple[int, ...]
    forward: Pass
    backward: Pass
    columns: tuple[Column, ...]

    @cached_property
    def text(self) -> str:
        """A text that is the same for the same program and no others."""
        return "\n".join(f"{name} {_text(getattr(self, name))}" for name in sorted(f.name for f in fields(self)))

    @property
    def output_width(self) -> Width:
        """Units of the output, and of the operand of the gates' recurrent weights."""
        return self.states[0]

    @cached_property
    def inference(self) -> tuple[Phase, ...]:
        """The phases of the forward pass, without the values that they save for the backward pass."""
        return tuple(replace(phase, code=phase.code.without({"saved"})) for phase in self.forward.phases)

    @cached_property
    def column_of_block(self) -> dict[int, int]:
        """The number of the column of each block."""
        return {column.block: number for number, column in enumerate(self.columns) if column.block is not None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def units_of(width: Width, hidden_size: int) -> int:
    """The number of units of a width, for a hidden size."""
    return {HIDDEN: hidden_size, ROW: 1}.get(width, width)


def rows_of(gate: int, units: int) -> slice:
    """The rows of a gate in a matrix of weights."""
    return slice(gate * units, (gate + 1) * units)


def _text(value: object) -> str:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return f"({' '.join(map(_text, value))})"
    if isinstance(value, Code | Phase | Pass | Product):
        return f"{type(value).__name__}({' '.join(map(_text, value.__dict__.values()))})"
    return repr(value)
