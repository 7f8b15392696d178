"""Training: tapes, dropout, truncated back-propagation, clipping, and that it learns."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any, cast

import numpy as np
import pytest
from conftest import Close
from networks import make_call

from rnncore import Elman, Recurrent, clip_grad_norm
from rnncore.states import as_tuple, unwrap_state
from rnncore_kernels.numpy import NumpyEngine


def test_forward_is_the_call(backend: str) -> None:
    call = make_call("lstm", 5, 3, num_layers=2, bidirectional=True, dropout=0.0, backend=backend)
    output, state = call.rnn(call.x, unwrap_state(call.state))
    trained, trained_state, _ = call.rnn.forward(call.x, unwrap_state(call.state))
    np.testing.assert_array_equal(trained, output)
    for value, expected in zip(trained_state, state, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_cotangents_of_none_are_zero(backend: str, close: Close) -> None:
    call = make_call("gru_candidate_after", 5, 3, backend=backend)
    _, _, tape = call.rnn.forward(call.x, unwrap_state(call.state))
    zero_output, zero_state = np.zeros_like(call.grad_output), np.zeros_like(call.grad_state[0])
    for given, full in (
        ((call.grad_output, None), (call.grad_output, zero_state)),
        ((None, call.grad_state[0]), (zero_output, call.grad_state[0])),
    ):
        grads, expected = call.rnn.backward(tape, *given), call.rnn.backward(tape, *full)
        close(grads.x, expected.x, "gradient")
        close(grads.state, expected.state, "gradient")
        for name, value in grads.parameters.items():
            close(value, expected.parameters[name], "gradient")


@pytest.mark.parametrize("name", ["lstm", "gru_carry_after", "gru_carry_before"])
def test_a_tape_outlives_changes_to_all_it_saw(backend: str, name: str) -> None:
    call = make_call(name, 5, 3, num_layers=2, bidirectional=True, lengths=[5, 2, 4], backend=backend)
    output, _, tape = call.rnn.forward(call.x, unwrap_state(call.state), call.lengths)
    first = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    again = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    output[...] = 0
    call.x[...] = 0
    for values in (*call.rnn.parameters.values(), *call.state):
        values[...] = 0
    later = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    for other in (again, later):
        np.testing.assert_array_equal(other.x, first.x)
        for name, value in other.parameters.items():
            np.testing.assert_array_equal(value, first.parameters[name])


def test_cotangents_are_not_written(backend: str) -> None:
    call = make_call("lstm", 5, 3, backend=backend)
    for array in (call.x, call.grad_output, *call.state, *call.grad_state):
        array.setflags(write=False)
    _, _, tape = call.rnn.forward(call.x, call.state)
    grads = call.rnn.backward(tape, call.grad_output, call.grad_state)
    for array in (grads.x, *grads.state, *grads.parameters.values()):
        assert array.flags.writeable


@pytest.mark.parametrize("name", ["lstm", "gru_carry_after"])
def test_windows_with_the_state_passed_on_are_the_whole(backend: str, name: str, close: Close) -> None:
    """The chain rule over two windows: back-propagating the state's cotangent makes truncation exact."""
    call = make_call(name, 6, 3, num_layers=2, dtype="float64", backend=backend)
    _, _, tape = call.rnn.forward(call.x, unwrap_state(call.state))
    whole = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    _, middle, early = call.rnn.forward(call.x[:4], unwrap_state(call.state))
    _, _, late = call.rnn.forward(call.x[4:], middle)
    grads_late = call.rnn.backward(late, call.grad_output[4:], unwrap_state(call.grad_state))
    grads_early = call.rnn.backward(early, call.grad_output[:4], grads_late.state)
    close(np.concatenate([grads_early.x, grads_late.x]), whole.x, "gradient")
    for value, expected in zip(as_tuple(grads_early.state), as_tuple(whole.state), strict=True):
        close(value, expected, "gradient")
    for key, value in whole.parameters.items():
        close(grads_early.parameters[key] + grads_late.parameters[key], value, "gradient")


def test_dropout_of_everything(backend: str) -> None:
    rnn = Recurrent("gru", 4, 5, num_layers=2, dropout=1.0, seed=0, backend=backend)
    _, _, tape = rnn.forward(np.ones((3, 2, 4), np.float32))
    grads = rnn.backward(tape, np.ones((3, 2, 5), np.float32))
    assert not grads.x.any()
    assert not grads.parameters["weight_ih_l1"].any()
    assert grads.parameters["weight_hh_l1"].any()


