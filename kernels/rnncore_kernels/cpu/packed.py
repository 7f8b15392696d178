"""Packed weights: a layer's parameters in the order in which the tiles read them."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from ..cells import Cell
from ..contract import Array, LayerWeights
from . import kernels
from .fields import PACK, STAGE
from .program import Program, make_program
from .shape import Shape
from .toolchain import Library

Words = ctypes.Array[ctypes.c_int64]


@dataclass(frozen=True, eq=False)
class StageTables:
    """The words of a cell's stages, named in `fields.STAGE`, with what they refer to.

    Attributes:
        infer, keep: addresses of the tables for inference and for training.
    """

    infer: int
    keep: int
    _memory: tuple[Words, ...]
    _library: Library


@dataclass(frozen=True, eq=False)
class CpuPacked:
    """Weights of one layer and direction.

    Attributes:
        forward: W_ih, W_hh and bias, packed; one aligned array.
        back: W_hh and W_ih for the backward pass; None if they are for inference alone.
        has_bias: whether there are biases.
    """

    shape: Shape
    program: Program
    tables: StageTables
    hidden: int
    inputs: int
    forward: Array
    back: Array | None
    has_bias: bool

    @property
    def units(self) -> int:
        """Vectors of hidden units."""
        return -(-self.hidden // self.shape.lanes)

    @property
    def forward_places(self) -> tuple[int, int, int]:
        """Addresses of W_ih, W_hh and bias for the forward pass."""
        return _split(self.forward, *_forward_sizes(self.shape, self.program, self.hidden, self.inputs))

    @property
    def back_places(self) -> tuple[int, int, int]:
        """Addresses of W_hh and W_ih for the backward pass, and of their end."""
        assert self.back is not None
        return _split(self.back, *_back_sizes(self.shape, self.program, self.hidden, self.inputs))


def pack(cell: Cell, weights: LayerWeights, *, backward: bool) -> CpuPacked:
    """See `contract.Engine.pack`; the result never shares memory with `weights`."""
    program, shape = make_program(cell), kernels.host_shape(weights.weight_hh.dtype)
    hidden, inputs = weights.weight_hh.shape[1], weights.weight_ih.shape[1]
    forward = aligned(sum(_forward_sizes(shape, program, hidden, inputs)) + program.columns * _row(shape, hidden))
    back = aligned(sum(_back_sizes(shape, program, hidden, inputs))) if backward else None
    packed = CpuPacked(
        shape, program, _tables(shape, program), hidden, inputs, forward, back, weights.bias_ih is not None
    )
    table = np.empty(packed.units * shape.lanes, np.int64)
    w_x, w_h, bias = packed.forward_places
    w_h_back, w_x_back, _ = packed.back_places if backward else (0, 0, 0)
    values = {
        "hidden": hidden,
        "input": inputs,
        "units": packed.units,
        "threads": 1,
        "stages": len(program.stages),
        "stage_table": packed.tables.infer,
        "w_ih": address(weights.weight_ih),
        "w_ih_row": weights.weight_ih.strides[0],
        "w_hh": address(weights.weight_hh),
        "w_hh_row": weights.weight_hh.strides[0],
        "b_ih": 0 if weights.bias_ih is None else address(weights.bias_ih),
        "b_hh": 0 if weights.bias_hh is None else address(weights.bias_hh),
        "w_x": w_x,
        "w_h": w_h,
        "bias": bias,
        "w_h_back": w_h_back,
        "w_x_back": w_x_back,
        "scratch": address(table),
    }
    words = make_words([values[name] for name in PACK])
    kernels.forward_kernels(shape).functions["pack"](ctypes.addressof(words), 0)
    if backward:
        kernels.backward_kernels(shape).functions["pack_back"](ctypes.addressof(words), 0)
    return packed


def address(array: Array) -> int:
    """Where the first element of an array is."""
    return int(array.__array_interface__["data"][0])


def make_words(values: list[int]) -> Words:
    """Words for a kernel, with the address that `ctypes.addressof` gives."""
    return (ctypes.c_int64 * len(values))(*values)


def aligned(size: int) -> Array:
    """An array of `size` bytes, uninitialised, that begins at a cache line."""
    memory = np.empty(size + 64, np.uint8)
    start = -address(memory) % 64
    return memory[start : start + size]


def _row(shape: Shape, hidden: int) -> int:
    return -(-hidden // shape.lanes) * shape.vector_bytes


def _forward_sizes(shape: Shape, program: Program, hidden: int, inputs: int) -> tuple[int, int]:
    gate_row = program.gates * _row(shape, hidden)
    return gate_row * inputs, gate_row * hidden


def _back_sizes(shape: Shape, program: Program, hidden: int, inputs: int) -> tuple[int, int]:
    depth = program.gates * _row(shape, hidden) // shape.itemsize
    return depth * _row(shape, hidden), depth * _row(shape, inputs)


def _split(array: Array, first: int, second: int) -> tuple[int, int, int]:
    start = address(array)
    return start, start + first, start + first + second


@functools.lru_cache(maxsize=256)
def _tables(shape: Shape, program: Program) -> StageTables:
    library = kernels.cell_functions(shape, program)
    stages = program.stages
    inputs = [stage.inputs for stage in stages]
    before = list(accumulate((len(stage.gates) for stage in stages), initial=0))
    memory: list[Words] = []
    both: list[list[int]] = [[], []]
    for number, stage in enumerate(stages):
        x_gates, h_gates = make_words(list(stage.gates)), make_words(list(stage.recurrent_gates))
        memory += [x_gates, h_gates]
        first, last = number == 0, number == len(stages) - 1
        carry_in = sum(count - 1 for count in inputs[1:number])
        values: dict[str, Any] = {
            "gates": len(stage.gates),
            "split": stage.split,
            "columns": stage.columns,
            "column": stage.column,
            "gates_before": before[number],
            "x_gates": ctypes.addressof(x_gates),
            "h_gates": ctypes.addressof(h_gates),
            "inputs": stage.inputs,
            "carry_in": carry_in,
            "carry_out": carry_in + (0 if first else stage.inputs - 1),
            "grad_in": 0 if first else program.states + sum(inputs[1:number]),
            "grad_out": 0 if last else program.states + sum(inputs[1 : number + 1]),
            "backward": library.addresses[f"backward_{number}"],
        }
        for table, kind in zip(both, ("forward_{}", "forward_{}_keep"), strict=True):
            table += [(values | {"forward": library.addresses[kind.format(number)]})[name] for name in STAGE]
    infer, keep = make_words(both[0]), make_words(both[1])
    return StageTables(ctypes.addressof(infer), ctypes.addressof(keep), (*memory, infer, keep), library)
