"""The forward pass of a layer in one direction, for inference and for training."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Array, Inputs, Run
from ..program.program import units_of
from .device import Device
from .launch import Ends, Values, launch, make_ends, make_values
from .layout import x_order
from .pack import CudaPacked
from .steps import forward_steps

PROJECTION_BYTES = 1 << 26
"""In inference, the input projection is made for as many steps at a time as fit in this."""

ALL, TURNS = -1, 1
"""Values of `slot_mask`: a slot for each step, and two that take turns."""


@dataclass(frozen=True)
class Residuals:
    """Values of the forward pass that the backward pass reads.

    Attributes:
        x: (T, B, I).
        inputs: of the run.
        ends: when rows end.
        reverse: whether steps ran from the last to the first.
        values: of all steps. At t and t + 1 stand the states before and after step t, in reverse the other way round.
        totals: (kept totals, T, B).
    """

    x: Array
    inputs: Inputs
    ends: Ends
    reverse: bool
    values: Values
    totals: Array | None


def infer(device: Device, run: Run[CudaPacked]) -> None:
    """See `contract.Engine.infer`."""
    steps, batch, _ = run.x.shape
    if steps == 0 or batch == 0:
        return
    packed, ends = run.packed, make_ends(device, run.rows, batch)
    program, itemsize = packed.program, packed.sizes.dtype.itemsize
    step_bytes = batch * len(program.x_gates) * packed.padded * itemsize
    chunk = max(1, PROJECTION_BYTES // step_bytes) if step_bytes else steps
    spans = [slice(first, min(steps, first + chunk)) for first in range(0, steps, chunk)]
    states, operands = (make_values(device, w, 2, batch, packed) for w in (program.states, program.operands))
    for span in reversed(spans) if run.reverse else spans:
        _launch(device, run, ends, span, Values(states, operands, None), None)


def forward(device: Device, run: Run[CudaPacked]) -> Residuals:
    """See `contract.Engine.forward`."""
    steps, batch, _ = run.x.shape
    packed, ends = run.packed, make_ends(device, run.rows, batch)
    program = packed.program
    states = make_values(device, program.states, steps + 1, batch, packed)
    operands, saved = (make_values(device, w, steps, batch, packed) for w in (program.operands, program.saved))
    values = Values(states, operands, saved)
    kept = len(program.kept_totals)
    totals = device.xp.empty((kept, steps, batch), packed.sizes.dtype) if kept else None
    if steps and batch:
        _launch(device, run, ends, slice(0, steps), values, totals)
    return Residuals(run.x, run.inputs, ends, run.reverse, values, totals)


def states(device: Device, packed: CudaPacked, residuals: Residuals) -> tuple[Array, ...]:
    """See `contract.Engine.states`."""
    xp, inside = device.xp, residuals.ends.inside(device.xp, len(residuals.x))
    result = []
    for values, width in zip(residuals.values.states, packed.program.states, strict=True):
        every = values[:-1] if residuals.reverse else values[1:]
        every = every[:, :, : units_of(width, packed.sizes.hidden)]
        result.append(every.copy() if inside is None else xp.where(inside[:, :, None], every, every.dtype.type(0)))
    return tuple(result)


def _launch(
    device: Device, run: Run[CudaPacked], ends: Ends, span: slice, values: Values, totals: Array | None
) -> None:
    """Compute the steps of a span."""
    packed, batch, xp = run.packed, run.x.shape[1], device.xp
    steps, gates = span.stop - span.start, len(x_order(packed.program))
    projection = xp.empty((steps, batch, gates, packed.padded), packed.sizes.dtype) if gates else None
    if projection is not None:
        project(device, run.x[span], packed.weight_x, projection)
    output = None if run.output is None else run.output[span]
    arguments = {
        "steps": steps,
        "first": span.start,
        "reverse": int(run.reverse),
        "slot_mask": TURNS if values.saved is None else ALL,
        "totals": totals,
        "projection": projection,
        "output": output,
        "output_step": 0 if output is None else output.strides[0],
        "output_row": 0 if output is None else output.strides[1],
        "last": run.last,
        "last_row": 0 if run.last is None else run.last.strides[0],
    }
    inputs = Inputs(tuple(a[span] for a in run.inputs.rows), tuple(a[span] for a in run.inputs.units))
    launch(device, forward_steps(packed.program), packed, ends, run.state, inputs, values, arguments)


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
