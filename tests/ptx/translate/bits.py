"""Logic, shifts and bit fields."""

from __future__ import annotations

from .emitter import I32, Emitter, integer
from .integers import intrinsic, need
from .modifiers import Modifiers
from .table import opcode


@opcode("and", "or", "xor")
def logic(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "bp", (1, 16, 32, 64))
    d, a, b = e.operands(3)
    e.set_typed(d, e.let(f"{name} {kind.llvm} {e.value(a, kind)}, {e.value(b, kind)}"), kind)


@opcode("not")
def invert(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "bp", (1, 16, 32, 64))
    d, a = e.operands(2)
    e.set_typed(d, e.let(f"xor {kind.llvm} {e.value(a, kind)}, -1"), kind)


@opcode("shl", "shr")
def shift(e: Emitter, m: Modifiers, name: str) -> None:
    """Shifts by the width or more give 0, or the sign."""
    kind = m.type()
    need(e, kind, "b" if name == "shl" else "bus")
    d, a, b = e.operands(3)
    x, amount = e.value(a, kind), e.value(b, I32)
    last = integer(kind.bits - 1, 32)
    clamped = e.let(f"call i32 @llvm.umin.i32(i32 {amount}, i32 {last})")
    e.declared["llvm.umin.i32"] = "declare i32 @llvm.umin.i32(i32, i32)"
    if kind.bits != 32:
        clamped = e.let(f"{'zext' if kind.bits == 64 else 'trunc'} i32 {clamped} to {kind.llvm}")
    operation = "shl" if name == "shl" else "ashr" if kind.kind == "s" else "lshr"
    shifted = e.let(f"{operation} {kind.llvm} {x}, {clamped}")
    if operation != "ashr":
        over = e.let(f"icmp ugt i32 {amount}, {last}")
        shifted = e.let(f"select i1 {over}, {kind.llvm} 0, {kind.llvm} {shifted}")
    e.set_typed(d, shifted, kind)


@opcode("shf")
def funnel_shift(e: Emitter, m: Modifiers, name: str) -> None:
    need(e, m.type(), "b", (32,))
    direction, mode = m.need("l", "r"), m.need("wrap", "clamp")
    d, a, b, c = e.operands(4)
    low, high, amount = e.value(a, I32), e.value(b, I32), e.value(c, I32)
    amount = e.let(f"and i32 {amount}, 31") if mode == "wrap" else intrinsic(e, "umin", "i32", amount, "32")
    pair_high = e.let(f"shl i64 {e.let(f'zext i32 {high} to i64')}, 32")
    pair = e.let(f"or i64 {pair_high}, {e.let(f'zext i32 {low} to i64')}")
    amount = e.let(f"zext i32 {amount} to i64")
    if direction == "l":
        pair = e.let(f"lshr i64 {e.let(f'shl i64 {pair}, {amount}')}, 32")
    else:
        pair = e.let(f"lshr i64 {pair}, {amount}")
    e.set_typed(d, e.let(f"trunc i64 {pair} to i32"), I32)


@opcode("lop3")
def lop3(e: Emitter, m: Modifiers, name: str) -> None:
    need(e, m.type(), "b", (32,))
    d, a, b, c, table = e.operands(5)
    inputs = [e.value(x, I32) for x in (a, b, c)]
    inverses = [e.let(f"xor i32 {x}, -1") for x in inputs]
    bits, result = int(e.value(table, I32)), "0"
    for row in range(8):
        if bits >> row & 1:
            chosen = [inputs[i] if row >> (2 - i) & 1 else inverses[i] for i in range(3)]
            term = e.let(f"and i32 {e.let(f'and i32 {chosen[0]}, {chosen[1]}')}, {chosen[2]}")
            result = e.let(f"or i32 {result}, {term}")
    e.set_typed(d, result, I32)


@opcode("popc", "clz", "brev")
def count(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "b", (32, 64))
    d, a = e.operands(2)
    x = e.value(a, kind)
    if name == "brev":
        e.set_typed(d, intrinsic(e, "bitreverse", kind.llvm, x), kind)
        return
    found = intrinsic(e, "ctlz", kind.llvm, x, "false") if name == "clz" else intrinsic(e, "ctpop", kind.llvm, x)
    e.set_typed(d, found if kind.bits == 32 else e.let(f"trunc i64 {found} to i32"), I32)


