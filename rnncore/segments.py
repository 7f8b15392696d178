"""Training in segments of steps: burn-in, truncated back-propagation through time, and tapes that are computed again.

The segments of a lane, all layers of a network in one direction, or one layer in one of two, are computed one after the
other, and in the backward pass from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array, Inputs, LayerWeights
from rnncore_kernels.quiet import quiet

from .architecture import Architecture, in_order
from .draws import Draws
from .inputs import at_steps
from .layers import Lane, LayerTape, States
from .layout import Layout, engine_ready
from .resets import Resets
from .rows import block
from .spans import Plan, Span
from .stack import Drop, Stack


class Call(NamedTuple):
    """What all steps of a call read.

    Attributes:
        layout: of the caller's arrays.
        x: (T, B, I), whatever it holds past a row's end.
        inputs: beside x.
        resets: where rows begin anew.
        draws: for programs that draw.
        drop: of some steps, as `Stack.forward` takes it; None for no dropout.
    """

    layout: Layout
    x: Array
    inputs: Inputs
    resets: Resets | None
    draws: Draws | None
    drop: Callable[[slice], Drop] | None


class Segment(NamedTuple):
    """A segment of a lane.

    Attributes:
        before, after: states of the lane, (layers, B, width) each; empty where nothing is computed again.
        tapes: of the lane's layers; None where they are computed again, or there is no backward pass.
    """

    span: Span
    before: States
    after: States
    tapes: tuple[LayerTape, ...] | None


def _lanes(architecture: Architecture) -> list[Lane]:
    """What is computed apart, from the first to the last."""
    layers = architecture.num_layers
    if not architecture.bidirectional:
        return [Lane(range(layers), range(1))]
    return [Lane(range(layer, layer + 1), range(d, d + 1)) for layer in range(layers) for d in range(2)]


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """What the backward pass needs of the segments of a call.

    Attributes:
        stack, call, plan: of the call.
        below: what each lane reads, (T, B, ...).
        segments: of each lane, in the order of computing.
    """

    stack: Stack
    call: Call
    plan: Plan
    below: list[Array]
    segments: list[list[Segment]]

    @staticmethod
    def forward(
        stack: Stack, call: Call, plan: Plan, states: States, output: Array | None, last: Array | None, every: States
    ) -> Segments:
        """Compute a call; `states`, `output` and `last` as in `Stack.forward`.

        `every` are (T, B, D*width) of each state of the last layer at each step, written; none where nobody wants them.
        """
        arch, below = stack.architecture, call.x
        result, above = Segments(stack, call, plan, [], []), output
        for lane in _lanes(arch):
            (direction, *_), top = lane.directions, lane.layers[-1] == arch.num_layers - 1
            if direction == 0 and not top:
                above = stack.empty_output(call.x)
            result.below.append(below)
            result.segments.append([])
            after: States = ()
            spans = plan.spans[::-1] if arch.runs_back(direction) else plan.spans
            for span in spans:
                steps, lasts = span.steps, last if top else None
                if lasts is not None and arch.runs_back(direction):
                    lasts = stack.engine.xp.zeros_like(last)
                before = after or result._copied(states, lane, span)
                here = None if above is None or (every and top) else above[steps]
                # The backward pass begins with the last segment: its tape would be the first to be made again.
                kept = span.kept and (not plan.recompute or span is spans[-1])
                tapes = result._tapes(lane, below, steps, states, here, lasts, copy=kept)
                after = result._copied(states, lane, span)
                if every and top:
                    values = stack.states(tapes[-1], lane.layers[-1], lane.directions)
                    for target, part in zip(every, values, strict=True):
                        width = part.shape[-1]
                        target[steps, :, direction * width : (direction + 1) * width] = part
                if lasts is not last and lasts is not None:
                    result._keep_last(last, lasts, direction, steps)
                result.segments[-1].append(Segment(span, before, after, tapes if kept else None))
            if direction == arch.num_directions - 1 and not top:
                assert above is not None
                below, above = above, output
        return result

    def backward(
        self,
        grad_output: Sequence[Array | None],
        grad_states: States,
        grad_resets: States | None = None,
        grad_every: Sequence[Sequence[Array]] = (),
        flow: States | None = None,
    ) -> tuple[Array, list[LayerWeights], Inputs]:
        """As `Stack.backward`; `grad_resets` and `flow` are added to."""
        stack, arch, xp = self.stack, self.stack.architecture, self.stack.engine.xp
        of_inputs = Inputs(*(tuple([xp.zeros(a.shape, arch.dtype) for a in arrays]) for arrays in self.call.inputs))
        weights: dict[int, LayerWeights] = {}
        parts, grad_x = grad_output, None
        for lane, below, segments in reversed(list(zip(_lanes(arch), self.below, self.segments, strict=True))):
            (direction, *_), top = lane.directions, lane.layers[-1] == arch.num_layers - 1
            is_first = grad_x is None
            if grad_x is None:
                grad_x = xp.empty(below.shape, arch.dtype)
                grad_x[: self.plan.burn_in] = 0
            for segment in reversed(segments):
                if not segment.span.kept:
                    continue
                steps = segment.span.steps
                tapes = segment.tapes or self._again(lane, below, segment)
                here, layers, inputs = stack.backward(
                    tapes,
                    [None if part is None else part[steps] for part in (parts[d] for d in lane.directions)],
                    grad_states,
                    None,
                    grad_resets,
                    [[grad[steps] for grad in grad_every[d]] for d in lane.directions] if top and grad_every else (),
                    None if flow is None else tuple([norms[:, steps] for norms in flow]),
                    lane,
                )
                if is_first:
                    grad_x[steps] = here
                else:
                    _add((grad_x[steps],), (here,))
                _add([a[steps] for a in (*of_inputs.rows, *of_inputs.units)], (*inputs.rows, *inputs.units))
                for index, layer in zip(lane.indices(arch), layers, strict=True):
                    if index in weights:
                        _add(in_order([weights[index]]), in_order([layer]))
                    else:
                        weights[index] = layer
                if segment.span.cut:
                    self._cut(grad_states, lane, steps.start)
            if direction == 0 and lane.layers[0] > 0:
                parts, grad_x = stack.parts(grad_x), None
        assert grad_x is not None
        return grad_x, [weights[index] for index in sorted(weights)], of_inputs

    def _tapes(
        self,
        lane: Lane,
        below: Array,
        steps: slice,
        states: States,
        output: Array | None,
        last: Array | None,
        *,
        copy: bool = False,
    ) -> tuple[LayerTape, ...]:
        """Compute some steps of a lane; with `copy` the caller may then change x and inputs."""
        layout, x, inputs, resets, draws, drop = self.call
        # Dropout writes to what a lane reads.
        writes = drop is not None and self.stack.architecture.input_rate(lane.layers[0]) > 0
        if writes or (below is x and (layout.lengths is not None or copy)):
            part = layout.xp.array(below[steps], order="C")
            layout.clear_padding(part, steps.start)
        else:
            part = engine_ready(layout.xp, below[steps])
        given = at_steps(inputs, steps)
        if copy and self.plan.recompute:
            given = Inputs(*(tuple([array.copy() for array in arrays]) for arrays in given))
        return self.stack.forward(
            part,
            states,
            block(layout.rows, steps),
            output,
            last,
            given,
            None if resets is None else resets.at_steps(steps),
            draws=None if draws is None else draws.at_steps(steps),
            drop=None if drop is None else drop(steps),
            lane=lane,
        )

    def _again(self, lane: Lane, below: Array, segment: Segment) -> tuple[LayerTape, ...]:
        """The tapes of a segment, computed again; raises ValueError if something else comes out."""
        xp, arch = self.stack.engine.xp, self.stack.architecture
        shapes = arch.state_shapes(self.call.layout.batch)
        states, mine = tuple([xp.zeros(shape, arch.dtype) for shape in shapes]), _rows(lane, arch)
        for state, before in zip(states, segment.before, strict=True):
            state[mine] = before
        tapes = self._tapes(lane, below, segment.span.steps, states, None, None)
        for state, after in zip(states, segment.after, strict=True):
            if not xp.array_equal(*(array.view(f"u{arch.dtype.itemsize}") for array in (state[mine], after))):
                raise ValueError(
                    "tape: expected x and inputs as they were in forward, which recompute=True reads again, got "
                    "others: give forward copies, or change them after backward"
                )
        return tapes

    def _copied(self, states: States, lane: Lane, span: Span) -> States:
        """Copies of a lane's states where the segment is computed again."""
        if not span.kept or not self.plan.recompute:
            return ()
        mine = _rows(lane, self.stack.architecture)
        return tuple([state[mine].copy() for state in states])

    def _keep_last(self, last: Any, here: Array, direction: int, steps: slice) -> None:
        """Take over the outputs of rows that end in a segment: others' are those of the segment's last step."""
        layout = self.call.layout
        lengths = np.full(layout.batch, layout.steps) if layout.lengths is None else layout.lengths
        rows = layout.xp.asarray(np.flatnonzero((steps.start < lengths) & (lengths <= steps.stop)))
        self.stack.parts(last)[direction][rows] = self.stack.parts(here)[direction][rows]  # type: ignore[index]

    def _cut(self, grad_states: States, lane: Lane, step: int) -> None:
        """Let no cotangent of a state pass to the steps before one.

        Those of rows that have ended are final states': they pass, but not into burn-in.
        """
        layout, rows = self.call.layout, slice(None)
        if layout.lengths is not None and step != self.plan.burn_in:
            rows = layout.xp.asarray(np.flatnonzero(layout.lengths > step))
        for grad in grad_states:
            grad[_rows(lane, self.stack.architecture), rows] = 0


def _rows(lane: Lane, architecture: Architecture) -> slice:
    """The lane's place in a state."""
    first, *others = lane.indices(architecture)
    return slice(first, first + 1 + len(others))


@quiet
def _add(totals: Sequence[Array], parts: Sequence[Array]) -> None:
    for total, part in zip(totals, parts, strict=True):
        total += part
