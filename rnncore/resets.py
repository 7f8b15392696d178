"""Rows that begin anew within a sequence: another episode of an agent, another document of a text."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.contract import Array, Inputs
from rnncore_kernels.program.transform import NOTHING, Changes

from . import shapes
from .arguments import read_states
from .devices import as_array, check_current, is_anothers, shared
from .errors import describe
from .initial import Own, own_states
from .layout import Layout

FLAGS = ("bool", "uint8")
"""The dtypes of an array that says where rows begin anew."""


class Resets(NamedTuple):
    """Where rows begin anew, and with which states.

    Attributes:
        rows: (T + 1, B), 1 where a row begins anew before a step, and else 0, as it is behind the row's end.
        states: (L*D, T, B, width) of each state, the same at all steps; None for zeros.
    """

    rows: Array
    states: tuple[Array, ...] | None

    def at_steps(self, steps: slice) -> Resets:
        """Those of some of the steps."""
        states = None if self.states is None else tuple(s[:, steps] for s in self.states)
        return Resets(self.rows[steps.start : steps.stop + 1], states)

    def inputs(self, given: Inputs, index: int, *, reverse: bool) -> Inputs:
        """The inputs of a run, see `program.transform`: what is given, then the resets.

        Between the same steps both directions begin anew, the reverse one before the earlier step.
        """
        rows = self.rows[1:] if reverse else self.rows[:-1]
        states = () if self.states is None else tuple(s[index] for s in self.states)
        return Inputs((*given.rows, rows), (*given.units, *states))


def changes_for(resets: Resets | None, **others: bool) -> Changes:
    """The changes of the program that resets take, and others."""
    if resets is None and not any(others.values()):
        return NOTHING
    given = resets is not None and resets.states is not None
    return Changes(resets=resets is not None, reset_state=given, **others)


def read_resets(layout: Layout, resets: Any, reset_state: Any, own: Own) -> Resets | None:
    """Check where rows begin anew and their state there; None where nobody asks for it.

    Raises:
        ValueError: a shape is wrong, or there is a state without resets.
        TypeError: something is no array, or of another dtype.
    """
    flags, states = _read(layout, resets, reset_state, own, steps=True)
    if flags is None:
        return None
    begun = make_resets(layout.xp, flags != 0, states, layout.architecture.dtype)
    layout.clear_padding(begun.rows[:-1, :, None])
    return begun


def make_resets(xp: ModuleType, flags: Array, states: Sequence[Array] | None, dtype: np.dtype[Any]) -> Resets:
    """Where rows begin anew, (T, B) of bool, and with which states, (L*D, B, width) each, that do not change."""
    steps, batch = flags.shape
    rows = xp.zeros((steps + 1, batch), dtype)
    rows[:-1] = flags
    if states is None:
        return Resets(rows, None)
    return Resets(rows, tuple([xp.broadcast_to(s[:, None], (len(s), steps, *s.shape[1:])) for s in states]))


class Beginnings:
    """The same for calls of single steps: states are set before them."""

    def __init__(self, layout: Layout, resets: Any, reset_state: Any, own: Own, *, steps: bool) -> None:
        self._xp = layout.xp
        flags, self._states = _read(layout, resets, reset_state, own, steps=steps)
        # The caller's code runs between the steps of a sequence, and may write to its array.
        self._flags = flags.copy() if steps and flags is not None else flags

    def set(self, states: tuple[Array, ...], step: int = 0) -> None:
        """Let rows begin anew before a step; `states` are (L*D, B, width) each."""
        if self._flags is None:
            return
        flags = self._flags[step, :, None] != 0
        for number, state in enumerate(states):
            self._xp.copyto(state, 0 if self._states is None else self._states[number], where=flags)


def _read(
    layout: Layout, resets: Any, reset_state: Any, own: Own, *, steps: bool
) -> tuple[Array | None, tuple[Array, ...] | None]:
    """The resets, (T, B), and copies of the states that rows begin with, (L*D, B, width) each."""
    shapes.check_reset_state(resets, reset_state)
    if resets is None:
        return None, None
    named = shapes.sequence_axes(layout, [], steps=steps)
    axes, shape = shapes.spoken(named), shapes.lengths_of(named)
    xp, expected = layout.xp, f"resets: expected a {layout.xp.__name__}.ndarray {axes} of bool, got {describe(resets)}"
    if isinstance(resets, (bool, np.bool_)) and not shape:
        resets = xp.asarray(resets)
    flags = shared(resets, xp, expected) if is_anothers(resets, xp) else as_array(resets, xp, expected)
    check_current("resets", flags, xp)
    if flags.dtype.name not in FLAGS:
        raise TypeError(f"{expected}: True where a row begins anew before a step, as resets != 0 has it")
    shapes.check_resets(layout, flags, steps=steps)
    flags = layout.time_first(flags) if steps else flags.reshape(1, layout.batch)
    states: Sequence[Array] | None = read_states(layout, reset_state, "reset_state")
    if states is None:
        states = own_states(layout, own, "reset_state")
    return flags, None if states is None else layout.engine_states(layout.new_states(states))
