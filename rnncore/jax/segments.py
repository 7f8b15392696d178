"""Long sequences: the segments of a plan, see `rnncore.spans`, are calls of `recurrence` in a scan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..spans import Plan
from .network import Parts, Signature, find_network
from .primitives import recurrence


class Run(NamedTuple):
    """Segments of equally many steps, one behind the other.

    Attributes:
        first: the number of the first step.
        length: steps of each segment.
        kept: whether there are gradients.
        cuts: of each segment, whether cotangents of states do not pass to the steps before.
    """

    first: int
    length: int
    kept: bool
    cuts: tuple[bool, ...]


def bind_in_segments(arguments: Sequence[Any], signature: Signature, plan: Plan) -> list[Any]:
    """The results of `recurrence`, with the gradients of a plan; a network that runs back is one segment."""
    if find_network(signature).architecture.is_forward:
        spans = [(s.steps.start, s.steps.stop - s.steps.start, s.kept, s.cut) for s in plan.spans]
        groups = [[*group] for _, group in groupby(spans, lambda span: span[1:3])]
        runs = [Run(*group[0][:3], tuple([cut for *_, cut in group])) for group in groups]
    else:
        runs = [Run(0, plan.spans[-1].steps.stop, True, (False,))]
    results: list[Any] = _bind(arguments, signature, tuple(runs), plan.recompute)
    return results


@partial(jax.jit, static_argnums=(1, 2, 3))
def _bind(arguments: Sequence[Any], signature: Signature, runs: Sequence[Run], recompute: bool) -> list[Any]:
    network = find_network(signature)
    parts, time = network.split(arguments), 1 if signature.batch_first else 0
    states, outputs = parts.states, []
    for run in runs:
        compute, begun, given = partial(_segment, signature, run.length), states, parts
        if not run.kept:
            begun, given = jax.lax.stop_gradient((begun, given))
        elif recompute:
            compute = jax.checkpoint(compute)
        starts = run.first + run.length * jnp.arange(len(run.cuts), dtype=jnp.int32)
        x, resets, flow, inputs = (
            [_divided(array, run, axis) for array in arrays]
            for arrays, axis in (([given.x], time), (given.resets, time), (given.flow, 1), (given.inputs, time))
        )
        segments = starts, jnp.asarray(run.cuts), {"x": x[0], "resets": resets, "flow": flow, "inputs": inputs}
        states, found = jax.lax.scan(partial(compute, given), begun, segments)
        outputs.append([_joined(output, time) for output in found])
    return [*(jnp.concatenate(each, time) for each in zip(*outputs, strict=True)), *states]


def _segment(signature: Signature, length: int, whole: Parts, states: Sequence[Any], segment: Any) -> Any:
    """The states after a segment, and its outputs, from the states before it."""
    start, cut, sequences = segment
    steps = whole.x.shape[1 if signature.batch_first else 0]
    lengths = []
    for ends in whole.lengths:
        # The state of a row that has ended is a final one, whose cotangent passes.
        cut = (cut & (ends > start))[:, None]
        # Wrong ones are left to the call, which refuses them.
        lengths.append(jnp.where((ends < 0) | (ends > steps), ends, jnp.clip(ends - start, 0, length)))
    here = whole._replace(
        **sequences,
        states=[jnp.where(cut, jax.lax.stop_gradient(state), state) for state in states],
        lengths=lengths,
        keys=[key.at[2].add(start.astype(key.dtype)) for key in whole.keys],
    )
    results = recurrence.bind(*jax.tree.leaves(here), signature=signature)
    outputs = find_network(signature).outputs
    return results[outputs:], results[:outputs]


def _divided(array: Any, run: Run, axis: int) -> Any:
    """The steps of a run, along an axis, as (segments, ...)."""
    count, (before, after) = len(run.cuts), (array.shape[:axis], array.shape[axis + 1 :])
    steps = jax.lax.slice_in_dim(array, run.first, run.first + count * run.length, axis=axis)
    return jnp.moveaxis(steps.reshape(*before, count, run.length, *after), axis, 0)


def _joined(array: Any, axis: int) -> Any:
    """Segments as steps along an axis."""
    array = jnp.moveaxis(array, 0, axis)
    before, (count, length), after = array.shape[:axis], array.shape[axis : axis + 2], array.shape[axis + 2 :]
    return array.reshape(*before, count * length, *after)
