"""Everything that a network computes in a call, tensor by tensor, beside the oracle's results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.cells.cell import names
from rnncore_kernels.contract import Array

from ..devices import namespace_of, on_host
from ..states import as_tuple, unwrap_state
from . import oracle
from .networks import Call
from .tolerances import TOLERANCES, relative_error


class Compared(NamedTuple):
    """A tensor.

    Attributes:
        name: e.g. "gradient of weight_hh_l0".
        group: of which kind, e.g. "grad weight_hh": tables have a column for each.
        quantity: "output", "state" or "gradient", as in the table of tolerances.
        actual: on the host.
        expected: float64.
    """

    name: str
    group: str
    quantity: str
    actual: Array
    expected: Array

    def error(self, dtype: np.dtype) -> float:
        """Largest error as the table of tolerances has it; infinite where shape or dtype is wrong."""
        if (self.actual.shape, self.actual.dtype) != (self.expected.shape, dtype):
            return float("inf")
        return relative_error(self.actual, self.expected)

    def tolerance(self, precision: str) -> float:
        """The largest error that is right for products of such a precision, see `Recurrent.compute`."""
        return TOLERANCES[precision, self.quantity]


def results(
    call: Call,
    expected: oracle.Result,
    *,
    ragged: bool,
    state: bool = True,
    unbatched: bool = False,
    layout: Callable[[Array], Array] = lambda array: array,
) -> Iterator[Compared]:
    """Outputs and states of inference, many-to-one and training, and all gradients; frozen networks do not train.

    Args:
        call: the network and its arguments.
        expected: the oracle's results.
        ragged: whether lengths are passed at all.
        state: whether an initial state is; without, the call's must be 0; a learnt one is not passed.
        unbatched: whether a call of one row is made without the axis of the batch.
        layout: how x, states and cotangents lie in memory.
    """
    to_device = namespace_of(next(iter(call.rnn.parameters.values()))).asarray

    def part(array: Array) -> Array:
        return array[:, 0] if unbatched else array

    def given(array: Array) -> Array:
        moved: Array = to_device(layout(part(array)))
        return moved

    def outputs(of: str, output: Any, right: oracle.Result) -> Compared:
        return Compared(f"output of {of}", "output", "output", on_host(output), part(right.output))

    def in_states(what: str, found: Any, right: Sequence[Array]) -> Iterator[Compared]:
        for name, values, wanted in zip(states, as_tuple(found), right, strict=True):
            yield Compared(what.format(name), "state", "state", on_host(values), part(wanted))

    states, state = names(call.rnn.cell.states), state and not call.rnn.learn_initial_state
    x, initial = given(call.x), unwrap_state(tuple(map(given, call.state))) if state else None
    options: dict[str, Any] = {"lengths": call.lengths if ragged else None}
    if call.inputs:
        options["inputs"] = {name: given(values) for name, values in call.inputs.items()}
    if call.resets is not None:
        options["resets"] = to_device(part(call.resets))
    if call.reset_state:
        options["reset_state"] = unwrap_state(tuple(map(given, call.reset_state)))

    network, still = call.network, expected.inference or expected
    output, final = network(x, initial, **options)
    yield outputs("inference", output, still)
    yield from in_states("final {} of inference", final, still.state)
    last, final = network(x, initial, **options, return_sequence=False)
    ends = _last(still.output, call.lengths)
    yield Compared("last output", "output", "output", on_host(last), ends[0] if unbatched else ends)
    yield from in_states("final {} of many-to-one", final, still.state)
    if call.grad_states:
        every, _ = network(x, initial, **options, states="all")
        yield from in_states("all {} of inference", every, still.states)
    if call.weights is not None:
        return

    call.prepare()
    output, final, tape = call.rnn.forward(x, initial, **options)
    yield outputs("training", output, expected)
    yield from in_states("final {} of training", final, expected.state)
    grad_output: Any = given(call.grad_output)
    if call.grad_states:
        call.prepare()
        every, _, tape = call.rnn.forward(x, initial, **options, states="all")
        yield from in_states("all {} of training", every, expected.states)
        grad_output = (grad_output, *map(given, call.grad_states))
    if call.how:
        call.prepare()
        which = "all" if call.grad_states else None
        _, _, tape = call.rnn.forward(x, initial, **options, states=which, **call.how)
    grads = call.rnn.backward(tape, grad_output, unwrap_state(tuple(map(given, call.grad_state))))
    yield Compared("gradient of x", "grad x", "gradient", on_host(grads.x), part(expected.grad_x))
    for name, values, wanted in zip(states, as_tuple(grads.state), expected.grad_state, strict=True):
        yield Compared(f"gradient of initial {name}", "grad state", "gradient", on_host(values), part(wanted))
    for name, values, wanted in zip(states, as_tuple(grads.reset_state), expected.grad_reset_state, strict=False):
        yield Compared(f"gradient of reset {name}", "grad reset", "gradient", on_host(values), part(wanted))
    if grads.parameters.keys() != expected.grad_parameters.keys():
        raise KeyError(f"gradients: expected those of {list(expected.grad_parameters)}, got {list(grads.parameters)}")
    for name, wanted in expected.grad_parameters.items():
        kind = f"grad {name.rpartition('_l')[0] or name}"
        yield Compared(f"gradient of {name}", kind, "gradient", on_host(grads.parameters[name]), wanted)
    for name, wanted in expected.grad_inputs.items():
        yield Compared(f"gradient of {name}", f"grad {name}", "gradient", on_host(grads.inputs[name]), part(wanted))


def streamed(call: Call, expected: oracle.Result) -> Iterator[Compared]:
    """Outputs and final states of a call in one direction that is computed step by step."""
    to_device = namespace_of(next(iter(call.rnn.parameters.values()))).asarray
    outputs, state = [], unwrap_state(tuple(map(to_device, call.state)))
    network, expected = call.network, expected.inference or expected
    for t, x_t in enumerate(call.x):
        inputs = {name: to_device(values[t]) for name, values in call.inputs.items()}
        options: dict[str, Any] = {"inputs": inputs} if inputs else {}
        if call.resets is not None:
            options["resets"] = to_device(call.resets[t])
        if call.reset_state:
            options["reset_state"] = unwrap_state(tuple(map(to_device, call.reset_state)))
        y_t, state = network.step(to_device(x_t), state, **options)
        outputs.append(on_host(y_t))
    yield Compared("output of steps", "output", "output", np.stack(outputs), expected.output)
    for name, values, wanted in zip(names(call.rnn.cell.states), as_tuple(state), expected.state, strict=True):
        yield Compared(f"final {name} of steps", "state", "state", on_host(values), wanted)


def _last(output: Array, lengths: list[int]) -> Array:
    """The output of each row's last step, 0 for a row without steps."""
    last = np.zeros(output.shape[1:])
    for row, length in enumerate(lengths):
        if length:
            last[row] = output[length - 1, row]
    return last
