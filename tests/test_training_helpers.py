"""`rnncore.training`: every gradient against finite differences, and refusals for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rnncore import Recurrent, clip_grad_norm
from rnncore.training import (
    Adam,
    Embedding,
    Linear,
    attend,
    attend_backward,
    bucketed,
    collect,
    cosine,
    cross_entropy,
    log_softmax,
    pad,
)

Array = NDArray[Any]
DTYPES = ["float32", "float64"]
# Steps and tolerances of central differences; the function is always computed in float64.
STEP, TOLERANCE = 1e-6, {"float32": 1e-5, "float64": 1e-8}


def some(*shape: int, dtype: str = "float64", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check(
    loss: Callable[[Sequence[Array]], float], values: Sequence[Array], grads: Sequence[Array], dtype: str
) -> None:
    """Compare gradients with differences of a loss of arrays in float64."""
    exact = [value.astype("float64") for value in values]
    for value, grad in zip(exact, grads, strict=True):
        assert grad.dtype == dtype
        assert grad.shape == value.shape
        numeric = np.empty_like(value)
        for at in np.ndindex(*value.shape):
            here = value[at]
            value[at] = here + STEP
            above = loss(exact)
            value[at] = here - STEP
            numeric[at] = (above - loss(exact)) / (2 * STEP)
            value[at] = here
        np.testing.assert_allclose(grad, numeric, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 5), (3, 2, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(dtype: str, shape: tuple[int, ...], bias: bool) -> None:
    layer = Linear(5, 4, bias=bias, dtype=dtype, seed=1)
    x, grad_y = some(*shape, dtype=dtype), some(*shape[:-1], 4, dtype=dtype, seed=2)
    grad_x, grads = layer.backward(x, grad_y)
    assert grads.keys() == layer.parameters.keys()

    def loss(arrays: Sequence[Array]) -> float:
        exact = Linear(5, 4, bias=bias, dtype="float64")
        exact.parameters.update(zip(layer.parameters, arrays[1:], strict=True))
        return float((exact(arrays[0]) * grad_y).sum())

    check(loss, [x, *layer.parameters.values()], [grad_x, *grads.values()], dtype)
    assert layer(x).dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding(dtype: str) -> None:
    layer = Embedding(6, 3, dtype=dtype, seed=1)
    codes = np.array([[0, 5, 2, 5], [5, 2, 0, 0]])  # 1, 3 and 4 do not occur
    grad_vectors = some(2, 4, 3, dtype=dtype, seed=2)

    def loss(arrays: Sequence[Array]) -> float:
        return float((arrays[0][codes] * grad_vectors).sum())

    grads = layer.backward(codes, grad_vectors)
    check(loss, [layer.parameters["weight"]], [grads["weight"]], dtype)
    np.testing.assert_array_equal(layer(codes), layer.parameters["weight"][codes])
    assert not layer.backward(np.zeros((0,), int), grad_vectors[0, :0])["weight"].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy(dtype: str) -> None:
    logits, targets = some(3, 4, 5, dtype=dtype), np.array([[0, 4, -1, 2], [1, -1, -1, 2], [3, 3, 0, -1]])
    _, grad = cross_entropy(logits, targets)
    check(lambda arrays: cross_entropy(arrays[0], targets)[0], [logits], [grad], dtype)
    assert not grad[targets == -1].any()


def test_cross_entropy_is_the_mean_over_what_is_no_padding() -> None:
    logits = some(4, 3)
    expected = -np.mean([log_softmax(logits)[row, code] for row, code in [(0, 2), (2, 1)]])
    assert cross_entropy(logits, [2, -1, 1, -1])[0] == pytest.approx(expected)
    loss, grad = cross_entropy(logits, [-1] * 4)
    assert loss == 0
    assert not grad.any()


def test_large_logits_do_not_overflow() -> None:
    loss, grad = cross_entropy(np.array([[1e4, 0.0], [-1e30, 0.0]], "float32"), [0, 1])
    assert loss == 0
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
def test_attention(dtype: str, lengths: list[int] | None) -> None:
    shapes = [(2, 3, 5), (4, 3, 5), (4, 3, 6)]
    queries, keys, values = (some(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes))
    grad_context = some(2, 3, 6, dtype=dtype, seed=8)
    context, weights = attend(queries, keys, values, lengths)
    assert context.dtype == weights.dtype == dtype
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    if lengths is not None:
        for row, length in enumerate(lengths):
            assert not weights[:, row, length:].any()

    def loss(arrays: Sequence[Array]) -> float:
        return float((attend(arrays[0], arrays[1], arrays[2], lengths)[0] * grad_context).sum())

    grads = attend_backward(grad_context, queries, keys, values, weights)
    check(loss, [queries, keys, values], grads, dtype)


def test_adam_takes_the_steps_of_the_paper() -> None:
    values = np.array([[1.0, -2.0]])
    adam = Adam({"w": values}, rate=0.1, weight_decay=0.5)
    expected, mean, square = values.copy(), np.zeros((1, 2)), np.zeros((1, 2))
    for step in range(1, 4):
        grad = np.array([[0.3, -0.1]]) * step
        adam.step({"w": grad})
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        expected *= 1 - 0.1 * 0.5
        expected -= 0.1 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_adam_decays_no_bias() -> None:
    bias = np.ones(3)
    Adam({"b": bias}, rate=0.1, weight_decay=0.5).step({"b": np.zeros(3)})
    np.testing.assert_array_equal(bias, 1)


def test_adam_goes_on_where_its_state_was_taken() -> None:
    grads = some(5, 2, 3)
    whole, first, second = (Adam({"w": np.zeros((2, 3))}, rate=0.1) for _ in range(3))
    for grad in grads:
        whole.step({"w": grad})
    for grad in grads[:2]:
        first.step({"w": grad})
    second.parameters["w"][...] = first.parameters["w"]
    state = first.state_dict()
    first.step({"w": grads[0]})  # the state is a copy
    second.load_state_dict(state)
    for grad in grads[2:]:
        second.step({"w": grad})
    np.testing.assert_array_equal(second.parameters["w"], whole.parameters["w"])


def test_cosine() -> None:
    factors = [cosine(step, 100, warmup=9) for step in range(100)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(factors) == factors[9] == 1
    assert 0 < factors[-1] < 0.001
    assert cosine(0, 1) == 1


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_hold_each_sequence_once_and_similar_lengths(seed: int | None) -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 1000)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = list(bucketed(lengths, 16, rng))
    assert len(batches) == 63
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(1000))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 8
    # With a generator, sequences meet others in the next pass.
    first, second = ({frozenset(batch.tolist()) for batch in each} for each in (batches, bucketed(lengths, 16, rng)))
    assert (first == second) == (rng is None)


def test_pad() -> None:
    padded, lengths = pad([[1, 2, 3], [], [4]], fill=-1)
    assert padded.T.tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    assert padded.dtype.kind == "i"
    assert lengths.tolist() == [3, 0, 1]
    padded, _ = pad([some(2, 3, dtype="float32"), some(4, 3, dtype="float32")])
    assert padded.shape == (4, 2, 3)
    assert padded.dtype == "float32"
    assert not padded[2:, 0].any()


def test_collect_names_parameters_and_gradients_alike() -> None:
    rnn, head = Recurrent("rnn", 2, 3, backend="numpy"), Linear(3, 1)
    x = some(4, 1, 2, dtype="float32")
    last, _, tape = rnn.forward(x, return_sequence=False)
    grad_last, head_grads = head.backward(last, np.ones((1, 1), "float32"))
    grads = collect(rnn=rnn.backward(tape, grad_last=grad_last), head=head_grads)
    parameters = collect(rnn=rnn, head=head)
    assert grads.keys() == parameters.keys() >= {"rnn.weight_hh_l0", "head.bias"}
    assert parameters["head.weight"] is head.parameters["weight"]


def test_a_classifier_learns_unequal_sequences() -> None:
    """The sign of the sum, from the parts together."""
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 1)).astype("float32") for n in rng.integers(1, 12, 400)]
    labels = np.array([int(sequence.sum() > 0) for sequence in sequences])
    rnn, head = Recurrent("gru", 1, 8, backend="numpy", seed=0), Linear(8, 2, seed=0)
    adam = Adam(collect(rnn=rnn, head=head), rate=0.02)
    losses = []
    for _ in range(10):
        for rows in bucketed([len(sequence) for sequence in sequences], 20, rng):
            x, lengths = pad([sequences[row] for row in rows])
            last, _, tape = rnn.forward(x, lengths=lengths, return_sequence=False)
            loss, grad_logits = cross_entropy(head(last), labels[rows])
            grad_last, head_grads = head.backward(last, grad_logits)
            grads = collect(rnn=rnn.backward(tape, grad_last=grad_last), head=head_grads)
            clip_grad_norm(grads, 1.0)
            adam.step(grads)
            losses.append(loss)
    assert np.mean(losses[-20:]) < 0.25 * np.mean(losses[:5])


three = np.zeros((2, 3, 4))
REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "a width of zero": (lambda: Linear(0, 3), "input_size: expected an integer of at least 1, got 0"),
    "a fraction": (lambda: Embedding(3, 2.5), "width: expected an integer of at least 1, got float 2.5"),  # type: ignore[arg-type]
    "a dtype": (lambda: Linear(2, 3, dtype="int32"), "dtype: expected float32 or float64, got 'int32'"),
    "another width": (
        lambda: Linear(5, 2)(np.zeros((2, 4), "float32")),
        "x: expected an array (..., input_size=5), got",
    ),
    "another dtype": (lambda: Linear(4, 2)(np.zeros((2, 4))), "x: expected float32, got float64; convert it with .ast"),
    "a cotangent's shape": (
        lambda: Linear(4, 2, dtype="float64").backward(np.zeros((3, 4)), np.zeros((2, 2))),
        "grad_y: expected an array (3, 2), got numpy.ndarray (2, 2) of float64",
    ),
    "a code too large": (lambda: Embedding(3, 2)([0, 3]), "codes: expected integers from 0 to 2, got some from 0 to 3"),
    "codes of floats": (
        lambda: Embedding(3, 2)(np.zeros(2)),
        "codes: expected integers from 0 to 2, got numpy.ndarray",
    ),
    "targets' shape": (
        lambda: cross_entropy(three, np.zeros(2, int)),
        "targets: expected (2, 3), the shape of the log",
    ),
    "a target": (lambda: cross_entropy(three, np.full((2, 3), 4)), "targets: expected integers from -1 to 3, got some"),
    "logits": (lambda: log_softmax(np.zeros(3, int)), "logits: expected an array (..., V) of float32 or float64, got"),
    "a missing gradient": (lambda: Adam({"w": np.zeros(2)}).step({}), "'w' has no gradient"),
    "a gradient too many": (lambda: Adam({}).step({"w": np.zeros(2)}), "'w' is no parameter"),
    "a gradient's shape": (lambda: Adam({"w": np.zeros(2)}).step({"w": np.zeros(3)}), "grads['w']: expected (2,), got"),
    "a rate": (lambda: Adam({}, rate=0), "rate: expected a number above 0, got 0"),
    "betas": (lambda: Adam({}, betas=(0.9, 1)), "betas: expected two numbers from 0 to below 1, got (0.9, 1)"),
    "a decay": (lambda: Adam({}, weight_decay=-1), "weight_decay: expected a number of at least 0, got -1"),
    "integers to train": (
        lambda: Adam({"w": np.zeros(2, int)}),
        "parameters['w']: expected a writable array of floats",
    ),
    "another state": (lambda: Adam({}).load_state_dict({"steps": 1, "mean.w": 0}), "'mean.w' is unknown"),
    "a state's shape": (
        lambda: Adam({"w": np.zeros(2)}).load_state_dict(Adam({"w": np.zeros(3)}).state_dict()),
        "expected (2,), got numpy.ndarray (3,) of float64",
    ),
    "a step past the end": (lambda: cosine(3, 3), "expected 0 <= step < steps and 0 <= warmup < steps, got step=3"),
    "lengths of floats": (lambda: list(bucketed([1.5], 2)), "lengths: expected integers from 0 to"),
    "lengths' shape": (lambda: list(bucketed([[1]], 2)), "lengths: expected (N,), one for each sequence, got"),
    "no sequence": (lambda: pad([]), "sequences: expected at least one, got none"),
    "another width of step": (lambda: pad([np.zeros((2, 3)), np.zeros((2, 4))]), "sequences[1]: expected (T_b, 3), as"),
    "no part": (lambda: collect(head=3), "head: expected something with parameters, or a mapping of arrays, got int 3"),
    "keys": (lambda: attend(three, three[..., 1:], three), "keys: expected (S, 3, 4) as the queries, got (2, 3, 3)"),
    "values": (lambda: attend(three, three, three[1:]), "values: expected (2, 3, F) as the keys, got (1, 3, 4)"),
    "two dtypes": (
        lambda: attend(three, three, three.astype("float32")),
        "expected one dtype, got float64, float64 and",
    ),
    "an axis too few": (lambda: attend(three[0], three, three), "queries: expected an array of three axes of float32"),
    "a row without steps": (
        lambda: attend(three, three, three, [2, 0, 1]),
        "lengths: expected integers from 1 to 2, got",
    ),
    "lengths of a batch": (
        lambda: attend(three, three, three, [2, 1]),
        "lengths: expected (3,), one for each row, got",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    call, message = REFUSALS[name]
    with pytest.raises((ValueError, TypeError, KeyError), match=re.escape(message)):
        call()


def test_a_refused_step_changes_nothing() -> None:
    adam = Adam({"a": np.ones(2), "b": np.ones(2)})
    with pytest.raises(ValueError, match="expected"):
        adam.step({"a": np.ones(2), "b": np.ones(3)})
    assert adam.steps == 0
    assert all((values == 1).all() for values in adam.parameters.values())
