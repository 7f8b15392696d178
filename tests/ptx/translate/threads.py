"""Control: barriers, exchanges in a warp, and the ends of threads."""

from __future__ import annotations

from ..flow import RECEIVE
from ..lower import GRID_SYNC
from ..runtime import layout as at
from ..syntax import Immediate, Operand, Pair
from ..types import TYPES
from .emitter import I32, PREDICATE, Emitter
from .modifiers import Modifiers
from .special import special
from .table import opcode


def wait(e: Emitter, status: int) -> None:
    """Let the thread wait here; the block of instructions ends with this."""
    e.set_word(at.T_STATUS, status)
    e.set_word(at.T_SITE, e.site)


@opcode("bar", "barrier")
def barrier(e: Emitter, m: Modifiers, name: str) -> None:
    if m.take("warp"):
        m.need("sync")
        (mask,) = e.operands(1)
        _meet(e, mask, at.WARP_BARRIER)
        return
    m.take("cta")
    m.need("sync")
    m.take("aligned")
    (number,) = e.operands(1)
    if not isinstance(number, Immediate) or not 0 <= number.value < 16:
        raise e.refuse("a barrier of a computed number")
    wait(e, at.AT_BARRIER)


@opcode(GRID_SYNC[0])
def grid(e: Emitter, m: Modifiers, name: str) -> None:
    m.need("sync")
    wait(e, at.AT_GRID)


def _meet(e: Emitter, mask: Operand, operation: int) -> None:
    e.set_word(at.T_MASK, e.let(f"zext i32 {e.value(mask, I32)} to i64"))
    e.set_word(at.T_OPERATION, operation)
    wait(e, at.AT_WARP)


@opcode("shfl")
def shuffle(e: Emitter, m: Modifiers, name: str) -> None:
    m.need("sync")
    m.need("b32")
    modes = {"idx": at.SHUFFLE_IDX, "up": at.SHUFFLE_UP, "down": at.SHUFFLE_DOWN, "bfly": at.SHUFFLE_BFLY}
    mode = modes[m.need(*modes)]
    _, a, b, c, mask = e.operands(5)
    for index, operand in ((at.T_VALUE, a), (at.T_LANE, b), (at.T_CLAMP, c)):
        e.set_word(index, e.let(f"zext i32 {e.value(operand, I32)} to i64"))
    _meet(e, mask, mode)


@opcode("vote")
def vote(e: Emitter, m: Modifiers, name: str) -> None:
    m.need("sync")
    modes = {"all": at.VOTE_ALL, "any": at.VOTE_ANY, "uni": at.VOTE_UNI, "ballot": at.VOTE_BALLOT}
    mode = m.need(*modes)
    m.need("b32" if mode == "ballot" else "pred")
    _, a, mask = e.operands(3)
    e.set_word(at.T_VALUE, e.let(f"zext i1 {e.value(a, PREDICATE)} to i64"))
    _meet(e, mask, modes[mode])


@opcode(RECEIVE)
def receive(e: Emitter, m: Modifiers, name: str) -> None:
    """The result of an exchange that all lanes have come to."""
    (d,) = e.operands(1)
    predicate = m.take("pred")
    # The exchange itself has met its modifiers already.
    m.drop(lambda _: True)
    result = e.word(at.T_RESULT)
    if predicate:
        e.set_typed(d, e.let(f"trunc i64 {result} to i1"), PREDICATE)
        return
    e.set_typed(d.first if isinstance(d, Pair) else d, e.let(f"trunc i64 {result} to i32"), I32)
    if isinstance(d, Pair):
        e.set_typed(d.second, e.let(f"trunc i64 {e.word(at.T_RESULT_PREDICATE)} to i1"), PREDICATE)


@opcode("activemask")
def active_mask(e: Emitter, m: Modifiers, name: str) -> None:
    """The thread itself: it may always have diverged from all others."""
    m.need("b32")
    (d,) = e.operands(1)
    text, _ = special(e, "%lanemask_eq")
    e.set_typed(d, text, TYPES["b32"])


@opcode("nanosleep")
def sleep(e: Emitter, m: Modifiers, name: str) -> None:
    m.need("u32")
    e.operands(1)
    e.runtime("sleep", result=False)


@opcode("trap")
def trap(e: Emitter, m: Modifiers, name: str) -> None:
    e.operands(0)
    e.runtime("fail", at.TRAP, e.site, 0, 0)
