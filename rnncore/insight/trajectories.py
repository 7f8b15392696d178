"""The way of the state through its space, seen from where most of it shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncore_kernels.contract import Array

from ..errors import describe, one_of
from ..recurrent import Recurrent
from . import sequences


class Trajectory(NamedTuple):
    """States of all rows and steps in their principal components.

    Attributes:
        points: (T, B, K), the largest component first; NaN past a row's end.
        axes: (K, D*H), the direction of each component, of length 1.
        mean: (D*H,), the mean of all states, which is the origin of the points.
        shares: (K,), the part of the variance that each component has.
    """

    points: Array
    axes: Array
    mean: Array
    shares: Array


def trajectory(
    rnn: Recurrent,
    x: Array,
    *,
    name: str | None = None,
    layer: int = -1,
    components: int = 2,
    groups: Any = None,
    ax: Any = None,
    **options: Any,
) -> Trajectory:
    """The states of all rows at each step, projected on their principal components.

    Drawn, each row is a line from its first step to its last, which is a dot.

    Args:
        rnn: the network.
        x: as of a call of it.
        name: which state, "c" of an LSTM say; None for the first, the output.
        layer: which layer, from 0; -1 is the last.
        components: K, at least 1; two are drawn.
        groups: (B,), something of each row that gives its line a colour and a name in the legend, its class say.
        ax: axes of matplotlib's to draw in; None draws nothing.
        options: of the call, as in `Recurrent.observe`.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """
    sequences.check_network(rnn)
    names = rnn._architecture.definition.states
    name = names[0] if name is None else name
    if name not in names:
        raise ValueError(f"name: expected {one_of(names)}, got {name!r}")
    observed = rnn.observe(x, **options)[sequences.index("layer", layer, rnn.num_layers)]
    values = sequences.time_first(rnn, x, observed[name]).astype(float)
    steps, batch, width = values.shape
    ended = np.arange(steps)[:, None] >= sequences.ends(options.get("lengths"), steps, batch)
    cloud = values[~ended]
    most = min(cloud.shape)
    if not 1 <= components <= most:
        raise ValueError(f"components: expected 1 to {most}, of {len(cloud)} states of {width} units, got {components}")
    kinds = None if groups is None else np.asarray(groups)
    if kinds is not None and kinds.shape != (batch,):
        raise ValueError(f"groups: expected ({batch},), one for each row, got {describe(kinds)}")
    if ax is not None and components < 2:
        raise ValueError(f"components: expected at least 2 to draw, got {components}")
    mean = cloud.mean(axis=0)
    _, sizes, axes = np.linalg.svd(cloud - mean, full_matrices=False)
    # The sign of a component is arbitrary: its largest number is above 0.
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), 1))
    points = (values - mean) @ axes[:components].T
    points[ended] = np.nan
    variance = np.square(sizes)
    shares = variance[:components] / max(float(variance.sum()), np.finfo(float).tiny)
    found = Trajectory(points, axes[:components], mean, shares)
    if ax is not None:
        _draw(ax, found, kinds)
    return found


def _draw(ax: Any, found: Trajectory, groups: NDArray[Any] | None) -> None:
    rows = found.points.shape[1]
    kinds = [] if groups is None else list(dict.fromkeys(groups.tolist()))
    for row in range(rows):
        line = found.points[:, row, :2]
        line = line[~np.isnan(line[:, 0])]
        if not len(line):
            continue
        number = kinds.index(groups[row].item()) if groups is not None else row
        colour = f"C{number % 10}"
        ax.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.8, alpha=0.6)
        ax.plot(line[-1, 0], line[-1, 1], "o", color=colour, markersize=4)
    for number, kind in enumerate(kinds):
        ax.plot([], [], "o-", color=f"C{number % 10}", label=str(kind))
    names = [f"component {n}, {100 * share:.0f} % of the variance" for n, share in enumerate(found.shares[:2], 1)]
    ax.set(xlabel=names[0], ylabel=names[1])
    if kinds:
        ax.legend()
