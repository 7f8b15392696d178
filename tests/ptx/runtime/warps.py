"""Exchanges between the lanes of a warp: shfl.sync, vote.sync and bar.warp.sync.

A lane waits until all lanes of its mask wait at the same instruction with the same mask. Lanes that do not exist or have
exited never arrive. An exchange moves values between registers and orders no access to memory; bar.warp.sync does.
"""

from __future__ import annotations

from rnncore_kernels.cpu.code.emitted import compiled

from . import layout as at
from .clocks import fail, join_warp
from .words import set_word, word


@compiled("ptx.source_lane")
def source_lane(thread: int, lane: int) -> int:
    """The lane whose value a lane is given by shfl.sync; -1 if that is out of range and it keeps its own."""
    operation, b, c = word(thread, at.T_OPERATION), word(thread, at.T_LANE) & 31, word(thread, at.T_CLAMP)
    segment = (c >> 8) & 31
    limit = (lane & segment) | (c & 31 & ~segment)
    if operation == at.SHUFFLE_UP:
        source = lane - b
        return source if source >= limit else -1
    if operation == at.SHUFFLE_DOWN:
        source = lane + b
    elif operation == at.SHUFFLE_BFLY:
        source = lane ^ b
    else:
        source = (lane & segment) | (b & ~segment)
    return source if source <= limit else -1


@compiled("ptx.shuffle")
def shuffle(first: int, size: int, mask: int) -> None:
    """Give each lane of a mask its result of shfl.sync."""
    for lane in range(32):
        if (mask >> lane) & 1:
            thread = first + lane * size
            source = source_lane(thread, lane)
            set_word(thread, at.T_RESULT_PREDICATE, 1 if source >= 0 else 0)
            if source < 0:
                source = lane
            if not (mask >> source) & 1:
                fail(thread, at.SHUFFLE_FROM_OUTSIDE, word(thread, at.T_SITE), source, 0)
                return
            set_word(thread, at.T_RESULT, word(first + source * size, at.T_VALUE))


@compiled("ptx.vote")
def vote(first: int, size: int, mask: int, operation: int) -> None:
    """Give each lane of a mask its result of vote.sync."""
    ballot = 0
    for lane in range(32):
        if (mask >> lane) & 1:
            ballot |= word(first + lane * size, at.T_VALUE) << lane
    if operation == at.VOTE_ALL:
        result = 1 if ballot == mask else 0
    elif operation == at.VOTE_ANY:
        result = 1 if ballot != 0 else 0
    elif operation == at.VOTE_UNI:
        result = 1 if ballot == mask or ballot == 0 else 0
    else:
        result = ballot
    for lane in range(32):
        if (mask >> lane) & 1:
            set_word(first + lane * size, at.T_RESULT, result)


@compiled("ptx.arrive_in_warp")
def arrive_in_warp(thread: int) -> int:
    """A lane has begun to wait. Returns the mask of the lanes that can go on, with their results; 0 if none can yet."""
    launched = word(thread, at.T_CONTEXT)
    index, size = word(thread, at.T_INDEX), word(launched, at.C_THREAD_BYTES)
    lane, site, mask = index & 31, word(thread, at.T_SITE), word(thread, at.T_MASK)
    first = thread - lane * size
    lanes = min(32, word(launched, at.C_THREADS) - (index & ~31))
    if not (mask >> lane) & 1:
        fail(thread, at.WARP_MASK_WITHOUT_SELF, site, mask, 0)
        return 0
    if mask >> lanes:
        fail(thread, at.WARP_MASK_OF_NOBODY, site, mask, lanes)
        return 0
    for other in range(lanes):
        if (mask >> other) & 1:
            record = first + other * size
            if (
                word(record, at.T_STATUS) != at.AT_WARP
                or word(record, at.T_SITE) != site
                or word(record, at.T_MASK) != mask
            ):
                return 0
    operation = word(thread, at.T_OPERATION)
    if operation <= at.SHUFFLE_BFLY:
        shuffle(first, size, mask)
    elif operation <= at.VOTE_BALLOT:
        vote(first, size, mask, operation)
    else:
        join_warp(launched, first, lanes, mask)
    return mask
