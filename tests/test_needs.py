"""Gradients that nobody needs are left out, and the others have the bits that they have with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rnncore import Recurrent
from rnncore.needs import needed
from rnncore_kernels.contract import Array, Needs


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("needs", [Needs(x=False), Needs(weights=False), Needs(x=False, weights=False)])
def test_what_is_needed_has_the_same_bits(backend: str, cell: str, needs: Needs) -> None:
    rnn = Recurrent(cell, 19, 23, bidirectional=True, backend=backend, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 4, 19)).astype(np.float32)
    output, _, tape = rnn.forward(x, lengths=[5, 2, 0, 3])

    def gradients(needs: Sequence[Needs] | None) -> tuple[list[Array], list[Array], Array]:
        states = tape.layout.new_states(None)
        assert isinstance(tape.layers, tuple)
        grad_x, weights, _ = tape.stack.backward(tape.layers, tape.stack.parts(output), states, needs)
        arrays = [array for layer in weights for array in layer[:4] if array is not None]
        return list(states), arrays, grad_x

    expected, got = gradients(None), gradients([needs] * 2)
    wanted = [*zip(expected[0], got[0], strict=True)]
    wanted += zip(expected[1], got[1], strict=True) if needs.weights else []
    wanted += [(expected[2], got[2])] if needs.x else []
    for reference, value in wanted:
        np.testing.assert_array_equal(np.asarray(value), np.asarray(reference))


@pytest.mark.parametrize("of_x", [False, True])
@pytest.mark.parametrize("input_size", [3, None])
@pytest.mark.parametrize(
    ("cell", "options"),
    [("gru", {"num_layers": 2}), ("lstm", {"num_layers": 3, "bidirectional": True}), ("mingru", {}), ("indrnn", {})],
)
def test_a_parameter_is_one_of_its_layer(
    cell: str, options: dict[str, Any], input_size: int | None, of_x: bool
) -> None:
    """Also where the first layer has fewer, as x holds the gates' parts of it, or none."""
    architecture = Recurrent(cell, input_size, 4, backend="numpy", **options)._architecture
    suffixes, names = architecture.parameter_suffixes(), architecture.layer_names
    of_inputs = [of_x or not suffix.startswith("l0") for suffix in suffixes]
    for wanted in (None, *names):
        expected = [Needs(x, f"{wanted}".endswith(f"_{end}")) for x, end in zip(of_inputs, suffixes, strict=True)]
        assert needed(architecture, of_x, [name == wanted for name in names]) == expected
