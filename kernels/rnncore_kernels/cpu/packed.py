"""Packed weights: a layer's parameters in the order in which the tiles read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..cells import Cell
from ..contract import LayerWeights
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
    W_HH,
    W_HH_ROW,
    W_IH,
    W_IH_ROW,
    W_X,
    W_X_BACK,
)
from .layer import Layer, make_layer
from .memory import address, make_words, round_up
from .recycling import Memory
from .threads import run

THREADS_BYTES = 4 << 20
"""Least packed weights for which several threads pack."""


class CpuPacked(NamedTuple):
    """Weights of one layer and direction.

    Attributes:
        layer: its sizes.
        memory: the packed weights.
        w_x, w_h, bias: addresses of those of the forward pass.
        w_h_back, w_x_back: of the backward pass; 0 where they are for inference alone.
        has_bias: whether there are biases.
        turns: counts calls of one step, which follow one another like the steps of one call, see `code.forward`.
    """

    layer: Layer
    memory: Memory
    w_x: int
    w_h: int
    bias: int
    w_h_back: int
    w_x_back: int
    has_bias: bool
    turns: Iterator[int]


def pack(cell: Cell, weights: LayerWeights, *, backward: bool, threads: int = 1) -> CpuPacked:
    """See `contract.Engine.pack`; the result never shares memory with `weights`."""
    w_ih, w_hh, b_ih, b_hh = weights
    layer = make_layer(cell, w_hh.dtype, w_hh.shape[1], w_ih.shape[1])
    places, total = [], 0
    for size in layer.sizes if backward else layer.sizes[:3]:
        places.append(total)
        total += round_up(size)
    memory = Memory(total)
    start = address(memory.array)
    threads = threads if total >= THREADS_BYTES else 1
    w_x, w_h, bias, *back = (start + place for place in places)
    w_h_back, w_x_back = back or (0, 0)
    table = np.empty(threads * layer.units * layer.shape.lanes, np.int64)
    values = {
        HIDDEN: layer.hidden,
        INPUT: layer.inputs,
        UNITS: layer.units,
        THREADS: threads,
        STAGES: len(layer.program.stages),
        STAGE_TABLE: layer.infer_table,
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
    words = make_words([values[place] for place in range(PACK_WORDS)])
    run(layer.forward_kernels, "pack", words, threads)
    if backward:
        run(layer.backward_kernels, "pack_back", words, threads)
    return CpuPacked(layer, memory, w_x, w_h, bias, w_h_back, w_x_back, b_ih is not None, itertools.count())