def test_dropout_is_untouched_by_a_refused_call(backend: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "dropout": 0.5, "seed": 3, "backend": backend}
    rnn, other = Recurrent("gru", 4, 5, **options), Recurrent("gru", 4, 5, **options)
    x = np.ones((3, 2, 4), np.float32)
    with pytest.raises(ValueError, match="lengths"):
        rnn.forward(x, lengths=[9, 9])
    np.testing.assert_array_equal(rnn.forward(x)[0], other.forward(x)[0])


def test_a_call_that_failed_drops_the_same_when_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rnn, other = (Recurrent("gru", 4, 5, num_layers=3, dropout=0.5, seed=3, backend="numpy") for _ in range(2))
    x, calls, forward = np.ones((3, 2, 4), np.float32), [0], NumpyEngine.forward

    def fail(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise MemoryError("no memory left")
        return forward(*arguments)

    with monkeypatch.context() as failing:
        failing.setattr(NumpyEngine, "forward", fail)
        with pytest.raises(MemoryError):
            rnn.forward(x)
    np.testing.assert_array_equal(rnn.forward(x)[0], other.forward(x)[0])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_learns_to_remember_the_first_input(backend: str, cell: str) -> None:
    rnn = Recurrent(cell, 1, 16, seed=0, backend=backend)
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal(16).astype(np.float32) / 4
    losses = []
    for _ in range(200):
        x = rng.choice([-1.0, 1.0], (6, 32, 1)).astype(np.float32)
        output, _, tape = rnn.forward(x)
        error = output[-1] @ decoder - x[0, :, 0]
        losses.append(float(np.mean(error**2)))
        grad_output = np.zeros_like(output)
        grad_output[-1] = error[:, None] * decoder / 16
        grads = rnn.backward(tape, grad_output)
        decoder -= 0.3 * error @ output[-1] / 16
        clip_grad_norm(grads, 1.0)
        for name, values in rnn.parameters.items():
            values -= 0.3 * grads.parameters[name]
    assert np.mean(losses[-20:]) < 0.1 * losses[0]


def test_clip_grad_norm(backend: str) -> None:
    call = make_call("lstm", 5, 3, backend=backend)
    _, _, tape = call.rnn.forward(call.x)
    grads = call.rnn.backward(tape, call.grad_output)
    before = {name: value.copy() for name, value in grads.parameters.items()}
    norm = np.sqrt(sum(float((value.astype(float) ** 2).sum()) for value in before.values()))
    assert clip_grad_norm(grads, 2 * norm) == pytest.approx(norm)
    np.testing.assert_array_equal(grads.parameters["weight_ih_l0"], before["weight_ih_l0"])
    assert clip_grad_norm(grads, norm / 4) == pytest.approx(norm)
    for name, value in grads.parameters.items():
        np.testing.assert_allclose(value, before[name] / 4, rtol=1e-5)
        assert value.dtype == np.float32
    assert clip_grad_norm({"a": np.array([3.0]), "b": np.array([4.0])}, 1.0) == pytest.approx(5)
    infinite = {"a": np.array([np.inf, 1.0])}
    assert clip_grad_norm(infinite, 1.0) == np.inf
    assert infinite["a"][1] == 1.0
    for order in ("ab", "ba"):
        with_nan = {name: np.zeros(2) if name == "a" else np.array([np.nan, 1.0]) for name in order}
        assert np.isnan(clip_grad_norm(with_nan, 1.0))
        assert with_nan["b"][1] == 1.0
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="max_norm: expected a number above 0"):
            clip_grad_norm(grads, wrong)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda rnn: pickle.loads(pickle.dumps(rnn))])
def test_copies_are_independent(backend: str, duplicate: Any) -> None:
    call = make_call("gru_carry_before", 5, 3, num_layers=2, dropout=0.5, backend=backend, num_threads=3)
    other = duplicate(call.rnn)
    assert repr(other) == repr(call.rnn)
    assert (other.backend, other.num_threads) == (call.rnn.backend, 3)
    assert (type(other._engine), vars(other._engine)) == (type(call.rnn._engine), vars(call.rnn._engine))
    np.testing.assert_array_equal(other(call.x)[0], call.rnn(call.x)[0])
    np.testing.assert_array_equal(other.forward(call.x)[0], call.rnn.forward(call.x)[0])
    other.parameters["weight_hh_l0"][...] = 0
    assert call.rnn.parameters["weight_hh_l0"].any()


