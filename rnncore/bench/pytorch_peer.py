"""A workload as PyTorch computes it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from rnncore_kernels.cores import usable_cores

from .peers import NotOfferedError
from .workload import STEPS, Task, Workload


def make_task(peer: str, workload: Workload, lasting: contextlib.ExitStack, device: str = "cpu") -> Task:
    """See `peers.make_task`; on PyTorch's device "cuda", a call returns when all is queued there."""
    torch.set_num_threads(workload.threads or usable_cores())
    module = workload.network("numpy").to_torch().to(device)
    x, grad_output = (torch.from_numpy(values).to(device) for values in workload.inputs())
    apply = _ragged(workload, module) if workload.ragged else module
    if workload.mode == "training":
        return _training(module, apply, x, grad_output)
    # Entered once, as a service would: at each call it takes longer than a step.
    lasting.enter_context(torch.inference_mode())
    module.eval()
    if workload.mode in STEPS:
        if workload.num_layers > 1:
            raise NotOfferedError("its cells of one step have one layer")
        return _step(workload, module, x[0])
    return lambda: apply(x)


def _ragged(workload: Workload, module: Any) -> Callable[[Any], tuple[Any, Any]]:
    """Packing and unpacking are part of the work."""
    lengths, utilities = torch.from_numpy(workload.lengths()), torch.nn.utils.rnn

    def apply(x: Any) -> tuple[Any, Any]:
        packed, state = module(utilities.pack_padded_sequence(x, lengths, enforce_sorted=False))
        output, _ = utilities.pad_packed_sequence(packed, total_length=workload.steps)
        return output, state

    return apply


def _training(module: Any, apply: Callable[[Any], tuple[Any, Any]], x: Any, grad_output: Any) -> Task:
    x.requires_grad_()
    leaves = [x, *module.parameters()]

    def train() -> list[Any]:
        for leaf in leaves:
            leaf.grad = None
        output, _ = apply(x)
        output.backward(grad_output)
        return [output, *(leaf.grad for leaf in leaves)]

    return train


def _step(workload: Workload, module: Any, x_t: Any) -> Task:
    make = getattr(torch.nn, f"{type(module).__name__}Cell")
    cell = make(workload.input_size, workload.hidden_size, dtype=x_t.dtype, device=x_t.device).eval()
    cell.load_state_dict({name.removesuffix("_l0"): values for name, values in module.state_dict().items()})
    before = cell(x_t)

    def step() -> tuple[Any, Any]:
        state = cell(x_t, before)
        return state[0] if isinstance(state, tuple) else state, state

    return step
