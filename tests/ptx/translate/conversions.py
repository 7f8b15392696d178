"""Moves and conversions."""

from __future__ import annotations

from ..runtime import layout as at
from ..syntax import Not, Operand, Symbol, Vector
from ..types import TYPES, Type
from .emitter import I64, Emitter, integer, real
from .floats import directed, flush, saturate, unary
from .modifiers import Modifiers
from .table import opcode

FLOAT32 = TYPES["f32"]

TO_INTEGRAL = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


@opcode("mov")
def mov(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    d, a = e.operands(2)
    if isinstance(d, Vector):
        _unpack(e, d, a, kind)
    elif isinstance(a, Vector):
        _pack(e, d, a, kind)
    elif isinstance(a, Symbol):
        if a.name not in e.symbols or kind.kind == "f" or kind.bits < 32:
            raise e.refuse(a.name)
        address = e.symbols[a.name]
        e.set_typed(d, address if kind.bits == 64 else e.let(f"trunc i64 {address} to i32"), kind)
    elif isinstance(a, Not):
        raise e.refuse()
    else:
        e.set_typed(d, e.value(a, kind), kind)


def _part(e: Emitter, whole: Type, items: tuple[Operand, ...]) -> Type:
    if whole.kind != "b" or len(items) not in (2, 4) or whole.bits // len(items) < 8:
        raise e.refuse()
    return TYPES[f"b{whole.bits // len(items)}"]


def _unpack(e: Emitter, d: Vector, a: Operand, kind: Type) -> None:
    part, text = _part(e, kind, d.items), e.value(a, kind)
    for i, item in enumerate(d.items):
        if isinstance(item, Symbol) and item.name == "_":
            continue
        moved = e.let(f"lshr {kind.llvm} {text}, {i * part.bits}")
        e.set_typed(item, e.let(f"trunc {kind.llvm} {moved} to {part.llvm}"), part)


def _pack(e: Emitter, d: Operand, a: Vector, kind: Type) -> None:
    part, text = _part(e, kind, a.items), "0"
    for i, item in enumerate(a.items):
        wide = e.let(f"zext {part.llvm} {e.value(item, part)} to {kind.llvm}")
        text = e.let(f"or {kind.llvm} {text}, {e.let(f'shl {kind.llvm} {wide}, {i * part.bits}')}")
    e.set_typed(d, text, kind)


@opcode("cvta")
def cvta(e: Emitter, m: Modifiers, name: str) -> None:
    """Between an address in a space and a generic one; only those of shared and local memory differ."""
    kind = m.type()
    down = m.take("to")
    space = m.need("global", "shared", "shared::cta", "local", "const")
    if kind.kind != "u" or kind.bits != 64:
        raise e.refuse()
    d, a = e.operands(2)
    text = e.symbols[a.name] if isinstance(a, Symbol) and a.name in e.symbols else e.value(a, I64)
    window = {"s": at.SHARED_WINDOW, "l": at.LOCAL_WINDOW}.get(space[0], 0)
    if window:
        text = e.let(f"{'sub' if down else 'add'} i64 {text}, {window}")
    e.set_typed(d, text, kind)


@opcode("isspacep")
def isspacep(e: Emitter, m: Modifiers, name: str) -> None:
    space = m.need("global", "shared", "local")
    d, a = e.operands(2)
    text = e.value(a, I64)
    local = e.let(f"icmp uge i64 {text}, {at.LOCAL_WINDOW}")
    above = e.let(f"icmp uge i64 {text}, {at.SHARED_WINDOW}")
    shared = e.let(f"xor i1 {local}, {above}")
    e.set_typed(d, {"local": local, "shared": shared, "global": e.let(f"xor i1 {above}, true")}[space], TYPES["pred"])


@opcode("cvt")
def cvt(e: Emitter, m: Modifiers, name: str) -> None:
    source, target = m.type(), m.type()
    d, a = e.operands(2)
    sat = m.take("sat")
    if "b" in (source.kind, target.kind):
        raise e.refuse()
    x = e.value(a, source, wider=source.kind != "f")
    ftz = source.kind == "f" and m.take("ftz")
    if ftz and FLOAT32 not in (source, target):
        raise e.refuse()
    if ftz and source == FLOAT32:
        x = flush(e, x)
    if source.kind == "f" and target.kind == "f":
        text = _float_to_float(e, m, x, source, target)
        if sat:
            text = saturate(e, text, target.llvm)
        if ftz and target == FLOAT32:
            text = flush(e, text)
    elif source.kind == "f":
        text = _float_to_integer(e, m, x, source, target)
    elif target.kind == "f":
        m.need("rn")
        if sat:
            raise e.refuse()
        text = e.let(f"{'si' if source.kind == 's' else 'ui'}tofp {source.llvm} {x} to {target.llvm}")
    else:
        text = _integer_to_integer(e, x, source, target, bool(sat))
    e.set_typed(d, text, target, wider=target.kind != "f")


def _float_to_float(e: Emitter, m: Modifiers, x: str, source: Type, target: Type) -> str:
    if source.bits < target.bits:
        return e.let(f"fpext float {x} to double")
    if source.bits > target.bits:
        mode = m.need("rn", "rz", "rm", "rp")
        return e.let(f"fptrunc double {x} to float") if mode == "rn" else directed(e, x, real(0.0, 64), mode)
    mode = m.take(*TO_INTEGRAL) or ""
    return unary(e, TO_INTEGRAL[mode], source.llvm, x) if mode else x


def _float_to_integer(e: Emitter, m: Modifiers, x: str, source: Type, target: Type) -> str:
    """Saturates; a NaN is 0, or the highest bit alone where one of the two is wide."""
    whole = unary(e, TO_INTEGRAL[m.need(*TO_INTEGRAL)], source.llvm, x)
    function = f"llvm.fpto{target.kind}i.sat.i{target.bits}.f{source.bits}"
    text = e.call(function, target.llvm, [(source.llvm, whole)])
    if source.bits == 32 and target.bits < 64:
        return text
    nan = e.let(f"fcmp uno {source.llvm} {x}, {x}")
    highest = integer(1 << (target.bits - 1), target.bits)
    return e.let(f"select i1 {nan}, {target.llvm} {highest}, {target.llvm} {text}")


def _integer_to_integer(e: Emitter, x: str, source: Type, target: Type, sat: bool) -> str:
    if sat:
        # In 66 bits both ranges are in order.
        wide = e.let(f"{'sext' if source.kind == 's' else 'zext'} {source.llvm} {x} to i66")
        signed = target.kind == "s"
        low = -(1 << (target.bits - 1)) if signed else 0
        high = (1 << (target.bits - 1)) - 1 if signed else (1 << target.bits) - 1
        for relation, limit in (("slt", low), ("sgt", high)):
            beyond = e.let(f"icmp {relation} i66 {wide}, {limit}")
            wide = e.let(f"select i1 {beyond}, i66 {limit}, i66 {wide}")
        return e.let(f"trunc i66 {wide} to {target.llvm}")
    if source.bits == target.bits:
        return x
    if source.bits > target.bits:
        return e.let(f"trunc {source.llvm} {x} to {target.llvm}")
    return e.let(f"{'sext' if source.kind == 's' else 'zext'} {source.llvm} {x} to {target.llvm}")
