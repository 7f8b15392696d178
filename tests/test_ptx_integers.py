"""Integer instructions of the PTX executor, against Python's integers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from ptx.snippets import DTYPES, evaluate

Reference = Callable[..., int]

EDGES = (0, 1, 2, 3, 7, 15, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1000)


def edges(kind: str) -> list[int]:
    """Values of a type that are likely to be treated wrongly."""
    if kind == "pred":
        return [0, 1]
    bits = int(kind[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    some = {low, low + 1, high, high - 1, (1 << (bits - 1)) - 1, 1 << (bits - 1), *EDGES, *(-v for v in EDGES)}
    some |= {0x123456789ABCDEF0 % (1 << bits), 0xDEADBEEFCAFEBABE % (1 << bits)}
    return sorted(v for v in some if low <= v <= high)


def wrap(value: int, kind: str) -> int:
    """The value of a type with the low bits of an integer."""
    bits = 1 if kind == "pred" else int(kind[1:])
    value %= 1 << bits
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


def clamp(value: int, kind: str) -> int:
    bits = int(kind[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def shift_left(bits: int) -> Reference:
    return lambda a, b: a << b if b < bits else 0


def shift_right(bits: int) -> Reference:
    return lambda a, b: a >> min(b, bits)


def check(instruction: str, kinds: tuple[str, ...], result: str, reference: Reference, limit: int = 3000) -> None:
    """An instruction on the edge values of its types; on some thousands of them where there are more."""
    names = "abcef"[: len(kinds)]
    rows = list(itertools.product(*(edges(kind) for kind in kinds)))
    if len(rows) > limit:
        rows = [rows[i] for i in np.random.default_rng(0).integers(0, len(rows), limit)]
    rows = [row for row in rows if not (instruction.startswith(("div", "rem")) and row[1] == 0)]
    text = f"{instruction} {', '.join(f'%{n}' for n in ('d', *names))};"
    got = evaluate(text, dict(zip(names, kinds, strict=True)), result, list(zip(*rows, strict=True)))
    expected = np.array([wrap(reference(*row), result) for row in rows], DTYPES[result])
    wrong = np.flatnonzero(got != expected)
    assert not len(wrong), f"{instruction}{rows[wrong[0]]}: expected {expected[wrong[0]]}, got {got[wrong[0]]}"


SAME: list[tuple[str, tuple[str, ...], int, Reference]] = [
    ("add", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, lambda a, b: a + b),
    ("sub", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, lambda a, b: a - b),
    ("mul.lo", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, lambda a, b: a * b),
    ("mad.lo", ("u16", "s16", "u32", "s32", "u64", "s64"), 3, lambda a, b, c: a * b + c),
    ("div", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, quotient),
    ("rem", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, lambda a, b: a - quotient(a, b) * b),
    ("min", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, min),
    ("max", ("u16", "s16", "u32", "s32", "u64", "s64"), 2, max),
    ("abs", ("s16", "s32", "s64"), 1, lambda a: max(a, -a)),
    ("neg", ("s16", "s32", "s64"), 1, lambda a: -a),
    ("sad", ("u32", "s32", "u64"), 3, lambda a, b, c: c + abs(a - b)),
    ("and", ("b16", "b32", "b64", "pred"), 2, lambda a, b: a & b),
    ("or", ("b16", "b32", "b64", "pred"), 2, lambda a, b: a | b),
    ("xor", ("b16", "b32", "b64", "pred"), 2, lambda a, b: a ^ b),
    ("not", ("b16", "b32", "b64", "pred"), 1, lambda a: ~a),
    ("mov", ("u16", "s16", "u32", "s32", "b32", "u64", "s64", "b64", "pred"), 1, lambda a: a),
]


@pytest.mark.parametrize(
    ("instruction", "kind", "operands", "reference"),
    [(name, kind, count, function) for name, kinds, count, function in SAME for kind in kinds],
)
def test_of_one_type(instruction: str, kind: str, operands: int, reference: Reference) -> None:
    check(f"{instruction}.{kind}", (kind,) * operands, kind, reference)


def high(kind: str) -> Reference:
    return lambda a, b, c=0: (a * b >> int(kind[1:])) + c


def funnel(left: bool, clamped: bool) -> Reference:
    def reference(low: int, top: int, amount: int) -> int:
        pair, amount = top << 32 | low, min(amount, 32) if clamped else amount & 31
        return pair << amount >> 32 if left else pair >> amount

    return reference


def field(kind: str) -> Reference:
    """bfe, as the ISA has it bit by bit."""

    def reference(a: int, position: int, length: int) -> int:
        bits = int(kind[1:])
        position, length, last = position & 255, length & 255, bits - 1
        pattern = a % (1 << bits)
        sign = pattern >> min(position + length - 1, last) & 1 if kind[0] == "s" and length else 0
        result = 0
        for i in range(bits):
            inside = i < length and position + i <= last
            result |= (pattern >> (position + i) & 1 if inside else sign) << i
        return result

    return reference


def inserted(bits: int) -> Reference:
    def reference(a: int, b: int, position: int, length: int) -> int:
        position, length = position & 255, length & 255
        for i in range(length):
            if position + i < bits:
                b = b & ~(1 << (position + i)) | (a >> i & 1) << (position + i)
        return b

    return reference


def permuted(a: int, b: int, selector: int) -> int:
    source, result = [*a.to_bytes(4, "little"), *b.to_bytes(4, "little")], 0
    for i in range(4):
        nibble = selector >> 4 * i & 15
        byte = source[nibble & 7]
        result |= ((0xFF if byte >> 7 else 0) if nibble & 8 else byte) << 8 * i
    return result


def highest(kind: str, amount: bool) -> Reference:
    def reference(a: int) -> int:
        bits = int(kind[1:])
        a = ~a if a < 0 else a
        return -1 if a == 0 else (bits - a.bit_length() if amount else a.bit_length() - 1)

    return reference


OTHERS: list[tuple[str, tuple[str, ...], str, Reference]] = [
    ("add.sat.s32", ("s32", "s32"), "s32", lambda a, b: clamp(a + b, "s32")),
    ("sub.sat.s32", ("s32", "s32"), "s32", lambda a, b: clamp(a - b, "s32")),
    *((f"mul.hi.{k}", (k, k), k, high(k)) for k in ("u16", "s16", "u32", "s32", "u64", "s64")),
    *((f"mad.hi.{k}", (k, k, k), k, high(k)) for k in ("u32", "s32", "u64", "s64")),
    ("mul.wide.u16", ("u16", "u16"), "u32", lambda a, b: a * b),
    ("mul.wide.s16", ("s16", "s16"), "s32", lambda a, b: a * b),
    ("mul.wide.u32", ("u32", "u32"), "u64", lambda a, b: a * b),
    ("mul.wide.s32", ("s32", "s32"), "s64", lambda a, b: a * b),
    ("mad.wide.u32", ("u32", "u32", "u64"), "u64", lambda a, b, c: a * b + c),
    ("mad.wide.s32", ("s32", "s32", "s64"), "s64", lambda a, b, c: a * b + c),
    *((f"shl.{k}", (k, "u32"), k, shift_left(int(k[1:]))) for k in ("b16", "b32", "b64")),
    *(
        (f"shr.{k}", (k, "u32"), k, shift_right(int(k[1:])))
        for k in ("b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64")
    ),
    ("shf.l.wrap.b32", ("b32", "b32", "u32"), "b32", funnel(True, False)),
    ("shf.r.wrap.b32", ("b32", "b32", "u32"), "b32", funnel(False, False)),
    ("shf.l.clamp.b32", ("b32", "b32", "u32"), "b32", funnel(True, True)),
    ("shf.r.clamp.b32", ("b32", "b32", "u32"), "b32", funnel(False, True)),
    ("popc.b32", ("b32",), "u32", lambda a: a.bit_count()),
    ("popc.b64", ("b64",), "u32", lambda a: a.bit_count()),
    ("clz.b32", ("b32",), "u32", lambda a: 32 - a.bit_length()),
    ("clz.b64", ("b64",), "u32", lambda a: 64 - a.bit_length()),
    ("brev.b32", ("b32",), "b32", lambda a: int(f"{a:032b}"[::-1], 2)),
    ("brev.b64", ("b64",), "b64", lambda a: int(f"{a:064b}"[::-1], 2)),
    *((f"bfind.{k}", (k,), "u32", highest(k, False)) for k in ("u32", "s32", "u64", "s64")),
    *((f"bfind.shiftamt.{k}", (k,), "u32", highest(k, True)) for k in ("u32", "s32", "u64", "s64")),
    *((f"bfe.{k}", (k, "u32", "u32"), k, field(k)) for k in ("u32", "s32", "u64", "s64")),
    ("bfi.b32", ("b32", "b32", "u32", "u32"), "b32", inserted(32)),
    ("bfi.b64", ("b64", "b64", "u32", "u32"), "b64", inserted(64)),
    ("prmt.b32", ("b32", "b32", "b32"), "b32", permuted),
    *((f"selp.{k}", (k, k, "pred"), k, lambda a, b, c: a if c else b) for k in ("b16", "s32", "b32", "u64", "b64")),
]


@pytest.mark.parametrize(("instruction", "kinds", "result", "reference"), OTHERS, ids=[row[0] for row in OTHERS])
def test_of_several_types(instruction: str, kinds: tuple[str, ...], result: str, reference: Reference) -> None:
    check(instruction, kinds, result, reference)


@pytest.mark.parametrize("table", [0x00, 0xFF, 0x96, 0xE8, 0xCA, 0x80, 0x01])
def test_lop3(table: int) -> None:
    def reference(a: int, b: int, c: int) -> int:
        return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))

    values = [edges("b32")] * 3
    rows = list(itertools.product(*values))[::37]
    got = evaluate(
        f"lop3.b32 %d, %a, %b, %c, {table};",
        {"a": "b32", "b": "b32", "c": "b32"},
        "b32",
        list(zip(*rows, strict=True)),
    )
    assert got.tolist() == [reference(*row) for row in rows]


RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lo": lambda a, b: a < b,
    "ls": lambda a, b: a <= b,
    "hi": lambda a, b: a > b,
    "hs": lambda a, b: a >= b,
}


@pytest.mark.parametrize(
    ("relation", "kind"),
    [(r, k) for r in ("eq", "ne", "lt", "le", "gt", "ge") for k in ("u16", "s16", "u32", "s32", "u64", "s64")]
    + [(r, k) for r in ("lo", "ls", "hi", "hs") for k in ("u32", "u64")]
    + [(r, k) for r in ("eq", "ne") for k in ("b16", "b32", "b64")],
)
def test_setp(relation: str, kind: str) -> None:
    check(f"setp.{relation}.{kind}", (kind, kind), "pred", lambda a, b: int(RELATIONS[relation](a, b)))


@pytest.mark.parametrize("combine", ["and", "or", "xor"])
@pytest.mark.parametrize("negated", [False, True])
def test_setp_with_a_second_result_and_a_predicate(combine: str, negated: bool) -> None:
    rows = list(itertools.product([-1, 0, 1], [-1, 0, 1], [0, 1]))
    text = f".reg .pred %x; .reg .pred %y; setp.lt.{combine}.s32 %x|%y, %a, %b, {'!' if negated else ''}%c;"
    for chosen, opposite in (("x", False), ("y", True)):
        got = evaluate(
            f"{text} mov.pred %d, %{chosen};",
            {"a": "s32", "b": "s32", "c": "pred"},
            "pred",
            list(zip(*rows, strict=True)),
        )
        for (a, b, c), value in zip(rows, got, strict=True):
            x, y = (a < b) ^ opposite, bool(c) ^ negated
            assert value == {"and": x and y, "or": x or y, "xor": x ^ y}[combine]


@pytest.mark.parametrize("kind", ["u32", "s32", "u64"])
def test_carries(kind: str) -> None:
    """Sums, differences and products of twice the width, by halves."""
    bits = int(kind[1:])
    values = edges(f"u{bits}")
    rows = list(itertools.product(values[::2], values[1::3], values[::3], values[::5]))[::7]
    columns = [np.array(c, np.uint64).astype(DTYPES[f"u{bits}"]) for c in zip(*rows, strict=True)]
    low, high = f"add.cc.{kind} %x, %a, %b;", f"addc.{kind} %y, %c, %e;"
    cases: dict[str, Reference] = {
        low + high: lambda a, b, c, e: (a + b) + (c + e << bits),
        low.replace("add", "sub") + high.replace("add", "sub"): lambda a, b, c, e: (a - b) + (c - e << bits),
        f"mul.lo.{kind} %x, %a, %b; mul.hi.u{bits} %y, %a, %b; add.cc.{kind} %x, %x, %c; addc.{kind} %y, %y, %e;": (
            lambda a, b, c, e: a * b + c + (e << bits)
        ),
        f"mad.lo.cc.u{bits} %x, %a, %b, %c; madc.hi.u{bits} %y, %a, %b, %e;": lambda a, b, c, e: (
            a * b + c + (e << bits)
        ),
    }
    inputs = dict.fromkeys("abce", f"u{bits}")
    for text, reference in cases.items():
        for half in ("x", "y"):
            registers = f".reg .b{bits} %x; .reg .b{bits} %y;"
            got = evaluate(f"{registers} {text} mov.b{bits} %d, %{half};", inputs, f"u{bits}", columns)
            for row, value in zip(rows, got.tolist(), strict=True):
                assert value == (reference(*row) >> (0 if half == "x" else bits)) % (1 << bits)


def test_a_carry_out_of_the_middle_of_a_sum() -> None:
    text = ".reg .u32 %x; add.cc.u32 %x, %a, %b; addc.cc.u32 %x, %a, %b; addc.u32 %d, 0, 0;"
    values = [0, 1, 2**31 - 1, 2**31, 2**32 - 1]
    rows = list(itertools.product(values, values))
    got = evaluate(text, {"a": "u32", "b": "u32"}, "u32", list(zip(*rows, strict=True)))
    assert got.tolist() == [int(a + b + (a + b >> 32) > 2**32 - 1) for a, b in rows]