def test_clip_grad_norm_scales_all_or_nothing() -> None:
    fixed = np.array([3.0])
    fixed.flags.writeable = False
    for other, error, message in (
        (fixed, ValueError, r"grads\['b'\]: expected an array that can be written to, got a read-only one: copy it"),
        (
            np.array([3]),
            TypeError,
            r"grads\['b'\]: expected an array of floating-point numbers, got numpy.ndarray \(1,\)",
        ),
        ([3.0], TypeError, r"grads\['b'\]: expected an array of floating-point numbers, got list \[3.0\]"),
    ):
        grads: dict[str, Any] = {"a": np.array([4.0]), "b": other}
        with pytest.raises(error, match=message):
            clip_grad_norm(grads, 1.0)
        assert grads["a"][0] == 4


def test_clip_grad_norm_of_one_array_twice() -> None:
    array = np.full(4, 2.0)
    assert clip_grad_norm({"a": array, "b": array}, 1.0) == pytest.approx(4)
    np.testing.assert_allclose(array, 0.5)


def test_clip_grad_norm_beyond_what_numbers_hold() -> None:
    huge, large = {"a": np.full(4, 1.7e308)}, {"a": np.full(4, 1e6)}
    assert clip_grad_norm(huge, math.inf) == np.inf
    assert (huge["a"] == 1.7e308).all()
    assert clip_grad_norm(huge, 1.0) == np.inf
    np.testing.assert_allclose(huge["a"], 0.5, rtol=1e-15)
    assert clip_grad_norm(large, cast(Any, np.float16(1))) == pytest.approx(2e6)
    np.testing.assert_allclose(large["a"], 0.5)


CLIPPED: dict[str, tuple[dict[str, Any], float, dict[str, Any]]] = {
    "the factor is subnormal": ({"a": np.full(4, 1e300)}, 1e-15, {"a": 5e-16}),
    "the factor is below all numbers": ({"a": np.full(4, 1e300)}, 1e-200, {"a": 5e-201}),
    "values are subnormal": ({"a": np.full(4, 2e-310)}, 1e-310, {"a": 5e-311}),
    "float32 beside huge float64": (
        {"a": np.array([1e300]), "b": np.array([1e30, 1e-30], np.float32)},
        1e290,
        {"a": 1e290, "b": [1e20, 1e-40]},
    ),
    "a factor that float32 lacks": (
        {"a": np.array([1e50]), "b": np.array([1e30, 0], np.float32)},
        1.0,
        {"a": 1.0, "b": [1e-20, 0]},
    ),
    "float32 that counts beside float64 that float32 lacks": (
        {"a": np.array([4e38]), "b": np.array([3e38], np.float32)},
        1.0,
        {"a": 0.8, "b": 0.6},
    ),
    "float32 near its end": ({"a": np.full(4, 3e38, np.float32)}, 1.0, {"a": 0.5}),
    "float32 zeros beside subnormal float64": (
        {"a": np.full(4, 2e-310), "b": np.zeros(1, np.float32)},
        1e-310,
        {"a": 5e-311, "b": 0},
    ),
    "float16": ({"a": np.full(4, 6e4, np.float16)}, 1e-3, {"a": 5e-4}),
    "values of every size": ({"a": np.array([1e308, 1e-308, 5e-324, 0])}, 1e-8, {"a": [1e-8, 0, 0, 0]}),
}


@pytest.mark.parametrize("case", CLIPPED)
@pytest.mark.parametrize("errors", ["ignore", "warn", "raise"])
def test_clip_grad_norm_scales_what_it_can(case: str, errors: Any) -> None:
    """Whatever the caller's errstate is; a warning would be an error here."""
    given, max_norm, expected = CLIPPED[case]
    grads = {name: array.copy() for name, array in given.items()}
    with np.errstate(all=errors):
        clip_grad_norm(grads, max_norm)
        assert set(np.geterr().values()) == {errors}
    rtol = 4 * max(float(np.finfo(array.dtype).eps) for array in grads.values())
    for name, array in grads.items():
        smallest = float(np.finfo(array.dtype).smallest_subnormal)
        np.testing.assert_allclose(array.astype(float), np.broadcast_to(expected[name], array.shape), rtol, smallest)
        assert array.dtype == given[name].dtype


def test_clip_grad_norm_is_silent_where_it_clips_nothing() -> None:
    grads: dict[str, Any] = {"a": np.array([1e300, 1e-300]), "b": np.array([1.0], np.float32)}
    with np.errstate(all="raise"):
        assert clip_grad_norm(grads, 1e301) == 1e300
        assert clip_grad_norm({"a": np.array([np.nan])}, 1.0) != 0
    assert grads["a"].tolist() == [1e300, 1e-300]


