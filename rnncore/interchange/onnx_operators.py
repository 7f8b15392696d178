"""The RNN, GRU and LSTM of ONNX: what they read, their gates, activations and attributes."""

from __future__ import annotations

from typing import NamedTuple

INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
"""Names of the inputs of the operators that have a counterpart here."""

GATES = {"RNN": "a", "GRU": "zrn", "LSTM": "iofg"}
"""The operators' gates, by our names, in the order of their weights."""

PEEPHOLES = "iof"
"""Gates in the order of the LSTM's peepholes."""

ATTRIBUTES = (
    *("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget"),
    *("layout", "linear_before_reset"),
)
"""Attributes of the three operators."""

DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
"""Activations of an operator where a node names none."""


class Activation(NamedTuple):
    """An activation of ONNX.

    Attributes:
        ours: its name here.
        defaults: of alpha and beta, as many of them as it has; None where runtimes differ.
    """

    ours: str
    defaults: tuple[float | None, ...] = ()


ACTIVATIONS = {
    "Tanh": Activation("tanh"),
    "Sigmoid": Activation("sigmoid"),
    "Relu": Activation("relu"),
    "Affine": Activation("affine", (None, None)),
    "LeakyRelu": Activation("leaky_relu", (0.01,)),
    "ThresholdedRelu": Activation("thresholded_relu", (None,)),
    "ScaledTanh": Activation("scaled_tanh", (None, None)),
    "HardSigmoid": Activation("hard_sigmoid", (0.2, 0.5)),
    "Elu": Activation("elu", (1.0,)),
    "Softsign": Activation("softsign"),
    "Softplus": Activation("softplus"),
}
"""The activations of ONNX."""
