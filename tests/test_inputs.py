"""Inputs of a call beside x: shapes, gradients, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from finite_differences import BATCH, HIDDEN, STEPS, check_gradients
from own_cells import driven, irregular

from rnncore import Recurrent

T, B, WIDE, H = 5, 2, 3, 4
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, WIDE)).astype(np.float32)
dt = rng.uniform(0.5, 1.5, (T, B)).astype(np.float32)
gain = rng.uniform(0.5, 1.5, (T, B, H)).astype(np.float32)


def network(backend: str, **options: Any) -> Recurrent:
    return Recurrent(driven, WIDE, H, backend=backend, seed=0, **options)


def by_hand(rnn: Recurrent, dt: Any, gain: Any, h: Any = 0.0) -> Any:
    """The outputs of one layer in one direction, in NumPy."""
    w_x, w_h, b_x, b_h = rnn.parameters.values()
    outputs = []
    h = np.zeros((B, H)) + h
    for t in range(T):
        a = x[t] @ w_x.T + b_x + h @ w_h.T + b_h
        h = h + dt[t][:, None] * (np.tanh(a * gain[t]) - h)
        outputs.append(h)
    return np.stack(outputs)


def test_every_entry_computes_with_them(backend: str) -> None:
    rnn = network(backend)
    expected = by_hand(rnn, dt, gain)
    inputs = {"gain": gain, "dt": dt}
    output, state = rnn(x, inputs=inputs)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    np.testing.assert_allclose(rnn.forward(x, inputs=inputs)[0], expected, atol=1e-5)
    np.testing.assert_allclose(rnn.freeze()(x, inputs=inputs)[0], expected, atol=1e-5)
    last, _ = rnn(x, inputs=inputs, return_sequence=False)
    np.testing.assert_array_equal(last, output[-1])
    for steps in (rnn.step, rnn.freeze().step):
        state = None
        for t in range(T):
            y, state = steps(x[t], state, inputs={"dt": dt[t], "gain": gain[t]})
            np.testing.assert_allclose(y, expected[t], atol=1e-5)
    one, _ = rnn.step(x[0, 0], inputs={"dt": dt[0, 0], "gain": gain[0, 0]})
    np.testing.assert_allclose(one, expected[0, 0], atol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
def test_shapes_that_are_accepted(backend: str, batch_first: bool) -> None:
    """What is the same for all steps may be given once; gradients come in the shape that was given."""
    rnn = network(backend, batch_first=batch_first)

    def swapped(array: Any) -> Any:
        return array.swapaxes(0, 1) if batch_first else array

    some_x = swapped(x)
    ones = np.ones_like
    cases: list[tuple[Any, Any, Any, Any]] = [
        (swapped(dt), swapped(gain), dt, gain),
        (dt[0], gain[0], ones(dt) * dt[0], ones(gain) * gain[0]),
        (np.array(0.5, np.float32), gain[0], ones(dt) * np.float32(0.5), ones(gain) * gain[0]),
        (0.5, swapped(gain), ones(dt) * np.float32(0.5), gain),
    ]
    for given_dt, given_gain, whole_dt, whole_gain in cases:
        output, _, tape = rnn.forward(some_x, inputs={"dt": given_dt, "gain": given_gain})
        np.testing.assert_allclose(swapped(output), by_hand(rnn, whole_dt, whole_gain), atol=1e-5)
        grads = rnn.backward(tape, np.ones_like(output)).inputs
        _, _, whole_tape = rnn.forward(some_x, inputs={"dt": swapped(whole_dt), "gain": swapped(whole_gain)})
        whole = rnn.backward(whole_tape, np.ones_like(output)).inputs
        for name, given in (("dt", given_dt), ("gain", given_gain)):
            assert grads[name].shape == np.shape(given)
            assert grads[name].dtype == np.float32
            full = swapped(whole[name])
            axes = () if np.shape(given) == whole[name].shape else (0,) if np.ndim(given) else (0, 1)
            expected = whole[name] if not axes else full.sum(axes)
            np.testing.assert_allclose(grads[name], expected, atol=1e-5)


def test_without_a_batch(backend: str) -> None:
    rnn = network(backend)
    whole, _ = rnn(x[:, :1], inputs={"dt": dt[:, :1], "gain": gain[:, :1]})
    output, _, tape = rnn.forward(x[:, 0], inputs={"dt": dt[:, 0], "gain": gain[:, 0]})
    np.testing.assert_allclose(output, whole[:, 0], atol=1e-6)
    grads = rnn.backward(tape, np.ones_like(output)).inputs
    assert {name: g.shape for name, g in grads.items()} == {"dt": (T,), "gain": (T, H)}
    output, _, tape = rnn.forward(x[:, 0], inputs={"dt": 0.5, "gain": gain[0, 0]})
    grads = rnn.backward(tape, np.ones_like(output)).inputs
    assert {name: g.shape for name, g in grads.items()} == {"dt": (), "gain": (H,)}


def test_gradients_by_finite_differences(backend: str) -> None:
    for shapes in (
        {"dt": (STEPS, BATCH), "gain": (STEPS, BATCH, HIDDEN)},
        {"dt": (BATCH,), "gain": (BATCH, HIDDEN)},
        {"dt": (), "gain": (BATCH, HIDDEN)},
    ):
        check_gradients(driven, backend, shapes, num_layers=2, bidirectional=True)
    check_gradients(irregular, backend, {"dt": (STEPS, BATCH)})


def test_all_layers_and_directions_get_them_and_rows_end(backend: str) -> None:
    rnn = network(backend, num_layers=2, bidirectional=True)
    lengths = [5, 3]
    padded_dt, padded_gain = dt.copy(), gain.copy()
    padded_dt[3:, 1], padded_gain[3:, 1] = np.nan, np.nan
    output, _, tape = rnn.forward(x, lengths=lengths, inputs={"dt": padded_dt, "gain": padded_gain})
    grads = rnn.backward(tape, np.ones_like(output))
    alone, _, alone_tape = rnn.forward(x[:3, 1:], inputs={"dt": dt[:3, 1:], "gain": gain[:3, 1:]})
    np.testing.assert_allclose(output[:3, 1:], alone, atol=1e-6)
    inferred, _ = rnn(x, lengths=lengths, inputs={"dt": padded_dt, "gain": padded_gain})
    np.testing.assert_allclose(inferred, output, atol=1e-6)
    expected = rnn.backward(alone_tape, np.ones_like(alone)).inputs
    for name, values in grads.inputs.items():
        np.testing.assert_allclose(values[:3, 1:], expected[name], atol=1e-5)
        assert not values[3:, 1].any()


def test_arrays_that_are_views_and_change_later(backend: str) -> None:
    rnn = network(backend)
    expected, _, tape = rnn.forward(x, inputs={"dt": dt, "gain": gain})
    grads = rnn.backward(tape, np.ones_like(expected)).inputs
    wide_dt, wide_gain = np.repeat(dt, 2, 1)[:, ::2], np.repeat(gain, 2, 2)[..., ::2]
    reversed_dt = np.ascontiguousarray(dt[:, ::-1])[:, ::-1]
    reversed_dt.setflags(write=False)
    for view_dt, view_gain in ((wide_dt, wide_gain), (reversed_dt, np.asfortranarray(gain))):
        np.testing.assert_array_equal(
            rnn(x, inputs={"dt": view_dt, "gain": view_gain})[0], rnn(x, inputs={"dt": dt, "gain": gain})[0]
        )
    mine = {"dt": dt.copy(), "gain": gain.copy()}
    output, _, tape = rnn.forward(x, inputs=mine)
    mine["dt"][...] = mine["gain"][...] = np.nan
    for name, values in rnn.backward(tape, np.ones_like(output)).inputs.items():
        np.testing.assert_array_equal(values, grads[name])


def test_generate(backend: str) -> None:
    rnn = Recurrent(driven, H, H, backend=backend, seed=0)
    first = gain[0]
    for given in ({"dt": dt, "gain": gain}, {"dt": dt[0], "gain": gain[0]}):
        outputs, _ = rnn.generate(first, T, inputs=given)
        x_t, state = first, None
        for t in range(T):
            here = {name: values[t] if len(values) == T else values for name, values in given.items()}
            x_t, state = rnn.step(x_t, state, here)
            np.testing.assert_allclose(outputs[t], x_t, atol=1e-6)
    swapped = Recurrent(driven, H, H, backend=backend, seed=0, batch_first=True)
    again, _ = swapped.generate(first, T, inputs={"dt": dt.T, "gain": gain.swapaxes(0, 1)})
    np.testing.assert_array_equal(again.swapaxes(0, 1), rnn.generate(first, T, inputs={"dt": dt, "gain": gain})[0])


def test_arrays_of_other_libraries(backend: str) -> None:
    class Shared:
        def __init__(self, array: Any) -> None:
            self.array, self.shape, self.dtype = array, array.shape, array.dtype
            self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__

    rnn = network(backend)
    expected, _ = rnn(x, inputs={"dt": dt, "gain": gain})
    np.testing.assert_array_equal(rnn(x, inputs={"dt": Shared(dt), "gain": Shared(gain)})[0], expected)


good = {"dt": dt, "gain": gain}
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (None, ValueError, "inputs: expected 'dt', 'gain', which driven takes, got none for 'dt', 'gain': write inputs={'dt': "
     "...} with an array (T=5, B=2) or (B=2,)"),
    ({"dt": dt}, ValueError, "got none for 'gain': write inputs={'gain': ...} with an array (T=5, B=2, hidden_size=4) or (B=2, "),
    ({**good, "dz": dt}, ValueError, "inputs: expected 'dt', 'gain', got the unknown 'dz'"),
    ([dt], TypeError, "inputs: expected a mapping from names to arrays, got a list of 1 array"),
    ({**good, "dt": dt[:4]}, ValueError, "inputs['dt']: expected (T=5, B=2) or (B=2,), got (4, 2): its time axis has 4 steps instead of 5"),
    ({**good, "dt": dt.T}, ValueError, "got (2, 5): time and batch look swapped; batch_first=False here"),
    ({**good, "dt": dt[:, 0]}, ValueError, "inputs['dt']: expected (T=5, B=2) or (B=2,), got (5,)"),
    ({**good, "dt": gain}, ValueError, "inputs['dt']: expected (T=5, B=2) or (B=2,), got (5, 2, 4)"),
    ({**good, "gain": gain[..., :3]}, ValueError, "inputs['gain']: expected (T=5, B=2, hidden_size=4) or (B=2, hidden_size=4), got (5, 2, 3)"),
    ({**good, "gain": gain[:2]}, ValueError, "got (2, 2, 4): its time axis has 2 steps instead of 5"),
    ({**good, "gain": np.float32(1)}, TypeError, "inputs['gain']: expected a numpy.ndarray (T=5, B=2, hidden_size=4) or"),
    ({**good, "dt": dt.astype(float)}, TypeError, "inputs['dt']: expected float32, got float64: convert it with .astype('float32')"),
    ({**good, "dt": dt.tolist()}, TypeError, "inputs['dt']: expected a numpy.ndarray (T=5, B=2) or (B=2,) of float32, got list"),
    ({**good, "dt": np.ma.array(dt)}, TypeError, "its mask would be ignored"),
]  # fmt: skip


@pytest.mark.parametrize(("inputs", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_refusals(backend: str, inputs: Any, error: type[Exception], message: str) -> None:
    rnn = network(backend)
    for call in (rnn, rnn.forward, rnn.freeze()):
        with pytest.raises(error, match=re.escape(message)):
            call(x, inputs=inputs)


def test_refusals_of_steps_and_of_cells_without_inputs(backend: str) -> None:
    rnn = network(backend)
    with pytest.raises(
        ValueError, match=re.escape("inputs['dt']: expected (B=2,), got (1, 2): a step has no time axis")
    ):
        rnn.step(x[0], inputs={"dt": dt[:1], "gain": gain[0]})
    with pytest.raises(ValueError, match=re.escape("inputs['gain']: expected (hidden_size=4,), got (2, 4)")):
        rnn.step(x[0, 0], inputs={"dt": 0.5, "gain": gain[0]})
    with pytest.raises(
        ValueError, match=re.escape("got none for 'dt', 'gain': write inputs={'dt': ...} with an array (B=2,)")
    ):
        rnn.step(x[0])
    with pytest.raises(ValueError, match=re.escape("got (2, 2): its time axis has 2 steps instead of 3")):
        Recurrent(driven, H, H, backend=backend).generate(gain[0], 3, inputs={"dt": dt[:2], "gain": gain[0]})
    with pytest.raises(
        ValueError, match=re.escape("inputs['dt']: expected (T=5,) or (), got (2,): its time axis has 2 steps")
    ):
        rnn(x[:, 0], inputs={"dt": dt[0], "gain": gain[0, 0]})
    lstm = Recurrent("lstm", WIDE, H, backend=backend)
    assert lstm.forward(x, inputs={})[0].shape == (T, B, H)
    for call in (lstm, lstm.forward, lstm.freeze()):
        with pytest.raises(
            ValueError, match=re.escape(f"inputs: expected None, as {lstm.cell!r} takes no inputs, got 'dt'")
        ):
            call(x, inputs={"dt": dt})
    with pytest.raises(ValueError, match="takes no inputs, got 'dt'"):
        lstm.step(x[0], inputs={"dt": dt[0]})
