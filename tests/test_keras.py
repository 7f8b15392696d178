"""Networks from layers of Keras: the layers themselves, and Keras where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, Close, require_peer

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.interchange.cells import ActivatedGRU, ActivatedLSTM

T, B, WIDTH, H = 5, 2, 3, 4


GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
    "elu": lambda a: np.where(a > 0, a, np.expm1(a)),
    "hard_sigmoid": lambda a: np.clip(a / 6 + 0.5, 0, 1),
    "hard_sigmoid before Keras 3": lambda a: np.clip(0.2 * a + 0.5, 0, 1),
}


class Layer:
    """What is read of a layer of Keras."""

    def __init__(self, config: dict[str, Any], weights: list[Array]) -> None:
        self.name, self._config, self._weights = config["name"], config, weights

    def get_config(self) -> dict[str, Any]:
        return self._config

    def get_weights(self) -> list[Array]:
        return self._weights


def layer(kind: str, config: dict[str, Any], weights: list[Array]) -> Any:
    return type(kind, (Layer,), {})(config, weights)


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = some(B, T, WIDTH, seed=9)


def weights_of(kind: str, seed: int = 0, width: int = WIDTH, **config: Any) -> list[Array]:
    columns = GATES[kind] * H
    kernels = [some(width, columns, seed=seed), some(H, columns, seed=seed + 1)]
    shape = (2, columns) if kind == "GRU" and config.get("reset_after", True) else (columns,)
    return [*kernels, some(*shape, seed=seed + 2)] if config.get("use_bias", True) else kernels


def expected(kind: str, x: Array, weights: list[Array], **config: Any) -> Array:
    """The layer's equations, in float64: its output, in the order of x."""
    kernel, recurrent, *biases = (values.astype(np.float64) for values in weights)
    bias = biases[0] if biases else np.zeros((2, len(kernel[0])))
    of_x, of_h = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    act = FUNCTIONS[config.get("activation", "tanh")]
    gate = FUNCTIONS[config.get("recurrent_activation", "sigmoid")]
    h = c = np.zeros((len(x), H))
    outputs = np.zeros((*x.shape[:2], H))
    steps = range(x.shape[1])
    for t in reversed(steps) if config.get("go_backwards", False) else steps:
        given = np.split(x[:, t] @ kernel + of_x, GATES[kind], axis=1)
        if kind == "SimpleRNN":
            h = act(given[0] + h @ recurrent)
        elif kind == "LSTM":
            i, f, g, o = (a + b for a, b in zip(given, np.split(h @ recurrent, 4, axis=1), strict=True))
            c = gate(f) * c + gate(i) * act(g)
            h = gate(o) * act(c)
        else:
            of_z, of_r, of_n = np.split(h @ recurrent + of_h, 3, axis=1)
            z, r = gate(given[0] + of_z), gate(given[1] + of_r)
            after = config.get("reset_after", True)
            n = act(given[2] + (r * of_n if after else (r * h) @ recurrent[:, 2 * H :]))
            h = z * h + (1 - z) * n
        outputs[:, t] = h
    return outputs


LAYERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "elman": ("SimpleRNN", {"activation": "relu", "use_bias": False}, Elman("relu")),
    "elman of others": ("SimpleRNN", {"activation": "elu"}, None),
    "elman backwards": ("SimpleRNN", {"activation": "linear", "go_backwards": True}, Elman("identity")),
    "lstm": ("LSTM", {}, LSTM()),
    "lstm of others": (
        "LSTM",
        {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
        ActivatedLSTM(gate="hard_sigmoid(0.16666666666666666, 0.5)", candidate="relu", output="relu"),
    ),
    "gru": ("GRU", {"reset_after": True}, GRU("carry", "after")),
    "gru without biases": ("GRU", {"reset_after": False, "use_bias": False}, GRU("carry", "before")),
    "gru before": ("GRU", {"reset_after": False, "go_backwards": True}, GRU("carry", "before")),
    "gru of others": (
        "GRU",
        {"recurrent_activation": "hard_sigmoid", "activation": None},
        ActivatedGRU(gate="hard_sigmoid(0.16666666666666666, 0.5)", candidate="identity"),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_as_keras_does(name: str, close: Close) -> None:
    kind, config, cell = LAYERS[name]
    weights = weights_of(kind, **config)
    rnn = Recurrent.from_keras(layer(kind, {"name": "it", **config}, weights), backend="numpy", num_threads=1)
    assert cell is None or rnn.cell == cell
    assert (rnn.batch_first, rnn.bias, rnn.num_threads) == (True, config.get("use_bias", True), 1)
    known = {name: "linear" if value is None else value for name, value in config.items()}
    close(rnn(X)[0], expected(kind, X, weights, **known), "output")


def bidirectional(kind: str, weights: list[Array], **config: Any) -> Any:
    options: dict[str, Any] = {"name": "it", "merge_mode": config.pop("merge_mode", "concat")}
    options["backward_layer"] = config.pop(
        "backward_layer", {"class_name": kind, "config": {**config, "go_backwards": True}}
    )
    return layer("Bidirectional", {**options, "layer": {"class_name": kind, "config": config}}, weights)


@pytest.mark.parametrize("reset_after", [True, False])
def test_both_directions_and_several_layers(reset_after: bool, close: Close) -> None:
    config: dict[str, Any] = {"reset_after": reset_after, "activation": "relu"}
    forward, back = weights_of("GRU", 0, **config), weights_of("GRU", 10, **config)
    one = bidirectional("GRU", [*forward, *back], **config)
    output = expected("GRU", X, forward, **config), expected("GRU", X, back, go_backwards=True, **config)
    below = np.concatenate(output, axis=2)
    close(Recurrent.from_keras(one, backend="numpy")(X)[0], below, "output")
    above, above_back = (weights_of("GRU", seed, width=2 * H, **config) for seed in (20, 30))
    two = bidirectional("GRU", [*above, *above_back], **config)
    rnn = Recurrent.from_keras([one, two], backend="numpy", batch_first=False)
    assert (rnn.num_layers, rnn.bidirectional) == (2, True)
    output = expected("GRU", below, above, **config), expected("GRU", below, above_back, go_backwards=True, **config)
    close(rnn(X.swapaxes(0, 1))[0].swapaxes(0, 1), np.concatenate(output, axis=2), "output")
    with pytest.raises(ValueError, match="expected an input as wide as the output of the layer below, 8, as of layer"):
        Recurrent.from_keras([two, one])


def conv() -> Any:
    return layer("ConvLSTM1D", {"name": "it"}, [])


def backward_of_another_kind() -> Any:
    other = {"class_name": "GRU", "config": {"activation": "relu"}}
    return bidirectional("GRU", weights_of("GRU") * 2, activation="tanh", backward_layer=other)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no layer": (lambda: 3, TypeError, "source: expected a layer of Keras, a list of them, a model or a path, got int"),
    "an empty list": (list, ValueError, "or a list of these for several: there is none"),
    "another layer": (
        conv,
        ValueError,
        "layer 'it': expected a SimpleRNN, LSTM, GRU or Bidirectional layer, got ConvLS",
    ),
    "an activation that we lack": (
        lambda: layer("LSTM", {"name": "it", "activation": "gelu"}, weights_of("LSTM")),
        ValueError,
        "layer 'it': activation: expected one of tanh, sigmoid, relu, selu, softsign, softplus, silu, log_sigmoid, relu",
    ),
    "an activation that is a layer": (
        lambda: layer("LSTM", {"name": "it", "recurrent_activation": {"class_name": "ELU"}}, weights_of("LSTM")),
        ValueError,
        "layer 'it': recurrent_activation: expected one of",
    ),
    "a sum of both directions": (
        lambda: bidirectional("GRU", weights_of("GRU") * 2, merge_mode="sum"),
        ValueError,
        "layer 'it': merge_mode: expected 'concat', got 'sum': write config={'merge_mode': 'concat'}, and combine",
    ),
    "directions of two kinds": (
        backward_of_another_kind,
        ValueError,
        "layer 'it': expected two layers of one kind, got GRU and GRU with activation='tanh' and 'relu': each could be",
    ),
    "directions turned round": (
        lambda: bidirectional("GRU", weights_of("GRU") * 2, go_backwards=True),
        ValueError,
        "layer 'it': expected a first layer that runs forward, got go_backwards=True",
    ),
    "weights of another": (
        lambda: layer("LSTM", {"name": "it"}, weights_of("GRU")),
        ValueError,
        "layer 'it': expected kernel (I, G*H), recurrent_kernel (H, G*H), bias of LSTM = [(3, 16), (4, 16), (16,)], got",
    ),
    "a layer without weights": (
        lambda: layer("LSTM", {"name": "it"}, []),
        ValueError,
        "layer 'it': expected kernel (I, G*H), recurrent_kernel (H, G*H) of LSTM",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    make, error, message = REFUSED[what]
    with pytest.raises(error, match=re.escape(message)):
        Recurrent.from_keras(make(), backend="numpy")


def test_options_of_the_user_stand_before_the_layers() -> None:
    both = bidirectional("GRU", weights_of("GRU") * 2, merge_mode="sum", activation="gelu")
    rnn = Recurrent.from_keras(both, config={"merge_mode": "concat", "activation": "tanh"}, backend="numpy")
    assert rnn.cell == GRU("carry")
    known = {
        "GRU": "activation, recurrent_activation, reset_after, dropout, recurrent_dropout, merge_mode",
        "LSTM": "activation, recurrent_activation, dropout, recurrent_dropout, go_backwards",
        "SimpleRNN": "activation, dropout, recurrent_dropout, go_backwards",
    }
    for source, config in (
        (both, {"merge_mode": "concat", "activation": "tanh", "activaton": "relu"}),
        (layer("LSTM", {"name": "it"}, weights_of("LSTM")), {"reset_after": True}),
        (layer("SimpleRNN", {"name": "it"}, weights_of("SimpleRNN")), {"recurrent_activation": "relu"}),
    ):
        with pytest.raises(ValueError, match=r"config: expected options of a ") as caught:
            Recurrent.from_keras(source, config=config, backend="numpy")
        kind = str(caught.value).split()[5]
        assert str(caught.value).endswith(f" ({known[kind]}), got {list(config)[-1]!r}")
    unbuilt = layer("LSTM", {"name": "it"}, [])
    unbuilt.built = False
    with pytest.raises(ValueError, match="layer 'it': expected weights, got a layer that is not built: call it once"):
        Recurrent.from_keras(unbuilt)


def dropping(name: str, dropout: float, recurrent_dropout: float = 0.0, **config: Any) -> Any:
    rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
    return layer("LSTM", {"name": name, **rates}, weights_of("LSTM", **config))


def test_dropout_is_that_of_the_layers() -> None:
    first, above = dropping("first", 0.3, 0.2), [dropping(name, 0.5, 0.2, width=H) for name in ("second", "third")]
    rnn, again = (Recurrent.from_keras([first, *above], backend="numpy", seed=0) for _ in range(2))
    assert (rnn.input_dropout, rnn.dropout, rnn.recurrent_dropout, rnn.variational) == (0.3, 0.5, 0.2, True)
    np.testing.assert_array_equal(rnn.forward(X)[0], again.forward(X)[0])
    both = bidirectional("GRU", weights_of("GRU") * 2, dropout=0.1)
    assert Recurrent.from_keras(both, backend="numpy").input_dropout == 0.1
    plain = Recurrent.from_keras(first, config={"dropout": 0, "recurrent_dropout": 0}, backend="numpy")
    np.testing.assert_array_equal(plain.forward(X)[0], plain(X)[0])
    assert not plain.variational
    for other, message in (
        (dropping("other", 0.1, 0.2, width=H), "layer 'other': dropout: expected 0.5, as of layer 'second', got 0.1"),
        (dropping("other", 0.5, width=H), "layer 'other': recurrent_dropout: expected 0.2, as of layer 'first', got 0"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            Recurrent.from_keras([first, *above, other], backend="numpy")
    for option in ("dropout", "recurrent_dropout"):
        message = rf"layer 'first': {option}: expected a probability from 0 to 1, got 2$"
        with pytest.raises(ValueError, match=f"^{message}"):
            Recurrent.from_keras(first, config={option: 2}, backend="numpy")
    unlike = {"class_name": "GRU", "config": {"dropout": 0.2}}
    with pytest.raises(ValueError, match=re.escape("got GRU and GRU with dropout=None and 0.2")):
        Recurrent.from_keras(bidirectional("GRU", weights_of("GRU") * 2, backward_layer=unlike), backend="numpy")


def test_layers_of_keras(tmp_path: Path, request: pytest.FixtureRequest, close: Close) -> None:
    keras = require_peer(request, "keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            layers.LSTM(H, return_sequences=True, name="first"),
            layers.Bidirectional(
                layers.GRU(H, return_sequences=True, recurrent_activation="hard_sigmoid"), name="both"
            ),
            layers.SimpleRNN(H, return_sequences=True, go_backwards=True, activation="softplus", name="last"),
        ]
    )
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    values = X
    for each in model.layers:
        output = keras.ops.convert_to_numpy(each(values))
        rnn = Recurrent.from_keras(each, backend="numpy")
        aligned = output[:, ::-1] if rnn.direction == "reverse" else output
        close(rnn(values)[0], aligned, "output")
        config = {
            option: value
            for option, value in {**each.get_config(), **each.get_config().get("layer", {}).get("config", {})}.items()
            if "activation" in option or option == "go_backwards"
        }
        for source in (model, tmp_path / "model.keras", tmp_path / "model.h5"):
            close(Recurrent.from_keras(source, each.name, backend="numpy")(values)[0], aligned, "output")
        again = Recurrent.from_keras(tmp_path / "model.weights.h5", each.name, config=config, backend="numpy")
        close(again(values)[0], aligned, "output")
        values = output
