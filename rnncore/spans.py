"""How a call is divided into spans of steps: burn-in, segments of truncated back-propagation, and pieces of these."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .architecture import Architecture
from .options import check_flag, check_integer
from .shapes import Axes

PIECES = 4
"""Steps that are computed again together, in multiples of sqrt(T): calls of few steps cost much beside their work."""


class Span(NamedTuple):
    """Some steps of a call.

    Attributes:
        steps: from the first to behind the last.
        kept: whether there are gradients, as there are none in burn-in.
        cut: whether cotangents of states do not pass to the steps before.
    """

    steps: slice
    kept: bool
    cut: bool


class Plan(NamedTuple):
    """How a call is divided.

    Attributes:
        spans: in the order of steps.
        burn_in: steps without gradients.
        recompute: whether the backward pass computes the segments again.
    """

    spans: list[Span]
    burn_in: int
    recompute: bool


def make_plan(axes: Axes, burn_in: Any, truncate: Any, recompute: Any, least: int) -> Plan | None:
    """How a call is divided; None where it is not.

    Args:
        axes: of the call.
        burn_in, truncate, recompute: see `Recurrent.forward`.
        least: fewest steps that are worth a call of the engine.

    Raises:
        ValueError, TypeError: an argument is wrong.
    """
    steps = axes.steps
    burn_in, truncate, recompute = check_segments(axes.architecture, steps, burn_in, truncate, recompute)
    length = steps if truncate is None else truncate
    if not burn_in and truncate is None and not recompute:
        return None
    piece = max(least, PIECES * math.isqrt(steps))
    spans = [Span(each, False, False) for each in _divided(0, burn_in, piece)]
    for part in _divided(burn_in, steps, length) or [slice(burn_in, steps)]:
        pieces = _divided(part.start, part.stop, piece) if recompute else []
        spans += [Span(each, True, each.start == part.start > 0) for each in pieces or [part]]
    return Plan(spans, burn_in, recompute)


def check_segments(
    arch: Architecture, steps: int, burn_in: Any, truncate: Any, recompute: Any
) -> tuple[int, int | None, bool]:
    """Check how a call of so many steps is to be divided, see `make_plan`."""
    burn_in = check_integer("burn_in", burn_in, 0)
    truncate = None if truncate is None else check_integer("truncate", truncate, 1)
    recompute = check_flag("recompute", recompute)
    if burn_in > steps:
        raise ValueError(f"burn_in: expected 0 to T={steps}, got {burn_in}")
    for name, value in (("burn_in", burn_in), ("truncate", truncate)):
        if value and not arch.is_forward:
            got = "bidirectional=True" if arch.bidirectional else f"direction={arch.direction!r}"
            raise ValueError(
                f"{name}: expected {0 if name == 'burn_in' else None} with {got}, got {value}: a state that passes "
                f"from segment to segment takes a network that runs forward"
            )
    return burn_in, truncate, recompute


def _divided(first: int, stop: int, length: int) -> list[slice]:
    return [slice(start, min(start + length, stop)) for start in range(first, stop, max(1, length))]
