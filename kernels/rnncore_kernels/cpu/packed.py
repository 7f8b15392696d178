"""Packed weights: a layer's parameters in the order in which the tiles read them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..alignment import address
from ..contract import Array, LayerWeights, Sizes
from ..program.program import Program
from . import kernels
from .arguments import PackArguments
from .buffer_pool import take
from .layer import LayerSizes, layer_sizes
from .memory import Words, make_words, words_address
from .products import Products, vector_products
from .tables import column_table, forward_table
from .threads import run

THREADS_BYTES = 4 << 20
"""Least packed weights for which several threads pack."""


class CpuPacked(NamedTuple):
    """Weights of one layer and direction.

    Attributes:
        layer: its sizes.
        memory: the packed weights.
        address: of these.
        backward: whether those of the backward pass are among them.
        has_bias: whether there are biases for x parts, and for products.
        turns: counts calls of one step, which follow one another like the steps of one call, see `code.forward`.
        converted: of `converted_weights`, by the name of the products.
    """

    layer: LayerSizes
    memory: Array
    address: int
    backward: bool
    has_bias: tuple[bool, bool]
    turns: Iterator[int]
    converted: dict[str, Array]


def pack(
    program: Program, sizes: Sizes, weights: LayerWeights, *, backward: bool, threads: Callable[[], int]
) -> CpuPacked:
    """See `contract.Engine.pack`; the result never shares memory with `weights`.

    `threads` says how many may pack, where it pays to ask.
    """
    layer = layer_sizes(program, sizes)
    total = layer.packed.back_size if backward else layer.packed.size
    count = threads() if total >= THREADS_BYTES else 1
    common, _ = _pack_arguments(layer)
    # The scratch is behind the packed weights.
    memory = take(total + count * common.scratch_size)
    start, matrices = address(memory), matrix_words(weights, _again(layer, weights))
    call = common.copy()
    call.threads, call.matrices = count, words_address(matrices)
    call.packed, call.scratch = start, start + total
    run(kernels.pack_kernels(layer.shape, "forward"), "pack", call, count)
    if backward:
        run(kernels.pack_kernels(layer.shape, "backward"), "pack_back", call, count)
    if layer.packed.values:
        _pack_values(layer, weights, memory)
    has_bias = weights.bias_ih is not None, weights.bias_hh is not None
    return CpuPacked(layer, memory, start, backward, has_bias, itertools.count(), {})


@functools.lru_cache(maxsize=1024)
def _pack_arguments(layer: LayerSizes) -> tuple[PackArguments, Any]:
    """The arguments that follow from sizes, and what they refer to."""
    table, columns = forward_table(layer, vector_products(layer.shape), keep=False), column_table(layer)
    call = PackArguments(
        inputs=layer.inputs,
        phases=table.count,
        phase_table=table.address,
        columns=columns.address,
        scratch_size=8 * layer.most_rows,
    )
    return call, (table, columns)


def converted_weights(packed: CpuPacked, products: Products, threads: int) -> Array:
    """The packed weights for other products: made when they are first needed, then kept with the packed ones."""
    if products.name in packed.converted:
        return packed.converted[products.name]
    layer = packed.layer
    packing = layer.packing(products)
    total = packing.back_size if packed.backward else packing.size
    memory = take(total)
    threads = threads if total >= THREADS_BYTES else 1
    table, converted = (forward_table(layer, p, keep=False) for p in (vector_products(layer.shape), products))
    call = PackArguments(
        inputs=layer.inputs,
        threads=threads,
        phases=table.count,
        phase_table=table.address,
        packed=packed.address,
        converted=address(memory),
        converted_table=converted.address,
    )
    run(kernels.pass_kernels(layer.shape, "forward", products.name), "convert", call, threads)
    if packed.backward:
        run(kernels.pass_kernels(layer.shape, "backward", products.name), "convert_back", call, threads)
    # Two threads may come here at once: each has its own, and what is kept is one of them.
    packed.converted[products.name] = memory
    return memory


def matrix_words(weights: LayerWeights, others: Sequence[tuple[Array, Array | None]] = ()) -> Words:
    """MatrixArguments of weights, or of gradients, which have their shapes, and of second ones of gates."""
    weight_ih, weight_hh, bias_ih, bias_hh, projections, _, _ = weights
    words: list[int] = []
    for weight, bias in ((weight_ih, bias_ih), (weight_hh, bias_hh), *[(m, None) for m in projections], *others):
        words += (0, 0) if weight is None else (address(weight), weight.strides[0])
        words.append(0 if bias is None else address(bias))
    return make_words(words)


def _again(layer: LayerSizes, weights: LayerWeights) -> list[tuple[Array, Array | None]]:
    """The weights of the second blocks of gates."""
    found: list[tuple[Array, Array | None]] = []
    for number in layer.second_blocks:
        gate = layer.program.blocks[number].gate
        assert gate is not None
        assert weights.weight_hh is not None
        rows = slice(gate * layer.hidden, (gate + 1) * layer.hidden)
        found.append((weights.weight_hh[rows], None if weights.bias_hh is None else weights.bias_hh[rows]))
    return found


def _pack_values(layer: LayerSizes, weights: LayerWeights, memory: Array) -> None:
    """Unit parameters, with zeros behind them, and single numbers."""
    dtype = layer.shape.dtype
    for (kind, number), place in layer.packed.values.items():
        size = layer.units * layer.shape.vector_bytes if kind == "unit" else layer.shape.vector_bytes
        target = memory[place : place + size].view(dtype)
        if kind == "unit":
            target[layer.hidden :] = 0
            target[: layer.hidden] = weights.units[number]
        else:
            target[:] = weights.scalars[number] if kind == "scalar" else 1 / layer.hidden
