"""Burn-in, truncated back-propagation, and tapes that are computed again: against a user's loop, and whole tapes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close
from test_cells_on_engines import skip_unless_executed

from rnncore import Recurrent, segments, spans
from rnncore.states import as_tuple

T, B, WIDE, H = 40, 4, 3, 5
LENGTHS = [40, 20, 0, 33]
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, WIDE))
resets = rng.random((T, B)) < 0.1


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments have as few steps as are worth a call: 16."""
    monkeypatch.setattr(spans, "PIECES", 0)


def network(backend: str, cell: str = "lstm", **options: Any) -> Recurrent:
    return Recurrent(cell, WIDE, H, backend=backend, seed=0, **{"dtype": "float64", **options})


def some_state(rnn: Recurrent, seed: int = 1) -> tuple[Array, ...]:
    depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
    return tuple(np.random.default_rng(seed).standard_normal((len(rnn.cell.states), depth, B, H)).astype(rnn.dtype))


def looped(rnn: Recurrent, bounds: list[int], burn_in: int, given: dict[str, Any], grads: dict[str, Any]) -> Any:
    """A user's calls of segments: output and final state, gradients of x, state, parameters and reset_state.

    The cotangent of a final state is given to the call in which the row ends.
    """
    state, tapes, outputs = given["state"], [], []
    lengths = np.array(given.get("lengths", [T] * B))
    for first, stop in pairwise(bounds):
        here: dict[str, Any] = {"lengths": np.clip(lengths - first, 0, stop - first)}
        if "resets" in given:
            here |= {"resets": given["resets"][first:stop], "reset_state": given["reset_state"]}
        output, state, tape = rnn.forward(x[first:stop], state, **here)
        outputs.append(output)
        tapes.append(tape)
    grad_x, of_state = np.zeros_like(x), [np.zeros_like(s) for s in given["state"]]
    of_parameters = {name: np.zeros_like(value) for name, value in rnn.parameters.items()}
    of_resets = [np.zeros_like(s) for s in given["state"]]
    for first, stop, tape in zip(bounds[:-1], bounds[1:], tapes, strict=True):
        if stop > burn_in:
            ends = (first < lengths) & (lengths <= stop) | (first == lengths)
            grad_state = tuple(np.where(ends[:, None], grad, 0) for grad in grads["grad_state"])
            found = rnn.backward(tape, grads["grad_output"][first:stop], grad_state)
            grad_x[first:stop] = found.x
            of_state = list(found.state) if first == 0 else of_state
            for name, grad in found.parameters.items():
                of_parameters[name] += grad
            for total, grad in zip(of_resets, found.reset_state or (), strict=False):
                total += grad
    return (np.concatenate(outputs), *state), [grad_x, *of_state, *of_parameters.values(), *of_resets]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("burn_in", "truncate"), [(0, 9), (7, 10), (20, 50)])
def test_as_a_loop_of_calls(backend: str, burn_in: int, truncate: int, recompute: bool, close: Close) -> None:
    skip_unless_executed(backend, "others")
    rnn = network(backend, num_layers=2)
    given: dict[str, Any] = {"state": some_state(rnn)}
    grads: dict[str, Any] = {"grad_output": rng.standard_normal((T, B, H)), "grad_state": some_state(rnn, 2)}
    bounds = [*([0] if burn_in else []), *range(burn_in, T, truncate), T]
    for more in ({}, {"lengths": LENGTHS, "resets": resets, "reset_state": some_state(rnn, 3)}):
        given |= more
        expected, expected_grads = looped(rnn, bounds, burn_in, given, grads)
        output, state, tape = rnn.forward(x, **given, burn_in=burn_in, truncate=truncate, recompute=recompute)
        for one, other in zip((output, *state), expected, strict=True):
            close(one, other, "output")
        for _ in range(2):
            found = rnn.backward(tape, **grads)
            got = [found.x, *found.state, *found.parameters.values(), *(found.reset_state or ())]
            for one, other in zip(got, expected_grads, strict=False):
                close(one, other, "gradient")


