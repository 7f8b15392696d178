"""One measured row, and the figures that follow from its samples."""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .limits import Limits, best
from .peers import PEERS
from .workload import Counts, Workload

Status = Literal["measured", "wrong", "absent", "failed"]
"""Wrong results are not timed; a contender is absent where it has no such computation."""


@dataclass(frozen=True)
class Result:
    """A workload, computed by a contender.

    Attributes:
        workload: the work.
        contender: by which backend or peer.
        status: whether there are samples, and if not, the kind of reason.
        limits: the best that was seen of the machine; None where nothing was timed.
        samples: seconds of a call, the median of each of its turns, in their order.
        error: largest error against the NumPy engine in float64, relative to the largest magnitude of each result;
            None where nothing was computed or compared.
        reason: why there are no samples; empty where there are.
        impl: how it was computed: the engine's choice for the size, or the peer's version.
        first_call: seconds from an empty network to its first result: making it, compiling or loading code, packing.
        tails: of steps, seconds that one of a hundred calls exceeds, for each turn.
        yardsticks: seconds that a fixed piece of work took in the round of each sample; none in old records.
        counts: operations and bytes of the workload, which a record keeps: its cell may be another user's own. None in
            old records, which have the library's cells.
        peak_bytes: memory that making the network and its first call took at most; None where the system does not say.
    """

    workload: Workload
    contender: str
    status: Status
    limits: Limits | None = None
    samples: tuple[float, ...] = ()
    error: float | None = None
    reason: str = ""
    impl: str = ""
    first_call: float | None = None
    tails: tuple[float, ...] = ()
    yardsticks: tuple[float, ...] = ()
    counts: Counts | None = None
    peak_bytes: int | None = None

    @functools.cached_property
    def work(self) -> Counts:
        """Operations and bytes of the workload."""
        return self.counts or self.workload.counts()

    @property
    def is_peer(self) -> bool:
        """Whether the contender is another library."""
        return self.contender in PEERS

    @property
    def on_tile_registers(self) -> bool:
        """Whether products were computed on tile registers. The multiply-adds of the limits are of vector registers."""
        return self.impl.startswith("AMX")

    @functools.cached_property
    def seconds(self) -> float:
        """Median time of a call."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Interquartile range of the samples over their median; 0 of a single one."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / self.seconds

    @property
    def step_microseconds(self) -> float:
        """Time of one of the T steps, for the whole batch."""
        return self.seconds / self.workload.steps * 1e6

    @property
    def call_milliseconds(self) -> float:
        """Median time of a call: of the whole sequence."""
        return self.seconds * 1e3

    @property
    def p90_milliseconds(self) -> float:
        """Time of a call that one turn of ten exceeds."""
        return float(np.quantile(self.samples, 0.9)) * 1e3

    def fits(self, budget: float) -> bool:
        """Whether a call takes no longer than these seconds: of steps 99 of 100, of sequences nine turns of ten."""
        tail = (
            statistics.median(self.tails) if self.tails else self.p90_milliseconds / 1e3 if self.samples else math.inf
        )
        return tail <= budget

    @property
    def p50_microseconds(self) -> float | None:
        """Microseconds of a step that half of a turn's calls exceed, in the median turn; None for sequences."""
        return self.seconds * 1e6 if self.tails else None

    @property
    def p99_microseconds(self) -> float | None:
        """Microseconds of a step that one of a hundred calls exceeds, in the median turn; None for sequences."""
        return statistics.median(self.tails) * 1e6 if self.tails else None

    @property
    def sequences_per_second(self) -> float:
        """B sequences in the time of a call."""
        return self.workload.batch / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Operations of the matrix products alone."""
        return self.work.flops / self.seconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes that the workload has to read and write at least, see `Workload.bytes`."""
        return self.work.bytes / self.seconds

    @property
    def of_roof(self) -> float | None:
        """The least time that the machine could take, over the time taken; at most 1.

        For its multiply-adds, or for all bytes at the rate at which it reads weights, whichever is longer. None without
        limits, and where there is no such share: the roof is noisy, or products are no multiply-adds of the dtype, on
        tile registers or rounded.
        """
        share = self._share
        return None if share is None or share > 1 else share

    @property
    def has_noisy_roof(self) -> bool:
        """Whether more was done than the machine was seen to do at most: that was measured while others used it."""
        return self._share is not None and bool(self._share > 1)

    @property
    def _share(self) -> float | None:
        if self.limits is None or self.on_tile_registers or self.workload.precision is not None:
            return None
        pairs = (self.work.flops, self.limits.fma or self.limits.gemm), (self.work.bytes, self.limits.bandwidth)
        return max((count / rate for count, rate in pairs if rate), default=0.0) / self.seconds


def joined(one: Result, more: Result) -> Result:
    """The same row with the samples of both; a failure in either is one of the row."""
    if not more.samples:
        return more
    assert one.limits is not None
    assert more.limits is not None
    return replace(
        one,
        samples=one.samples + more.samples,
        tails=one.tails + more.tails,
        yardsticks=one.yardsticks + more.yardsticks,
        limits=best(one.limits, more.limits),
    )
