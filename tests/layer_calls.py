"""A layer of any cell on two engines, with random weights and inputs: all that it computes, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from conftest import Array

from rnncore.cells import Cell
from rnncore.verification.tolerances import TOLERANCES, relative_error
from rnncore_kernels.contract import BackwardRun, Engine, Inputs, LayerWeights, Rows, Run, Sizes
from rnncore_kernels.numpy.engine import NumpyEngine
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.program import units_of


class LayerCall:
    """Weights and inputs of a layer in one direction.

    Axes of inputs lie in memory in other orders than that of a copy, and one row input is the same at all steps.
    """

    def __init__(
        self, cell: Cell, steps: int, batch: int, hidden: int, *, inputs: int = 3, dtype: str = "float32",
        lengths: list[int] | None = None, reverse: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        self.program, self.sizes = make_program(cell), Sizes(hidden, inputs, np.dtype(dtype))
        self.steps, self.batch, self.reverse, self._rng = steps, batch, reverse, np.random.default_rng(0)
        program, random = self.program, self.random
        widths = [units_of(width, hidden) for width in program.states]
        gx, gh = len(program.x_gates) * hidden, len(program.h_gates) * hidden
        self.weights = LayerWeights(
            random(gx, inputs) if gx else None,
            random(gh, widths[0]) if gh else None,
            random(gx) if gx and bias else None,
            random(gh) if gh and bias else None,
            tuple(random(units_of(a, hidden), units_of(b, hidden)) for a, b in program.projections),
            tuple(random(hidden) for _ in range(program.units)),
            tuple(random() for _ in range(program.scalars)),
        )
        self.inputs = Inputs(
            tuple(np.broadcast_to(random(batch), (steps, batch)) for _ in range(program.row_inputs)),
            tuple(random(batch, steps, units_of(w, hidden)).transpose(1, 0, 2)[::-1] for w in program.unit_inputs),
        )
        self.rows, ends = Rows(), np.full(batch, steps)
        if lengths is not None:
            ends = np.array(lengths)
            self.rows = Rows(np.argsort(-ends, kind="stable"), (ends > np.arange(steps)[:, None]).sum(axis=1))
        self.x = random(steps, batch, inputs) * (np.arange(steps)[:, None] < ends)[..., None].astype(dtype)
        self.state = [random(batch, width) for width in widths]
        self.grad_output, self.grad_state = random(steps, batch, widths[0]), [random(*s.shape) for s in self.state]

    def random(self, *shape: int) -> Array:
        """Normal numbers, small enough for states to stay where functions are not flat."""
        return np.asarray(self._rng.standard_normal(shape) / 2).astype(self.sizes.dtype)

    def check(self, engine: Engine[Any, Any]) -> None:
        """Compare all that an engine computes with the NumPy engine's results."""
        for (name, actual), (_, expected) in zip(self.results(engine), self.results(NumpyEngine()), strict=True):
            assert (actual is None) == (expected is None), name
            if actual is None:
                continue
            assert actual.shape == expected.shape, name
            assert actual.dtype == expected.dtype, name
            error = relative_error(actual, expected)
            assert error <= TOLERANCES[actual.dtype.name, name.split()[0]], f"{name}: {error}"

    def results(self, engine: Engine[Any, Any]) -> Iterator[tuple[str, Any]]:
        """Arrays, with names that begin with a quantity of `TOLERANCES`."""
        packed = engine.pack(self.program, self.sizes, self.weights, copy=True, backward=True)
        run = self._run(packed)
        engine.infer([run])
        yield from self._outputs(run, "of inference")
        run = self._run(packed)
        (residuals,) = engine.forward([run])
        yield from self._outputs(run, "of training")
        grad_state = tuple(g.copy() for g in self.grad_state)
        (found,) = engine.backward([BackwardRun(packed, residuals, self.grad_output, grad_state)])
        for index, grad in enumerate(grad_state):
            yield f"gradient state {index}", grad
        yield "gradient x", found.x
        for name, value in [*found.weights._asdict().items(), *found.inputs._asdict().items()]:
            for index, array in enumerate(value if isinstance(value, tuple) else (value,)):
                yield f"gradient {name} {index}", array

    def _run(self, packed: Any) -> Run[Any]:
        output, last = (np.full(s, 7, self.sizes.dtype) for s in (self.grad_output.shape, self.state[0].shape))
        state = tuple(s.copy() for s in self.state)
        return Run(packed, self.x, state, output, last, self.rows, self.reverse, self.inputs)

    @staticmethod
    def _outputs(run: Run[Any], when: str) -> Iterator[tuple[str, Any]]:
        yield f"output {when}", run.output
        yield f"output last {when}", run.last
        for index, state in enumerate(run.state):
            yield f"state {index} {when}", state
