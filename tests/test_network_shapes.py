"""Networks of other shapes: recurrent weights in heads, an x that holds the gates' parts of it, projections by name."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pytest
import safetensors
from conftest import Array, Close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_cells import irregular
from test_against_oracle import check

from rnncore import Recurrent
from rnncore.cells import GRU, LSTM, SLSTM, Elman, IndRNN
from rnncore.verification.networks import VARIANTS, make_call
from rnncore.verification.reference import derivative_errors
from rnncore.verification.results import streamed
from rnncore.verification.tolerances import DIFFERENCES

CELLS = {
    "lstm": LSTM(),
    "lstm_projection": LSTM(projection=6, peephole=True),
    "gru_after": GRU(),
    "gru_before": GRU(reset="before"),
    "elman": Elman("relu"),
    "slstm": SLSTM(),
    "layernorm_gru": VARIANTS["layernorm_gru"],
}


CALLS = drawn.calls(
    cell=st.sampled_from([*CELLS.values()]),
    resets=drawn.resets(),
    states=st.booleans(),
    input_size=st.sampled_from([None, 0, 3]),
    hidden_size=st.sampled_from([6, 12, 18, 30]),
    heads=st.sampled_from([1, 2, 3, 6]),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=CALLS, unbatched=st.booleans(), layout=st.sampled_from(["", "strided", "fortran", "read-only"]))
def test_any_call(
    backend: str, options: dict[str, Any], unbatched: bool, layout: str, close: Close, nan_filled_empty: None
) -> None:
    if backend == "ptx":
        pytest.skip("each program takes seconds to compile; the next test has some")
    unbatched = unbatched and options["batch"] == 1
    check(make_call(**options, backend=backend), close, lengths=options["lengths"], unbatched=unbatched, layout=layout)


@pytest.mark.parametrize(
    ("name", "hidden_size", "heads"), [("lstm", 40, 4), ("gru_before", 15, 3), ("lstm_projection", 24, 3)]
)
def test_heads_and_ready_parts_of_x(
    backend: str, name: str, hidden_size: int, heads: int, close: Close, nan_filled_empty: None
) -> None:
    lengths = [3, 1, 2]
    options: dict[str, Any] = {"hidden_size": hidden_size, "heads": heads, "lengths": lengths, "backend": backend}
    check(make_call(CELLS[name], 3, 3, input_size=None, **options), close, lengths=lengths)


def test_finite_differences(nan_filled_empty: None) -> None:
    options: dict[str, Any] = {"input_size": None, "hidden_size": 6, "heads": 3, "num_layers": 2, "dtype": "float64"}
    call = make_call(irregular, 3, 2, bidirectional=True, resets="given", backend="numpy", **options)
    for name, error in derivative_errors(call):
        assert error <= DIFFERENCES, name


def test_a_stream_of_steps(backend: str, close: Close) -> None:
    if backend == "ptx":
        pytest.skip("the same kernels as those of whole sequences")
    call = make_call(CELLS["gru_before"], 4, 3, input_size=None, hidden_size=12, heads=2, num_layers=2, backend=backend)
    for one in streamed(call, call.expected()):
        close(one.actual, one.expected, one.quantity, call.rnn.dtype)


@pytest.mark.parametrize(("hidden_size", "heads"), [(512, 4), (60, 5)])
def test_heads_are_a_matrix_with_zeros_around_them(hidden_size: int, heads: int) -> None:
    """Large enough for several groups of units of each head, of which several are computed at once where rows are few."""
    divided = Recurrent("lstm", 3, hidden_size, heads=heads, backend="numba", seed=0)
    whole = Recurrent("lstm", 3, hidden_size, backend="numba")
    whole.load_state_dict(divided.parameters.without_heads())
    x = random(9, 2, 3)
    for rows in (1, 2):
        (output, _, tape), (expected, _, other) = (rnn.forward(x[:, :rows]) for rnn in (divided, whole))
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
        found, wanted = (rnn.backward(t, output) for rnn, t in ((divided, tape), (whole, other)))
        np.testing.assert_allclose(found.x, wanted.x, rtol=0, atol=1e-5)
        of_heads = wanted.parameters["weight_hh_l0"].reshape(4, heads, hidden_size // heads, heads, -1)
        each = np.stack([of_heads[:, k, :, k] for k in range(heads)], axis=1)
        np.testing.assert_allclose(
            found.parameters["weight_hh_l0"], each.reshape(4 * hidden_size, -1), rtol=0, atol=1e-5
        )


def test_any_number_of_threads_computes_the_same_bits() -> None:
    x, results = random(5, 3, 4 * 96), []
    for threads in (1, 2):
        rnn = Recurrent("slstm", None, 96, heads=3, backend="numba", num_threads=threads, seed=0)
        output, _, tape = rnn.forward(np.concatenate([x] * 12, axis=1))
        grads = rnn.backward(tape, output)
        results.append([output, rnn(x)[0], grads.x, *grads.parameters.values()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_the_gates_of_an_lstm_read_is_x_times_its_input_weights() -> None:
    ready, usual = (Recurrent("lstm", size, 5, seed=0, backend="numpy", dtype="float64") for size in (None, 3))
    assert list(ready.parameters) == ["weight_hh_l0", "bias_hh_l0"]
    for name, values in ready.parameters.items():
        usual.parameters[name] = values
    x = random(4, 2, 3).astype(np.float64)
    parts = x @ usual.parameters["weight_ih_l0"].T + usual.parameters["bias_ih_l0"]
    output, _, tape = ready.forward(parts)
    expected, _, other = usual.forward(x)
    np.testing.assert_allclose(output, expected, rtol=1e-12)
    of_x = ready.backward(tape, output).x @ usual.parameters["weight_ih_l0"]
    np.testing.assert_allclose(of_x, usual.backward(other, output).x, rtol=1e-12, atol=1e-14)
    for found, wanted in zip(ready.observe(parts), usual.observe(x), strict=True):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12)
    assert ready.observe(parts)[0].keys() == {"h", "c", "i", "f", "g", "o"}


def test_generation_takes_a_feedback_of_ready_parts() -> None:
    rnn = Recurrent("gru", None, 4, backend="numpy", seed=0)
    x = random(2, 12)
    outputs, _ = rnn.generate(x, 3, feedback=lambda h: np.concatenate([h] * 3, axis=-1))
    second, state = rnn.step(x)
    np.testing.assert_array_equal(outputs[1], rnn.step(np.concatenate([second] * 3, axis=-1), state)[0])


def random(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def network(cell: Any = "gru", input_size: int | None = None, **options: Any) -> Recurrent:
    return Recurrent(cell, input_size, 6, **{"heads": 3, "num_layers": 2, "backend": "numpy", "seed": 0, **options})


def saved(rnn: Recurrent, folder: Path) -> Recurrent:
    rnn.save(folder / "rnn")
    return Recurrent.load(folder / "rnn", backend="numpy")


KEPT: dict[str, Callable[[Recurrent, Path], Recurrent]] = {
    "pickle": lambda rnn, folder: pickle.loads(pickle.dumps(rnn)),
    "state_dict": lambda rnn, folder: Recurrent.from_state_dict(rnn.state_dict(), backend="numpy"),
    "a pickle of it": lambda rnn, folder: Recurrent.from_state_dict(
        pickle.loads(pickle.dumps(rnn.state_dict())), backend="numpy"
    ),
    "parameters": lambda rnn, folder: Recurrent.from_state_dict(rnn.parameters, backend="numpy"),
    "a dict": lambda rnn, folder: Recurrent.from_state_dict(
        dict(rnn.state_dict()), "rnncore", cell=rnn.cell, heads=3, backend="numpy"
    ),
    "a file": saved,
}


@pytest.mark.parametrize("input_size", [None, 5])
@pytest.mark.parametrize("way", KEPT)
def test_the_shape_is_kept(way: str, input_size: int | None, tmp_path: Path) -> None:
    rnn = network(input_size=input_size)
    assert f"input_size={input_size}, hidden_size=6, num_layers=2, heads=3" in repr(rnn)
    other = KEPT[way](rnn, tmp_path)
    assert (other.heads, other.input_size) == (3, input_size)
    x = random(4, 2, 5 if input_size else 18)
    np.testing.assert_array_equal(other(x)[0], rnn(x)[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", ["indrnn", "mingru"])
def test_networks_whose_first_layer_has_no_weights(cell: str, bias: bool, tmp_path: Path) -> None:
    """Sizes and biases are told by the layers above; where there cannot be a bias, it is the default."""
    rnn = network(cell, bias=bias, bidirectional=True, learn_initial_state=True, heads=1)
    assert not any(name.endswith("h_l0") for name in rnn.parameters)
    for way in ("state_dict", "a file"):
        assert repr(KEPT[way](rnn, tmp_path)) == repr(rnn)
    assert Recurrent.from_state_dict(network("indrnn", heads=1, num_layers=1).state_dict(), backend="numpy").bias
    with pytest.raises(ValueError, match=re.escape("weight_ih_l0 among them, whose shapes give the sizes, got none")):
        Recurrent.from_state_dict(network("mingru", heads=1, num_layers=1).state_dict(), backend="numpy")


def test_files_of_such_networks_are_of_a_later_version(tmp_path: Path) -> None:
    versions = []
    for options in ({"heads": 1, "input_size": 3}, {"input_size": 3}, {"heads": 1}):
        network(**options).save(tmp_path / "rnn")
        with safetensors.safe_open(tmp_path / "rnn", framework="numpy") as file:
            versions.append(file.metadata()["format_version"])
            assert "heads" in json.loads(file.metadata()["architecture"])
    assert versions == ["1", "2", "2"]


def test_proj_size_is_the_projection_of_an_lstm() -> None:
    rnn = Recurrent("lstm", 3, 6, proj_size=2, backend="numpy", seed=0)
    other = Recurrent(LSTM(projection=2), 3, 6, backend="numpy", seed=0)
    assert repr(rnn) == repr(other)
    assert rnn.parameters["weight_hr_l0"].shape == (2, 6)
    np.testing.assert_array_equal(rnn(random(4, 2, 3))[0], other(random(4, 2, 3))[0])


def test_pytorch_gets_the_zeros_around_heads() -> None:
    pytest.importorskip("torch")
    import torch

    rnn = network("lstm", 5, bidirectional=True)
    module, x = rnn.to_torch(), random(4, 2, 5)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(rnn(x)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("input_size", [None, 5])
def test_inside_pytorch(input_size: int | None) -> None:
    pytest.importorskip("torch")
    import torch

    from rnncore.torch import Recurrent as Module

    module = Module("gru", input_size, 6, num_layers=2, bidirectional=True, heads=3)
    rnn = Recurrent.from_state_dict(module.state_dict())
    assert (rnn.heads, rnn.input_size) == (3, input_size)
    x = random(4, 2, 5 if input_size else 18)
    tensor = torch.from_numpy(x).requires_grad_()
    output, _ = module(tensor)
    output.backward(output.detach())
    expected, _, tape = rnn.forward(x)
    grads = rnn.backward(tape, expected)
    np.testing.assert_array_equal(output.detach(), expected)
    np.testing.assert_array_equal(tensor.grad, grads.x)
    for name, parameter in module.named_parameters():
        np.testing.assert_array_equal(parameter.grad, grads.parameters[name])


@pytest.mark.parametrize("input_size", [None, 5])
def test_inside_jax(input_size: int | None) -> None:
    jax = pytest.importorskip("jax")
    from rnncore.jax import recurrent

    rnn = network("gru", input_size, bidirectional=True, backend="numba")
    x, parameters = random(4, 2, 5 if input_size else 18), dict(rnn.state_dict())

    def loss(parameters: Any, x: Any) -> Any:
        output, _ = recurrent(parameters, x, cell="gru", heads=3)
        return (output**2).sum() / 2

    expected, _, tape = rnn.forward(x)
    grads = rnn.backward(tape, expected)
    of_parameters, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(parameters, x)
    np.testing.assert_allclose(of_x, grads.x, rtol=1e-5, atol=1e-6)
    for name, values in grads.parameters.items():
        np.testing.assert_allclose(of_parameters[name], values, rtol=1e-5, atol=1e-6)


def test_onnx_gets_the_zeros_around_heads() -> None:
    evaluate = pytest.importorskip("onnx.reference")
    rnn, x = network("lstm", 5, num_layers=1), random(4, 2, 5)
    expected = evaluate.ReferenceEvaluator(rnn.to_onnx()).run(None, {"x": x})[0]
    np.testing.assert_allclose(rnn(x)[0], expected, rtol=0, atol=1e-6)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "heads that do not divide H": (lambda: network(heads=4), "heads: expected a divisor of hidden_size=6, got 4"),
    "no heads": (lambda: network(heads=0), "heads: expected an integer of at least 1, got 0"),
    "heads that do not divide P": (
        lambda: network(LSTM(projection=4), 2),
        "heads: expected a divisor of 4, the width of the output of LSTM(projection=4), got 3",
    ),
    "heads of nothing": (
        lambda: network(IndRNN(), 2),
        "heads: expected 1 for IndRNN(), which has no recurrent weights, got 3",
    ),
    "a projection of a GRU": (
        lambda: network("gru", 2, proj_size=3),
        "proj_size: expected 0 with GRU(update='candidate', reset='after'), as LSTM() alone takes a width, got 3",
    ),
    "two projections": (
        lambda: network(LSTM(projection=2), 2, proj_size=3),
        "proj_size: expected 0 with LSTM(projection=2), as LSTM() alone takes a width, got 3",
    ),
    "a width that is none": (
        lambda: network("lstm", 2, proj_size=-1),
        "proj_size: expected an integer of at least 0, got -1",
    ),
    "an x of another width": (
        lambda: network()(random(4, 2, 6)),
        "x: expected (T, B, 3*hidden_size=18), got (4, 2, 6)",
    ),
    "a step of another width": (
        lambda: network().step(random(2, 6)),
        "x_t: expected (B, 3*hidden_size=18), or (3*hidden_size=18,) without a batch, got (2, 6)",
    ),
    "generation without feedback": (
        lambda: network().generate(random(2, 18), 3),
        "feedback: expected a function from an output (B, hidden_size=6) to the next input (B, 3*hidden_size=18), got",
    ),
    "weights of another number of heads": (
        lambda: network(heads=2).load_state_dict(network().state_dict()),
        "weight_hh_l0: expected (3*hidden_size, hidden_size/2) = (18, 3), got (18, 2)",
    ),
    "PyTorch's GRU, whose update gate is the other way round": (
        lambda: network().load_state_dict(dict(network().state_dict()), convention="torch"),
        "convention: expected None or 'rnncore' with input_size=None and GRU(update='candidate', reset='after'), got",
    ),
    "to PyTorch": (lambda: network().to_torch(), "to_torch: input_size=None has no counterpart in PyTorch, whose mod"),
    "to ONNX": (lambda: network().to_onnx(), "to_onnx: input_size=None has no counterpart in ONNX, whose operators"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_weights_of_x_where_there_are_none() -> None:
    ready, others = network(), Recurrent("gru", 5, 6, backend="numpy")
    with pytest.raises(
        KeyError, match=r"unknown \['weight_ih_l0', 'bias_ih_l0'\]: make the network with an input_size"
    ):
        ready.load_state_dict(others.state_dict())


def test_a_cell_whose_gates_read_no_x_has_no_ready_parts() -> None:
    from rnncore.cells import cell

    @cell(states="h", gates="a", row_inputs="u")
    def without_x(h: Any, a: Any, u: Any) -> Any:
        return 0.5 * h + u * a.h

    with pytest.raises(
        ValueError, match="input_size: expected a number for without_x, no gate of which reads x, got N"
    ):
        Recurrent(without_x, None, 4)
