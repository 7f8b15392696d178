"""Products on tile registers, of any sizes: of float32 in three bfloat16, as accurate as float32, and of one bfloat16."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from conftest import Close
from numba_networks import CELLS, everything, extra_inputs, make_cell
from numpy.typing import NDArray
from tile_emulation import SHAPE, can_emulate, emulated

from rnncore import Recurrent
from rnncore.states import as_tuple
from rnncore_kernels.alignment import address, aligned
from rnncore_kernels.cpu import division, toolchain
from rnncore_kernels.cpu.amx.blocks import BLOCK_DEPTH, EXACT, ROUNDED, TILE_ROWS, Parts
from rnncore_kernels.cpu.amx.gemm import make_tile_gemm
from rnncore_kernels.cpu.amx.split import make_bf16_columns
from rnncore_kernels.cpu.code.emitted import DEFINITIONS, compiled
from rnncore_kernels.cpu.code.ir import Definition
from rnncore_kernels.cpu.code.memory import word
from rnncore_kernels.cpu.memory import make_words, words_address
from rnncore_kernels.cpu.target import host_target
from rnncore_kernels.precision import to_bfloat16

HAS_TILES = SHAPE.matrix
ROUNDING = 4e-7 if HAS_TILES else 2e-5
"""Emulated, each product is rounded when it is added."""

pytestmark = [
    pytest.mark.skipif(not HAS_TILES and not can_emulate(), reason="no tile registers, nor vectors like theirs"),
    *([] if SHAPE.target == host_target() else [pytest.mark.slow]),
]
PARTS = {"float32": EXACT, "bfloat16": ROUNDED}
EVERYDAY = {"float32": ("rnn", "lstm", "tangled", "sums", "projected"), "bfloat16": ("tangled",)}
COMPUTED = [
    pytest.param(compute, cell, marks=[] if cell in EVERYDAY[compute] else [pytest.mark.slow])
    for compute in PARTS
    for cell in CELLS
]

Array = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Those of the processor, or others like them."""
    with contextlib.nullcontext() if HAS_TILES else emulated(tmp_path_factory.mktemp("tiles")):
        yield


@functools.cache
def library(made: Parts) -> toolchain.Library:
    """`parts`: the parts of rows. `product`: start + A W."""

    def define() -> Mapping[str, Definition]:
        gemm, bf16_columns = make_tile_gemm(SHAPE, made), make_bf16_columns(SHAPE, made)
        configure, release, bf16_rows, multiply = gemm.begin, gemm.end, gemm.prepare, gemm.multiply

        @compiled("parts")
        def parts(args: int, thread: int) -> None:
            bf16_rows(word(args, 0), 1, BLOCK_DEPTH, word(args, 1))

        @compiled("product")
        def product(args: int, thread: int) -> None:
            n, depth, columns = word(args, 1), word(args, 2), word(args, 6)
            configure()
            bf16_rows(word(args, 0), n, depth, word(args, 3))
            bf16_columns(word(args, 4), columns * 64, depth, columns, word(args, 5))
            multiply(columns, word(args, 3), 0, n, depth, word(args, 5), word(args, 7), 0, word(args, 8), columns * 64,
                     1, 0, 0, 0)  # fmt: skip
            release()

        return DEFINITIONS

    return toolchain.load(SHAPE.target, f"test {made.name}", ("parts", "product"), define)


def call(name: str, parts: Parts, *values: int) -> None:
    words = make_words(values)
    library(parts).functions[name](words_address(words), 0)


def table(rows: Array) -> NDArray[np.int64]:
    return np.array([address(row) for row in rows], np.int64)


def parts_of(numbers: Array) -> NDArray[np.float64]:
    """The three parts of the numbers of one row of at most 32."""
    row = np.zeros((1, BLOCK_DEPTH), np.float32)
    row[0, : len(numbers)] = numbers
    rows, target = table(row), aligned(EXACT.block_bytes)
    call("parts", EXACT, address(rows), address(target))
    words = target.view(np.uint32).reshape(3, TILE_ROWS, TILE_ROWS)[:, 0]
    halves = np.concatenate([words << 16, words & 0xFFFF0000], axis=1)
    return halves.view(np.float32).astype(np.float64)[:, : len(numbers)]


