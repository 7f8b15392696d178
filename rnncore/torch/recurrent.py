"""`Recurrent`: a PyTorch module of any cell, the library's or one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.utils._pytree  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..arguments import check_states
from ..keyed import PLAIN, How
from ..options import check_flag
from ..rows import DENSE, arrange
from ..shapes import CallAxes, check_reset_state
from ..spans import check_segments
from . import calls
from .arguments import check_compute, read_inputs, read_lengths, read_resets, read_states, read_x, refuse
from .autocast import asked_precision, autocasts, recast
from .configured import Configured
from .dynamo import leave
from .fallback import reason_against
from .network import DTYPES
from .sequences import read_ends

TRACED = (
    "torch.jit.trace: expected operations of PyTorch's to record, got rnncore.torch.Recurrent, of which a trace would "
    "have the numbers alone: write torch.export.export(model, (x,))"
)


class Recurrent(Configured):
    """A recurrent network of any cell as a module: one or more layers, in one or both directions.

    Parameters have the names and shapes of `rnncore.Recurrent`, so that each loads the other's `state_dict`. Options
    are attributes; those from which no shapes of parameters follow, `zoneout` say, may be changed between calls.

    Args:
        cell: the name of a cell, or an instance of `rnncore.cells.Cell`, one of your own too.
        input_size, hidden_size, num_layers, bidirectional, bias, batch_first: as in `rnncore.Recurrent`.
        dropout: probability of zeroing an element of the input of each layer but the first, while training.
        device: where the parameters are; None for PyTorch's default.
        dtype: torch.float32 or torch.float64; None for PyTorch's default.
        options: all others of `rnncore.Recurrent`, direction="reverse" say.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
    """

    def forward(
        self,
        x: Any,
        state: Any = None,
        lengths: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        resets: Tensor | None = None,
        reset_state: Any = None,
        states: str | None = None,
        flow: bool = False,
        burn_in: int = 0,
        truncate: int | None = None,
        recompute: bool = False,
    ) -> Any:
        """Compute a sequence.

        Args:
            x: (T, B, I), (B, T, I) with batch_first, (T, I), or a PackedSequence of such a batch.
            state: the initial state, (L*D, B, width), or (L*D, width) without a batch; a tuple of them where the cell
                has several; None is zeros, or the state that it learns.
            lengths: (B,) integers from 0 to T, in any order: the steps of each row. None: every row has T steps.
            inputs: what the cell takes beside x, by name: row inputs (T, B) or (B,), unit inputs (T, B, H) or (B, H);
                (B, T) and (B, T, H) with batch_first; a number for a row input. Differentiable.
            resets: (T, B), (B, T) with batch_first, or (T,) of bool: where a row begins anew. Its state becomes
                `reset_state` before that step, in the reverse direction behind it. None for nowhere.
            reset_state: the state that rows begin anew with, shaped like `state`; None as for `state`. Differentiable.
            states: "all" for every state of the last layer at each step in the place of the output, in a tuple where
                the cell has several.
            flow: whether there is a third result: how large the cotangent of each state is at each step, its norm
                over rows and units, (L*D, T), in a tuple where the cell has several. The backward pass writes it;
                before that it is NaN.
            burn_in, truncate, recompute: as in `rnncore.Recurrent.forward`, for long sequences.

        Returns:
            (output, state), or (output, state, flow): as x and the state were given; 0 past a row's end.

        Raises:
            ValueError, TypeError: an argument is wrong; the message says what was expected.
        """
        if torch._C._get_tracing_state() is not None:
            raise TypeError(TRACED)
        arch, weights = self._architecture, calls.read_parameters(self, self._names)
        compiling = torch.compiler.is_compiling()
        how = How(states is not None, flow, burn_in, truncate, recompute)
        how = PLAIN if how == PLAIN else how
        if isinstance(x, PackedSequence):
            others = lengths, inputs, resets, reset_state
            if any([each is not None for each in others]) or how is not PLAIN:  # noqa: C419
                raise ValueError("x: expected a padded batch where there is more than a state, got a PackedSequence")
            return self._packed(x, state, weights)
        axes = read_x(arch, x)
        batch_first = arch.batch_first and not axes.unbatched
        x = x.unsqueeze(1) if axes.unbatched else x
        like = calls.like_of(weights, x)
        initial, given = self._states(state, axes), read_inputs(axes, inputs, like)
        check_reset_state(resets, reset_state)
        again = read_resets(axes, resets)
        begun = [] if again is None else self._states(reset_state, axes, "reset_state")
        check_states(states, return_sequence=True)
        check_flag("flow", flow)
        if how is not PLAIN:
            check_segments(arch, axes.steps, burn_in, truncate, recompute)
        if autocasts(x):
            x = recast(x, like.dtype)
            initial, begun, given = ([recast(t, like.dtype) for t in each] for each in (initial, begun, given))
        self._check(weights, x, initial, begun, given)
        ends, rows = read_lengths(axes, lengths), DENSE
        if ends is not None:
            if not compiling:
                rows = arrange(read_ends(ends, axes.steps), axes.steps, axes.batch)
            if compiling or rows is not DENSE:
                x, again = _cleared(x, again, ends, axes.steps, batch_first=batch_first)
        norms = self._norms(axes.steps, like, compiling=compiling) if flow else ()
        call = calls.Given(initial, given, again, begun, norms, how)
        if compiling:
            results = calls.traced(self, x, call, weights, batch_first=batch_first, lengths=ends)
        else:
            results = calls.padded(self, x, call, weights, batch_first=batch_first, rows=rows)
        if axes.unbatched:
            results = [result.squeeze(1) for result in results]
        count = len(self.state_widths)
        output, final = _as_given(results[:-count]), _as_given(results[-count:])
        return (output, final, _as_given(norms)) if flow else (output, final)

    @torch.no_grad()
    def observe(
        self,
        x: Tensor,
        state: Any = None,
        lengths: Any = None,
        inputs: Mapping[str, Any] | None = None,
        resets: Tensor | None = None,
        reset_state: Any = None,
    ) -> list[dict[str, Tensor]]:
        """Compute a sequence, to look at what its steps compute, as `rnncore.Recurrent.observe` does.

        Arguments are as in `forward`.

        Returns:
            For each layer by name, tensors (T, B, D*H), or (B, T, D*H) with batch_first; none requires a gradient.

        Raises:
            ValueError, TypeError: an argument is wrong; the message gives the axes that were expected.
        """
        arch, weights = self._architecture, calls.read_parameters(self, self._names)
        axes, like = read_x(arch, x), calls.like_of(weights, x)
        state = self._own_state(axes) if state is None else state
        if resets is not None and reset_state is None:
            reset_state = self._own_state(axes)
        given: dict[str, Any] = {"x": x, "state": state, "inputs": inputs, "reset_state": reset_state}
        if autocasts(x):
            given = torch.utils._pytree.tree_map_only(Tensor, lambda tensor: recast(tensor, like.dtype), given)
        states, begun = (read_states(axes, given[name], name) for name in ("state", "reset_state"))
        self._check(weights, given["x"], states, begun, read_inputs(axes, given["inputs"], like))
        arch = replace(arch, dtype=DTYPES[like.dtype], precision=asked_precision(like) or arch.precision)
        return calls.observe(self, arch, weights, given | {"lengths": lengths, "resets": resets})

    def _packed(self, x: PackedSequence, state: Any, weights: Sequence[Tensor]) -> tuple[Any, Any]:
        compiling, given = torch.compiler.is_compiling(), state
        if isinstance(state, (tuple, list)) and state:
            given = state[0]
        # In a graph of torch.compile a state says how many rows it is for, and the operator compares.
        batch = given.shape[-2] if compiling and isinstance(given, Tensor) else calls.count_rows(x)
        states = self._states(state, CallAxes(self._architecture, -1, batch, unbatched=False))
        data = x.data
        if autocasts(data):
            dtype = calls.like_of(weights, data).dtype
            data, states = recast(data, dtype), [recast(s, dtype) for s in states]
        self._check(weights, data, states)
        packed, finals = calls.packed(self, x, data, states, weights)
        return packed, _as_given(finals)

    def _states(self, state: Any, axes: CallAxes, name: str = "state") -> list[Tensor]:
        return read_states(axes, self._own_state(axes) if state is None else state, name)

    def _own_state(self, axes: CallAxes) -> Any:
        """The module's own initial state, as one is given; None for zeros."""
        names = self._architecture.initial_names
        named: dict[str, Any] = dict(zip(names, calls.read_parameters(self, names), strict=True))
        if (states := self._architecture.initial_states(named)) is None:
            return None
        states = [state.expand(-1, axes.batch, -1) for state in cast("list[Tensor]", states)]
        return _as_given([s[:, 0] for s in states] if axes.unbatched else states)

    def _norms(self, steps: int, like: Tensor, *, compiling: bool) -> tuple[Tensor, ...]:
        if compiling:
            raise ValueError("flow: expected False in a graph of torch.compile, got True: call the module eagerly")
        shape = self._architecture.num_layers * self._architecture.num_directions, steps
        return tuple([like.new_full(shape, math.nan, requires_grad=False) for _ in self.state_widths])

    def _check(
        self,
        weights: Sequence[Tensor],
        x: Tensor,
        states: Sequence[Tensor],
        begun: Sequence[Tensor] = (),
        inputs: Sequence[Tensor] = (),
    ) -> None:
        tensors, dtype = [*weights, x, *states, *begun, *inputs], calls.like_of(weights, x).dtype
        check_compute(self._architecture.precision, dtype)
        if torch.compiler.is_compiling():
            fits = dtype in DTYPES and all([tensor.dtype == dtype for tensor in tensors])  # noqa: C419
            reason = None if fits else "others"
        else:
            reason = reason_against(tensors)
        if reason is not None:
            labels = [*self._names, "x", *_labels("state", len(states)), *_labels("reset_state", len(begun))]
            labels += [f"inputs[{name!r}]" for name in self._architecture.definition.inputs]
            refuse(reason, list(zip(labels, tensors, strict=False)))  # a PackedSequence has no inputs


leave(Recurrent._check)


def _labels(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}[{k}]" for k in range(count)]


def _as_given(tensors: Sequence[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _cleared(
    x: Tensor, resets: Tensor | None, lengths: Tensor, steps: int, *, batch_first: bool
) -> tuple[Tensor, Tensor | None]:
    """x with zeros past the end of each row, where no row begins anew either."""
    ended = torch.arange(steps, device=x.device)[:, None] >= lengths.to(x.device)
    x = x.masked_fill((ended.T if batch_first else ended)[..., None], 0)
    return x, None if resets is None else resets & ~ended
