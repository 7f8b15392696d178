"""A layer's weights, as the NumPy engine's steps use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..contract import Array, LayerWeights, Sizes
from ..precision import ROUNDINGS
from ..program.program import Program, rows_of
from .operations import Values


@dataclass(frozen=True)
class NumpyPacked:
    """A layer's weights, as the steps use them.

    Attributes:
        weights: as they came, matrices rounded.
        rounded: rounds what they are multiplied with, see `precision`.
        x_bias: (Gx*H,) added to W_ih x; it includes b_hh where a block of a product begins with W_ih x.
        blocks: (heads, width, width of the operand) matrices of each block of a product, of a head's share of units.
        biases: (H,) added to a block; None where x_bias includes it, or there is none.
        constants: parameters that code reads.
    """

    program: Program
    sizes: Sizes
    weights: LayerWeights
    rounded: Callable[[Array], Array]
    x_bias: Array | None
    blocks: tuple[Array, ...]
    biases: tuple[Array | None, ...]
    constants: Values


def pack(program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool) -> NumpyPacked:
    """See `contract.Engine`."""
    if copy:
        weights = mapped(weights, np.copy)
    rounded = _same if sizes.precision is None else ROUNDINGS[sizes.precision]
    weights = weights.with_matrices(rounded)
    hidden, x_bias, blocks, biases = sizes.hidden, None, [], []
    if weights.bias_ih is not None:
        x_bias = weights.bias_ih.copy()
    for block in program.blocks:
        bias = None
        if block.gate is not None and weights.bias_hh is not None:
            bias = weights.bias_hh[rows_of(block.gate, hidden)]
            if block.x is not None and x_bias is not None:
                x_bias[rows_of(block.x, hidden)] += bias
                bias = None
        matrix, heads = weights.of_block(block, hidden), block.heads_of(sizes.heads)
        blocks.append(matrix.reshape(heads, len(matrix) // heads, matrix.shape[1]))
        biases.append(bias)
    constants: Values = {("inverse_size", 0): 1 / hidden}
    constants |= {("unit", k): unit for k, unit in enumerate(weights.units)}
    constants |= {("scalar", k): scalar for k, scalar in enumerate(weights.scalars)}
    return NumpyPacked(program, sizes, weights, rounded, x_bias, tuple(blocks), tuple(biases), constants)


def by_head(values: Array, heads: int) -> Array:
    """(heads, rows, units / heads), a view of (rows, units)."""
    rows, units = values.shape
    return values.reshape(rows, heads, units // heads).swapaxes(0, 1)


def side_by_side(values: Array) -> Array:
    """The inverse of `by_head`."""
    heads, rows, units = values.shape
    return values.swapaxes(0, 1).reshape(rows, heads * units)


def mapped(weights: LayerWeights, function: Callable[[Array], Array]) -> LayerWeights:
    """The weights with a function of each array in its place."""

    def all_of(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(function(a) for a in arrays)

    ih, hh, b_ih, b_hh = (None if w is None else function(w) for w in weights[:4])
    return LayerWeights(ih, hh, b_ih, b_hh, *map(all_of, weights[4:]))


def _same(values: Array) -> Array:
    return values
