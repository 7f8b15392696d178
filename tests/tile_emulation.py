"""Tile registers on processors that have none: the same products, written with vectors of 16 numbers.

Where registers hold 8 numbers, two are a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from rnncore_kernels.cpu import kernels, layer
from rnncore_kernels.cpu.amx import gemm
from rnncore_kernels.cpu.amx.blocks import TILE_BYTES, TILE_ROWS, Parts
from rnncore_kernels.cpu.code.emitted import emitted
from rnncore_kernels.cpu.code.ir import I64, loop, pointer
from rnncore_kernels.cpu.shape import Shape
from rnncore_kernels.cpu.target import Target, host_target
from rnncore_kernels.cpu.vector import Vector

HOST = host_target()
TARGET = replace(HOST, vector_bytes=64, registers=32) if HOST.vector_bytes == 32 else HOST
"""Whose vectors have as many numbers as a row of a tile, where that can be."""

SHAPE = Shape(TARGET, np.dtype(np.float32))


def can_emulate() -> bool:
    """Whether a vector has as many numbers as a row of a tile."""
    return SHAPE.lanes == TILE_ROWS


@contextmanager
def emulated(folder: Path) -> Iterator[None]:
    """Products on tile registers are computed without them, by code that is kept in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNCORE_CACHE_DIR", str(folder))
        patch.setattr(Shape, "matrix", property(lambda shape: shape.dtype == np.float32))
        patch.setattr(kernels, "host_target", lambda: TARGET)
        patch.setattr(Target, "avx512", HOST.avx512)
        layer.layer_sizes.cache_clear()
        for name in ("_configure", "_release"):
            patch.setattr(gemm, name, lambda _: None)
        patch.setattr(gemm, "_tile", tile)
        yield
    kernels.pack_kernels.cache_clear()
    kernels.pass_kernels.cache_clear()
    layer.layer_sizes.cache_clear()


def tile(parts: Parts, high: int, wide: int) -> Any:
    """See `gemm._tile`."""

    def body(b: Any, *arguments: Any) -> None:
        a: dict[str, Any] = dict(zip(gemm.TILE, arguments, strict=True))

        def load(address: Any) -> Vector:
            return Vector.load(b, SHAPE.target, SHAPE.dtype, pointer(b, address))

        def row_at(matrix: str, r: int, m: Any, j: int) -> Any:
            row = b.add(I64(TILE_ROWS * r), m)
            return b.add(b.add(a[matrix], b.mul(a[f"{matrix}_row"], row)), I64(64 * j))

        def halves(words: Vector) -> tuple[Vector, Vector]:
            low = b.shl(words.bits(), words.integers(16))
            return words.from_bits(low), words.from_bits(b.and_(words.bits(), words.integers(-0x10000)))

        def add_product(total: Any, left: Any, right: Any, m: Any) -> None:
            """Row m of a tile at `left` times the tile at `right`."""
            with loop(b, I64(TILE_ROWS)) as k:
                word = b.add(b.add(left, b.mul(m, I64(64))), b.mul(k, I64(4)))
                number = b.load(b.inttoptr(word, ir.FloatType().as_pointer()), align=4, typ=ir.FloatType())
                factors = halves(Vector.splat(b, SHAPE.target, number))
                others = halves(load(b.add(right, b.mul(k, I64(64)))))
                value = Vector(b, b.load(total), SHAPE.target)
                for x, y in zip(factors, others, strict=True):
                    value = x.fma(y, value)
                b.store(value.value, total)

        total = b.alloca(ir.VectorType(ir.FloatType(), TILE_ROWS))
        for r in range(high):
            for j in range(wide):
                with loop(b, I64(TILE_ROWS)) as m:
                    b.store(load(row_at("start", r, m, j)).value, total)
                    rows = b.add(a["a"], b.mul(a["a_rows"], I64(r)))
                    with loop(b, a["blocks"]) as block:
                        left = b.add(rows, b.mul(block, I64(parts.block_bytes)))
                        right = b.add(b.add(a["w"], b.mul(block, a["w_block"])), I64(j * parts.block_bytes))
                        for of_column, of_row in parts.terms:
                            add_product(total, b.add(left, I64(of_row * TILE_BYTES)),
                                        b.add(right, I64(of_column * TILE_BYTES)), m)  # fmt: skip
                    left = b.add(rows, b.mul(a["blocks"], I64(parts.block_bytes)))
                    right = b.add(b.add(a["w"], b.mul(a["blocks"], a["w_block"])), I64(j * parts.block_bytes))
                    with loop(b, a["packed"]) as number:
                        offset = b.mul(number, I64(TILE_BYTES))
                        add_product(total, b.add(left, offset), b.add(right, offset), m)
                    Vector(b, b.load(total), SHAPE.target).store(pointer(b, row_at("c", r, m, j)))

    return emitted(f"bf16_tile_{high}x{wide}", gemm.TILE, body, finished=True)
