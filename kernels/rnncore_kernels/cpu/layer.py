"""The sizes of a layer that follow from its program, hidden and input size: the same for all layers alike."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..alignment import round_up
from ..contract import Sizes
from ..program.program import Phase, Place, Program, units_of
from . import kernels
from .memory import spread
from .products import Products, vector_products
from .shape import Shape
from .toolchain import Kernel
from .values import backward_values, forward_values, parameter_values, saved_values, second_blocks

WHOLE = 4
"""Elements of a word, where a precision packs several, see `narrow`."""

CARRIERS = frozenset({"carried", "new", "operand"})
"""Kinds of values that an earlier phase of the step writes."""


@dataclass(frozen=True)
class PhaseSizes:
    """A phase of the forward pass, and its columns: x parts, then the product's blocks, the fused ones first.

    Attributes:
        phase: of the program.
        x: gates of the columns that x fills, among those with input weights.
        blocks: blocks of the product.
        width, units: units of the phase, in elements and in vectors.
        depth, depth_units: the same of what the product multiplies; 0 without one.
        heads: number of heads, each a share of the units that multiplies a share of the depth.
        span: elements of the operand that a group of units multiplies.
        back_span: units of each column that a group of the transposed product multiplies.
        groups: groups of units that share a tile.
        first_column: its first column among those of all phases.
        place: offset of its columns in a row of cotangents.
        projected: offset in a row of the input projection of all phases.
    """

    phase: Phase
    x: tuple[int, ...]
    blocks: tuple[int, ...]
    width: int
    units: int
    depth: int
    depth_units: int
    heads: int
    span: int
    back_span: int
    groups: int
    first_column: int
    place: int
    projected: int

    @property
    def split(self) -> int:
        """Number of columns that are x parts alone."""
        return len(self.phase.x)

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.split + len(self.blocks)


class LayerSizes:
    """Sizes of a layer, in bytes where they end in `_bytes`, and where its values are.

    Attributes:
        shape, program, hidden, inputs, heads, precision: the layer.
        lanes: elements of a vector.
        units: vectors of hidden units.
        groups: groups of hidden units that threads can divide in the forward pass.
        back_groups: the same in the backward pass.
        phases: of the forward pass.
        meets: of each phase, whether threads that share rows meet before it.
        weights, recurrent_weights: numbers of these.
        packed: offsets of packed weights, and of unit parameters and scalars.
        most_rows: most units of a phase, with what fills their last vector.
        columns: offset of each column of the program in a row of cotangents.
        second_blocks: blocks of gates that have another block.
        has_sums: whether there are columns whose sums are gradients.
        forward_values, backward_values: numbers of the values of a pass.
    """

    def __init__(self, shape: Shape, program: Program, sizes: Sizes) -> None:
        self.shape, self.program = shape, program
        self.hidden, self.inputs, _, self.heads, self.precision = sizes
        self._packings = dict[str, Packing]()
        self.lanes = shape.lanes
        self.units = self.vectors(self.hidden)
        self.phases = self._phases()
        self.meets = _meets(self.phases)
        products = [phase for phase in self.phases if phase.columns and phase.units == self.units]
        self.groups = min(phase.groups for phase in products or self.phases)
        self.back_groups = -(-self.units // shape.columns)
        self.recurrent_weights = sum(len(p.blocks) * p.width * p.depth // p.heads for p in self.phases)
        self.weights = self.recurrent_weights + sum(len(p.x) * p.width for p in self.phases) * self.inputs
        self.recurrent_bytes = self.recurrent_weights * shape.itemsize
        self.projected_bytes = sum(self._columns_bytes(phase) for phase in self.phases if phase.x)
        self.pre_vectors = max(1, *(phase.columns * -(-phase.units // phase.groups) for phase in self.phases))
        self.most_rows = max(phase.units for phase in self.phases) * self.lanes
        self.columns, row = self._column_places()
        self.second_blocks = second_blocks(program)
        self.has_sums = any(column.kind not in ("gate", "projection") for column in program.columns)
        self.columns_bytes = row
        self.pre_row = spread(row)
        self.saved_places, row = self._saved_places()
        self.kept_row = spread(row)
        self.packed = Packing(self, vector_products(shape))
        self.forward_values, self.backward_values = forward_values(program), backward_values(program)

    def width(self, width: int) -> int:
        """Units of a width of the program."""
        return units_of(width, self.hidden)

    def vectors(self, units: int) -> int:
        """Vectors that so many units fill."""
        return -(-units // self.lanes)

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of values of a width of the program."""
        return self.vectors(self.width(width)) * self.shape.vector_bytes

    def kernel(self, name: str, products: Products) -> tuple[int, Kernel]:
        """The kernel "forward" or "backward" with such products: its address, and a function that calls it."""
        library = kernels.pass_kernels(self.shape, name, products.name)
        name = kernels.kernel_name(name, products.name)
        return library.addresses[name], library.functions[name]

    def packing(self, products: Products) -> Packing:
        """Offsets of weights for such products."""
        if products.name not in self._packings:
            self._packings[products.name] = Packing(self, products)
        return self._packings[products.name]

    def _phases(self) -> tuple[PhaseSizes, ...]:
        program, made = self.program, list[PhaseSizes]()
        first = place = projected = 0
        for phase in program.forward.phases:
            product = None if phase.product is None else program.products[phase.product]
            blocks = () if product is None else product.blocks
            fused = [x for b in blocks if (x := program.blocks[b].x) is not None]
            width, depth = self.width(phase.width), 0 if product is None else self.width(product.operand_width)
            units, widest = self.vectors(width), max(1, len(phase.x) + len(fused), len(blocks))
            groups, depth_units = -(-units // max(1, self.shape.columns // widest)), self.vectors(depth)
            heads = program.blocks[blocks[0]].heads_of(self.heads) if blocks else 1
            span, back_span = depth, units * self.lanes
            if heads > 1:
                span, back_span = self._spans(width, depth, heads, groups, -(-depth_units // self.shape.columns))
            sizes = PhaseSizes(
                phase, (*phase.x, *fused), blocks, width, units, depth, depth_units, heads, span, back_span, groups,
                first, place, projected,
            )  # fmt: skip
            made.append(sizes)
            first += sizes.columns
            place += self._columns_bytes(sizes)
            projected += self._columns_bytes(sizes) if sizes.x else 0
        return tuple(made)

    def _spans(self, width: int, depth: int, heads: int, groups: int, back_groups: int) -> tuple[int, int]:
        """Elements that a group of a product multiplies, and one of the transposed product, with several heads."""
        head, head_depth = width // heads, depth // heads
        if self.precision is not None and (head % WHOLE or head_depth % WHOLE):
            # A group would begin within a word of several elements.
            return depth, width
        return self._span(head, head_depth, width, groups), self._span(head_depth, head, depth, back_groups)

    def _span(self, head: int, head_depth: int, width: int, groups: int) -> int:
        """Elements that a group multiplies at most: those of its heads, each of `head` units and so many elements."""
        units = self.vectors(width)
        starts = [(g * (units // groups) + min(g, units % groups)) * self.lanes for g in range(groups + 1)]
        return max((min(end, width) - 1) // head - start // head + 1 for start, end in pairwise(starts)) * head_depth

    def _columns_bytes(self, phase: PhaseSizes) -> int:
        return phase.columns * phase.units * self.shape.vector_bytes

    def _column_places(self) -> tuple[list[int], int]:
        """The offset of each column of the program in a row of cotangents, and the size of a row."""
        places, row = dict[int, int](), 0
        numbers = {(c.x, c.block): n for n, c in enumerate(self.program.columns) if c.kind in ("gate", "projection")}
        for phase in self.phases:
            blocks = [(self.program.blocks[b].x, b) for b in phase.blocks]
            for key in [*((x, None) for x in phase.phase.x), *blocks]:
                places[numbers[key]] = row
                row += phase.units * self.shape.vector_bytes
        computed = {
            output.number: (number, output.node)
            for number, phase in enumerate(self.program.backward.phases)
            for output in phase.code.outputs
            if output.kind == "column"
        }
        # The cotangent of a pre-activation may be that of an input, too: it stands there once.
        shared = {computed[number]: place for number, place in places.items()}
        for number, column in enumerate(self.program.columns):
            if number not in places and computed[number] in shared:
                places[number] = shared[computed[number]]
            elif number not in places:
                places[number] = row
                row += self.row_bytes(column.width)
        return [places[number] for number in range(len(self.program.columns))], row

    def _saved_places(self) -> tuple[dict[Place, int], int]:
        """Offsets of saved values and totals in a row of what is kept for the backward pass, and the size of a row."""
        places, row = dict[Place, int](), 0
        for kind, number in saved_values(self.program):
            places[kind, number] = row
            row += self.shape.itemsize if kind == "total" else self.row_bytes(self.program.saved[number])
        return places, -(-row // self.shape.vector_bytes) * self.shape.vector_bytes


class Packing:
    """Where packed weights are, as offsets, and their size without and with those of the backward pass.

    Attributes:
        w_x, w_h, bias, w_h_back, w_x_back: of each phase.
        values: of unit parameters and numbers.
        size, back_size: of all, in bytes.
    """

    def __init__(self, layer: LayerSizes, products: Products) -> None:
        shape, program = layer.shape, layer.program
        vector, lanes = shape.vector_bytes, shape.lanes
        x_vectors, converted = layer.vectors(layer.inputs), products.rows_bytes is not None

        def matrix(columns: int, depth: int) -> int:
            return columns * products.column_bytes(depth)

        sizes: list[int] = []
        for phase in layer.phases:
            sizes += [
                matrix(len(phase.x) * phase.units, layer.inputs),
                matrix(len(phase.blocks) * phase.units, phase.span),
                0 if converted else phase.columns * phase.units * vector,
            ]
        places = [] if converted else parameter_values(program)
        sizes += [layer.units * vector if kind == "unit" else vector for kind, _ in places]
        forward = len(sizes)
        for phase in layer.phases:
            depth = phase.units * lanes
            sizes += [
                # With heads, each column is multiplied apart.
                matrix(len(phase.blocks) * phase.depth_units, phase.back_span)
                if phase.heads > 1
                else matrix(phase.depth_units, len(phase.blocks) * phase.back_span),
                matrix(x_vectors, len(phase.x) * depth),
            ]
        offsets = list(accumulate(map(round_up, sizes), initial=0))
        count = len(layer.phases)
        self.w_x, self.w_h, self.bias = (offsets[k : 3 * count : 3] for k in range(3))
        self.w_h_back, self.w_x_back = (offsets[forward + k : -1 : 2] for k in range(2))
        self.values = dict(zip(places, offsets[3 * count :], strict=False))
        self.size, self.back_size = offsets[forward], offsets[-1]


def _meets(phases: tuple[PhaseSizes, ...]) -> list[bool]:
    """Whether threads meet before each phase: also where it reads what others wrote, whose groups are others."""
    meets: list[bool] = []
    written: dict[Place, int] = {}
    for number, sizes in enumerate(phases):
        writers = [written[place] for place in sizes.phase.code.reads() if place[0] in CARRIERS and place in written]
        others = [w for w in writers if phases[w].groups != sizes.groups and not any(meets[w + 1 :])]
        meets.append(sizes.phase.meets or bool(others))
        written.update({(output.kind, output.number): number for output in sizes.phase.code.outputs})
    return meets


@functools.lru_cache(maxsize=1024)
def layer_sizes(program: Program, sizes: Sizes) -> LayerSizes:
    """The one `LayerSizes` of these."""
    return LayerSizes(kernels.host_shape(sizes.dtype), program, sizes)
