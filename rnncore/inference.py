"""`Inference`: sequences, steps and generation with a network's parameters as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array
from rnncore_kernels.precision import PRECISIONS

from .exchange import Exchange
from .frozen import Frozen
from .observed import observe
from .options import check_precision
from .registry import check_products


class Inference(Exchange):
    """A network that computes sequences and steps, without keeping anything for a backward pass; see `Recurrent`."""

    def __call__(
        self,
        x: Array,
        state: Any = None,
        lengths: Any = None,
        return_sequence: bool = True,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
        states: str | None = None,
    ) -> tuple[Any, Any]:
        """Compute a sequence, without keeping anything for a backward pass.

        Args:
            x: (T, B, I), (B, T, I) with batch_first, or (T, I).
            state: the initial state; None is the network's own `initial_state`, zeros unless it learns one.
            lengths: (B,) integers from 0 to T, in any order: the steps of each row. What x holds past a row's end
                affects nothing; the output there is 0, the final state is that at the row's end, and the reverse
                direction starts there. None: every row has T steps.
            return_sequence: False returns the output of each row's last step alone (0 for a row without steps). Memory
                does not grow with T then, except between the layers of a bidirectional network.
            inputs: arrays of the inputs that the cell declares, by name; all layers and directions get them. Row inputs
                are (T, B), with batch_first (B, T), or (B,) for all steps, or a number for all rows and steps; unit
                inputs (T, B, H), (B, T, H) or (B, H). Without a batch there is no B.
            resets: (T, B), with batch_first (B, T), or (T,) of bool: where a row begins anew. Its state becomes
                `reset_state` before that step, in the reverse direction behind it, so that in both directions nothing
                passes from one sequence to the next. What it holds past a row's end affects nothing. None for nowhere.
            reset_state: the state that rows begin anew with, shaped like `state`; None as for `state`.
            states: "all" returns every state of the last layer at each step in the place of the output, in a tuple
                where the cell has several: (T, B, D*H) each, or the width of the state. It takes the memory of
                `forward`.

        Returns:
            (output, state): output (T, B, D*P), (B, T, D*P) or (T, D*P); with return_sequence=False (B, D*P) or (D*P,).

        Raises:
            ValueError, TypeError: an argument is wrong; the message gives the axes that were expected.
        """
        return self._inference()(x, state, lengths, return_sequence, inputs, resets, reset_state, states)

    def step(
        self,
        x_t: Array,
        state: Any = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> tuple[Array, Any]:
        """Compute one step of a stream: `y_t, state = rnn.step(x_t, state)`.

        Weights stay packed from call to call until a parameter may have been written to (see `parameters`), so that a
        step costs as much as one of `freeze()`, but for the comparison of parameters that somebody holds.

        Args:
            x_t: (B, I), or (I,) without a batch.
            state: as returned by the step before; None as in `__call__`.
            inputs: as in `__call__`, of this step: (B,) or a number, and (B, H).
            resets: (B,) of bool, or one without a batch: the rows whose state becomes `reset_state` before the step.
            reset_state: as in `__call__`.

        Returns:
            (y_t, state): y_t (B, P) or (P,).

        Raises:
            ValueError, TypeError: an argument is wrong, or the network is bidirectional or runs in reverse.
        """
        return self._inference().step(x_t, state, inputs, resets, reset_state)

    def generate(
        self,
        x_0: Array,
        steps: int,
        state: Any = None,
        feedback: Callable[[Array], Array] | None = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> tuple[Array, Any]:
        """Compute a sequence from its first input alone (one-to-many): each output makes the next input.

        Args:
            x_0: (B, I), or (I,) without a batch.
            steps: number of outputs, at least 0.
            state: the initial state; None as in `__call__`.
            feedback: next input from an output, called between steps, e.g. to sample from it; None feeds the output
                back as it is, which takes an input as wide as the output.
            inputs, resets, reset_state: as in `__call__`, with `steps` for T.

        Returns:
            (outputs, state): outputs (steps, B, P), with batch_first (B, steps, P), or (steps, P).

        Raises:
            ValueError, TypeError: an argument is wrong, or what `feedback` returned.
        """
        return self._inference(copy=True).generate(x_0, steps, state, feedback, inputs, resets, reset_state)

    def observe(
        self,
        x: Array,
        state: Any = None,
        lengths: Any = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> list[dict[str, Array]]:
        """Compute a sequence, to look at what its steps compute. Arguments as in `__call__`; there is no dropout.

        Returns:
            For each layer by name, (T, B, D*H) each, with batch_first (B, T, D*H), or as wide as the value is: the
            states, what the cell names with `observe` (LSTM: its gates i, f, g and o, GRU: r, z and n), and of gates
            that it does not name the pre-activation W_ih x + b_ih + W_hh h + b_hh, if it uses that as a whole. A value
            of one number a row is (T, B, D). It is 0 past a row's end.

        Raises:
            ValueError, TypeError: an argument is wrong; the message gives the axes that were expected.
        """
        others = x, state, lengths, inputs, resets, reset_state
        return observe(self._architecture, self._engine, self._live.arrays, *others)

    def freeze(self, weights: str | None = None) -> Frozen:
        """An immutable copy for inference: `f(x, state, lengths, return_sequence)`, `f.step`, `f.generate`.

        Its weights are packed once, and later changes of the parameters do not reach it. It may be called from several
        threads at once. `f.compare(x)` says how far a copy with rounded weights is off, and `f.save(path)` writes it.

        Args:
            weights: None to multiply as the network does; "float32"; "bfloat16" as with compute="bfloat16"; or "int8":
                each row of a matrix of weights is a scale times whole numbers from -127 to 127, and so is what a row
                of the batch multiplies with it in a step, whose scale is computed then. Infinity there counts as NaN.

        Raises:
            ValueError: no such weights, or not with this dtype or backend.
        """
        arch = self._architecture
        if weights is not None:
            arch = replace(arch, precision=check_precision("weights", weights, arch.dtype, PRECISIONS))
            check_products("weights", arch.precision, self._backend)
        copies = {name: array.copy() for name, array in self._live.arrays.items()}
        return Frozen.of(arch, self._engine, copies)

    def _frozen(self, weights: Callable[[], Mapping[str, Array]], *, copy: bool = True) -> Frozen:
        return Frozen(self._architecture, self._engine, weights, copy)

    def _inference(self, *, copy: bool = False) -> Frozen:
        """The network with its parameters as they are; packed anew only if one may have changed since it last was.

        What it packs for one call alone stays right after that call, and whatever is written meanwhile, with `copy`.
        """
        live, kept = self._live, self._kept
        if kept is not None and live.check(kept):
            return kept.frozen
        # On a GPU, streams and captured graphs would have to know that one call uses what another packed.
        if self._engine.xp is np:
            self._kept = kept = None
            self._kept = kept = live.keep(self._frozen, self._engine.compared_bytes)
            if kept is not None:
                return kept.frozen
        # Asked of `live`, and without the network, which keeps the result: who refers to an array has it.
        return self._frozen(lambda: live.arrays, copy=copy)
