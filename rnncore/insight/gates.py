"""Gates and states over a sequence, as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..recurrent import Recurrent
from . import sequences
from .figures import check_labels, label_steps, signed_colours


def gates(
    rnn: Recurrent,
    x: Array,
    *,
    layer: int = -1,
    row: int = 0,
    names: Sequence[str] | None = None,
    units: slice | Sequence[int] | None = None,
    labels: Sequence[object] | None = None,
    signal: Any = None,
    ax: Any = None,
    **options: Any,
) -> dict[str, Array]:
    """Gates, states and other values of one row at each step, from `Recurrent.observe`.

    Drawn, each value is a band of its units over the steps: blue above 0, red below, the fuller the nearer to the
    largest magnitude of the band, or to 1 where all are smaller.

    Args:
        rnn: the network.
        x: as of a call of it.
        layer: which layer, from 0; -1 is the last.
        row: which row of the batch.
        names: what to return, in this order; None for all that `observe` has but the states.
        units: which units of each, all where None.
        labels: the steps' names, tokens say, written below the picture.
        signal: numbers of each step, (T,) or (T, K), drawn as lines above the picture.
        ax: axes of matplotlib's to draw in; None draws nothing.
        options: of the call, as in `Recurrent.observe`.

    Returns:
        For each name, (T_row, D*H), or as wide as the value is, with T_row the steps of the row.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """
    sequences.check_network(rnn)
    observed = rnn.observe(x, **options)
    values = observed[sequences.index("layer", layer, rnn.num_layers)]
    states = rnn._architecture.definition.states
    chosen = [name for name in values if name not in states] if names is None else list(names)
    if unknown := [name for name in chosen if name not in values]:
        raise ValueError(f"names: expected some of {', '.join(values)}, got {unknown[0]!r}")
    whole = {name: sequences.time_first(rnn, x, values[name]) for name in chosen or values}
    steps, batch = next(iter(whole.values())).shape[:2]
    row = sequences.index("row", row, batch)
    steps = int(sequences.ends(options.get("lengths"), steps, batch)[row])
    picked = units if units is None or isinstance(units, slice) else list(units)
    found = {name: value[:steps, row] for name, value in whole.items()}
    if picked is not None:
        found = {name: value[:, picked] for name, value in found.items()}
    texts = check_labels(labels, steps)
    lines = None if signal is None else _signal(signal, steps)
    if ax is not None:
        _draw(ax, found, steps, texts, lines)
    return found


def _signal(signal: Any, steps: int) -> Array:
    lines = np.asarray(signal, float)
    if lines.ndim not in (1, 2) or len(lines) < steps:
        raise ValueError(f"signal: expected ({steps},) or ({steps}, K), numbers of each step, got {lines.shape}")
    return lines[:steps]


def _draw(ax: Any, found: Mapping[str, Array], steps: int, labels: Sequence[str] | None, signal: Array | None) -> None:
    bands: list[Array] = []
    middles, start = [], 0
    for value in found.values():
        bands += [value.T / max(1.0, float(np.abs(value).max(initial=0.0))), np.full((1, steps), np.nan)]
        middles.append(start + (value.shape[1] - 1) / 2)
        start += value.shape[1] + 1
    image = np.concatenate(bands[:-1])
    ax.imshow(image, signed_colours(), aspect="auto", interpolation="none", vmin=-1, vmax=1, origin="upper")
    ax.set_yticks(middles, list(found))
    ax.tick_params(axis="y", length=0)
    label_steps(ax, labels, steps)
    if signal is not None:
        above = ax.inset_axes((0, 1.03, 1, 0.25), sharex=ax)
        above.plot(signal, linewidth=1)
        above.tick_params(labelbottom=False, length=0)
