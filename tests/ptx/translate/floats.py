"""Arithmetic of floats, but for the approximations of the hardware."""

from __future__ import annotations

from ..types import TYPES, Type
from .emitter import Emitter, real
from .modifiers import Modifiers
from .table import opcode

F32 = TYPES["f32"]
TINY = 2.0**-126
"""The smallest normal float32."""


def unary(e: Emitter, name: str, kind: str, x: str) -> str:
    """Call an intrinsic of LLVM with one float."""
    return e.call(f"llvm.{name}.{'f32' if kind == 'float' else 'f64'}", kind, [(kind, x)])


def binary(e: Emitter, name: str, kind: str, x: str, y: str) -> str:
    """Call an intrinsic of LLVM with two floats."""
    return e.call(f"llvm.{name}.{'f32' if kind == 'float' else 'f64'}", kind, [(kind, x), (kind, y)])


def flush(e: Emitter, x: str) -> str:
    """A float32, or a zero of its sign for a subnormal one."""
    small = e.let(f"fcmp olt float {unary(e, 'fabs', 'float', x)}, {real(TINY, 32)}")
    zero = binary(e, "copysign", "float", real(0.0, 32), x)
    return e.let(f"select i1 {small}, float {zero}, float {x}")


def saturate(e: Emitter, x: str, kind: str) -> str:
    """A float clamped to [0, 1], 0 for a NaN."""
    bits = 32 if kind == "float" else 64
    above = e.let(f"fcmp ogt {kind} {x}, {real(0.0, bits)}")
    low = e.let(f"select i1 {above}, {kind} {x}, {kind} {real(0.0, bits)}")
    over = e.let(f"fcmp ogt {kind} {low}, {real(1.0, bits)}")
    return e.let(f"select i1 {over}, {kind} {real(1.0, bits)}, {kind} {low}")


def neighbour(e: Emitter, x: str, up: bool) -> str:
    """The next float32 above or below."""
    bits = e.let(f"bitcast float {x} to i32")
    away = e.let(f"fcmp {'oge' if up else 'ole'} float {x}, {real(0.0, 32)}")
    step = e.let(f"select i1 {away}, i32 1, i32 -1")
    stepped = e.let(f"add i32 {bits}, {step}")
    zero = e.let(f"fcmp oeq float {x}, {real(0.0, 32)}")
    smallest = 1 if up else 0x80000001
    return e.let(f"bitcast i32 {e.let(f'select i1 {zero}, i32 {smallest}, i32 {stepped}')} to float")


def directed(e: Emitter, high: str, low: str, mode: str) -> str:
    """The float32 next to `high + low`, doubles that do not overlap, downwards (rm), upwards (rp) or towards 0 (rz)."""
    nearest = e.let(f"fptrunc double {high} to float")
    back = e.let(f"fpext float {nearest} to double")
    equal = e.let(f"fcmp oeq double {back}, {high}")

    def moved(up: bool) -> str:
        relation, rest = ("olt", "ogt") if up else ("ogt", "olt")
        wrong = e.let(f"fcmp {relation} double {back}, {high}")
        tie = e.let(f"and i1 {equal}, {e.let(f'fcmp {rest} double {low}, {real(0.0, 64)}')}")
        either = e.let(f"or i1 {wrong}, {tie}")
        return e.let(f"select i1 {either}, float {neighbour(e, nearest, up)}, float {nearest}")

    if mode != "rz":
        return moved(mode == "rp")
    positive = e.let(f"fcmp oge double {high}, {real(0.0, 64)}")
    return e.let(f"select i1 {positive}, float {moved(False)}, float {moved(True)}")


def two_sum(e: Emitter, x: str, y: str) -> tuple[str, str]:
    """The sum of two doubles, rounded, and what rounding took away."""
    total = e.let(f"fadd double {x}, {y}")
    y_part = e.let(f"fsub double {total}, {x}")
    x_part = e.let(f"fsub double {total}, {y_part}")
    x_rest, y_rest = e.let(f"fsub double {x}, {x_part}"), e.let(f"fsub double {y}, {y_part}")
    return total, e.let(f"fadd double {x_rest}, {y_rest}")


