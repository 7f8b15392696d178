"""Instructions that multiply bfloat16 and bytes: those made for each processor, and stand-ins where this one has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
from conftest import Close
from numba_networks import everything, make_cell
from test_precision import BACKENDS

from rnncore import Recurrent
from rnncore_kernels.cpu import kernels, layer, toolchain
from rnncore_kernels.cpu.amx import gemm
from rnncore_kernels.cpu.amx.blocks import EXACT, ROUNDED, Parts
from rnncore_kernels.cpu.code import bfloat16, int8, multiply
from rnncore_kernels.cpu.shape import Shape
from rnncore_kernels.cpu.target import Target, host_target, target
from rnncore_kernels.cpu.vector import Vector


def halves(value: Vector) -> tuple[Vector, Vector]:
    b, bits = value.builder, value.bits()
    low, high = b.shl(bits, value.integers(16)), b.and_(bits, value.integers(-0x10000))
    return value.from_bits(low), value.from_bits(high)


def add_pairs(x: Vector, y: Vector, total: Vector) -> Vector:
    """VDPBF16PS."""
    for left, right in zip(halves(x), halves(y), strict=True):
        total = left.fma(right, total)
    return total


def add_both(x: Vector, y: Vector, total: Vector) -> Vector:
    """BFDOT, but for the rounding of its sums, which is to odd numbers."""
    (low, high), others = halves(x), halves(y)
    return total + low.fma(others[0], high * others[1])


def add_quads(x: Vector, y: Vector, total: Vector) -> Vector:
    """VPDPBUSD: bytes of x from 0 on, those of y with signs; SDOT: signs in both."""
    b, sums = x.builder, total.bits()
    for byte in range(4):
        left, right = (b.ashr(b.shl(v.bits(), v.integers(24 - 8 * byte)), v.integers(24)) for v in (x, y))
        if not x.target.arm:
            left = b.and_(left, x.integers(0xFF))
        sums = b.add(sums, b.mul(left, right))
    return total.from_bits(sums)


@pytest.fixture(params=["x86-64", "ARM"])
def instructions(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    fresh_plans: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """The code for targets that multiply bfloat16 and bytes, by other instructions where these are missing."""
    host, arm = host_target(), request.param == "ARM"
    if not (host.bfloat16 and host.int8) or host.arm != arm:
        monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path_factory.mktemp("instructions")))
        monkeypatch.setattr(kernels, "host_target", lambda: replace(host, bfloat16=True, int8=True, matrix=False))
        monkeypatch.setattr(Target, "arm", arm)
        monkeypatch.setattr(bfloat16, "_add_pairs", add_both if arm else add_pairs)
        monkeypatch.setattr(int8, "_add_quads", add_quads)
    for cached in (kernels.pass_kernels, layer.layer_sizes):
        cached.cache_clear()
    yield
    for cached in (kernels.pass_kernels, layer.layer_sizes):
        cached.cache_clear()


@pytest.mark.slow
def test_pairs_give_the_same(instructions: None, close: Close, nan_filled_empty: None, all_threads: None) -> None:
    assert Recurrent("lstm", 3, 4, backend="numba", compute="bfloat16").impl(3, 2).split()[1:3] == ["bfloat16", "1x1"]
    for cell, sizes in (("lstm", (3, 50, 3, 17)), ("gru_before", (4, 5, 70, 33)), ("tangled", (3, 16, 7, 75))):
        numba, numpy = (everything(backend, cell, sizes, compute="bfloat16") for backend in BACKENDS)
        for value, reference in zip(numba, numpy, strict=True):
            close(value, reference, "gradient", np.float32, "bfloat16")
    x = np.full((2, 3, 5), np.nan, np.float32)
    assert np.isnan(Recurrent("lstm", 5, 33, seed=0, backend="numba", compute="bfloat16")(x)[0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru_before", "projected", "sums"])
def test_quads_give_the_same(cell: str, instructions: None, nan_filled_empty: None, all_threads: None) -> None:
    for steps, batch, inputs, hidden in ((3, 50, 3, 17), (4, 1, 70, 33), (3, 16, 7, 75)):
        x = np.random.default_rng(0).standard_normal((steps, batch, inputs)).astype(np.float32)
        rnns = [Recurrent(make_cell(cell, hidden), inputs, hidden, seed=0, backend=b) for b in BACKENDS]
        numba, numpy = (rnn.freeze("int8")(x)[0] for rnn in rnns)
        np.testing.assert_allclose(numba, numpy, rtol=0, atol=0.01)
        np.testing.assert_allclose(numba[0], numpy[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("cpu", "has", "made"),
    [
        ("neoverse-v1", (True, True), {"bfdot": 24, "sdot": 24}),
        ("neoverse-n1", (False, True), {"fmla": 48, "sdot": 24}),
        ("znver4", (True, True), {"vdpbf16ps": 24, "vpdpbusd": 24}),
        ("sapphirerapids", (True, True), {"vdpbf16ps": 24, "vpdpbusd": 24}),
        ("alderlake", (False, True), {"vfmadd": 24, "vpdpbusd": 12}),
        ("haswell", (False, False), {"vfmadd": 24, "vpmaddwd": 12}),
    ],
)
def test_tiles_are_these_instructions(cpu: str, has: tuple[bool, bool], made: dict[str, int]) -> None:
    triple = "aarch64-unknown-linux-gnu" if cpu.startswith("neoverse") else "x86_64-unknown-linux-gnu"
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"LLVM was built without {triple}")
    named = target(triple, cpu, "")
    assert (named.bfloat16, named.int8) == has
    shape = Shape(named, np.dtype(np.float32))
    for factors, (instruction, count) in zip(
        (bfloat16.weight_factors(shape), int8.int8_factors(shape)), made.items(), strict=True
    ):
        tile = multiply._tile(shape, factors, shape.columns, shape.rows(shape.columns), 1)
        module = llvm.parse_assembly(str(tile._numba_type_.definition.emit(shape.target.triple)))
        body, _, _ = toolchain._machine(shape.target).emit_assembly(module).partition("vcvtdq2ps")
        assert body.count(instruction) == count


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="not an x86-64 processor")
@pytest.mark.parametrize(("parts", "count"), [(ROUNDED, 4), (EXACT, 24)])
def test_tile_registers_multiply_bfloat16_once(parts: Parts, count: int) -> None:
    named = target(llvm.get_process_triple(), "sapphirerapids", "")
    tile = gemm._tile(parts, 2, 2)
    module = llvm.parse_assembly(str(tile._numba_type_.definition.emit(named.triple)))
    _, _, body = toolchain._machine(named).emit_assembly(module).partition("tdpbf16ps")
    assert 1 + body.partition("\n\tj")[0].count("tdpbf16ps") == count
