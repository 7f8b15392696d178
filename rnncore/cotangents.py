"""The cotangents that `Recurrent.backward` is given, as the layers want them."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.quiet import quiet

from .architecture import Architecture
from .arguments import read_grad_last, read_grad_output, read_grad_states, read_states, refuse_grad_output
from .layout import Layout
from .tape import Tape


class Cotangents(NamedTuple):
    """The cotangents of a call, checked.

    Attributes:
        outputs: of each direction's output, (T, B, P); None for 0.
        states: of the final states, new, of the shapes that the caller's have.
        every: of each direction, those of every state but the output at each step, (T, B, width) each; empty without.
    """

    outputs: list[Array | None]
    states: tuple[Array, ...]
    every: list[list[Array]]


def read_cotangents(tape: Tape, grad_output: Any, grad_state: Any, grad_last: Any) -> Cotangents:
    """Check the cotangents."""
    layout, every = tape.layout, list[list[Array]]()
    given = [*(grad_output if isinstance(grad_output, (tuple, list)) else [grad_output]), grad_last, grad_state]
    if all(cotangent is None for cotangent in given):
        first = "grad_output" if tape.return_sequence else "grad_last"
        raise ValueError(
            f"{first}: expected a cotangent, got none, nor any other, so that all gradients would be 0: pass that of "
            f"the first result of forward as {first}, or that of the final state as grad_state"
        )
    if tape.changes.states:
        grad_output, *others = read_grad_states(layout, grad_output)
        outputs = tape.stack.parts(grad_output)
        every = by_direction(layout.xp, layout.architecture, others, layout.steps, layout.batch)
    else:
        if not tape.return_sequence:
            refuse_grad_output(layout, grad_output)
        outputs = tape.stack.parts(read_grad_output(layout, grad_output))
    last = read_grad_last(layout, grad_last)
    states = layout.new_states(read_states(layout, grad_state, "grad_state"))
    if last is not None:
        _add_last(layout, last, outputs, layout.engine_states(states)[0])
    return Cotangents(outputs, states, every)


def by_direction(
    xp: ModuleType, arch: Architecture, cotangents: Sequence[Array | None], steps: int, batch: int
) -> list[list[Array]]:
    """Cotangents (T, B, D*width) of all states but the output, for each direction; zeros in the place of None."""
    result: list[list[Array]] = [[] for _ in range(arch.num_directions)]
    for width, cotangent in zip(map(arch.units, arch.program.states[1:]), cotangents, strict=True):
        for direction, parts in enumerate(result):
            if cotangent is None:
                parts.append(xp.broadcast_to(xp.zeros(width, arch.dtype), (steps, batch, width)))
            else:
                parts.append(cotangent[..., direction * width : (direction + 1) * width])
    return result


@quiet
def _add_last(layout: Layout, grad_last: Array, grad_output: list[Array | None], grad_h: Array) -> None:
    """Add `grad_last`, (B, D*P), to the cotangents of what else these outputs are, but in rows without steps.

    `grad_h`, (L*D, B, P), is written; `grad_output` is replaced where it is added to.
    """
    if layout.steps == 0:
        return
    architecture, xp = layout.architecture, layout.xp
    rows: Any = slice(None)
    ends: Any = layout.steps - 1
    if layout.lengths is not None:
        some = np.flatnonzero(layout.lengths)
        rows, ends = xp.asarray(some), xp.asarray(layout.lengths[some] - 1)
    width, top = architecture.output_width, architecture.num_layers - 1
    for direction, given in enumerate(grad_output):
        part = grad_last[rows, direction * width :][:, :width]
        if not architecture.runs_back(direction):
            # It is the final h, which takes no cotangent of T steps.
            grad_h[architecture.state_index(top, direction)][rows] += part
            continue
        shape = (layout.steps, layout.batch, width)
        outputs = xp.zeros(shape, architecture.dtype) if given is None else given.copy()
        outputs[ends, rows] += part
        grad_output[direction] = outputs