def multiply(a: Array, w: Array, start: Array, parts: Parts = EXACT) -> Array:
    (n, depth), columns = a.shape, w.shape[1] // 16
    rows, result = table(a), np.full((-(-n // TILE_ROWS) * TILE_ROWS, w.shape[1]), np.nan, np.float32)
    of_rows, of_columns = aligned(parts.rows_bytes(n, depth)), aligned(columns * parts.column_bytes(depth))
    call(
        "product", parts, address(rows), n, depth, address(of_rows), address(w), address(of_columns), columns,
        address(start), address(result),
    )  # fmt: skip
    return result[:n]


def test_parts_add_up_to_the_number() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        bits = rng.integers(0, 1 << 32, 32, dtype=np.uint32)
        numbers = bits.view(np.float32)
        numbers = np.where(np.isfinite(numbers), numbers, 1).astype(np.float32)
        total = parts_of(numbers).sum(axis=0)
        # What is below the smallest bfloat16 is lost, nothing else; the very largest become the largest bfloat16.
        np.testing.assert_allclose(total, np.clip(numbers, -3.3895314e38, 3.3895314e38), rtol=0, atol=2.0**-132)
        large = np.abs(numbers) > 2.0**-100
        np.testing.assert_array_equal(total[large], np.clip(numbers, -3.3895314e38, 3.3895314e38)[large])


def test_infinity_is_the_largest_part_and_nan_is_nan() -> None:
    parts = parts_of(np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], np.float32))
    np.testing.assert_array_equal(parts[:, :2], [[3.3895313892515355e38, -3.3895313892515355e38], [0, 0], [0, 0]])
    assert np.isnan(parts[:, 2]).any()
    np.testing.assert_array_equal(parts[:, 3:], 0)


@pytest.mark.parametrize("depth", [1, 15, 32, 33, 64, 200, 1000])
def test_products_are_as_accurate_as_float32(depth: int) -> None:
    rng = np.random.default_rng(depth)
    for n, columns in itertools.product((1, 16, 17, 33, 48), (1, 2, 3, 4)):
        # The same numbers on both sides: what is left out of their squares would not cancel.
        a = rng.uniform(1, 2, (n, depth)).astype(np.float32)
        w = rng.uniform(1, 2, (depth, 16 * columns)).astype(np.float32)
        same = min(n, 16 * columns)
        w[:, :same] = a[:same].T
        start = rng.uniform(0, 1, 16 * columns).astype(np.float32)
        expected = start + a.astype(np.float64) @ w
        np.testing.assert_allclose(multiply(a, w, start), expected, rtol=max(ROUNDING, 1e-9 * depth), atol=0)


@pytest.mark.parametrize("depth", [1, 16, 17, 31, 64, 200])
def test_products_of_rounded_numbers(depth: int) -> None:
    rng = np.random.default_rng(depth)
    for n, columns in itertools.product((1, 17, 48), (1, 3, 4)):
        a = rng.uniform(1, 2, (n, depth)).astype(np.float32)
        w, start = rng.uniform(1, 2, (depth, 16 * columns)).astype(np.float32), np.ones(16 * columns, np.float32)
        expected = start + to_bfloat16(a).astype(np.float64) @ to_bfloat16(w)
        np.testing.assert_allclose(multiply(a, w, start, ROUNDED), expected, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_products_of_large_and_small_numbers(scale: float) -> None:
    rng = np.random.default_rng(0)
    a = (rng.standard_normal((16, 40)) * scale).astype(np.float32)
    w, start = rng.standard_normal((40, 64)).astype(np.float32), np.zeros(64, np.float32)
    expected = a.astype(np.float64) @ w
    np.testing.assert_allclose(multiply(a, w, start), expected, rtol=0, atol=25 * ROUNDING * scale)


def test_a_step_with_little_to_do_stays_on_vector_registers() -> None:
    impl = {cell: Recurrent(cell, 128, 128, backend="numba").impl(100, 16) for cell in ("rnn", "lstm")}
    assert impl["rnn"].startswith("512-bit")
    assert impl["lstm"].startswith("AMX")
    rounded = [Recurrent("lstm", 128, 128, backend="numba", compute="bfloat16").impl(100, rows) for rows in (1, 16)]
    assert [" ".join(words.split()[:2]) for words in rounded] == ["512-bit bfloat16", "AMX bfloat16"]


def test_layers_of_one_call_are_each_computed_their_own_way(fresh_plans: None) -> None:
    x = np.random.default_rng(0).standard_normal((64, 64, 1)).astype(np.float32)
    numba, numpy = (Recurrent("lstm", 1, 64, 2, backend=backend, seed=1) for backend in ("numba", "numpy"))
    below, above = (numba._architecture.sizes(layer) for layer in (0, 1))
    program, engine = numba._architecture.program, numba._engine
    ways = [engine.impl(program, sizes, 64, 64, training=False)[:3] for sizes in (below, above)]
    assert ways == ["512", "AMX"]
    np.testing.assert_allclose(numba(x)[0], numpy(x)[0], rtol=1e-5, atol=1e-5)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch, fresh_plans: None, all_threads: None) -> None:
    """Tile registers for all sizes, also those that they are too large for."""
    monkeypatch.setattr(division, "LEAST_FILLED", 0.0)
    monkeypatch.setattr(division, "LEAST_TILED_FLOPS", 0)


@pytest.mark.parametrize(("compute", "cell"), COMPUTED)
def test_networks_of_any_size(compute: str, cell: str, close: Close, nan_filled_empty: None, always: None) -> None:
    for batch, hidden in itertools.product((1, 16, 50), (1, 17, 75)):
        sizes = (3, batch, 3, hidden)
        numba, numpy = (everything(backend, cell, sizes, compute=compute) for backend in ("numba", "numpy"))
        for value, reference in zip(numba, numpy, strict=True):
            close(value, reference, "gradient", np.float32, compute)


@pytest.mark.parametrize(("compute", "cell"), COMPUTED)
def test_any_number_of_threads_gives_the_same_bits(compute: str, cell: str, always: None) -> None:
    for sizes in ((5, 70, 33, 90), (2, 128, 33, 40), (3, 20, 600, 70)):
        one = everything("numba", cell, sizes, num_threads=1, compute=compute)
        for threads in (2, 5):
            others = everything("numba", cell, sizes, num_threads=threads, compute=compute)
            for value, reference in zip(others, one, strict=True):
                np.testing.assert_array_equal(value, reference)


def test_rounded_infinity_and_nan_stay_in_their_rows(always: None) -> None:
    x = np.random.default_rng(0).standard_normal((4, 16, 32)).astype(np.float32)
    x[1, 3, 7], x[2, 4, 1] = -np.inf, np.nan
    tiles, vectors = (
        Recurrent("lstm", 32, 64, backend=backend, seed=0, compute="bfloat16")(x)[0] for backend in ("numba", "numpy")
    )
    np.testing.assert_array_equal(np.isnan(tiles), np.isnan(vectors))
    np.testing.assert_allclose(tiles, vectors, rtol=0, atol=0.01)


@pytest.mark.parametrize("cell", CELLS)
def test_infinity_saturates_and_nan_stays_in_its_row(cell: str, always: None) -> None:
    x = np.random.default_rng(0).standard_normal((4, 16, 32)).astype(np.float32)
    x[0, 2, 5], x[1, 3, 7], x[2, 4, 1] = np.inf, -np.inf, np.nan
    tiles, vectors = (Recurrent(make_cell(cell, 64), 32, 64, backend=backend, seed=0) for backend in ("numba", "numpy"))
    assert tiles.impl(4, 16).startswith("AMX")

    def results(rnn: Recurrent) -> tuple[Any, ...]:
        output, state = rnn(x, inputs=extra_inputs(cell, (4, 16, 64), np.float32))
        return output, *as_tuple(state)

    for value, reference in zip(*map(results, (tiles, vectors)), strict=True):
        np.testing.assert_array_equal(np.isnan(value), np.isnan(reference))
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)
