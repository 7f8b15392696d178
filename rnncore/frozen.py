"""Inference: whole sequences, steps, and generation, with weights that do not change meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array, Engine, Inputs, Prepared
from rnncore_kernels.program.transform import NOTHING, Changes

from .architecture import Architecture
from .arguments import check_states, new_states, read_sequence, read_step
from .devices import is_anothers, on_host, shared
from .errors import describe
from .inputs import are_none, at_steps, read_inputs
from .layout import Layout, is_behaved
from .options import check_integer
from .resets import Beginnings, changes_for, read_resets
from .stack import Stack, impl
from .states import as_tuple, unwrap_state


class _Known(NamedTuple):
    """The layout of a call, and a function for the next one of the same layout; None where `Stack.infer` is to do."""

    layout: Layout
    compute: Prepared | None


class Difference(NamedTuple):
    """How far results are from others: the largest and the mean magnitude of a difference; NaN if one is NaN."""

    largest: float
    mean: float


@dataclass(frozen=True, eq=False, repr=False)
class Frozen:
    """An immutable network for inference, from `Recurrent.freeze`. Calls from several threads at once are safe."""

    _architecture: Architecture
    _engine: Engine[Any, Any]
    _weights: Callable[[], Mapping[str, Array]]
    _copy: bool
    _stacks: dict[Changes, Stack] = field(default_factory=dict)
    _from_file: bool = False
    _known: dict[str, _Known] = field(default_factory=dict, init=False)

    @staticmethod
    def of(architecture: Architecture, engine: Engine[Any, Any], parameters: Mapping[str, Array]) -> Frozen:
        """The network with these parameters, which nobody else writes to."""
        frozen = Frozen(architecture, engine, lambda: parameters, False)
        frozen._stack()
        return frozen

    @property
    def weights(self) -> str:
        """The precision of weights and of what they multiply, "float32" say; see `Recurrent.freeze`."""
        return self._architecture.compute

    def impl(self, steps: int, batch: int) -> str:
        """How the backend computes the first layer, its products with these weights; see `Recurrent.impl`."""
        return impl(self._architecture, self._engine, steps, batch, training=False)

    def compare(self, x: Array, *arguments: Any, **options: Any) -> Difference:
        """How far the output for x is from that with the products of the dtype, computed with the same parameters.

        Args:
            x: a sequence, of your own data.
            arguments, options: the other arguments of the call.

        Returns:
            The largest and the mean magnitude of a difference of the outputs, over all steps, rows and units.

        Raises:
            ValueError, TypeError: as of the call; the weights are those of a file, which has no others.
        """
        if self._from_file and self._architecture.precision is not None:
            raise ValueError(
                f"compare: expected a network from Recurrent.freeze, got one that was loaded: its file has the weights "
                f"as {self.weights} alone"
            )
        exact = Frozen.of(replace(self._architecture, precision=None), self._engine, self._weights())
        results = [as_tuple(frozen(x, *arguments, **options)[0]) for frozen in (self, exact)]
        differences = [abs(on_host(a).astype(np.float64) - on_host(b)) for a, b in zip(*results, strict=True)]
        values = np.concatenate([difference.ravel() for difference in differences])
        return Difference(float(values.max(initial=0)), float(values.mean()) if values.size else 0.0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, its matrices as precise as `weights`; an existing file is replaced.

        `Frozen.load` reads it; a file with weights of the dtype `Recurrent.load` reads, too.

        Raises:
            OSError: the file cannot be written; FileNotFoundError where its folder does not exist.
        """
        from .frozen_files import save

        save(self, path)

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        backend: str = "auto",
        cell: str | Cell | None = None,
        num_threads: int | None = None,
    ) -> Frozen:
        """Read a network that `save` wrote, which gives the same results to the bit.

        Args:
            path: the file.
            backend, cell, num_threads: as of `Recurrent.load`.

        Raises:
            FileNotFoundError: there is no file.
            ValueError, TypeError, BackendUnavailableError: as of `Recurrent.load`.
        """
        from .frozen_files import load

        return load(path, backend=backend, cell=cell, num_threads=num_threads)

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
        """Compute a sequence: arguments, results and errors as in `Recurrent.__call__`."""
        kind = "sequence" if resets is None and reset_state is None else "sequence with resets"
        known = self._known.get(kind)
        if known is None or lengths is not None or not known.layout.fits(x):
            known, x = self._read_sequence(kind, x, lengths)
        layout, compute = known
        if states is not None or return_sequence is not True:
            check_states(states, return_sequence=return_sequence)
            compute = None
        state = new_states(layout, state, self._own)
        if compute is not None and are_none(inputs):
            output = layout.empty_output()
            compute(x, state, output)
            return output, unwrap_state(state)
        arch, xp, given = self._architecture, layout.xp, read_inputs(layout, inputs)[0]
        begun = read_resets(layout, resets, reset_state, self._own)
        stack = self._stack(changes_for(begun))
        run = (layout.engine_states(state), layout.rows)
        if states is not None:
            kept = xp.array(layout.time_first(x), order="C")
            layout.clear_padding(kept)
            tapes = stack.forward(kept, *run, None, None, given, begun)
            return unwrap_state(
                tuple(map(layout.sequence_out, stack.states(tapes[-1], arch.num_layers - 1)))
            ), unwrap_state(state)
        x = layout.sequence_in(x)
        if return_sequence:
            output = layout.empty_output()
            stack.infer(x, *run, layout.time_first(output), None, given, begun)
            return output, unwrap_state(state)
        last = xp.zeros((layout.batch, arch.output_size), layout.dtype)
        stack.infer(x, *run, None, last, given, begun)
        return layout.step_out(last), unwrap_state(state)

    def step(
        self,
        x_t: Array,
        state: Any = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
    ) -> tuple[Array, Any]:
        """Compute one step: arguments, results and errors as in `Recurrent.step`."""
        known = self._known.get("step")
        if known is None or not known.layout.fits(x_t):
            known, x_t = self._read_step(x_t)
        layout, compute = known
        states = new_states(layout, state, self._own)
        if resets is not None or reset_state is not None:
            Beginnings(layout, resets, reset_state, self._own, steps=False).set(layout.engine_states(states))
        output = layout.empty_output()
        if compute is not None and are_none(inputs):
            compute(x_t, states, output)
        else:
            self._compute_step(known, x_t, states, output, read_inputs(layout, inputs, steps=False)[0])
        return output, unwrap_state(states)

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
        """Compute a sequence from its first input: arguments, results and errors as in `Recurrent.generate`."""
        arch, xp = self._architecture, self._engine.xp
        steps = check_integer("steps", steps, 0)
        layout, x_0 = read_step(arch, xp, x_0, "x_0")
        known, x_t = self._find("step", layout), x_0
        if feedback is not None and not callable(feedback):
            raise TypeError(f"feedback: expected a function from an output to the next input, got {describe(feedback)}")
        if feedback is None and arch.x_size != arch.output_size:
            raise ValueError(
                f"feedback: expected a function from an output (B, {arch.output_axis}) to the next input "
                f"(B, {arch.x_axis}), got None, which needs equal sizes"
            )
        states = new_states(layout, state, self._own)
        whole = Layout(arch, xp, x_0.shape, steps, layout.batch, unbatched=layout.unbatched)
        given, _ = read_inputs(whole, inputs, copy=True)
        begins = Beginnings(whole, resets, reset_state, self._own, steps=True)
        outputs = xp.empty((steps, *x_0.shape[:-1], arch.output_size), arch.dtype)
        for t in range(steps):
            if t > 0:
                x_t = outputs[t - 1] if feedback is None else self._fed_back(feedback(outputs[t - 1].copy()))
                if not isinstance(x_t, xp.ndarray) or (x_t.shape, x_t.dtype) != (x_0.shape, x_0.dtype):
                    raise ValueError(f"feedback: expected to return {describe(x_0)}, like x_0, got {describe(x_t)}")
            x_t = x_t if is_behaved(x_t) else x_t.copy()
            begins.set(layout.engine_states(states), t)
            self._compute_step(known, x_t, states, outputs[t], at_steps(given, slice(t, t + 1)))
        return outputs.swapaxes(0, 1) if arch.batch_first and outputs.ndim == 3 else outputs, unwrap_state(states)

    def _read_sequence(self, kind: str, x: Any, lengths: Any) -> tuple[_Known, Array]:
        """Check x and lengths: the layout of the call, and x, which is C-contiguous where a function is prepared."""
        layout, x = read_sequence(self._architecture, self._engine.xp, x, lengths)
        if lengths is None and is_behaved(x):
            return self._find(kind, layout), x
        return _Known(layout, None), x

    def _read_step(self, x_t: Any) -> tuple[_Known, Array]:
        """The same of a step; x is always C-contiguous."""
        layout, x = read_step(self._architecture, self._engine.xp, x_t)
        return self._find("step", layout), x if is_behaved(x) else x.copy()

    def _find(self, kind: str, layout: Layout) -> _Known:
        """What is known of calls of a layout."""
        known = self._known.get(kind)
        if known is None or known.layout.shape != layout.shape:
            simple = layout.is_time_first and kind != "sequence with resets"
            compute = self._stack().prepare(layout.steps, layout.batch) if simple else None
            known = self._known[kind] = _Known(layout, compute)
        return known

    def _compute_step(self, known: _Known, x: Array, states: tuple[Array, ...], output: Array, inputs: Inputs) -> None:
        """One step; `states` are overwritten, and `output` is written."""
        layout, compute = known
        if compute is not None:
            compute(x, states, output)
            return
        whole, above = (array.reshape(1, layout.batch, array.shape[-1]) for array in (x, output))
        self._stack().infer(whole, layout.engine_states(states), layout.rows, above, None, inputs)

    def _own(self) -> list[Array] | None:
        """The network's own initial states."""
        return self._architecture.initial_states(self._weights()) if self._architecture.learn_initial_state else None

    def _stack(self, changes: Changes = NOTHING) -> Stack:
        """The weights for calls with such changes: packed when they are first needed, then kept."""
        stack = self._stacks.get(changes)
        if stack is None:
            arch = self._architecture
            weights = arch.by_layer(self._weights())
            stack = Stack.pack(arch, self._engine, weights, copy=self._copy, backward=False, changes=changes)
            stack = self._stacks.setdefault(changes, stack)
        return stack

    def _fed_back(self, value: Any) -> Any:
        """What `feedback` returned, as an array of ours where it is another library's in the same memory."""
        xp = self._engine.xp
        if not is_anothers(value, xp):
            return value
        return shared(value, xp, f"feedback: expected to return a {xp.__name__}.ndarray, got {describe(value)}")

    def __copy__(self) -> Frozen:
        return self

    def __deepcopy__(self, memo: object) -> Frozen:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a frozen network does not pickle: pickle the Recurrent, and freeze the copy")

    def __repr__(self) -> str:
        return f"Frozen({self._architecture.describe().replace('compute=', 'weights=')})"
