"""The oracle itself: its automatic derivatives against finite differences of its values."""

import numpy as np
import pytest
from networks import CELLS, make_call

from rnncore.verification import oracle


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_the_values(name: str) -> None:
    call = make_call(
        name, 3, 2, lengths=[3, 2], num_layers=2, bidirectional=True, dtype="float64", hidden_size=2, input_size=1
    )
    result = call.expected()

    def loss() -> float:
        here = call.expected()
        terms = [(here.output, call.grad_output), *zip(here.state, call.grad_state, strict=True)]
        return float(sum((value * cotangent).sum() for value, cotangent in terms))

    pairs = [(call.x, result.grad_x), *zip(call.state, result.grad_state, strict=True)]
    pairs += [(call.rnn.parameters[key], grad) for key, grad in result.grad_parameters.items()]
    rng = np.random.default_rng(0)
    for values, grad in pairs:
        at = tuple(rng.integers(0, values.shape))
        here = values[at]
        values[at] = here + 1e-6
        above = loss()
        values[at] = here - 1e-6
        below = loss()
        values[at] = here
        assert abs((above - below) / 2e-6 - grad[at]) < 1e-7


def test_lstm_step_by_hand() -> None:
    """One unit, all weights 1, biases 0: x = 0.5, h = 0.25, c = -1 gives pre-activations of 0.75."""
    call = make_call("lstm", 1, 1, input_size=1, hidden_size=1, bias=False, dtype="float64")
    for values in call.rnn.parameters.values():
        values[...] = 1
    call.x[...] = 0.5
    call.state[0][...] = 0.25
    call.state[1][...] = -1
    gate = 1 / (1 + np.exp(-0.75))
    c = gate * -1 + gate * np.tanh(0.75)
    result = call.expected()
    assert abs(result.state[1].item() - c) < 1e-15
    assert abs(result.output.item() - gate * np.tanh(c)) < 1e-15


def test_an_inactive_unit_passes_no_cotangent_on() -> None:
    inactive, active = oracle.Scalar(-1.0), oracle.Scalar(1.0)
    oracle.back_propagate([(oracle.relu(inactive), np.inf), (oracle.relu(active), np.inf)])
    assert (inactive.grad, active.grad) == (0, np.inf)
