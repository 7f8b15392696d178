"""Two records of the same work: which rows became slower, beyond the machine and beyond doubt?

The rows of a backend, mode and precision of products are a group. The change that they have in common, less the
machine's, which the yardstick tells, is the group's; the rest of a row's change is its own. Either may be a regression.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .measure import Settings
from .record import Record
from .result import Result
from .shift import Numbers, Shift, shifts, typical

DOUBT = 0.025
"""How probable it is, of two runs of the same code, that anything at all is called slower; likewise faster."""
OPEN = 0.05
"""How probable it is that something is slower than its upper bound, by which it is called no regression."""
BETWEEN_RUNS = 0.01
"""Standard deviation of two runs on an idle machine that their passes do not show: clocks, temperature."""
MACHINE_DOUBT = 1.0
"""Standard deviation of networks' change over the machine's, which the yardstick tells: they suffer more than it."""
UNKNOWN_MACHINE = 0.3
"""The same where a record has no yardstick."""

Key = tuple[object, str]
Verdict = Literal["regression", "undecided", "fine"]


@dataclass(frozen=True)
class Change:
    """A row of both records.

    Attributes:
        before, after: the row in each.
        own: its change beyond that of its group; None where it was measured before and not after.
        whole: its change beyond the machine's, the group's included; None likewise.
    """

    before: Result
    after: Result
    own: Shift | None = None
    whole: Shift | None = None

    @property
    def speedup(self) -> float:
        """Median time before over median time after: 1.25 if it took a quarter longer before."""
        return self.before.seconds / self.after.seconds


@dataclass(frozen=True)
class Group:
    """The rows of a contender in a mode and a precision of products, together.

    Attributes:
        contender, mode, precision: of all of them.
        rows: how many.
        common: their change, as it was measured.
        beyond: the same beyond the machine's.
    """

    contender: str
    mode: str
    precision: str | None
    rows: int
    common: Shift
    beyond: Shift


@dataclass(frozen=True)
class Comparison:
    """All that two records tell of each other.

    Attributes:
        changes: the rows that both have, in the order of the first record.
        groups: the same together.
        alone: rows that only one was asked for.
        machine: logarithm of the yardstick's time after over that before; None where a record has none.
    """

    changes: tuple[Change, ...]
    groups: tuple[Group, ...]
    alone: tuple[Result, ...]
    machine: float | None

    @property
    def parts(self) -> tuple[Change | Group, ...]:
        """All that is judged."""
        return (*self.changes, *self.groups)

    @property
    def doubt(self) -> float:
        """The doubt that one bound may leave, so that DOUBT is that of all rows and groups together (Bonferroni)."""
        return DOUBT / len(self.parts)

    def verdict(self, part: Change | Group, share: float) -> Verdict:
        """Whether it became slower by more than `share`: beyond doubt, perhaps, or not. A row that failed did.

        A row that is slower than its group must also be slower than it was.
        """
        allowed = -math.log(1 - share)
        if isinstance(part, Group):
            return self._judge(part.beyond, part.beyond, allowed)
        if part.own is None or part.whole is None:
            return "regression"
        return self._judge(part.own, part.whole, allowed)

    def _judge(self, own: Shift, whole: Shift, allowed: float) -> Verdict:
        own_least, whole_least = own.bounds(self.doubt)[0], whole.bounds(self.doubt)[0]
        if whole_least > allowed or (own_least > allowed and whole.value > allowed):
            return "regression"
        return "undecided" if _most(own, whole) > allowed else "fine"

    def undecided(self, share: float) -> tuple[int, float]:
        """How many rows and groups are, and by which share the worst of them may have become slower."""
        parts = [part for part in self.parts if self.verdict(part, share) == "undecided"]
        most = max((_most(*_shifts_of(part)) for part in parts), default=0.0)
        return len(parts), 1 - math.exp(-most)

    def direction(self, part: Change | Group) -> Literal["faster", "slower", ""]:
        """Which it became beyond doubt; nothing where noise explains the difference, or where there is none."""
        own, whole = _shifts_of(part)
        for low, high in (own.bounds(self.doubt), whole.bounds(self.doubt)):
            if low > 0 and whole.value > own.error:
                return "slower"
            if high < 0 and whole.value < -own.error:
                return "faster"
        return ""


def _shifts_of(part: Change | Group) -> tuple[Shift, Shift]:
    if isinstance(part, Group):
        return part.beyond, part.beyond
    assert part.own is not None
    assert part.whole is not None
    return part.own, part.whole


def _most(own: Shift, whole: Shift) -> float:
    """By how much a part is slower at most; a row that is slower than its group may still be faster than it was."""
    return min(own.bounds(OPEN)[1], whole.bounds(OPEN)[1])


def compare(before: Record, after: Record) -> Comparison:
    """Compare the rows that both have.

    Args:
        before, after: the measurements. Rows that `before` has no samples of are left out.
    """
    ours, theirs = _by_work(before), _by_work(after)
    rows = {key: (ours[key], theirs[key]) for key, result in ours.items() if key in theirs and result.samples}
    timed = {key: pair for key, pair in rows.items() if pair[1].samples}
    machine = _machine([*timed.values()])
    members: dict[tuple[str, str, str | None], list[Key]] = {}
    for key, (result, _) in timed.items():
        work = result.workload
        members.setdefault((result.contender, work.mode, work.precision), []).append(key)
    changes = {key: Change(*pair) for key, pair in rows.items()}
    groups = []
    spread = UNKNOWN_MACHINE if machine is None else MACHINE_DOUBT * abs(machine)
    for name, keys in members.items():
        common, owns = _divided([timed[key] for key in keys], before.settings, after.settings)
        group = Group(*name, len(keys), common, common.beyond(machine or 0.0, BETWEEN_RUNS, spread))
        groups.append(group)
        for key, own in zip(keys, owns, strict=True):
            changes[key] = Change(*timed[key], own, group.beyond.plus(own))
    left = tuple(result for key, result in (ours | theirs).items() if (key in ours) != (key in theirs))
    return Comparison(tuple(changes.values()), tuple(groups), left, machine)


def _by_work(record: Record) -> dict[Key, Result]:
    return {(result.workload, result.contender): result for result in record.results}


def _machine(pairs: Sequence[tuple[Result, Result]]) -> float | None:
    """The yardstick's change, the median of all rows."""
    known = [
        math.log(statistics.median(after.yardsticks) / statistics.median(before.yardsticks))
        for before, after in pairs
        if before.yardsticks and after.yardsticks
    ]
    return statistics.median(known) if known else None


def _passes(results: Sequence[Result], settings: Settings) -> Numbers:
    """(rows, passes) logarithms of the median times; an interrupted run has passes that not all rows have."""
    found = []
    for result in results:
        ends = [sum(map(settings.turns, range(number + 1))) for number in range(settings.passes)]
        parts = np.split(np.log(result.samples), ends[:-1])
        found.append([float(np.median(part)) for part in parts if len(part)])
    fewest = min(map(len, found))
    return np.array([passes[:fewest] for passes in found])


def _divided(pairs: Sequence[tuple[Result, Result]], *settings: Settings) -> tuple[Shift, list[Shift]]:
    """The change that the rows of a group have in common, and the change of each beyond that.

    The rows meet the machine in the same state, so all together are no surer than one is.
    """
    before, after = (_passes(results, of) for results, of in zip(zip(*pairs, strict=True), settings, strict=True))
    start = before.mean(1, keepdims=True)
    before, after = before - start, after - start
    levels = np.median(before, 0), np.median(after, 0)
    owns = shifts(before - levels[0], after - levels[1])
    common = float(levels[1].mean() - levels[0].mean())
    return typical(common, before, after), [own.beyond(0.0, BETWEEN_RUNS) for own in owns]
