"""Cells of one's own that use all that a cell may have, for tests of what stands around the engines."""

from __future__ import annotations

from typing import Any

from rnncore.cells import cell, exp, layer_norm, mean, project, sigmoid, softplus, tanh


@cell(states="h c", gates="i f g o", units="p_i", row_inputs="dt", initial={"p_i": 0.25})
def irregular(h: Any, c: Any, i: Any, f: Any, g: Any, o: Any, p_i: Any, dt: Any) -> Any:
    """A peephole LSTM whose memory decays with the time since the last step."""
    c = sigmoid(f) * c * exp(-dt) + sigmoid(i + p_i * c) * tanh(g)
    return sigmoid(o) * tanh(c), c


@cell(states="h", gates="a", unit_inputs="gain", row_inputs="dt")
def driven(h: Any, a: Any, gain: Any, dt: Any) -> Any:
    """Inputs of both kinds."""
    return h + dt * (tanh(a * gain) - h)


@cell(states="h c", gates="i g")
def projected(h: Any, c: Any, i: Any, g: Any) -> Any:
    """The output is two wide, the memory as wide as the hidden size."""
    c = (1 - sigmoid(i)) * c + sigmoid(i) * tanh(g)
    return project("hr", tanh(c), 2), c


@cell(states="h", gates="a b", units="gain tau", scalars="s", initial={"gain": 1.0, "s": 0.5})
def partial_gates(h: Any, a: Any, b: Any, gain: Any, tau: Any, s: Any) -> Any:
    """One gate of x alone, one of h alone, parameters of each kind, a sum over units."""
    return layer_norm(tanh(a.x) + s * b.h, gain) * sigmoid(tau) + mean(h) * softplus(s)


@cell(states="h", gates="a", row_inputs="dt")
def decaying(h: Any, a: Any, dt: Any) -> Any:
    """A cell with a row input."""
    return exp(-dt) * h + tanh(a)
