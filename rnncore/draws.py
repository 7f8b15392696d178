"""The random numbers of a call of training: those that its layers draw, and dropout of what they read.

All follow from a key: the generator of a network draws one for each call. A key and the numbers of layer and direction
give the key of a run, and of dropout of a layer's input; the step, the row, as the caller has it, and the unit count in
it, whatever rows or steps are computed together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnncore_kernels.codegen.philox import MASK, Dropout, philox
from rnncore_kernels.contract import Array, Engine, Inputs

from .architecture import Architecture

OF_RUNS, OF_INPUTS = 0, 1
"""What a key is for."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of a call.

    Attributes:
        architecture, engine: of the network.
        key: 64 bits.
        first: the number of the first step, among those of the sequence.
    """

    architecture: Architecture
    engine: Engine[Any, Any]
    key: int
    first: int = 0

    def at_steps(self, steps: slice) -> Draws:
        """Those of some of the steps."""
        return replace(self, first=self.first + steps.start)

    def drop_at(self, steps: slice) -> Callable[[int, Array], Array]:
        """`drop` of some of the steps."""
        return self.at_steps(steps).drop

    def inputs(self, given: Inputs, x: Array, layer: int, direction: int) -> Inputs:
        """The inputs of a run on x, (T, B, I): what is given, then `transform.COUNTERS` where its program draws."""
        if not self.architecture.definition.draws:
            return given
        xp, dtype, (steps, batch, _) = self.engine.xp, self.architecture.dtype, x.shape

        def bits(numbers: Any) -> Array:
            return xp.asarray(np.asarray(numbers, f"u{dtype.itemsize}").view(dtype))  # type: ignore[no-any-return]

        rows, times = bits(range(batch)), bits(range(self.first, self.first + steps))[:, None]
        key = bits(self._key_of(layer, direction, OF_RUNS))
        counters = tuple([xp.broadcast_to(numbers, (steps, batch)) for numbers in (rows, times, *key)])
        return Inputs((*given.rows, *counters), given.units)

    def drop(self, layer: int, values: Array) -> Array:
        """Drop elements of the input of a layer, (T, B, width), or of its cotangent, in place."""
        arch = self.architecture
        if rate := arch.input_rate(layer):
            self.engine.drop(values, Dropout(rate, self._key_of(layer, 0, OF_INPUTS), self.first, arch.variational))
        return values

    def _key_of(self, layer: int, direction: int, use: int) -> tuple[int, int]:
        first, second, *_ = philox((layer, direction, use, 0), (self.key & MASK, self.key >> 32))
        return first, second
