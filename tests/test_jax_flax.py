"""`rnncore.jax` with parameters of Flax's cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp
from test_jax import LENGTHS, PARAMS, B, H, I, T, close, draw, weighted

import rnncore.jax as ours
from rnncore.cells import GRU


@pytest.mark.parametrize(
    ("name", "cell_"),
    [
        ("LSTMCell", "lstm"),
        ("OptimizedLSTMCell", "lstm"),
        ("GRUCell", "gru"),
        ("GRUCell", GRU("carry")),
        ("SimpleCell", "rnn"),
    ],
)
def test_same_as_flax(name: str, cell_: Any) -> None:
    nnx = pytest.importorskip("flax.nnx")
    theirs = nnx.RNN(getattr(nnx, name)(I, H, rngs=nnx.Rngs(0), bias_init=nnx.initializers.normal()))
    graph, params, rest = nnx.split(theirs, nnx.Param, ...)
    x, lengths, zeros = draw(B, T, I), np.maximum(LENGTHS, 1), jnp.zeros((B, H))
    carry = (zeros, zeros) if "LSTM" in name else zeros

    def reference(params: Any, x: Any) -> Any:
        return nnx.merge(graph, params, rest)(x, seq_lengths=lengths, initial_carry=carry)

    def mine(params: Any, x: Any) -> Any:
        return ours.recurrent(params, x, cell=cell_, lengths=lengths, batch_first=True)[0]

    x = x * (np.arange(T) < lengths[:, None])[..., None]
    ended = (np.arange(T) >= lengths[:, None])[..., None]
    close(mine(params, x), jnp.where(ended, 0, reference(params, x)))
    expected = jax.grad(lambda p, x: weighted(jnp.where(ended, 0, reference(p, x))), (0, 1))(params, x)
    close(jax.grad(lambda p, x: weighted(mine(p, x)), (0, 1))(params, x), expected)
    named = ours.from_flax(params, cell_)
    close(ours.recurrent(named, x, cell=cell_, lengths=lengths, batch_first=True)[0], mine(params, x))
    close(ours.to_flax(named, jax.tree.map(jnp.zeros_like, params), cell_), params)


@pytest.mark.parametrize(("name", "cell_"), [("LSTMCell", "lstm"), ("GRUCell", "gru"), ("SimpleCell", "rnn")])
def test_same_as_linen(name: str, cell_: Any) -> None:
    linen = pytest.importorskip("flax.linen")
    theirs = linen.RNN(getattr(linen, name)(H, bias_init=linen.initializers.normal()))
    x = draw(B, T, I)
    params = theirs.init(jax.random.key(0), x)
    close(ours.recurrent(params, x, cell=cell_, batch_first=True)[0], theirs.apply(params, x))
    close(ours.to_flax(ours.from_flax(params, cell_), params, cell_), params)


def test_layers_and_directions_of_flax() -> None:
    params = ours.init(jax.random.key(0), "gru", I, H, num_layers=2, bidirectional=True)
    like = [
        tuple({"dense_i": {"kernel": 0, "bias": 0}, "dense_h": {"kernel": 0, "bias": 0}} for _ in range(2))
        for _ in range(2)
    ]
    theirs = ours.to_flax(params, like, "gru")
    assert theirs[1][0]["dense_i"]["kernel"].shape == (2 * H, 3 * H)
    x = draw(T, B, I)
    close(ours.recurrent(theirs, x, cell="gru"), ours.recurrent(params, x, cell="gru"))
    with pytest.raises(
        ValueError, match="layers and directions as `like` has, l0, l0_reverse, got l0, l0_reverse, l1, "
    ):
        ours.to_flax(params, like[0], "gru")
    del like[0][1]["dense_h"]["bias"]
    with pytest.raises(ValueError, match="expected zeros in the last third of bias_hh_l0_reverse"):
        ours.to_flax(params, like, "gru")


@pytest.mark.parametrize(
    ("cell_", "hidden", "like", "message"),
    [
        ("lstm", H + 1, {}, r"expected LSTM.* of sizes as `like` has, dense_i.kernel \(3, 20\), got \(3, 24\)"),
        ("lstm", H, {"hr": {"kernel": 0}}, "like: expected a tree of a cell .* got hr.kernel"),
        (
            "lstm",
            H,
            {"dense_i": {"kernel": 0}, "dense_h": {"kernel": 0}},
            "expected zeros in bias_ih_l0 and bias_hh_l0",
        ),
        ("gru", H, {}, "params: expected those of LSTM.* 3 gates of 5 units"),
    ],
)
def test_parameters_that_do_not_fit_flax(cell_: str, hidden: int, like: Any, message: str) -> None:
    params = ours.init(jax.random.key(0), cell_, I, hidden)
    like = like or {"dense_i": {"kernel": jnp.ones((I, 4 * H))}, "dense_h": {"kernel": 0, "bias": 0}}
    with pytest.raises(ValueError, match=message):
        ours.to_flax(params, like, "lstm")


@pytest.mark.parametrize("params", [jnp.zeros(3), {"gru": PARAMS}, {"dense_i": {"kernel": 0}}])
def test_parameters_of_no_network_of_ours(params: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="params: expected "):
        ours.to_flax(params, {}, "gru")


def test_a_network_without_biases_in_flax() -> None:
    params = ours.init(jax.random.key(0), "gru", I, H, bias=False)
    side = {"kernel": 0, "bias": jnp.ones(3 * H)}
    theirs = ours.to_flax(params, {"dense_i": side, "dense_h": side}, "gru")
    close(theirs["dense_i"]["bias"], jnp.zeros(3 * H))
    x = draw(T, B, I)
    close(ours.recurrent(theirs, x, cell="gru"), ours.recurrent(params, x, cell="gru"))
