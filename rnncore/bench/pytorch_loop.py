"""A workload as a loop over its steps in PyTorch, for cells that PyTorch lacks.

It is written as well as a user can: W_ih x of all steps is one product before the loop, sequences are taken apart and
put together once, and a step is `pytorch_code`. Automatic differentiation does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from rnncore_kernels.cores import usable_cores
from rnncore_kernels.program.record import record

from .pytorch_code import Source
from .workload import BACKWARD, STEPS, Task, Workload


class Spike(torch.autograd.Function):  # type: ignore[misc]
    """1 where v > 0, else 0; the derivative is that of the surrogate, a function without arguments."""

    @staticmethod
    def forward(ctx: Any, v: Any, surrogate: Callable[[], Any]) -> Any:
        """The spikes."""
        ctx.surrogate = surrogate
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The cotangent of v, and none of the surrogate."""
        return grads[0] * ctx.surrogate(), None


class Loop:
    """A network of a workload on PyTorch's tensors.

    Attributes:
        parameters: by name, in the order of `Recurrent.parameters`.
        suffixes: ends of their names, for each layer and direction.
    """

    def __init__(self, workload: Workload) -> None:
        network = workload.network("numpy")
        self._workload, self._arch = workload, workload.architecture
        self.parameters = {name: torch.from_numpy(a.copy()) for name, a in network.parameters.items()}
        self._recorded = record(network.cell)
        self._source = Source(self._recorded)
        self.suffixes = self._arch.parameter_suffixes()
        scope = {"torch": torch, "functional": torch.nn.functional, "Spike": Spike}
        scope["inverse_size"] = 1 / workload.hidden_size
        exec(self._source.text, scope)
        self._make: Callable[..., Any] = scope["make"]

    def step_of(self, suffix: str) -> Callable[..., tuple[Any, ...]]:
        """The function of a step of a layer and direction, with the weights as they are now."""
        weights = []
        for gates in self._source.matrices:
            weights += [self._rows(f"{kind}_hh_{suffix}", gates) for kind in ("weight", "bias")]
        own = self._arch.definition
        named = [*own.units, *own.scalars, *(f"weight_{name}" for name in self._recorded.graph.projections)]
        step: Callable[..., tuple[Any, ...]] = self._make(*weights, *(self.parameters[f"{n}_{suffix}"] for n in named))
        return step

    def _rows(self, name: str, gates: Sequence[str]) -> Any:
        """The rows of some gates."""
        values, every = self.parameters[name], self._source.h_gates
        if list(gates) == every:
            return values
        parts = dict(zip(every, values.chunk(len(every)), strict=True))
        return torch.cat([parts[gate] for gate in gates])

    def x_parts(self, x: Any, suffix: str) -> Any:
        """W_ih x + b_ih; x itself where no gate reads it."""
        if not self._source.x_gates:
            return x
        return torch.nn.functional.linear(x, *(self.parameters[f"{kind}_ih_{suffix}"] for kind in ("weight", "bias")))

    def zero_states(self, x: Any) -> list[Any]:
        """The states (L*D, B, width) before the first step."""
        return [x.new_zeros(shape) for shape in self._arch.state_shapes(self._workload.batch)]

    def inputs_at_steps(self, inputs: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """The inputs of each step, those of rows (B, 1)."""
        rows = [values.unsqueeze(-1) if values.dim() == 2 else values for values in inputs]
        return zip(*(values.unbind(0) for values in rows), strict=True) if rows else iter([()] * self._workload.steps)

    def sequence(self, x: Any, inputs: Sequence[Any], lengths: Any) -> list[Any]:
        """The output and the final states."""
        at_steps, steps = list(self.inputs_at_steps(inputs)), range(self._workload.steps)
        active = None if lengths is None else (torch.arange(len(x))[:, None] < lengths)[..., None]
        going = [None] * len(x) if active is None else active.unbind(0)
        ends: list[tuple[Any, ...]] = []
        for layer in range(self._arch.num_layers):
            outputs = []
            for direction in range(self._arch.num_directions):
                suffix = self.suffixes[self._arch.state_index(layer, direction)]
                step, parts = self.step_of(suffix), self.x_parts(x, suffix).unbind(0)
                state, made = tuple(s[0] for s in self.zero_states(x)), [None] * len(x)
                for t in reversed(steps) if direction else steps:
                    new = step(parts[t], *state, *at_steps[t])
                    if going[t] is not None:
                        new = tuple(torch.where(going[t], n, s) for n, s in zip(new, state, strict=True))
                    made[t], state = new[0], new
                outputs.append(torch.stack(made))
                ends.append(state)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if active is not None:
                x = torch.where(active, x, 0.0)
        return [x, *map(torch.stack, zip(*ends, strict=True))]


def make_task(peer: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """See `peers.make_task`."""
    torch.set_num_threads(workload.threads or usable_cores())
    loop = Loop(workload)
    x, grad_output = map(torch.from_numpy, workload.inputs())
    inputs = [torch.from_numpy(values) for values in workload.cell_inputs().values()]
    lengths = torch.from_numpy(workload.lengths()) if workload.ragged else None
    if workload.mode in ("training", BACKWARD):
        return _training(loop, x, inputs, lengths, grad_output, alone=workload.mode == BACKWARD)
    lasting.enter_context(torch.inference_mode())
    if workload.mode in STEPS:
        return _step(loop, x, inputs)
    return lambda: loop.sequence(x, inputs, lengths)


def _training(loop: Loop, x: Any, inputs: Sequence[Any], lengths: Any, grad_output: Any, *, alone: bool) -> Task:
    leaves = [x, *loop.parameters.values(), *inputs]
    for leaf in leaves:
        leaf.requires_grad_()

    def train() -> list[Any]:
        for leaf in leaves:
            leaf.grad = None
        output, *_ = loop.sequence(x, inputs, lengths)
        output.backward(grad_output)
        return [output, *(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)]

    if not alone:
        return train
    output, *_ = loop.sequence(x, inputs, lengths)
    return lambda: torch.autograd.grad(output, leaves, grad_output, retain_graph=True, materialize_grads=True)


def _step(loop: Loop, x: Any, inputs: Sequence[Any]) -> Task:
    """One step of a stream, from the state behind the same step."""
    here = next(iter(loop.inputs_at_steps(inputs)))
    suffixes = loop.suffixes
    steps = [loop.step_of(suffix) for suffix in suffixes]

    def advance(before: Sequence[Any]) -> list[Any]:
        output, after = x[0], []
        for step, suffix, *state in zip(steps, suffixes, *before, strict=True):
            new = step(loop.x_parts(output, suffix), *state, *here)
            output = new[0]
            after.append(new)
        return [output, *map(torch.stack, zip(*after, strict=True))]

    before = [state.unbind(0) for state in advance([s.unbind(0) for s in loop.zero_states(x)])[1:]]
    return lambda: advance(before)
