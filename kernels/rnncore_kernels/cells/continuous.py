"""Cells that come from differential equations: a step is a time step of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .cell import Cell, check_number, without_sizes
from .functions import project, sigmoid, tanh


@without_sizes
@dataclass(frozen=True, repr=False)
class CTRNN(Cell):
    """K. Funahashi, Y. Nakamura, Approximation of Dynamical Systems by Continuous Time RNNs, Neural Networks 6 (1993).

    The equation tau dh/dt = -h + tanh(a), by Euler's rule as in H. Jaeger et al., Leaky-integrator Neurons, Neural
    Networks 20 (2007); each unit learns its time constant: dt / tau = sigmoid(rate).
    """

    states, gates, units = "h", "a", "rate"
    initial = MappingProxyType({"rate": 0.0})

    def step(self, h: Any, a: Any, rate: Any) -> Any:
        return h + sigmoid(rate) * (tanh(a) - h)


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class LEM(Cell):
    """T. K. Rusch et al., Long Expressive Memory for Sequence Modeling, ICLR 2022, arXiv:2110.04744.

    The state z and the output y move by time steps of their own, which gates choose, up to `dt`.
    """

    dt: float = 1.0
    states, gates = "y z", "step_z step_y n_z n_y"

    def __post_init__(self) -> None:
        check_number("LEM", "dt", self.dt, above=0)

    def step(self, y: Any, z: Any, step_z: Any, step_y: Any, n_z: Any, n_y: Any) -> Any:
        s, t = self.dt * sigmoid(step_z), self.dt * sigmoid(step_y)
        z = (1 - s) * z + s * tanh(n_z)
        return (1 - t) * y + t * tanh(n_y.of(z)), z


@without_sizes
@dataclass(frozen=True, repr=False, kw_only=True)
class CoRNN(Cell):
    """T. K. Rusch, S. Mishra, Coupled Oscillatory Recurrent Neural Network, ICLR 2021, arXiv:2010.00951.

    Oscillators with frequency `gamma` and damping `epsilon`; z is the velocity of the output y.
    """

    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7
    states, gates = "y z", "a"

    def __post_init__(self) -> None:
        for option in ("dt", "gamma", "epsilon"):
            check_number("CoRNN", option, getattr(self, option), above=0)

    def step(self, y: Any, z: Any, a: Any) -> Any:
        z = z + self.dt * (tanh(a + project("zh", z)) - self.gamma * y - self.epsilon * z)
        return y + self.dt * z, z


@without_sizes
@dataclass(frozen=True, repr=False)
class CfC(Cell):
    """R. Hasani et al., Closed-form Continuous-time Networks, Nature Machine Intelligence 4 (2022), arXiv:2106.13898.

    The input `dt` is the time since the step before; f is linear, g and k have tanh, and no network is before them.
    """

    states, gates, row_inputs = "h", "f g k", "dt"

    def step(self, f: Any, g: Any, k: Any, dt: Any) -> Any:
        s = sigmoid(-f * dt)
        return s * tanh(g) + (1 - s) * tanh(k)
