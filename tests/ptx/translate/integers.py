"""Integer arithmetic and comparisons."""

from __future__ import annotations

from ..lower import CARRY
from ..runtime import layout as at
from ..syntax import Operand, Pair, Register
from ..types import TYPES, Type
from .approximations import approximate_division
from .emitter import PREDICATE, Emitter
from .floats import arithmetic, flush, minimum_maximum, sign_operation
from .modifiers import Modifiers
from .table import opcode


def need(e: Emitter, kind: Type, kinds: str, widths: tuple[int, ...] = (16, 32, 64)) -> None:
    """Refuse a type that the instruction does not have."""
    if kind.kind not in kinds or kind.bits not in widths:
        raise e.refuse(f"type {kind.name}")


def intrinsic(e: Emitter, name: str, kind: str, *arguments: str) -> str:
    """Call an intrinsic of LLVM all of whose operands, and its result, have one type; flags are i1 texts."""
    given = [("i1" if a in ("true", "false") else kind, a) for a in arguments]
    suffix = {"float": "f32", "double": "f64"}.get(kind, kind)
    return e.call(f"llvm.{name}.{suffix}", kind, given)


@opcode("add", "sub")
def add(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f":
        arithmetic(e, m, name, kind)
        return
    need(e, kind, "us")
    d, a, b = e.operands(3)
    x, y = e.value(a, kind), e.value(b, kind)
    if m.take("cc"):
        e.set_typed(d, _with_carry(e, name, kind, x, y, carry_in=False, carry_out=True), kind)
    elif m.take("sat"):
        need(e, kind, "s", (32,))
        e.set_typed(d, intrinsic(e, f"s{name}.sat", kind.llvm, x, y), kind)
    else:
        e.set_typed(d, e.let(f"{name} {kind.llvm} {x}, {y}"), kind)


def _with_carry(e: Emitter, operation: str, kind: Type, x: str, y: str, carry_in: bool, carry_out: bool) -> str:
    """A sum or a difference with the carry flag, which for differences is the borrow."""
    need(e, kind, "us", (32, 64))
    wide = f"i{kind.bits + 1}"
    terms = [e.let(f"zext {kind.llvm} {v} to {wide}") for v in (x, y)]
    text = e.let(f"{operation} {wide} {terms[0]}, {terms[1]}")
    if carry_in:
        flag = e.let(f"zext i1 {e.value(Register(CARRY), PREDICATE)} to {wide}")
        text = e.let(f"{operation} {wide} {text}, {flag}")
    if carry_out:
        e.set(Register(CARRY), e.let(f"trunc {wide} {e.let(f'lshr {wide} {text}, {kind.bits}')} to i1"), "i1")
    return e.let(f"trunc {wide} {text} to {kind.llvm}")


@opcode("addc", "subc")
def add_with_carry(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    d, a, b = e.operands(3)
    x, y = e.value(a, kind), e.value(b, kind)
    e.set_typed(d, _with_carry(e, name[:-1], kind, x, y, carry_in=True, carry_out=bool(m.take("cc"))), kind)


def _product(e: Emitter, part: str, kind: Type, x: str, y: str) -> tuple[str, Type]:
    """Part of a product, "lo", "hi" or "wide", with its type."""
    if part == "lo":
        return e.let(f"mul {kind.llvm} {x}, {y}"), kind
    extend, double = ("sext" if kind.kind == "s" else "zext"), f"i{2 * kind.bits}"
    wide_x = e.let(f"{extend} {kind.llvm} {x} to {double}")
    wide_y = e.let(f"{extend} {kind.llvm} {y} to {double}")
    product = e.let(f"mul {double} {wide_x}, {wide_y}")
    if part == "wide":
        need(e, kind, "us", (16, 32))
        return product, TYPES[f"{kind.kind}{2 * kind.bits}"]
    high = e.let(f"lshr {double} {product}, {kind.bits}")
    return e.let(f"trunc {double} {high} to {kind.llvm}"), kind


@opcode("mul")
def mul(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f":
        arithmetic(e, m, name, kind)
        return
    need(e, kind, "us")
    d, a, b = e.operands(3)
    e.set_typed(d, *_product(e, m.need("lo", "hi", "wide"), kind, e.value(a, kind), e.value(b, kind)))


@opcode("mad", "madc")
def mad(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f" and name == "mad":
        arithmetic(e, m, "fma", kind)
        return
    need(e, kind, "us")
    d, a, b, c = e.operands(4)
    carries = bool(m.take("cc"))
    part = m.need("lo", "hi") if carries or name == "madc" else m.need("lo", "hi", "wide")
    text, wide = _product(e, part, kind, e.value(a, kind), e.value(b, kind))
    if carries or name == "madc":
        total = _with_carry(e, "add", wide, text, e.value(c, wide), carry_in=name == "madc", carry_out=carries)
    else:
        total = e.let(f"add {wide.llvm} {text}, {e.value(c, wide)}")
    e.set_typed(d, total, wide)


@opcode("div", "rem")
def divide(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f" and name == "div":
        approximate = m.take("full", "approx")
        if approximate:
            approximate_division(e, m, kind, full=approximate == "full")
        else:
            arithmetic(e, m, name, kind)
        return
    need(e, kind, "us")
    d, a, b = e.operands(3)
    x, y = e.value(a, kind), e.value(b, kind)
    zero = e.let(f"icmp eq {kind.llvm} {y}, 0")
    failing, after = e.label(), e.label()
    e.emit(f"br i1 {zero}, label %{failing}, label %{after}")
    e.emit(f"{failing}:")
    e.runtime("fail", at.DIVISION_BY_ZERO, e.site, 0, 0)
    e.emit(f"br label %{after}")
    e.emit(f"{after}:")
    if kind.kind == "u":
        safe = e.let(f"select i1 {zero}, {kind.llvm} 1, {kind.llvm} {y}")
        e.set_typed(d, e.let(f"u{name} {kind.llvm} {x}, {safe}"), kind)
        return
    # The processor traps where the quotient overflows: the smallest integer by -1.
    negative = e.let(f"icmp eq {kind.llvm} {y}, -1")
    unsafe = e.let(f"or i1 {zero}, {negative}")
    safe = e.let(f"select i1 {unsafe}, {kind.llvm} 1, {kind.llvm} {y}")
    ordinary = e.let(f"s{name} {kind.llvm} {x}, {safe}")
    special = e.let(f"sub {kind.llvm} 0, {x}") if name == "div" else "0"
    e.set_typed(d, e.let(f"select i1 {negative}, {kind.llvm} {special}, {kind.llvm} {ordinary}"), kind)


@opcode("min", "max")
def minmax(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f":
        minimum_maximum(e, m, name, kind)
        return
    need(e, kind, "us")
    d, a, b = e.operands(3)
    e.set_typed(d, intrinsic(e, f"{kind.kind}{name}", kind.llvm, e.value(a, kind), e.value(b, kind)), kind)


@opcode("abs", "neg")
def abs_neg(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind == "f":
        sign_operation(e, m, name, kind)
        return
    need(e, kind, "s")
    d, a = e.operands(2)
    x = e.value(a, kind)
    text = e.let(f"sub {kind.llvm} 0, {x}") if name == "neg" else intrinsic(e, "abs", kind.llvm, x, "false")
    e.set_typed(d, text, kind)


@opcode("sad")
def sad(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "us")
    d, a, b, c = e.operands(4)
    x, y = e.value(a, kind), e.value(b, kind)
    low = intrinsic(e, f"{kind.kind}min", kind.llvm, x, y)
    high = intrinsic(e, f"{kind.kind}max", kind.llvm, x, y)
    distance = e.let(f"sub {kind.llvm} {high}, {low}")
    e.set_typed(d, e.let(f"add {kind.llvm} {distance}, {e.value(c, kind)}"), kind)


@opcode("setp")
def compare(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    floats = {"eq": "oeq", "ne": "one", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "num": "ord", "nan": "uno"}
    floats |= {"equ": "ueq", "neu": "une", "ltu": "ult", "leu": "ule", "gtu": "ugt", "geu": "uge"}
    unsigned = {"lt": "ult", "le": "ule", "gt": "ugt", "ge": "uge", "lo": "ult", "ls": "ule", "hi": "ugt", "hs": "uge"}
    signed = {"lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge"}
    relations = {"f": floats, "u": unsigned, "s": signed, "b": {}, "p": {}}[kind.kind]
    if kind.kind in "usb":
        relations = relations | {"eq": "eq", "ne": "ne"}
    relation = relations[m.need(*relations)]
    combine = m.take("and", "or", "xor")
    operands = e.operands(4 if combine else 3)
    x, y = e.value(operands[1], kind), e.value(operands[2], kind)
    if m.take("ftz"):
        need(e, kind, "f", (32,))
        x, y = flush(e, x), flush(e, y)
    result = e.let(f"{'fcmp' if kind.kind == 'f' else 'icmp'} {relation} {kind.llvm} {x}, {y}")
    set_predicates(e, operands[0], result, combine, operands[3] if combine else None)


def set_predicates(e: Emitter, target: Operand, result: str, combine: str | None, other: Operand | None) -> None:
    """Write `p` or `p|q`, where q takes the opposite of a comparison; both combined with another predicate."""
    targets = (target.first, target.second) if isinstance(target, Pair) else (target,)
    outcomes = [result] + [e.let(f"xor i1 {result}, true")] * (len(targets) - 1)
    for one, outcome in zip(targets, outcomes, strict=True):
        if combine:
            assert other is not None
            outcome = e.let(f"{combine} i1 {outcome}, {e.value(other, PREDICATE)}")
        e.set_typed(one, outcome, PREDICATE)


@opcode("selp")
def select(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    need(e, kind, "busf")
    d, a, b, c = e.operands(4)
    x, y = e.value(a, kind), e.value(b, kind)
    e.set_typed(d, e.let(f"select i1 {e.value(c, PREDICATE)}, {kind.llvm} {x}, {kind.llvm} {y}"), kind)
