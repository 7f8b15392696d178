"""The backward pass of a layer in one direction."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ..contract import Array, BackwardRun, LayerGradients, LayerWeights
from .device import Device
from .forward import Residuals, matrix
from .kernels import backward_source
from .launch import backward_division, is_few, launch
from .packed import CudaPacked


def backward(device: Device, run: BackwardRun[CudaPacked, Residuals]) -> LayerGradients:
    """See `contract.Engine.backward`."""
    xp, packed, residuals = device.xp, run.packed, run.residuals
    program, padded, dtype = packed.program, packed.padded, packed.bias.dtype
    steps, batch, inputs = residuals.x.shape
    pre = xp.empty((steps, batch, program.columns, padded), dtype)
    if steps and batch:
        _launch(device, run, pre)
    grad_x = xp.zeros((steps, batch, inputs), dtype)
    of_x = xp.zeros((program.gates, padded, inputs), dtype)
    of_h = xp.zeros((program.gates, packed.hidden, packed.hidden), dtype)
    order = [gate for stage in program.stages for gate in stage.gates]
    if steps and batch:
        rows = pre.reshape(steps * batch, program.columns * padded)
        x, flat = matrix(device, residuals.x), grad_x.reshape(steps * batch, inputs)
        # Past a row's end its cotangents are 0, but its last state is there, and weights are, which may be infinite.
        inside = residuals.ends.inside(xp, steps)
        first = 0
        for number, stage in enumerate(program.stages):
            gates = len(stage.gates)
            part = rows[:, stage.column * padded : (stage.column + gates) * padded]
            weights = slice(first * padded, (first + gates) * padded)
            if inputs:
                device.multiply(part, packed.of_x[weights], flat, accumulate=number > 0)
                device.multiply(part.T, x, of_x.reshape(-1, inputs)[weights])
            operand = cleared(xp, _operand(residuals, number), inside).reshape(steps * batch, padded)
            columns = slice((stage.column + stage.split) * padded, (stage.column + stage.columns) * padded)
            product = xp.empty((stage.columns - stage.split, padded, padded), dtype)
            device.multiply(rows[:, columns].T, operand, product.reshape(-1, padded))
            for place, gate in enumerate(stage.recurrent_gates):
                of_h[gate] = product[place, : packed.hidden, : packed.hidden]
            first += gates
        grad_x = cleared(xp, grad_x, inside)
    weight_ih = xp.empty((program.gates, packed.hidden, inputs), dtype)
    for place, gate in enumerate(order):
        weight_ih[gate] = of_x[place, : packed.hidden]
    bias_ih = bias_hh = None
    if packed.has_bias:
        bias_ih, bias_hh = _biases(device, packed, pre)
    size = program.gates * packed.hidden
    weights_grad = LayerWeights(weight_ih.reshape(size, inputs), of_h.reshape(size, packed.hidden), bias_ih, bias_hh)
    return LayerGradients(grad_x, weights_grad)


def cleared(xp: ModuleType, sequence: Array, inside: Array | None) -> Array:
    """A sequence with 0 past the ends of rows."""
    if inside is None:
        return sequence
    result: Array = xp.where(inside[:, :, None], sequence, sequence.dtype.type(0))
    return result


def _launch(device: Device, run: BackwardRun[CudaPacked, Residuals], pre: Array) -> None:
    packed, residuals = run.packed, run.residuals
    program, padded, dtype = packed.program, packed.padded, packed.bias.dtype
    steps, batch, _ = residuals.x.shape
    few = is_few(batch)
    division = backward_division(device.limits, program, np.dtype(dtype), batch, padded)
    carried = max(program.states, *(stage.inputs for stage in program.stages))
    grad = run.grad_output
    arguments = {
        "steps": steps,
        "first": 0,
        "reverse": int(residuals.reverse),
        "batch": batch,
        "weights": packed.backward,
        "states": residuals.states,
        "kept": residuals.kept if program.kept else None,
        "pre": pre,
        "grad": device.xp.empty((carried, batch, padded), dtype),
        "grad_output": grad,
        "grad_output_step": 0 if grad is None else grad.strides[0],
        "grad_output_row": 0 if grad is None else grad.strides[1],
    }
    source = backward_source(program, np.dtype(dtype), few)
    launch(device, source, division, packed, residuals.ends, arguments, run.grad_state)


def _operand(residuals: Residuals, number: int) -> Array:
    """(T, B, padded): what the recurrent weights of a stage were multiplied with."""
    if number > 0:
        operand: Array = residuals.operands[number - 1]
        return operand
    states: Array = residuals.states[0]
    return states[1:] if residuals.reverse else states[:-1]


def _biases(device: Device, packed: CudaPacked, pre: Array) -> tuple[Array, Array]:
    program, hidden = packed.program, packed.hidden
    sums = pre.reshape(-1, program.columns, packed.padded).sum(axis=0)
    of_x, of_h = (device.xp.empty((program.gates, hidden), pre.dtype) for _ in range(2))
    for stage in program.stages:
        for place, gate in enumerate(stage.gates):
            of_x[gate] = sums[stage.column + place, :hidden]
        for place, gate in enumerate(stage.recurrent_gates):
            of_h[gate] = sums[stage.column + stage.split + place, :hidden]
    return of_x.reshape(-1), of_h.reshape(-1)