def test_clip_grad_norm_of_huge_values() -> None:
    for array in (np.full(4, 1e200), np.full(4, 1e30, np.float32)):
        norm = clip_grad_norm({"a": array}, 1.0)
        assert norm == pytest.approx(2 * float(norm / 2))
        np.testing.assert_allclose(array, 0.5, rtol=1e-6)
    assert clip_grad_norm({"a": np.zeros(3), "b": np.zeros(0)}, 1.0) == 0
    assert np.isnan(clip_grad_norm({"a": np.array([np.nan, 1])}, 1.0))
    for wrong in ("x", None):
        with pytest.raises(ValueError, match="max_norm: expected a number above 0, got "):
            clip_grad_norm({}, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="grads: expected the result of backward or a mapping of arrays, got list"):
        clip_grad_norm([1], 1.0)  # type: ignore[arg-type]


def test_overflow_is_silent(backend: str) -> None:
    """Where finite values become infinite, in any part of a call, there is no warning (which would be an error here)."""
    # Several blocks of rows and units; the executor has them of small layers.
    batch, hidden = (9, 40) if backend == "ptx" else (70, 400)
    x = np.ones((3, batch, 4), np.float32)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "seed": 0, "backend": backend}
    rnn = Recurrent(Elman("identity"), 4, hidden, **options)
    for number, values in enumerate(rnn.parameters.values()):
        values[...] = np.float32(3e38) * (-1) ** number
    output, _, tape = rnn.forward(x)
    assert not np.isfinite(output).all()
    rnn(x)
    rnn.freeze()
    grads = rnn.backward(tape, np.full_like(output, 3e36))
    assert not np.isfinite(grads.x).all()


@pytest.mark.parametrize("cotangent", [np.inf, -np.inf, np.nan])
def test_an_inactive_unit_passes_no_cotangent_on(backend: str, cotangent: float) -> None:
    """A piecewise function selects: 0 times an infinite cotangent would be NaN."""
    call = make_call("elman_relu", 3, 2, num_layers=2, backend=backend)
    output, state, tape = call.rnn.forward(call.x, unwrap_state(call.state))
    inactive = (output == 0, state == 0)
    call.grad_output[inactive[0]] = cotangent
    call.grad_state[0][inactive[1]] = cotangent
    assert all(values.any() for values in inactive)
    grads = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    call.grad_output[inactive[0]] = 0
    call.grad_state[0][inactive[1]] = 0
    expected = call.rnn.backward(tape, call.grad_output, unwrap_state(call.grad_state))
    for name, value in {**grads.parameters, "x": grads.x, "state": grads.state}.items():
        np.testing.assert_array_equal(value, {**expected.parameters, "x": expected.x, "state": expected.state}[name])


def test_an_infinite_final_state_stays_in_its_row(backend: str) -> None:
    rnn = Recurrent(Elman("relu"), 1, 1, bias=False, backend=backend)
    for values in rnn.parameters.values():
        values[...] = 1
    x = np.array([1, np.inf, 1], np.float32).reshape(3, 1, 1)
    grad = np.array([1, 0, 0], np.float32).reshape(3, 1, 1)
    _, _, ragged = rnn.forward(x, lengths=[2])
    _, _, dense = rnn.forward(x[:2])
    expected = rnn.backward(dense, grad[:2])
    grads = rnn.backward(ragged, grad)
    np.testing.assert_array_equal(grads.x[:2], expected.x)
    for name, value in grads.parameters.items():
        np.testing.assert_array_equal(value, expected.parameters[name])
    rnn.parameters["weight_ih_l0"][...] = np.inf
    _, _, tape = rnn.forward(x, lengths=[1])
    assert not rnn.backward(tape, grad).x[1:].any()


def test_gradients_and_tape_say_what_they_are(backend: str) -> None:
    call = make_call("gru_carry_before", 5, 3, backend=backend)
    output, _, tape = call.rnn.forward(call.x)
    assert repr(tape) == "Tape(T=5, B=3)"
    with pytest.raises(TypeError, match="a tape does not pickle"):
        pickle.dumps(tape)
    assert copy.deepcopy({"tape": tape})["tape"] is tape is copy.copy(tape)
    assert repr(call.rnn.backward(tape, output)) == "Gradients(x (5, 3, 3), 4 parameters)"