WAYS: dict[str, dict[str, Any]] = {
    "deep": {"num_layers": 2, "dropout": 0.25},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "back": {"num_layers": 2, "direction": "reverse"},
}
CALLS: dict[str, dict[str, Any]] = {
    "resets": {"lengths": LENGTHS, "resets": resets},
    "every state": {"states": "all", "flow": True},
    "many-to-one": {"lengths": LENGTHS, "return_sequence": False},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
def test_computed_again(backend: str, way: str, call: str, close: Close) -> None:
    """What a whole tape gives; the Numba engine gives the same bits, but of sums over all steps."""
    skip_unless_executed(backend, "others")
    rnn = network(backend, **WAYS[way])
    options = dict(CALLS[call])
    if "resets" in options:
        options["reset_state"] = some_state(rnn, 3)
    results, tapes = [], []
    for recompute in (False, True):
        rnn.reseed(0)
        output, state, tape = rnn.forward(x, some_state(rnn), recompute=recompute, **options)
        results.append((*as_tuple(output), *state))
        tapes.append(tape)
    for one, other in zip(*results, strict=True):
        close(one, other, "output")
    cotangent = "grad_last" if call == "many-to-one" else "grad_output"
    given: dict[str, Any] = {cotangent: output, "grad_state": some_state(rnn, 2)}
    whole, again, once_more = (rnn.backward(tape, **given) for tape in (*tapes, tapes[1]))
    np.testing.assert_array_equal(again.x, once_more.x)
    for name, grad in again.parameters.items():
        close(grad, whole.parameters[name], "gradient")
    for name in ("x", "state", "reset_state", "flow"):
        for one, other in zip(as_tuple(getattr(again, name)), as_tuple(getattr(whole, name)), strict=True):
            if one is not None:
                close(one, other, "gradient")
                if backend == "numba" and name != "reset_state":
                    np.testing.assert_array_equal(one, other)


def test_learnt_initial_states(close: Close) -> None:
    rnn = network("numpy", learn_initial_state=True)
    rnn.parameters["h_0"][...] = 0.5
    output, _, tape = rnn.forward(x, resets=resets)
    expected = rnn.backward(tape, output).parameters["h_0"]
    close(
        rnn.backward(rnn.forward(x, resets=resets, recompute=True)[2], output).parameters["h_0"], expected, "gradient"
    )
    of_resets = rnn.backward(rnn.forward(x, resets=resets, burn_in=5)[2], output)
    close(of_resets.parameters["h_0"], of_resets.reset_state[0].sum(1), "gradient")
    assert not of_resets.state[0].any()
    assert not of_resets.x[:5].any()


@pytest.mark.parametrize("steps", [0, 1, 15])
@pytest.mark.parametrize("batch", [0, 2])
def test_empty(backend: str, steps: int, batch: int) -> None:
    skip_unless_executed(backend, "others")
    rnn = network(backend)
    given = x[:steps, :batch]
    output, _, tape = rnn.forward(given, burn_in=steps, truncate=2, recompute=True)
    grads = rnn.backward(tape, output)
    assert grads.x.shape == given.shape
    assert not any(grad.any() for grad in (grads.x, *grads.state, *grads.parameters.values()))
    np.testing.assert_array_equal(output, rnn(given)[0])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_tape_that_is_kept_has_its_own_x_and_inputs(direction: str) -> None:
    rnn = network("numpy", "cfc", direction=direction)
    given, elapsed = x[:15].copy(), np.ones((15, B))
    output, _, tape = rnn.forward(given, inputs={"dt": elapsed}, recompute=True)
    before = rnn.backward(tape, output)
    given[...], elapsed[...] = 0, 7
    grads = rnn.backward(tape, output)
    for name, grad in grads.parameters.items():
        np.testing.assert_array_equal(grad, before.parameters[name])
    np.testing.assert_array_equal(grads.inputs["dt"], before.inputs["dt"])


def test_what_is_read_again_must_not_have_changed() -> None:
    rnn, given = network("numpy"), x.copy()
    output, _, tape = rnn.forward(given, recompute=True)
    given[3] = 0
    with pytest.raises(
        ValueError, match=re.escape("tape: expected x and inputs as they were in forward, which recomp")
    ):
        rnn.backward(tape, output)
    given[...] = x
    np.testing.assert_allclose(rnn.backward(tape, output).x, rnn.backward(rnn.forward(x)[2], output).x, rtol=1e-9)
    output, _, tape = rnn.forward(given, truncate=7)
    before = rnn.backward(tape, output).x
    given[...] = 0
    np.testing.assert_array_equal(rnn.backward(tape, output).x, before)


def test_memory_does_not_grow_with_the_steps() -> None:
    """What a tape that is computed again refers to beside x."""
    rnn = network("numpy", dtype="float32")
    long = np.zeros((4000, B, WIDE), np.float32)
    kept = rnn.forward(long, return_sequence=False, recompute=True)[2].layers
    assert isinstance(kept, segments.Segments)
    ((*most, last),) = kept.segments
    held = [state for segment in (*most, last) for state in (*segment.before, *segment.after)]
    assert all(segment.tapes is None for segment in most)
    assert last.tapes is not None
    assert sum(state.nbytes for state in held) < long.nbytes / 2


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "long": ({"burn_in": 41}, ValueError, "burn_in: expected 0 to T=40, got 41"),
    "negative": ({"burn_in": -1}, ValueError, "burn_in: expected an integer of at least 0, got -1"),
    "nothing": ({"truncate": 0}, ValueError, "truncate: expected an integer of at least 1, got 0"),
    "no integer": ({"truncate": 2.5}, TypeError, "truncate: expected an integer, got float 2.5"),
    "no flag": ({"recompute": 1}, TypeError, "recompute: expected True or False, got int 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    options, error, message = WRONG[name]
    with pytest.raises(error, match=re.escape(message)):
        network("numpy").forward(x, **options)


@pytest.mark.parametrize("options", [{"burn_in": 2}, {"truncate": 5}], ids=str)
def test_networks_that_run_back(options: dict[str, Any]) -> None:
    (name, value), *_ = options.items()
    expected = f"{name}: expected {0 if name == 'burn_in' else None} with "
    ways: list[tuple[dict[str, Any], str]] = [
        ({"bidirectional": True}, "bidirectional=True"),
        ({"direction": "reverse"}, "direction='reverse'"),
    ]
    for way, got in ways:
        with pytest.raises(ValueError, match=re.escape(f"{expected}{got}, got {value}: a state that passes from")):
            network("numpy", **way).forward(x, **options)


@pytest.mark.parametrize("recompute", [False, True])
def test_an_interruption_between_segments(recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves nothing half-done: the call, made again, drops the same elements, and the tape is as it was."""
    rnn = network("numpy", num_layers=2, dropout=0.5)

    def forward() -> Any:
        return rnn.forward(x, recompute=recompute, truncate=15)

    def interrupt_third(name: str) -> None:
        compute, calls = getattr(rnn._engine, name), []

        def interrupted(runs: Any) -> Any:
            calls.append(runs)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return compute(runs)

        patch.setattr(rnn._engine, name, interrupted)

    rnn.reseed(0)
    expected, _, tape = forward()
    grads = rnn.backward(tape, expected)
    rnn.reseed(0)
    with monkeypatch.context() as patch:
        interrupt_third("forward")
        with pytest.raises(KeyboardInterrupt):
            forward()
    output, _, tape = forward()
    np.testing.assert_array_equal(output, expected)
    with monkeypatch.context() as patch:
        interrupt_third("backward")
        with pytest.raises(KeyboardInterrupt):
            rnn.backward(tape, output)
    np.testing.assert_array_equal(rnn.backward(tape, output).x, grads.x)
