"""`Recurrent`: a recurrent network, and its training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rnncore_kernels.contract import Array
from rnncore_kernels.program.transform import NOTHING, Changes

from .arguments import check_states, new_states, read_sequence
from .cotangents import read_cotangents
from .draws import Draws
from .errors import describe
from .gradients import Gradients
from .inference import Inference
from .initial import own_gradients
from .inputs import gradients_as_given, read_inputs
from .options import check_flag
from .resets import changes_for, read_resets
from .segments import Call, Segments
from .spans import make_plan
from .stack import Stack
from .states import unwrap_state
from .tape import Tape


class Recurrent(Inference):
    """A recurrent network: one or more layers of one cell, in one or both directions, with its parameters.

    Shapes: T steps, B rows (the batch), I = input_size, H = hidden_size, L = num_layers, D = 2 if bidirectional else 1.
    P is the width of the output: H, or that of the cell's projection. A sequence is (T, B, I), with batch_first
    (B, T, I), or (T, I) for one sequence without a batch. A state is (L*D, B, H), or (L*D, B, P) where it is the
    projection, without a batch (L*D, H); for the LSTM a pair (h, c) of them. NaN and infinite values propagate to all
    that depends on them, without a warning; where the Numba engine multiplies on tile registers (see `impl`), infinity
    counts as the largest bfloat16, 3.39e38.

    Arrays are NumPy's. With backend="cuda" they are CuPy's, of the GPU that was current when the network was made. An
    array of another library in the same memory, a PyTorch tensor say, is taken too, without a copy, by DLPack, on a GPU
    also by the CUDA array interface; results are NumPy's or CuPy's all the same. Nothing moves between the host and a
    GPU by itself. On a GPU, work is queued on CuPy's current stream, and not waited for.

    Args:
        cell: the name of a cell of the library, "lstm" say, or an instance of one, or of a `Cell` of your own.
        input_size: I, the width of x. None for an x that holds the gates' parts of it, W_ih x + b_ih, made elsewhere:
            (T, B, G*H) of the G gates that read x, in the cell's order. The first layer has neither weight_ih nor
            bias_ih then (bias_hh stays), and both its directions read the same x.
        hidden_size: H, at least 1.
        num_layers: L; layer k reads the output of layer k-1.
        bidirectional: whether each layer also runs from the end to the start; the outputs stand side by side.
        bias: whether there are biases.
        batch_first: whether sequences are (B, T, ...) instead of (T, B, ...); states are (L*D, B, H) all the same.
        dropout: probability of zeroing an element of the input of each layer but the first, in `forward` alone; what is
            kept is scaled by 1 / (1 - dropout).
        backend: "cuda", "numba", "numpy", or "auto" for the first of these that can run here; a warning says why where
            that is "numpy".
        dtype: "float32" or "float64", of parameters and all arrays.
        seed: of the initial parameters and of what training draws; None for a fresh one.
        num_threads: most threads of the processor that a call computes with, never more than the cores that the process
            may use; None for as many, with the Numba engine for NUMBA_NUM_THREADS if that is set. Results have the
            same bits for any number. Without effect with backend="cuda".
        direction: "forward", or "reverse" for layers that run from the end of each row to its start, as the second
            direction does where `bidirectional`; such a network takes no single steps.
        heads: n where each gate's recurrent weights are n blocks on the diagonal, of H/n units that see each other
            alone: weight_hh is (G*H, H/n), and a row multiplies the output of its own head. A divisor of H, and of P.
        zoneout: probability that a unit of a state keeps its value in a step of `forward`; of all states, or by their
            names, {"h": 0.1, "c": 0.2}. In inference a state is the mean of both, its expectation (Krueger et al.,
            2016, arXiv:1606.01305).
        recurrent_dropout: probability of zeroing a unit of what recurrent weights multiply, the output of the step
            before say, in `forward` alone: the same units of a row at all steps; what is kept is scaled by
            1 / (1 - recurrent_dropout) (Gal and Ghahramani, 2016, arXiv:1512.05287).
        input_dropout: as `dropout`, of x.
        variational: whether `dropout` and `input_dropout` zero the same elements of a row at all steps, and not others
            at each.
        proj_size: P of an LSTM whose output is projected, as in PyTorch; the cell is then LSTM(projection=P). 0: none.
        learn_initial_state: whether the state with which calls without one begin, and rows that `resets` begin anew
            without a `reset_state`, is learnt: parameters named as the cell's states, `h_0` and `c_0` say, (L*D, H), or
            the width of the state, which begin as zeros.
        compute: the precision of the factors of all products, forward and backward: None for that of `dtype`, or with
            dtype="float32" also "bfloat16". Then weights and what they multiply, and in training the cotangents that
            either is multiplied with, are rounded to the nearest bfloat16, and their products summed in float32.
            Parameters, states, gradients and all else that the cell computes stay float32.

    Raises:
        ValueError, TypeError: an argument is wrong; the message says which.
        BackendUnavailableError: the named backend cannot run here; the message says why and what to do.

    Initial parameters are drawn from U(-1/sqrt(H), 1/sqrt(H)), but for those whose initial number the cell says.
    """

    def forward(
        self,
        x: Array,
        state: Any = None,
        lengths: Any = None,
        return_sequence: bool = True,
        inputs: Mapping[str, Any] | None = None,
        resets: Array | None = None,
        reset_state: Any = None,
        states: str | None = None,
        flow: bool = False,
        burn_in: int = 0,
        truncate: int | None = None,
        recompute: bool = False,
    ) -> tuple[Any, Any, Tape]:
        """Compute a sequence and keep what `backward` needs; dropout is active. Other arguments are as in `__call__`.

        For many-to-one, with return_sequence=False, there is no array of all outputs, and `backward` takes `grad_last`.
        With states="all" `backward` takes a cotangent for each state, as grad_output, in a tuple where there are
        several.

        Args:
            flow: whether `backward` also returns how large the cotangent of each state is at each step, `grads.flow`:
                it vanishes or explodes from the end to the start where a network cannot learn what lies far back.
            burn_in: number of first steps, at most T, that warm the state up: their output is computed, nothing is kept
                of them, and no gradient passes through them. Cotangents of their output affect nothing, nor do those of
                the final states of rows that end in them.
            truncate: number of steps, counted from the end of burn-in, after which back-propagation is cut, again and
                again: cotangents of states do not pass from a segment to the one before, as if the state had been
                passed to another call. The cotangent of a row's final state enters where the row ends. None for
                nowhere.
            recompute: whether only some states are kept, at distances of the order of sqrt(T), from which `backward`
                computes the rest again: memory then grows with sqrt(T), but for arrays of all steps, such as the
                output, and between the layers of a bidirectional network. x and inputs are not copied: leave them as
                they are until `backward` has run, which refuses others.

        A network that runs back takes neither `burn_in` nor `truncate`.

        Returns:
            (output, state, tape): the shapes are those of `__call__`; the arrays are yours to change, the tape keeps
            its own.

        Raises:
            ValueError, TypeError: an argument is wrong.
        """
        arch, xp = self._architecture, self._engine.xp
        layout = self._layout
        if layout is None or lengths is not None or not layout.fits(x):
            layout, x = read_sequence(arch, xp, x, lengths)
            self._layout = layout if lengths is None else None
        own = state is None, reset_state is None
        state = new_states(layout, state, self._own)
        plan = make_plan(layout, burn_in, truncate, recompute, self._engine.min_block_steps)
        kept, given = read_inputs(layout, inputs, copy=not recompute)
        begun = read_resets(layout, resets, reset_state, self._own)
        x = layout.time_first(x)
        check_states(states, return_sequence=return_sequence)
        check_flag("flow", flow)
        every = states == "all"
        output = layout.empty_output() if return_sequence and not every else None
        above = None if output is None else layout.time_first(output)
        last: Any = None if return_sequence else xp.zeros((layout.batch, arch.output_size), arch.dtype)
        changes = changes_for(begun, states=every, flow=flow, drawn=arch.definition.draws)
        stack = self._pack(self._live.arrays, copy=True, backward=True, changes=changes)
        drawn = self._rng.bit_generator.state if arch.draws else None
        try:
            run, all_states = (layout.engine_states(state), layout.rows, above, last), tuple[Array, ...]()
            draws = Draws(arch, self._engine, self._draw_key()) if arch.draws else None
            if plan is None:
                x_kept = xp.array(x, order="C")
                layout.clear_padding(x_kept)
                drop = None if draws is None else draws.drop
                tapes: Any = stack.forward(x_kept, *run, kept, begun, draws=draws, drop=drop)
                all_states = stack.states(tapes[-1], arch.num_layers - 1) if every else ()
            else:
                shape = (layout.steps, layout.batch)
                if every:
                    widths = [arch.num_directions * arch.units(width) for width in arch.program.states]
                    all_states = tuple([xp.empty((*shape, width), arch.dtype) for width in widths])
                call = Call(layout, x, kept, begun, draws, None if draws is None else draws.drop_at)
                tapes = Segments.forward(stack, call, plan, run[0], above, last, all_states)
            result: Any = output
            if every:
                result = unwrap_state(tuple(map(layout.sequence_out, all_states)))
            elif output is None:
                result = layout.step_out(last)
            tape = Tape(stack, layout, tapes, return_sequence, given, own, changes)
            return result, unwrap_state(state), tape
        except BaseException:
            if drawn is not None:
                # Tried again, after an interruption or with more memory, it draws the same numbers.
                self._rng.bit_generator.state = drawn
            raise

    def backward(
        self, tape: Tape, grad_output: Any = None, grad_state: Any = None, grad_last: Array | None = None
    ) -> Gradients:
        """Back-propagation through time. One cotangent is needed at least; several add up.

        Args:
            tape: from `forward` of this network.
            grad_output: cotangent of the output, in its shape (what it holds past a row's end affects nothing); None
                is 0, as it must be where `forward` had return_sequence=False.
            grad_state: cotangent of the final state, shaped like the state; None is 0.
            grad_last: cotangent of the output of each row's last step, (B, D*P) or (D*P,); None is 0. Rows without
                steps have no such output, and what it holds for them affects nothing.

        Returns:
            Cotangents of x, of the initial state and that of resets, of each parameter and of each input, for the
            parameters as they were in `forward`. Those of a learnt initial state are sums over the rows that began, or
            began anew, with it.

        Raises:
            ValueError, TypeError: an argument is wrong, or the tape is another network's.
        """
        if not isinstance(tape, Tape):
            raise TypeError(f"tape: expected the third result of forward, got {describe(tape)}")
        if tape.stack.architecture is not self._architecture:
            raise ValueError(
                f"tape: expected one of this network, got one of Recurrent({tape.stack.architecture.describe()})"
            )
        layout = tape.layout
        outputs, states, every = read_cotangents(tape, grad_output, grad_state, grad_last)
        arch, changes = self._architecture, tape.changes
        begun = layout.new_states(None) if changes.reset_state else None
        flow = None
        if changes.flow:
            norms = arch.num_layers * arch.num_directions, layout.steps
            flow = tuple(layout.xp.zeros(norms, arch.dtype) for _ in arch.program.states)
        layers = tape.layers
        compute = layers.backward if isinstance(layers, Segments) else partial(tape.stack.backward, layers)
        grad_x, weights, of_inputs = compute(
            outputs,
            layout.engine_states(states),
            grad_resets=None if begun is None else layout.engine_states(begun),
            grad_every=every,
            flow=flow,
        )
        return Gradients(
            layout.sequence_out(grad_x),
            unwrap_state(states),
            arch.by_name(weights) | own_gradients(layout, tape.own, (states, begun)),
            gradients_as_given(layout, of_inputs, tape.given),
            None if begun is None else unwrap_state(begun),
            None if flow is None else unwrap_state(flow),
        )

    def _pack(self, arrays: Mapping[str, Array], *, copy: bool, backward: bool, changes: Changes = NOTHING) -> Stack:
        arch, weights = self._architecture, self._architecture.by_layer(arrays)
        return Stack.pack(arch, self._engine, weights, copy=copy, backward=backward, changes=changes)

    def _own(self) -> list[Array] | None:
        """The network's own initial states."""
        return self._architecture.initial_states(self._live.arrays)
