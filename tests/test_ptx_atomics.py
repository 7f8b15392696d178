"""Atomic operations of the PTX executor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ptx.snippets import program

ADDRESS = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; "
SHARED = ".extern .shared .align 16 .b8 dynamic[];"

ATOMICS: list[tuple[str, str, int, int, Callable[[int, int], int]]] = [
    ("add", "u32", 2**32 - 3, 5, lambda a, b: a + b),
    ("add", "s32", -7, 5, lambda a, b: a + b),
    ("add", "u64", 2**40, 5, lambda a, b: a + b),
    ("exch", "b32", 1, 2, lambda a, b: b),
    ("exch", "b64", 1, 2, lambda a, b: b),
    ("min", "s32", -7, 5, min),
    ("min", "u32", 2**32 - 7, 5, min),
    ("max", "s64", -7, 5, max),
    ("max", "u64", 2**64 - 7, 5, max),
    ("and", "b32", 12, 10, lambda a, b: a & b),
    ("or", "b32", 12, 10, lambda a, b: a | b),
    ("xor", "b64", 12, 10, lambda a, b: a ^ b),
    ("inc", "u32", 4, 5, lambda a, b: a + 1 if a < b else 0),
    ("inc", "u32", 5, 5, lambda a, b: a + 1 if a < b else 0),
    ("dec", "u32", 0, 5, lambda a, b: b if a == 0 or a > b else a - 1),
    ("dec", "u32", 9, 5, lambda a, b: b if a == 0 or a > b else a - 1),
    ("dec", "u32", 3, 5, lambda a, b: b if a == 0 or a > b else a - 1),
]


@pytest.mark.parametrize("space", ["global", "shared", "generic"])
@pytest.mark.parametrize(("operation", "kind", "old", "operand", "reference"), ATOMICS)
def test_atomic(
    space: str, operation: str, kind: str, old: int, operand: int, reference: Callable[[int, int], int]
) -> None:
    """atom returns what was there and leaves the result; red leaves the same."""
    bits = int(kind[1:])
    register = "%r" if bits == 32 else "%rd"
    dot = "" if space == "generic" else f".{space}"
    place = {"global": "%rd1", "shared": "%rd8", "generic": "%rd9"}[space]
    reading = f"ld{dot}.b{bits} {register}12, [{place}];"
    reduce = "" if operation == "exch" else f"red{dot}.{operation}.{kind} [{place}], {operand}; {reading}"
    body = f"""{ADDRESS} mov.u64 %rd8, dynamic; cvta.shared.u64 %rd9, %rd8; st{dot}.b{bits} [{place}], {old};
    atom{dot}.{operation}.{kind} {register}10, [{place}], {operand}; {reading} st.global.b{bits} [%rd1+8], {register}10;
    st.global.b{bits} [%rd1+16], {register}12; st{dot}.b{bits} [{place}], {old};
    {reduce} st.global.b{bits} [%rd1+24], {register}12;"""
    array = np.zeros(4, np.uint64)
    program(body, before=SHARED).run(1, 1, [array], 16)
    new = reference(old, operand) % (1 << bits)
    assert array[1:].tolist() == [old % (1 << bits), new, new]


def test_compare_and_swap() -> None:
    body = f"""{ADDRESS} atom.global.cas.b32 %r2, [%rd1], 5, 6; atom.global.cas.b32 %r3, [%rd1], 5, 7;
    st.global.v2.u32 [%rd1+8], {{%r2, %r3}};"""
    array = np.array([5, 0, 0, 0], np.uint32)
    program(body).run(1, 1, [array])
    assert array.tolist() == [6, 0, 5, 6]


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("order", ["", ".relaxed.gpu", ".release.sys"])
def test_sums_of_all_threads(kind: str, order: str) -> None:
    one = "0f3F800000" if kind == "f32" else "0d3FF0000000000000"
    array = np.zeros(1, np.float32 if kind == "f32" else np.float64)
    program(f"{ADDRESS} red{order}.global.add.{kind} [%rd1], {one};").run(4, 96, [array], seed=3)
    assert array[0] == 384
