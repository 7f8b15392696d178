"""Workloads in a few words: the options that differ between the rows of a picture, and those that all share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from ..workload import Workload

SHORT: dict[str, Callable[[Workload], str]] = {
    "shape": lambda w: w.shape,
    "cell": lambda w: w.cell,
    "mode": lambda w: w.mode,
    "steps": lambda w: f"T={w.steps}",
    "batch": lambda w: f"B={w.batch}",
    "input_size": lambda w: f"I={w.input_size}",
    "hidden_size": lambda w: f"H={w.hidden_size}",
    "dtype": lambda w: w.dtype,
    "precision": lambda w: w.products,
    "num_layers": lambda w: f"{w.num_layers} layers",
    "bidirectional": lambda w: "bidirectional",
    "ragged": lambda w: "ragged",
    "threads": lambda w: f"{w.threads or 'all'} thread{'s' * (w.threads != 1)}",
    "seed": lambda w: f"seed {w.seed}",
    "resets": lambda w: f"resets {w.resets:g}",
    "states": lambda w: "every state",
    "heads": lambda w: f"{w.heads} heads",
    "zoneout": lambda w: f"zoneout {w.zoneout:g}",
}
USUAL: dict[str, object] = {"shape": "", "num_layers": 1, "bidirectional": False, "ragged": False, "seed": 0}
USUAL |= {"resets": 0.0, "states": False, "heads": 1, "zoneout": 0.0, "precision": None}
"""Values that go without saying."""


def varying(workloads: Sequence[Workload]) -> list[str]:
    """Fields that are not the same everywhere; I is none where it is H."""
    follows = all(workload.input_size == workload.hidden_size for workload in workloads)
    return [
        field
        for field in SHORT
        if len({getattr(workload, field) for workload in workloads}) > 1 and not (field == "input_size" and follows)
    ]


def words(workload: Workload, fields: Collection[str], between: str = " ") -> str:
    """Some of the workload's fields; I only where it is not H."""
    usual = {name for name, value in USUAL.items() if getattr(workload, name) == value}
    usual |= {"input_size"} if workload.input_size == workload.hidden_size else set()
    return between.join(text(workload) for field, text in SHORT.items() if field in fields and field not in usual)


def common(workloads: Sequence[Workload], without: Collection[str] = ()) -> str:
    """The options that all share."""
    first = workloads[0]
    same = {name for name in SHORT if len({getattr(workload, name) for workload in workloads}) == 1}
    follows = all(workload.input_size == workload.hidden_size for workload in workloads)
    return words(first, same - {*without}, ", ") + (", I = H" if follows else "")


def grouped(workloads: Sequence[Workload], fields: Collection[str]) -> list[list[Workload]]:
    """Workloads with the same values of `fields` together, in the order in which they come."""
    groups: dict[tuple[object, ...], list[Workload]] = {}
    for workload in dict.fromkeys(workloads):
        values = dataclasses.asdict(workload)
        groups.setdefault(tuple(values[field] for field in fields), []).append(workload)
    return list(groups.values())
