"""Packed weights: a layer's parameters in the order in which the tiles read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..cells import Cell
from ..contract import Array, LayerWeights
from . import kernels
from .fields.pack import (
    B_HH,
    B_IH,
    BIAS,
    HIDDEN,
    INPUT,
    PACK_WORDS,
    SCRATCH,
    STAGE_TABLE,
    STAGES,
    THREADS,
    UNITS,
    W_H,
    W_H_BACK,
    W_H_BACK_BF16,
    W_H_BF16,
    W_HH,
    W_HH_ROW,
    W_IH,
    W_IH_ROW,
    W_X,
    W_X_BACK,
    W_X_BACK_BF16,
    W_X_BF16,
)
from .layer import Layer, make_layer
from .memory import Words, address, make_words, round_up
from .recycling import take
from .threads import run

THREADS_BYTES = 4 << 20
"""Least packed weights for which several threads pack."""


class Bf16Weights(NamedTuple):
    """Weights in three parts, see `code.bf16x3`.

    Attributes:
        memory: the weights.
        w_x, w_h: addresses of those of the forward pass.
        w_h_back, w_x_back: of the backward pass, or 0.
    """

    memory: Array
    w_x: int
    w_h: int
    w_h_back: int
    w_x_back: int


class CpuPacked(NamedTuple):
    """Weights of one layer and direction.

    Attributes:
        layer: its sizes.
        memory: the packed weights.
        w_x, w_h, bias: addresses of those of the forward pass.
        w_h_back, w_x_back: of the backward pass; 0 where they are for inference alone.
        has_bias: whether there are biases.
        turns: counts calls of one step, which follow one another like the steps of one call, see `code.forward`.
        bf16: of `bf16_weights`.
    """

    layer: Layer
    memory: Array
    w_x: int
    w_h: int
    bias: int
    w_h_back: int
    w_x_back: int
    has_bias: bool
    turns: Iterator[int]
    bf16: list[Bf16Weights]


def pack(cell: Cell, weights: LayerWeights, *, backward: bool, threads: int = 1) -> CpuPacked:
    """See `contract.Engine.pack`; the result never shares memory with `weights`."""
    w_ih, w_hh, b_ih, b_hh = weights
    layer = make_layer(cell, w_hh.dtype, w_hh.shape[1], w_ih.shape[1])
    places, total = _places(layer.sizes if backward else layer.sizes[:3])
    memory = take(total)
    start = address(memory)
    threads = threads if total >= THREADS_BYTES else 1
    w_x, w_h, bias, *back = (start + place for place in places)
    w_h_back, w_x_back = back or (0, 0)
    table = np.empty(threads * layer.units * layer.shape.lanes, np.int64)
    values = {
        W_IH: address(w_ih),
        W_IH_ROW: w_ih.strides[0],
        W_HH: address(w_hh),
        W_HH_ROW: w_hh.strides[0],
        B_IH: 0 if b_ih is None else address(b_ih),
        B_HH: 0 if b_hh is None else address(b_hh),
        W_X: w_x,
        W_H: w_h,
        BIAS: bias,
        W_H_BACK: w_h_back,
        W_X_BACK: w_x_back,
        SCRATCH: address(table),
    }
    words = _words(layer, threads, values)
    run(layer.forward_kernels, "pack", words, threads)
    if backward:
        run(layer.backward_kernels, "pack_back", words, threads)
    return CpuPacked(layer, memory, w_x, w_h, bias, w_h_back, w_x_back, b_ih is not None, itertools.count(), [])


def bf16_weights(packed: CpuPacked, threads: int) -> Bf16Weights:
    """The packed weights in three parts: made when they are first needed, then kept with the packed ones."""
    if packed.bf16:
        return packed.bf16[0]
    layer, backward = packed.layer, packed.w_h_back != 0
    starts, total = _places(layer.bf16_sizes if backward else layer.bf16_sizes[:2])
    memory = take(total)
    start = address(memory)
    w_x, w_h, *back = (start + place for place in starts)
    w_h_back, w_x_back = back or (0, 0)
    threads = threads if total >= THREADS_BYTES else 1
    values = {
        W_X: packed.w_x,
        W_H: packed.w_h,
        W_H_BACK: packed.w_h_back,
        W_X_BACK: packed.w_x_back,
        W_X_BF16: w_x,
        W_H_BF16: w_h,
        W_H_BACK_BF16: w_h_back,
        W_X_BACK_BF16: w_x_back,
    }
    words = _words(layer, threads, values)
    library = kernels.conversion_kernels(layer.shape)
    run(library, "convert", words, threads)
    if backward:
        run(library, "convert_back", words, threads)
    bf16 = Bf16Weights(memory, w_x, w_h, w_h_back, w_x_back)
    # Two threads may come here at once: each has its own, and what is kept is one of them.
    packed.bf16[:] = [bf16]
    return bf16


def _words(layer: Layer, threads: int, values: Mapping[int, int]) -> Words:
    """Of a kernel that packs or converts; what the layer does not say, and `values` does not, is 0."""
    values = {
        HIDDEN: layer.hidden,
        INPUT: layer.inputs,
        UNITS: layer.units,
        THREADS: threads,
        STAGES: len(layer.program.stages),
        STAGE_TABLE: layer.infer_table,
        **values,
    }
    return make_words([values.get(place, 0) for place in range(PACK_WORDS)])


def _places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Offsets of arrays of these sizes, one after the other at cache lines, and the size of all."""
    *places, total = itertools.accumulate((round_up(size) for size in sizes), initial=0)
    return places, total