@opcode("bfind")
def find_bit(e: Emitter, m: Modifiers, name: str) -> None:
    """The highest bit that differs from the sign; all ones where there is none."""
    kind = m.type()
    need(e, kind, "us", (32, 64))
    amount = m.take("shiftamt")
    d, a = e.operands(2)
    x = e.value(a, kind)
    if kind.kind == "s":
        x = e.let(f"xor {kind.llvm} {x}, {e.let(f'ashr {kind.llvm} {x}, {kind.bits - 1}')}")
    zeros = intrinsic(e, "ctlz", kind.llvm, x, "false")
    if kind.bits == 64:
        zeros = e.let(f"trunc i64 {zeros} to i32")
    found = zeros if amount else e.let(f"sub i32 {kind.bits - 1}, {zeros}")
    nothing = e.let(f"icmp eq {kind.llvm} {x}, 0")
    e.set_typed(d, e.let(f"select i1 {nothing}, i32 -1, i32 {found}"), I32)


@opcode("bfe")
def extract_field(e: Emitter, m: Modifiers, name: str) -> None:
    """Bits from a position, as many as a length; past the end, zeros or the sign."""
    kind = m.type()
    need(e, kind, "us", (32, 64))
    d, a, b, c = e.operands(4)
    x = e.value(a, kind)
    position, length = (e.let(f"and i32 {e.value(o, I32)}, 255") for o in (b, c))
    # In 512 bits nothing is lost: the value with its sign, the field moved to the top, and back.
    extend, back = ("sext", "ashr") if kind.kind == "s" else ("zext", "lshr")
    wide = e.let(f"{extend} {kind.llvm} {x} to i512")
    down = e.let(f"{back} i512 {wide}, {e.let(f'zext i32 {position} to i512')}")
    # A field that ends past the top is as long as what there is, and its sign is the top bit.
    up = e.let(f"zext i32 {e.let(f'sub i32 512, {length}')} to i512")
    moved = e.let(f"{back} i512 {e.let(f'shl i512 {down}, {up}')}, {up}")
    empty = e.let(f"icmp eq i32 {length}, 0")
    text = e.let(f"trunc i512 {moved} to {kind.llvm}")
    e.set_typed(d, e.let(f"select i1 {empty}, {kind.llvm} 0, {kind.llvm} {text}"), kind)


@opcode("bfi")
def insert_field(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "b", (32, 64))
    d, a, b, c, f = e.operands(5)
    source, target = e.value(a, kind), e.value(b, kind)
    position, length = (e.let(f"zext i32 {e.let(f'and i32 {e.value(o, I32)}, 255')} to i512") for o in (c, f))
    ones = e.let(f"sub i512 {e.let(f'shl i512 1, {length}')}, 1")
    mask = e.let(f"trunc i512 {e.let(f'shl i512 {ones}, {position}')} to {kind.llvm}")
    moved = e.let(f"shl i512 {e.let(f'zext {kind.llvm} {source} to i512')}, {position}")
    inserted = e.let(f"and {kind.llvm} {e.let(f'trunc i512 {moved} to {kind.llvm}')}, {mask}")
    kept = e.let(f"and {kind.llvm} {target}, {e.let(f'xor {kind.llvm} {mask}, -1')}")
    e.set_typed(d, e.let(f"or {kind.llvm} {inserted}, {kept}"), kind)


@opcode("prmt")
def permute_bytes(e: Emitter, m: Modifiers, name: str) -> None:
    """Four bytes out of eight; the high bit of a selector repeats the byte's sign."""
    need(e, m.type(), "b", (32,))
    d, a, b, c = e.operands(4)
    low, high, selector = (e.let(f"zext i32 {e.value(o, I32)} to i64") for o in (a, b, c))
    pair = e.let(f"or i64 {e.let(f'shl i64 {high}, 32')}, {low}")
    result = "0"
    for i in range(4):
        nibble = e.let(f"lshr i64 {selector}, {4 * i}")
        amount = e.let(f"shl i64 {e.let(f'and i64 {nibble}, 7')}, 3")
        picked = e.let(f"trunc i64 {e.let(f'lshr i64 {pair}, {amount}')} to i8")
        sign = e.let(f"ashr i8 {picked}, 7")
        repeats = e.let(f"trunc i64 {e.let(f'lshr i64 {nibble}, 3')} to i1")
        chosen = e.let(f"select i1 {repeats}, i8 {sign}, i8 {picked}")
        placed = e.let(f"shl i32 {e.let(f'zext i8 {chosen} to i32')}, {8 * i}")
        result = e.let(f"or i32 {result}, {placed}")
    e.set_typed(d, result, I32)
