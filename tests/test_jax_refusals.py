"""What rnncore.jax refuses, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp
from own_cells import driven
from test_jax import PARAMS, B, H, I, T, draw, loss

import rnncore
import rnncore.jax as ours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": jnp.zeros((T, B, 7))}, r"x: expected \(T, B, input_size\) or .*input_size=3, got \(6, 4, 7\)"),
        ({"x": jnp.zeros((T, B, I), "int32")}, "x: expected float32 as the parameters are, got int32"),
        ({"state": jnp.zeros((2, B, H))}, r"state: expected \(num_layers=1, B=4, hidden_size=5\), got \(2, 4, 5\)"),
        ({"inputs": {"dt": jnp.zeros(B)}}, "inputs: expected None, as .* takes no inputs, got 'dt'"),
        ({"lengths": jnp.zeros(B)}, r"lengths: expected \(B=4,\) integers, got float32"),
        ({"resets": jnp.zeros(B, bool)}, r"resets: expected \(T=6, B=4\), got \(4,\)"),
        ({"reset_state": jnp.zeros((1, B, H))}, "reset_state: expected None without resets"),
        ({"state": (jnp.zeros((1, B, H)),)}, r"state: expected an array \(num_layers=1, .*, got a tuple of 1"),
        ({"state": jnp.zeros((1, T, H))}, r"got \(1, 6, 5\): x was read as .*write batch_first=True"),
        ({"state": "gru"}, "state: expected None or arrays, got str 'gru': a cell is given by its keyword, cell='gru'"),
        ({"resets": jnp.zeros((T, B), bool), "reset_state": [jnp.zeros((1, B, H))]}, "reset_state: expected an array"),
        ({"resets": jnp.zeros((B, T), bool)}, r"got \(4, 6\): time and batch look swapped"),
        ({"lengths": jnp.zeros(T, int)}, r"got \(6,\): x was read as .*write batch_first=True"),
        ({"inputs": (jnp.zeros(B),)}, "inputs: expected a mapping from names to arrays, got a tuple"),
        ({"cell": driven, "params": ours.init(jax.random.key(0), driven, I, H),
          "inputs": {"dt": jnp.ones((B, T)), "gain": jnp.ones((B, H))}},
         r"inputs\['dt'\]: expected \(T=6, B=4\) or \(B=4,\), got \(4, 6\): time and batch look swapped"),
        ({"cell": "lstm"}, r"LSTM\(\), got weight_hh_l0 \(15, 5\), 3 gates of 5 units .* 4 gates: write cell='gru'"),
        ({"params": ours.init(jax.random.key(0), "lstm", I, H)}, "4 gates of 5 units instead of 3 gates: write cell='lstm'"),
        ({"params": ours.init(jax.random.key(0), "gru", I, 6, heads=3)}, "9 gates of 2 units .* 3 gates: write heads=3 if"),
        ({"params": ours.init(jax.random.key(0), "mgu", I, H)}, r"2 gates of 5 units .*: write cell=\.\.\. with the cell"),
        ({"params": {"dense_i": {"kernel": jnp.ones((I, 20))}, "dense_h": {"kernel": jnp.ones((H, 20))}}},
         "params: expected those of a cell of Flax .* 4 gates of 5 units instead of 3 gates: write cell='lstm'"),
        ({"params": PARAMS | {"weight_hh_l0": jnp.zeros((H, 3 * H))}},
         r"hidden_size=5, got weight_hh_l0 \(5, 15\) .* \(15, 5\): transpose it, weight_hh_l0\.T$"),
        ({"params": PARAMS | {"weight_ih_l0": jnp.zeros((I, 3 * H))}},
         r"got weight_ih_l0 \(3, 15\) instead of \(15, 15\): transpose it, weight_ih_l0\.T$"),
        ({"x": None}, r"x: expected an array \(T, B, input_size\) .* got NoneType"),
        ({"params": PARAMS | {"foo": jnp.zeros(3)}}, "hidden_size=5, got the unknown 'foo'$"),
        ({"params": {name: PARAMS[name] for name in PARAMS if name != "bias_hh_l0"}}, r"got no bias_hh_l0 \(15,\)$"),
        ({"params": {"gru": PARAMS, "linear": jnp.zeros(3)}}, r"got them under 'gru': pass params\['gru'\]"),
        ({"params": jnp.zeros((T, B, I)), "x": PARAMS}, r"got jaxlib.* \(6, 4, 3\) of float32: recurrent\(params, x\)"),
        ({"params": rnncore.Recurrent("gru", I, H)}, r"got a network: pass dict\(rnn.parameters\)"),
        ({"params": [type("GRUCell", (), {"__module__": "flax.nnx"})()]}, r"got GRUCell: of .* pass its .*, nnx\.state\("),
        ({"params": None}, "got NoneType$"),
        ({"params": {"weight_l0": jnp.zeros(3)}}, "params: expected the parameters of"),
        ({"params": {"dense_i": {"kernel": jnp.zeros((3, 15))}}}, "params: expected a kernel of dense_h, or of hr, hz, hn"),
        ({"cell": "mgu", "params": {"dense_i": jnp.zeros(3)}}, "as Flax has the LSTM"),
    ],
)  # fmt: skip
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    given = {"params": PARAMS, "x": jnp.zeros((T, B, I)), "cell": "gru", **arguments}
    with pytest.raises((ValueError, TypeError), match=message):
        ours.recurrent(**given)


def test_wrong_lengths_are_refused_when_they_are_known() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(T, B, I)
    with pytest.raises(Exception, match=r"lengths: expected integers from 0 to T=6, got \[7, 1, 1, 1\]"):
        jax.block_until_ready(jax.jit(loss)(params, x, None, jnp.array([7, 1, 1, 1])))


@pytest.mark.parametrize("key", [-1, "a", 1.5])
def test_no_key(key: Any) -> None:
    params = ours.init(jax.random.key(0), "lstm", 3, 5)
    with pytest.raises((TypeError, ValueError), match="key: expected an integer"):
        ours.recurrent(params, jnp.ones((2, 2, 3)), zoneout=0.1, key=key)