def arithmetic(e: Emitter, m: Modifiers, name: str, kind: Type) -> None:
    """add, sub, mul, div and fma of floats."""
    mode = m.take("rn", "rz", "rm", "rp") or "rn"
    ftz, sat = m.take("ftz"), m.take("sat")
    if (kind.bits == 64 and (ftz or sat)) or (name == "div" and sat):
        raise e.refuse()
    operands = e.operands(4 if name == "fma" else 3)
    values = [e.value(o, kind) for o in operands[1:]]
    if ftz:
        values = [flush(e, v) for v in values]
    if mode == "rn":
        text = (
            e.call(f"llvm.fma.f{kind.bits}", kind.llvm, [(kind.llvm, v) for v in values])
            if name == "fma"
            else e.let(f"f{name} {kind.llvm} {values[0]}, {values[1]}")
        )
    else:
        text = _directed_arithmetic(e, name, mode, kind, values)
    if ftz:
        text = flush(e, text)
    if sat:
        text = saturate(e, text, kind.llvm)
    e.set_typed(operands[0], text, kind)


def _directed_arithmetic(e: Emitter, name: str, mode: str, kind: Type, values: list[str]) -> str:
    """In doubles, in which products of two float32 are exact and sums have an error that is known."""
    if kind.bits == 64 or name == "div":
        raise e.refuse(f"rounding {mode}")
    wide = [e.let(f"fpext float {v} to double") for v in values]
    if name == "mul":
        return directed(e, e.let(f"fmul double {wide[0]}, {wide[1]}"), real(0.0, 64), mode)
    if name == "fma":
        x, y = e.let(f"fmul double {wide[0]}, {wide[1]}"), wide[2]
    else:
        x, y = wide[0], e.let(f"fneg double {wide[1]}") if name == "sub" else wide[1]
    total, rest = two_sum(e, x, y)
    text = directed(e, total, rest, mode)
    if mode != "rm":
        return text
    # Downwards, x - x is -0.
    cancelled = e.let(f"fcmp oeq double {total}, {real(0.0, 64)}")
    opposite = e.let(f"fcmp one double {x}, {real(0.0, 64)}")
    signs = e.let(f"xor i64 {e.let(f'bitcast double {x} to i64')}, {e.let(f'bitcast double {y} to i64')}")
    differ = e.let(f"or i1 {opposite}, {e.let(f'icmp slt i64 {signs}, 0')}")
    negative = e.let(f"and i1 {cancelled}, {differ}")
    return e.let(f"select i1 {negative}, float {real(-0.0, 32)}, float {text}")


@opcode("fma")
def fma(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind != "f":
        raise e.refuse()
    arithmetic(e, m, name, kind)


def minimum_maximum(e: Emitter, m: Modifiers, name: str, kind: Type) -> None:
    """min and max: the other operand where one is a NaN, or a NaN with .NaN; -0 is below 0."""
    ftz, nan = m.take("ftz"), m.take("NaN")
    d, a, b = e.operands(3)
    x, y = e.value(a, kind), e.value(b, kind)
    if ftz:
        x, y = flush(e, x), flush(e, y)
    e.set_typed(d, binary(e, f"{name}imum{'' if nan else 'num'}", kind.llvm, x, y), kind)


def sign_operation(e: Emitter, m: Modifiers, name: str, kind: Type) -> None:
    """abs and neg of floats."""
    ftz = m.take("ftz")
    d, a = e.operands(2)
    x = e.value(a, kind)
    if ftz:
        x = flush(e, x)
    text = unary(e, "fabs", kind.llvm, x) if name == "abs" else e.let(f"fneg {kind.llvm} {x}")
    e.set_typed(d, text, kind)


@opcode("copysign")
def copysign(e: Emitter, m: Modifiers, name: str) -> None:
    kind = m.type()
    if kind.kind != "f":
        raise e.refuse()
    d, a, b = e.operands(3)
    e.set_typed(d, binary(e, "copysign", kind.llvm, e.value(b, kind), e.value(a, kind)), kind)


@opcode("testp")
def classify(e: Emitter, m: Modifiers, name: str) -> None:
    classes = {"finite": 0x1F8, "infinite": 0x204, "number": 0x3FC, "notanumber": 3, "normal": 0x108, "subnormal": 0x90}
    kind, tested = m.type(), classes[m.need(*classes)]
    if kind.kind != "f":
        raise e.refuse()
    d, a = e.operands(2)
    function = f"llvm.is.fpclass.f{kind.bits}"
    e.declared[function] = f"declare i1 @{function}({kind.llvm}, i32 immarg)"
    e.set_typed(d, e.let(f"call i1 @{function}({kind.llvm} {e.value(a, kind)}, i32 {tested})"), TYPES["pred"])
