"""The records of a launch: all threads, blocks, memory and tables, as the runtime wants them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from .memory import Array, Region, Words, regions_of, span_of, table_of, zeros
from .runtime import layout as at
from .translate import Translation

SYNCHRONISED = 1 << 16
"""Places in the table of cells with strong operations; half of them may be used."""

SLOTS = 4096
"""Threads of a launch that may release something on their own account."""

ARENA_WORDS = 1 << 27
"""Vector clocks of a launch have no more than these."""


class Launch:
    """Memory of a launch, which lives as long as this object.

    Attributes:
        context: the launch's record.
        threads: those of the threads, one a row.
        regions: what the kernel may access.
    """

    def __init__(
        self,
        kernel: Translation,
        step: int,
        blocks: int,
        threads: int,
        parameters: bytes,
        arrays: Sequence[Array],
        shared_bytes: int,
        seed: int,
        budget: int,
    ) -> None:
        count, warps = blocks * threads, -(-threads // 32)
        self._kept: list[Any] = []
        self.context = self._zeros(at.C_WORDS)
        self.threads = self._zeros((count, kernel.thread_bytes // 8))
        self._set_random(seed)
        self._set_globals(kernel, arrays, blocks)
        self._set_blocks(kernel, blocks, threads, kernel.shared_bytes + shared_bytes)
        self._set_clocks(blocks, threads, warps)
        self._set_threads(kernel, blocks, threads, parameters)
        scratch = self._zeros(8)
        site_regions = np.full(len(kernel.sites), self._table.ctypes.data, np.int64)
        self._kept.append(site_regions)
        for index, value in (
            (at.C_BLOCKS, blocks),
            (at.C_THREADS, threads),
            (at.C_FIRST_THREAD, self.threads.ctypes.data),
            (at.C_THREAD_BYTES, kernel.thread_bytes),
            (at.C_REGIONS, self._table.ctypes.data),
            (at.C_REGION_COUNT, len(self.regions)),
            (at.C_SITE_REGIONS, site_regions.ctypes.data),
            (at.C_SHARED_BYTES, kernel.shared_bytes + shared_bytes),
            (at.C_DYNAMIC_BYTES, shared_bytes),
            (at.C_LOCAL_BYTES, kernel.local_bytes),
            (at.C_CELL_SHIFT, kernel.cell_shift),
            (at.C_LIVE, count),
            (at.C_BUDGET, budget),
            (at.C_STEP, step),
            (at.C_SCRATCH, scratch.ctypes.data),
        ):
            self.context[index] = value

    def _zeros(self, shape: int | tuple[int, ...]) -> Words:
        array = zeros(shape)
        self._kept.append(array)
        return array

    def _set_random(self, seed: int) -> None:
        generator = random.Random(seed)
        self.context[at.C_SEED] = generator.getrandbits(62)
        self.context[at.C_STATE] = generator.getrandbits(62) | 1
        self.context[at.C_QUANTUM] = 1 << generator.randrange(4, 15)
        self.context[at.C_STAY] = generator.choice((0, 7, 63, 1023))

    def _set_globals(self, kernel: Translation, arrays: Sequence[Array], blocks: int) -> None:
        spans = [span_of(array) for array in arrays]
        addresses = self._zeros(max(len(kernel.globals), 1))
        for i, variable in enumerate(kernel.globals):
            # Numbers of 64 bits, of which none begins at an odd place.
            memory = self._zeros(variable.size // 8 + 2)
            place = memory.view(np.uint8)
            place[: len(variable.values)] = np.frombuffer(variable.values, np.uint8)
            addresses[i] = memory.ctypes.data
            spans.append((memory.ctypes.data, memory.ctypes.data + variable.size, not variable.constant))
        self.regions: list[Region] = regions_of(spans, blocks, kernel.cell_shift)
        self._table = table_of(self.regions)
        self.context[at.C_VARIABLES] = addresses.ctypes.data

    def _set_blocks(self, kernel: Translation, blocks: int, threads: int, shared_bytes: int) -> None:
        cells = (shared_bytes >> kernel.cell_shift) + 1
        writes, reads = self._zeros((blocks, cells)), self._zeros((blocks, cells))
        ready, records = self._zeros((blocks, threads)), self._zeros((blocks, at.B_WORDS))
        # As far apart as vectors of 16 bytes want to be.
        self._shared = self._zeros((blocks, 2 * (shared_bytes // 16 + 1)))
        numbers = np.arange(blocks)
        records[:, at.B_LIST] = ready.ctypes.data + numbers * ready.strides[0]
        records[:, at.B_PLACE] = -1
        records[:, at.B_FIRST] = self.threads.ctypes.data + numbers * threads * kernel.thread_bytes
        records[:, at.B_NUMBER] = numbers
        records[:, at.B_WRITES] = writes.ctypes.data + numbers * writes.strides[0]
        records[:, at.B_READS] = reads.ctypes.data + numbers * reads.strides[0]
        self._blocks = records
        self.context[at.C_FIRST_BLOCK] = records.ctypes.data
        self.context[at.C_ACTIVE] = self._zeros(blocks).ctypes.data

    def _set_clocks(self, blocks: int, threads: int, warps: int) -> None:
        count = blocks * threads
        slots = min(count, SLOTS)
        words = blocks + blocks * warps + slots
        # One a block; three a thread, and one for each cell with strong operations, if it comes to that.
        total = min((blocks + 3 * count + SYNCHRONISED) * words, max(ARENA_WORDS, blocks * words))
        arena = self._zeros(total)
        sync = self._zeros(SYNCHRONISED * (at.S_WORDS + 2 * blocks))
        self._bases = arena.ctypes.data + 8 * words * np.arange(blocks)
        for index, value in (
            (at.C_ARENA, arena.ctypes.data + 8 * words * blocks),
            (at.C_ARENA_END, arena.ctypes.data + arena.nbytes),
            (at.C_CLOCK_WORDS, words),
            (at.C_WARPS, warps),
            (at.C_MAX_SLOTS, slots),
            (at.C_SYNC, sync.ctypes.data),
            (at.C_SYNC_MASK, SYNCHRONISED - 1),
        ):
            self.context[index] = value

    def _set_threads(self, kernel: Translation, blocks: int, threads: int, parameters: bytes) -> None:
        block, index = np.repeat(np.arange(blocks), threads), np.tile(np.arange(threads), blocks)
        name = block * at.MAX_THREADS + index
        rows = self.threads
        rows[:, at.T_CONTEXT] = self.context.ctypes.data
        rows[:, at.T_ID] = name
        rows[:, at.T_INDEX] = index
        rows[:, at.T_BLOCK] = self._blocks.ctypes.data + block * self._blocks.strides[0]
        rows[:, at.T_CLOCK] = 1
        time = 1 << at.CLOCK_SHIFT
        rows[:, at.T_STAMP] = time | (name << at.THREAD_SHIFT) | at.SINGLE
        rows[:, at.T_WARP_STAMP] = time | ((name & ~31) << at.THREAD_SHIFT) | at.WARP
        rows[:, at.T_BLOCK_STAMP] = time | ((name & ~1023) << at.THREAD_SHIFT) | at.BLOCK
        rows[:, at.T_BASE] = self._bases[block]
        rows[:, at.T_SLOT] = -1
        rows[:, at.T_POLLED] = -1
        rows[:, at.T_SHARED] = self._shared.ctypes.data + block * self._shared.strides[0]
        if kernel.local_bytes:
            words = 2 * (kernel.local_bytes // 16 + 1)
            local, written = self._zeros((len(rows), words)), self._zeros((len(rows), words))
            numbers = np.arange(len(rows))
            rows[:, at.T_LOCAL] = local.ctypes.data + numbers * local.strides[0]
            rows[:, at.T_LOCAL_WRITTEN] = written.ctypes.data + numbers * written.strides[0]
        values = np.frombuffer(bytearray(parameters + bytes(16)), np.uint8)
        self._kept.append(values)
        rows[:, at.T_PARAMETERS] = values.ctypes.data
