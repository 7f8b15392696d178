"""Layers and directions: which engine calls a network is made of, what flows between them, and dropout.

Arrays here have the engine's form: sequences (T, B, ...), rows sorted, states (L*D, B, H) with layer k and direction d
at index k*D + d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array, Engine, LayerGradients, LayerWeights

from .architecture import Architecture
from .rows import Rows

BLOCK_ROWS = 4096
"""Steps times rows for which a deep one-directional network runs all layers before it goes on: bounds its memory."""


@dataclass(frozen=True)
class Layer:
    """What the backward pass needs of one layer: residuals of each direction, and the dropout mask of its input."""

    residuals: tuple[Any, ...]
    mask: Array | None


@dataclass(frozen=True)
class Stack:
    """An architecture on an engine, with one set of packed weights."""

    architecture: Architecture
    engine: Engine[Any, Any]
    packed: tuple[Any, ...]

    @staticmethod
    def pack(
        architecture: Architecture, engine: Engine[Any, Any], weights: Sequence[LayerWeights], *, copy: bool
    ) -> Stack:
        """Pack the weights of each layer and direction; `copy` as in `Engine.pack`."""
        return Stack(architecture, engine, tuple(engine.pack(architecture.cell, w, copy=copy) for w in weights))

    def infer(self, x: Array, state: tuple[Array, ...], rows: Rows, output: Array | None) -> Array:
        """Run all layers; the final state replaces `state`, the sequence goes to `output` (T, B, D*H) if given.

        Returns:
            What the top layer read, of the last block of steps: all steps if bidirectional.
        """
        arch = self.architecture
        steps, batch, _ = x.shape
        # A reverse direction needs the whole sequence below it; without one, blocks of steps rise through the stack.
        whole = arch.num_layers == 1 or arch.bidirectional
        block = max(1, steps if whole else BLOCK_ROWS // max(1, batch))
        top = x
        for first in range(0, steps, block):
            span = slice(first, first + block)
            sizes = None if rows.batch_sizes is None else rows.batch_sizes[span]
            below = x[span]
            for layer in range(arch.num_layers):
                last = layer == arch.num_layers - 1
                target = (output if output is None else output[span]) if last else self._empty(below)
                for direction in range(arch.num_directions):
                    index = layer * arch.num_directions + direction
                    part = None if target is None else self._part(target, direction)
                    self.engine.infer(
                        self.packed[index], below, tuple(s[index] for s in state), part, sizes, direction == 1
                    )
                top = below
                if target is not None:
                    below = target
        return top

    def last_output(self, top_input: Array, first_state: tuple[Array, ...], final_h: Array, rows: Rows) -> Array:
        """(B, D*H) output at each row's last step, 0 for a row without steps.

        Args:
            top_input: what `infer` returned.
            first_state: a copy of the initial state.
            final_h: the final h, (L*D, B, H).
            rows: the arrangement of the rows.
        """
        arch, xp = self.architecture, self.engine.xp
        lengths = xp.asarray(rows.sorted_lengths)
        parts = [final_h[-arch.num_directions]]
        if arch.bidirectional:
            # The reverse direction's output there is its first step.
            batch = len(lengths)
            h = xp.zeros((1, batch, arch.hidden_size), arch.dtype)
            if len(top_input):
                at_end = top_input[xp.maximum(lengths - 1, 0), xp.arange(batch)][None]
                self.engine.infer(self.packed[-1], at_end, tuple(s[-1].copy() for s in first_state), h, None, False)
            parts.append(h[0])
        last: Array = xp.where((lengths > 0)[:, None], xp.concatenate(parts, axis=1), 0)
        return last

    def forward(
        self, x: Array, state: tuple[Array, ...], rows: Rows, output: Array, rng: np.random.Generator
    ) -> tuple[Layer, ...]:
        """As `infer`, keeping what `backward` needs; `x` must not change while that lives and be 0 past a row's end."""
        arch, layers, below = self.architecture, [], x
        for layer in range(arch.num_layers):
            last = layer == arch.num_layers - 1
            mask = None
            if layer > 0 and arch.dropout > 0:
                mask = self.engine.xp.asarray(rng.random(below.shape, np.float32) >= arch.dropout)
                below = self._drop(below, mask)
            target = output if last else self._empty(below)
            residuals = []
            for direction in range(arch.num_directions):
                index = layer * arch.num_directions + direction
                args = self.packed[index], below, tuple(s[index] for s in state), self._part(target, direction)
                residuals.append(self.engine.forward(*args, rows.batch_sizes, direction == 1))
            layers.append(Layer(tuple(residuals), mask))
            below = target
        return tuple(layers)

    def backward(
        self, layers: Sequence[Layer], grad_output: Array | None, grad_state: tuple[Array, ...]
    ) -> list[LayerGradients]:
        """Gradients of each layer and direction, in the order of the state.

        `grad_state` is overwritten with that of the initial state. The `x` of the first is that of the network's input.
        """
        arch = self.architecture
        gradients: list[LayerGradients] = []
        grad_above = grad_output
        for layer in reversed(range(arch.num_layers)):
            here = []
            for direction in range(arch.num_directions):
                index = layer * arch.num_directions + direction
                part = None if grad_above is None else self._part(grad_above, direction)
                args = self.packed[index], layers[layer].residuals[direction]
                here.append(self.engine.backward(*args, part, tuple(g[index] for g in grad_state)))
            grad_below = here[0].x
            for other in here[1:]:
                grad_below += other.x
            mask = layers[layer].mask
            grad_above = grad_below if mask is None else self._drop(grad_below, mask)
            here[0] = here[0]._replace(x=grad_above)
            gradients = [*here, *gradients]
        return gradients

    def _empty(self, below: Array) -> Array:
        arch = self.architecture
        empty: Array = self.engine.xp.empty((*below.shape[:2], arch.output_size), arch.dtype)
        return empty

    def _part(self, sequence: Array, direction: int) -> Array:
        hidden = self.architecture.hidden_size
        return sequence[..., direction * hidden : (direction + 1) * hidden]

    def _drop(self, values: Array, mask: Array) -> Array:
        """Inverted dropout: what is kept is scaled so that its expectation is unchanged."""
        kept = 1 - self.architecture.dropout
        dropped: Array = values * mask * (1 / kept if kept else 0.0)
        return dropped
