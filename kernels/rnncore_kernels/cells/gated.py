"""Gated cells with one state or two that are simpler than the LSTM and the GRU, or richer."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .cell import Cell, check_number, check_option, without_sizes
from .functions import exp, log_sigmoid, maximum, relu, sigmoid, tanh


@without_sizes
@dataclass(frozen=True, repr=False)
class MGU(Cell):
    """G.-B. Zhou et al., Minimal Gated Unit for Recurrent Neural Networks, IJAC 13 (2016), arXiv:1603.09420.

    The GRU (reset before) with one gate f for both reset and update.
    """

    states, gates = "h", "f n"

    def step(self, h: Any, f: Any, n: Any) -> Any:
        f = sigmoid(f)
        return (1 - f) * h + f * tanh(n.of(f * h))


@without_sizes
@dataclass(frozen=True, repr=False)
class MinGRU(Cell):
    """L. Feng et al., Were RNNs All We Needed?, 2024, arXiv:2410.01201.

    Gate and candidate read the input alone, so there are no recurrent weights.
    """

    states, gates = "h", "z n"

    def step(self, h: Any, z: Any, n: Any) -> Any:
        z = sigmoid(z.x)
        return (1 - z) * h + z * n.x


@without_sizes
@dataclass(frozen=True, repr=False)
class LiGRU(Cell):
    """M. Ravanelli et al., Light Gated Recurrent Units for Speech Recognition, IEEE TETCI 2 (2018), arXiv:1803.10225.

    No reset gate, relu for the candidate. The paper's batch normalisation of W_ih x is left out.
    """

    states, gates = "h", "z n"

    def step(self, h: Any, z: Any, n: Any) -> Any:
        z = sigmoid(z)
        return z * h + (1 - z) * relu(n)


@without_sizes
@dataclass(frozen=True, repr=False)
class UGRNN(Cell):
    """J. Collins, J. Sohl-Dickstein, D. Sussillo, Capacity and Trainability in RNNs, ICLR 2017, arXiv:1611.09913."""

    states, gates = "h", "g c"

    def step(self, h: Any, g: Any, c: Any) -> Any:
        g = sigmoid(g)
        return g * h + (1 - g) * tanh(c)


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class JANET(Cell):
    """J. van der Westhuizen, J. Lasenby, The Unreasonable Effectiveness of the Forget Gate, 2018, arXiv:1804.04849.

    The LSTM with a forget gate f alone; the candidate g enters by 1 - sigmoid(f - beta).
    """

    beta: float = 1.0
    states, gates = "h", "f g"

    def __post_init__(self) -> None:
        check_number("JANET", "beta", self.beta)

    def step(self, h: Any, f: Any, g: Any) -> Any:
        return sigmoid(f) * h + (1 - sigmoid(f - self.beta)) * tanh(g)


@without_sizes
@dataclass(frozen=True, repr=False)
class STAR(Cell):
    """M. Turkoglu et al., Gating Revisited: Deep Multi-layer RNNs That Can Be Trained, TPAMI 2021, arXiv:1911.11033.

    The content z reads the input alone, so it has no recurrent weights; k weighs it against the state.
    """

    states, gates = "h", "z k"

    def step(self, h: Any, z: Any, k: Any) -> Any:
        k = sigmoid(k)
        return tanh((1 - k) * h + k * tanh(z.x))


@without_sizes
@dataclass(frozen=True, repr=False)
class RAN(Cell):
    """K. Lee, O. Levy, L. Zettlemoyer, Recurrent Additive Networks, 2017, arXiv:1705.07393.

    The content g is linear in the input; the output is tanh(c), or c with activation="identity".
    """

    activation: str = "tanh"
    states, gates = "h c", "g i f"

    def __post_init__(self) -> None:
        check_option("RAN", "activation", self.activation, ("tanh", "identity"))

    def step(self, c: Any, g: Any, i: Any, f: Any) -> Any:
        c = sigmoid(i) * g.x + sigmoid(f) * c
        return tanh(c) if self.activation == "tanh" else c, c


@without_sizes
@dataclass(frozen=True, repr=False)
class IndRNN(Cell):
    """S. Li et al., Independently Recurrent Neural Network, CVPR 2018, arXiv:1803.04831.

    A unit sees of the state its own alone, times `u`; there are no recurrent weights.
    """

    states, gates, units = "h", "a", "u"

    def step(self, h: Any, a: Any, u: Any) -> Any:
        return relu(a.x + u * h)


@without_sizes
@dataclass(frozen=True, repr=False)
class FastGRNN(Cell):
    """A. Kusupati et al., FastGRNN, NeurIPS 2018, arXiv:1901.02358.

    Gate and candidate share their products; sigmoid(zeta) and sigmoid(nu) are the paper's two scalars.
    """

    states, gates, units, scalars = "h", "a", "b_z b_h", "zeta nu"
    initial = MappingProxyType({"zeta": 1.0, "nu": -4.0})

    def step(self, h: Any, a: Any, b_z: Any, b_h: Any, zeta: Any, nu: Any) -> Any:
        z = sigmoid(a + b_z)
        return (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * tanh(a + b_h) + z * h


@without_sizes
@dataclass(frozen=True, repr=False)
class SLSTM(Cell):
    """M. Beck et al., xLSTM: Extended Long Short-Term Memory, NeurIPS 2024, arXiv:2405.04517: the sLSTM.

    Exponential input gate, forget gate "sigmoid" or "exp", normaliser n, and m, which keeps exponents at most 0.
    """

    forget: str = "sigmoid"
    states, gates = "h c n m", "i f z o"

    def __post_init__(self) -> None:
        check_option("SLSTM", "forget", self.forget, ("sigmoid", "exp"))

    def step(self, c: Any, n: Any, m: Any, i: Any, f: Any, z: Any, o: Any) -> Any:
        log_f = m + (log_sigmoid(f) if self.forget == "sigmoid" else f)
        m = maximum(log_f, i)
        i, f = exp(i - m), exp(log_f - m)
        c, n = f * c + i * tanh(z), f * n + i
        return sigmoid(o) * (c / n), c, n, m
