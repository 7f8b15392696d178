"""Products in bfloat16: every engine against the oracle that rounds as they do, and what must not depend on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Close
from numba_networks import CELLS, everything, extra_inputs, make_cell

from rnncore import Recurrent, registry
from rnncore.states import as_tuple
from rnncore.verification.networks import VARIANTS, make_call
from rnncore.verification.results import results, streamed
from rnncore.verification.rounding import to_bfloat16 as oracle_bfloat16
from rnncore.verification.rounding import to_int8 as oracle_int8
from rnncore_kernels.precision import PRECISIONS, scales, to_bfloat16, to_int8, to_whole

BACKENDS = ("numba", "numpy")
RAGGED = ["lstm_all", "gru_carry_after", "gru_candidate_before", "layernorm_gru"]
EVERYDAY = ["lstm", "gru_carry_after"]


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        pytest.param(engine, name, marks=[] if name in EVERYDAY else [pytest.mark.slow])
        for engine, names in {"numba": [*VARIANTS], "numpy": [*EVERYDAY, *RAGGED, "lstm_projection", "lem"]}.items()
        for name in names
    ],
)
def test_every_cell_against_the_oracle(engine: str, name: str, close: Close, nan_filled_empty: None) -> None:
    call = make_call(VARIANTS[name], 4, 3, input_size=5, hidden_size=17, backend=engine, compute="bfloat16")
    for one in [*results(call, expected := call.expected(), ragged=False), *streamed(call, expected)]:
        close(one.actual, one.expected, one.quantity, np.float32, "bfloat16")


@pytest.mark.parametrize("name", ["lstm", *[pytest.param(n, marks=pytest.mark.slow) for n in RAGGED]])
@pytest.mark.parametrize("engine", BACKENDS)
def test_ragged_deep_networks_with_resets(engine: str, name: str, close: Close, nan_filled_empty: None) -> None:
    lengths = [2, 5, 0, 3]
    call = make_call(
        VARIANTS[name], 5, 4, lengths=lengths, resets="given", num_layers=2, bidirectional=True, backend=engine,
        compute="bfloat16",
    )  # fmt: skip
    for one in results(call, call.expected(), ragged=True):
        close(one.actual, one.expected, one.quantity, np.float32, "bfloat16")


@pytest.mark.parametrize("name", ["elman_tanh", "lstm", "gru_carry_after"])
@pytest.mark.parametrize("engine", BACKENDS)
def test_one_step_is_as_near_as_float32(engine: str, name: str, close: Close) -> None:
    """What it multiplies is given, so that engine and oracle round the same numbers; float32 products are far off."""
    call = make_call(VARIANTS[name], 1, 4, input_size=6, hidden_size=9, backend=engine, compute="bfloat16")
    expected = call.expected()
    for one in results(call, expected, ragged=False):
        if one.quantity != "gradient":
            close(one.actual, one.expected, one.quantity)
    exact = make_call(VARIANTS[name], 1, 4, input_size=6, hidden_size=9, backend=engine)
    assert (
        np.abs(exact.rnn(exact.x, exact.state if name == "lstm" else exact.state[0])[0] - expected.output).max() > 1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "hidden", "heads"),
    [
        ("lstm", 24, 3),
        ("slstm", 24, 3),
        ("gru_candidate_before", 40, 2),
        ("lstm", 21, 3),
        ("gru_candidate_before", 21, 3),
        ("slstm", 66, 6),
    ],
)
def test_heads(name: str, hidden: int, heads: int, close: Close, nan_filled_empty: None) -> None:
    """A head may begin within a pair, where it has an odd number of units."""
    options: dict[str, Any] = {
        "input_size": 5,
        "hidden_size": hidden,
        "heads": heads,
        "backend": "numba",
        "compute": "bfloat16",
    }
    call = make_call(VARIANTS[name], 3, 5, **options)
    for one in results(call, call.expected(), ragged=False):
        close(one.actual, one.expected, one.quantity, np.float32, "bfloat16")


@pytest.mark.parametrize("sizes", [(0, 3, 2, 4), (3, 0, 2, 4), (3, 2, 0, 4), (2, 1, 1, 1)])
@pytest.mark.parametrize("cell", ["lstm", "gru", "projected"])
def test_nothing_to_compute(cell: str, sizes: tuple[int, int, int, int], close: Close) -> None:
    numba, numpy = (everything(backend, cell, sizes, compute="bfloat16") for backend in BACKENDS)
    for value, reference in zip(numba, numpy, strict=True):
        close(value, reference, "gradient", np.float32, "bfloat16")


@pytest.mark.parametrize("cell", CELLS)
def test_any_number_of_threads_gives_the_same_bits(cell: str, all_threads: None) -> None:
    for sizes in ((5, 70, 33, 90), (3, 2, 600, 70)):
        one = everything("numba", cell, sizes, num_threads=1, compute="bfloat16")
        for threads in (2, 5):
            others = everything("numba", cell, sizes, num_threads=threads, compute="bfloat16")
            for value, reference in zip(others, one, strict=True):
                np.testing.assert_array_equal(value, reference)


def test_a_row_has_the_same_bits_in_every_batch() -> None:
    rnn = Recurrent("lstm", 40, 70, seed=0, backend="numba", compute="bfloat16")
    x = np.random.default_rng(0).standard_normal((6, 50, 40)).astype(np.float32)
    output, _ = rnn(x)
    np.testing.assert_array_equal(rnn(x[:, 7:8])[0], output[:, 7:8])
    np.testing.assert_array_equal(rnn(x[:, :9])[0], output[:, :9])


@pytest.mark.parametrize("engine", BACKENDS)
def test_nan_and_infinity_stay_in_their_rows(engine: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
    x[1, 2, 3], x[0, 4, 1] = np.nan, np.inf
    output, _ = Recurrent("lstm", 5, 33, seed=0, backend=engine, compute="bfloat16")(x)
    assert np.isnan(output[1:, 2]).all()
    assert np.isfinite(output[0, 2]).all()
    assert np.isfinite(output[:, [0, 1, 3, 5]]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute": "float16"}, "compute: expected 'float32' or 'bfloat16', got 'float16'"),
        (
            {"compute": "int8"},
            "compute: expected 'float32' or 'bfloat16', got 'int8': freeze(weights='int8') has it, for inference",
        ),
        (
            {"compute": "bfloat16", "dtype": "float64"},
            "compute: expected 'float64' with dtype='float64', got 'bfloat16'",
        ),
        ({"compute": "float32", "dtype": "float64"}, "compute: expected 'float64' with dtype='float64', got 'float32'"),
        ({"compute": 16}, "compute: expected 'float32' or 'bfloat16', got 16"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Recurrent("lstm", 2, 3, backend="numpy", **options)


def test_backends_without_it_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.module("numpy"), "precisions", ())
    with pytest.raises(ValueError, match=r"compute: expected no 'bfloat16' with backend='numpy'.*take backend='numba'"):
        Recurrent("lstm", 2, 3, backend="numpy", compute="bfloat16")
    assert registry.module("cuda").precisions == ()


def test_the_network_says_it() -> None:
    rnn = Recurrent("lstm", 2, 3, backend="numba", compute="bfloat16")
    assert rnn.compute == "bfloat16"
    assert "compute='bfloat16'" in repr(rnn)
    assert "bfloat16" in rnn.impl(3, 2)
    assert [Recurrent("lstm", 2, 3, dtype=dtype).compute for dtype in ("float32", "float64")] == ["float32", "float64"]
    assert "compute" not in repr(Recurrent("lstm", 2, 3))


def test_scales_are_kept_by_their_own_products() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 33)).astype(np.float32) * np.float32(10.0) ** rng.integers(-30, 30, (200, 1))
    rows = np.concatenate([rows, np.zeros((1, 33)), np.full((1, 33), 1e-40)]).astype(np.float32)
    scale = scales(rows)
    whole, rounded = to_whole(rows, scale), to_int8(rows)
    np.testing.assert_array_equal(np.abs(whole[:200]).max(axis=1), 127)
    assert np.all(np.abs(rounded - rows) <= scale * 0.5001 + 1e-39)
    np.testing.assert_array_equal(scales(rounded), scale)
    np.testing.assert_array_equal(to_int8(rounded), rounded)
    for row, exact in zip(rows, rounded, strict=True):
        np.testing.assert_array_equal(oracle_int8([*map(float, row)]), exact)
    rows[3, 4], rows[5, 6] = np.inf, np.nan
    assert np.isnan(to_int8(rows)[[3, 5]]).all()


def test_files_keep_it(tmp_path: Path) -> None:
    rnn = Recurrent("lstm", 2, 3, backend="numpy", compute="bfloat16", seed=0)
    rnn.save(tmp_path / "rnn.safetensors")
    assert Recurrent.load(tmp_path / "rnn.safetensors", backend="numpy").compute == "bfloat16"


def test_rounding_is_to_the_nearest_and_of_two_to_the_even() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, 2000, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = np.concatenate([bits, ties]).view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) > 1e-37) & (np.abs(values) < 3.3e38)]
    np.testing.assert_array_equal(to_bfloat16(values), [oracle_bfloat16(float(value)) for value in values])
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38], np.float32)
    np.testing.assert_array_equal(to_bfloat16(special), [np.nan, np.inf, -np.inf, 0.0, -0.0, np.inf])


def test_own_inputs_and_states(close: Close) -> None:
    """Values beside products are not rounded."""
    rnns = [Recurrent(make_cell("irregular", 8), 3, 8, seed=0, backend=b, compute="bfloat16") for b in BACKENDS]
    x = np.zeros((3, 2, 3), np.float32)
    given = extra_inputs("irregular", (3, 2, 8), np.float32)
    numba, numpy = (as_tuple(rnn(x, inputs=given)[1]) for rnn in rnns)
    for value, reference in zip(numba, numpy, strict=True):
        close(value, reference, "state", np.float32, "bfloat16")


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "reverse": ({"direction": "reverse"}, {}),
    "ready": ({"input_size": None}, {}),
    "a head begins within a word": ({"heads": 3}, {}),
    "batch_first, resets, all states": (
        {"batch_first": True},
        {"resets": np.arange(20).reshape(5, 4) % 3 == 0, "states": "all"},
    ),
    "ragged": ({"bidirectional": True, "num_layers": 2}, {"lengths": [4, 0, 2, 3, 1]}),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CALLS)
def test_other_ways_to_call(name: str, precision: str, nan_filled_empty: None, all_threads: None) -> None:
    """A number that lies between two rounded ones may go either way."""
    options, given = CALLS[name]
    first = options.get("batch_first", False)
    x = np.random.default_rng(0).standard_normal((5, 4, 72) if first else (4, 5, 72)).astype(np.float32)
    sizes = {"input_size": 72, "hidden_size": 18, "seed": 0, **options}
    numba, numpy = (Recurrent("lstm", backend=b, **sizes).freeze(precision)(x, **given) for b in BACKENDS)
    for value, reference in zip(output_and_states(numba), output_and_states(numpy), strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=0.02)
        assert np.abs(value - reference).mean() < 1e-4


def output_and_states(result: tuple[Any, Any]) -> list[Any]:
    return [*as_tuple(result[0]), *as_tuple(result[1])]
