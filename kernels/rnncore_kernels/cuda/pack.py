"""Weights as kernels and products of matrices read them."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from ..contract import Array, LayerWeights, Sizes, block_diagonal
from ..program.program import Block, Program, rows_of
from .layout import bias_columns, padded_size, x_order


@dataclass(frozen=True)
class CudaPacked:
    """A layer's weights; units are padded with zeros to whole vectors.

    Attributes:
        program: the cell.
        sizes: of the layer.
        padded: H rounded up.
        weight_x: (gates * padded, I), W_ih, gates in the order of the phases.
        bias: (x parts and blocks of gates, padded); biases that are added to the same sum are added up.
        forward: of each product (padded units, blocks, padded operand): unit, block, k.
        backward: of each product (padded operand, blocks * padded units), its transpose. None for inference.
        has_bias: whether the layer has biases.
        parameters: unit parameters (H,), then scalars ().
    """

    program: Program
    sizes: Sizes
    padded: int
    weight_x: Array
    bias: Array
    forward: tuple[Array, ...]
    backward: tuple[Array, ...] | None
    has_bias: bool
    parameters: tuple[Array, ...]


def pack(
    xp: ModuleType, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool
) -> CudaPacked:
    """See `contract.Engine.pack`."""
    parameters = (*weights.units, *weights.scalars)
    products = [
        [_whole(xp, weights, program.blocks[number], sizes) for number in product.blocks]
        for product in program.products
    ]
    return CudaPacked(
        program=program,
        sizes=sizes,
        padded=padded_size(sizes.hidden, sizes.dtype.itemsize),
        weight_x=_weight_x(xp, program, sizes, weights.weight_ih, copy=copy),
        bias=_bias(xp, program, sizes, weights),
        forward=tuple(_stacked(xp, sizes, matrices) for matrices in products),
        backward=tuple(_stacked(xp, sizes, [m.T for m in matrices]) for matrices in products) if backward else None,
        has_bias=weights.bias_ih is not None or weights.bias_hh is not None,
        parameters=tuple(p.copy() for p in parameters) if copy else parameters,
    )


def _whole(xp: ModuleType, weights: LayerWeights, block: Block, sizes: Sizes) -> Array:
    """The matrix of a block (width of the result, width of the operand), with the zeros outside of heads."""
    matrix, heads = weights.of_block(block, sizes.hidden), block.heads_of(sizes.heads)
    return matrix if heads == 1 else block_diagonal(xp, matrix, heads)


def _weight_x(xp: ModuleType, program: Program, sizes: Sizes, weight: Array | None, *, copy: bool) -> Array:
    hidden, inputs, dtype = sizes[:3]
    order, padded = x_order(program), padded_size(hidden, dtype.itemsize)
    if weight is None:
        return xp.zeros((0, inputs), dtype)  # type: ignore[no-any-return]
    if not copy and padded == hidden and order == tuple(range(len(order))):
        return weight
    result: Array = xp.zeros((len(order), padded, inputs), dtype)
    source = weight.reshape(len(order), hidden, inputs)
    for place, gate in enumerate(order):
        result[place, :hidden] = source[gate]
    return result.reshape(len(order) * padded, inputs)


def _bias(xp: ModuleType, program: Program, sizes: Sizes, weights: LayerWeights) -> Array:
    hidden, dtype = sizes.hidden, sizes.dtype
    columns = bias_columns(program)
    result: Array = xp.zeros((max(1, len(columns)), padded_size(hidden, dtype.itemsize)), dtype)
    for place, number in enumerate(columns):
        column = program.columns[number]
        if weights.bias_ih is not None and column.x is not None:
            result[place, :hidden] += weights.bias_ih[rows_of(column.x, hidden)]
        if weights.bias_hh is not None and column.block is not None:
            gate = program.blocks[column.block].gate
            assert gate is not None
            result[place, :hidden] += weights.bias_hh[rows_of(gate, hidden)]
    return result


def _stacked(xp: ModuleType, sizes: Sizes, matrices: list[Array]) -> Array:
    """Matrices as a product reads them: unit, block, k."""
    units, inner = matrices[0].shape
    itemsize = sizes.dtype.itemsize
    shape = padded_size(units, itemsize), len(matrices), padded_size(inner, itemsize)
    result: Array = xp.zeros(shape, sizes.dtype)
    for place, matrix in enumerate(matrices):
        result[:units, place, :inner] = matrix
    return result
