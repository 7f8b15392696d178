"""Small kernels around a few instructions, for the tests of the executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .executor import Program
from .memory import Array

DTYPES: dict[str, Any] = {
    "b8": np.uint8,
    "u8": np.uint8,
    "s8": np.int8,
    "b16": np.uint16,
    "u16": np.uint16,
    "s16": np.int16,
    "b32": np.uint32,
    "u32": np.uint32,
    "s32": np.int32,
    "b64": np.uint64,
    "u64": np.uint64,
    "s64": np.int64,
    "f32": np.float32,
    "f64": np.float64,
    "pred": np.uint32,
}
"""NumPy's type for each of PTX; a predicate is handed over as 0 or 1."""


def module(body: str, parameters: str = ".param .u64 a", before: str = "") -> str:
    """The text of a module with one kernel `k`, whose registers are many of each kind and whose body is given.

    %r of 32 bits, %rd of 64, %h of 16, %f and %fd floats, %p predicates.
    """
    return f""".version 8.0
.target sm_90
.address_size 64
{before}
.visible .entry k({parameters})
{{
    .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<20>; .reg .f64 %fd<20>;
{body}
    ret;
}}
"""


def program(body: str, parameters: str = ".param .u64 a", before: str = "") -> Program:
    """That kernel."""
    return Program(module(body, parameters, before))


def evaluation(instructions: str, inputs: Mapping[str, str], result: str) -> str:
    """A module whose thread i applies instructions to `%a`, `%b`, ... from arrays of these types, and keeps `%d`."""
    names = [*inputs, "d"]
    kinds = {**inputs, "d": result}
    lines = [
        "mov.u32 %r1, %tid.x;",
        "mov.u32 %r2, %ctaid.x;",
        "mov.u32 %r3, %ntid.x;",
        "mad.lo.s32 %r1, %r2, %r3, %r1;",
    ]
    for name in names:
        kind = kinds[name]
        size = np.dtype(DTYPES[kind]).itemsize
        # Registers of 8 bits do not take part in anything.
        register = {"b8": "b16", "u8": "b16", "s8": "b16"}.get(kind, kind)
        lines += [
            f".reg .{register} %{name};",
            f".reg .b64 %at_{name};",
            f"ld.param.u64 %at_{name}, [{name}];",
            f"mad.wide.u32 %at_{name}, %r1, {size}, %at_{name};",
        ]
    for name, kind in inputs.items():
        if kind == "pred":
            lines += [f"ld.global.u32 %r4, [%at_{name}];", f"setp.ne.u32 %{name}, %r4, 0;"]
        else:
            lines.append(f"ld.global.{kind} %{name}, [%at_{name}];")
    lines.append(instructions)
    if result == "pred":
        lines += ["selp.u32 %r4, 1, 0, %d;", "st.global.u32 [%at_d], %r4;"]
    else:
        lines.append(f"st.global.{result} [%at_d], %d;")
    return module("\n".join(lines), ", ".join(f".param .u64 {name}" for name in names))


def evaluate(
    instructions: str, inputs: Mapping[str, str], result: str, values: Sequence[Sequence[Any] | Array], seed: int = 0
) -> Array:
    """Results of instructions for operands, one thread for each; `values` are the operands' arrays, of equal length."""
    arrays = [np.array(v, DTYPES[kind]) for v, kind in zip(values, inputs.values(), strict=True)]
    threads = min(64, len(arrays[0]))
    blocks = -(-len(arrays[0]) // threads)
    padded = [np.concatenate([a, np.repeat(a[-1:], blocks * threads - len(a))]) for a in arrays]
    results = np.zeros(blocks * threads, DTYPES[result])
    Program(evaluation(instructions, inputs, result)).run(blocks, threads, [*padded, results], seed=seed)
    return results[: len(arrays[0])]
