"""The forward pass of a layer in one direction, for inference and for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract import Array, Run
from .device import Device
from .kernels import forward_source
from .launch import Ends, forward_division, is_few, launch, make_ends
from .packed import CudaPacked

PROJECTION_BYTES = 1 << 26
"""In inference, the input projection is made for as many steps at a time as fit in this."""


@dataclass(frozen=True)
class Residuals:
    """What the backward pass reads of a run.

    Attributes:
        x: (T, B, I).
        ends: when rows end.
        reverse: whether steps ran from the last to the first.
        states: (states, T + 1, B, padded): at t and t + 1 stand those before and after step t, in reverse the other
            way round.
        operands: (stages - 1, T, B, padded): operands of the later stages.
        kept: (kept values, T, B, padded).
    """

    x: Array
    ends: Ends
    reverse: bool
    states: Array
    operands: Array
    kept: Array


def infer(device: Device, run: Run[CudaPacked]) -> None:
    """See `contract.Engine.infer`."""
    steps, batch, _ = run.x.shape
    if steps == 0 or batch == 0:
        return
    packed, ends = run.packed, make_ends(device, run.rows, batch)
    program, padded, dtype = packed.program, packed.padded, run.packed.bias.dtype
    chunk = max(1, PROJECTION_BYTES // (batch * program.gates * padded * dtype.itemsize))
    spans = [slice(first, min(steps, first + chunk)) for first in range(0, steps, chunk)]
    states = device.xp.empty((program.states, 2, batch, padded), dtype)
    operands = device.xp.empty((max(1, len(program.stages) - 1), 1, batch, padded), dtype)
    for span in reversed(spans) if run.reverse else spans:
        _launch(device, run, ends, span, states, operands, None)


def forward(device: Device, run: Run[CudaPacked]) -> Residuals:
    """See `contract.Engine.forward`."""
    steps, batch, _ = run.x.shape
    packed = run.packed
    program, padded, dtype = packed.program, packed.padded, packed.bias.dtype
    ends = make_ends(device, run.rows, batch)
    states = device.xp.empty((program.states, steps + 1, batch, padded), dtype)
    operands = device.xp.empty((len(program.stages) - 1, steps, batch, padded), dtype)
    kept = device.xp.empty((program.kept, steps, batch, padded), dtype)
    if steps and batch:
        _launch(device, run, ends, slice(0, steps), states, operands, kept)
    return Residuals(run.x, ends, run.reverse, states, operands, kept)


def _launch(
    device: Device, run: Run[CudaPacked], ends: Ends, span: slice, states: Array, operands: Array, kept: Array | None
) -> None:
    """Compute the steps of a span."""
    packed, batch = run.packed, run.x.shape[1]
    program, padded, dtype = packed.program, packed.padded, packed.bias.dtype
    steps, few = span.stop - span.start, is_few(batch)
    division = forward_division(device.limits, program, np.dtype(dtype), batch, padded)
    projection = device.xp.empty((steps, batch, program.gates, padded), dtype)
    project(device, run.x[span], packed.of_x, projection)
    output = None if run.output is None else run.output[span]
    rest = max((len(stage.next_carry) for stage in program.stages[:-1]), default=1)
    arguments = {
        "steps": steps,
        "first": span.start,
        "reverse": int(run.reverse),
        "batch": batch,
        "weights": packed.forward,
        "projection": projection,
        "bias": packed.bias,
        "states": states,
        "slots": states.shape[1],
        "operands": operands if len(program.stages) > 1 else None,
        "operand_slots": operands.shape[1],
        "rest": device.xp.empty((rest, batch, padded), dtype) if len(program.stages) > 1 else None,
        "kept": kept if program.kept else None,
        "kept_steps": 0 if kept is None else steps,
        "output": output,
        "output_step": 0 if output is None else output.strides[0],
        "output_row": 0 if output is None else output.strides[1],
        "last": run.last,
        "last_row": 0 if run.last is None else run.last.strides[0],
    }
    source = forward_source(program, np.dtype(dtype), few)
    launch(device, source, division, packed, ends, arguments, run.state)


def project(device: Device, x: Array, weights: Array, out: Array) -> None:
    """W x of all steps: `x` (T, B, I), `weights` (rows, I), `out` (T, B, ...) with as many elements as rows."""
    rows = matrix(device, x)
    device.multiply(rows, weights.T, out.reshape(len(rows), len(weights)))


def matrix(device: Device, sequence: Array) -> Array:
    """(T * B, width) of (T, B, width); a view where rows stand at equal distances."""
    steps, batch, width = sequence.shape
    if steps > 1 and batch > 1 and sequence.strides[0] != batch * sequence.strides[1]:
        sequence = device.xp.ascontiguousarray(sequence)
    if batch == 1:
        return sequence[:, 0]
    flat: Array = sequence.reshape(steps * batch, width) if sequence.flags.c_contiguous or steps > 1 else sequence[0]
    return flat
