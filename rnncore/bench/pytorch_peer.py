"""A workload as PyTorch computes it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from rnncore_kernels.cells import GRU
from rnncore_kernels.cores import usable_cores
from rnncore_kernels.precision import BFLOAT16, INT8

from .peers import NotOfferedError
from .workload import BACKWARD, STEPS, Task, Workload


def make_task(peer: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """See `peers.make_task`; "cudnn" is PyTorch on the GPU, in full precision."""
    torch.set_num_threads(workload.threads or usable_cores())
    if peer != "cudnn":
        return _make(workload, lasting, "cpu")
    if not torch.cuda.is_available():
        raise NotOfferedError("PyTorch is installed without CUDA, or finds no GPU")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    task = _make(workload, lasting, "cuda")

    def call_and_wait() -> Any:
        results = task()
        torch.cuda.synchronize()
        return results

    return call_and_wait


def _make(workload: Workload, lasting: contextlib.ExitStack, device: str) -> Task:
    """The task; on a GPU a call returns when all is queued."""
    network = workload.network("numpy")
    try:
        module = network.to_torch().to(device)
    except ValueError as error:
        raise NotOfferedError(str(error)) from None
    x, grad_output = (torch.from_numpy(values).to(device) for values in workload.inputs())
    if workload.precision == BFLOAT16:
        module, x = module.bfloat16(), x.bfloat16()
    elif workload.precision == INT8 and workload.mode not in STEPS:
        module = _quantized(module)
    apply = _ragged(workload, module) if workload.ragged else module
    if workload.mode in ("training", BACKWARD):
        negated = network.cell == GRU()
        return _training(module, apply, x, grad_output, negated=negated, alone=workload.mode == BACKWARD)
    # Entered once, as a service would: at each call it takes longer than a step.
    lasting.enter_context(torch.inference_mode())
    module.eval()
    if workload.mode in STEPS:
        if workload.num_layers > 1:
            raise NotOfferedError("its cells of one step have one layer")
        task = _step(workload, module, x[0])
    else:
        task = partial(apply, x)
    # NumPy has no bfloat16: results are float32 when they are looked at, which is not in the time that is measured.
    return (lambda: partial(_widened, task())) if workload.precision == BFLOAT16 else task


def _quantized(module: Any) -> Any:
    """The module with weights in int8; inputs and states are quantized in each call."""
    if getattr(module, "proj_size", 0):
        raise NotOfferedError("quantizes no LSTM with a projection")
    with warnings.catch_warnings():
        # PyTorch says that its quantization will move to another package.
        warnings.simplefilter("ignore")
        # It exchanges the parts of a module, and never the whole.
        whole = torch.nn.Sequential(module)
        found = torch.ao.quantization.quantize_dynamic(whole, {type(module)}, dtype=torch.qint8)[0]
    if type(found) is type(module):
        raise NotOfferedError(f"quantizes no torch.nn.{type(module).__name__}")
    return found


def _widened(results: Any) -> Any:
    """The tensors in float32."""
    return [_widened(part) for part in results] if isinstance(results, tuple) else results.float()


def _ragged(workload: Workload, module: Any) -> Callable[[Any], tuple[Any, Any]]:
    """Packing and unpacking are part of the work."""
    lengths, utilities = torch.from_numpy(workload.lengths()), torch.nn.utils.rnn

    def apply(x: Any) -> tuple[Any, Any]:
        packed, state = module(utilities.pack_padded_sequence(x, lengths, enforce_sorted=False))
        output, _ = utilities.pad_packed_sequence(packed, total_length=workload.steps)
        return output, state

    return apply


def _training(
    module: Any, apply: Callable[[Any], tuple[Any, Any]], x: Any, grad_output: Any, *, negated: bool, alone: bool
) -> Task:
    """Forward and backward, or that alone; `negated` says that the update gate is the other way round."""
    x.requires_grad_()
    leaves = [x, *module.parameters()]
    rows = slice(module.hidden_size, 2 * module.hidden_size)

    def train() -> list[Any]:
        for leaf in leaves:
            leaf.grad = None
        output, _ = apply(x)
        output.backward(grad_output)
        grads = [leaf.grad for leaf in leaves[1:]]
        # As functions, which are called when results are looked at, and not in the time that is measured.
        return [output, x.grad, *(partial(_with_negated, grad, rows) if negated else grad for grad in grads)]

    if not alone:
        return train
    output, _ = apply(x)

    def back() -> list[Any]:
        first, *grads = torch.autograd.grad(output, leaves, grad_output, retain_graph=True)
        return [first, *(partial(_with_negated, grad, rows) if negated else grad for grad in grads)]

    return back


def _with_negated(grad: Any, rows: slice) -> Any:
    """A gradient with some rows negated."""
    grad = grad.clone()
    grad[rows] = -grad[rows]
    return grad.numpy(force=True)


def _step(workload: Workload, module: Any, x_t: Any) -> Task:
    if getattr(module, "proj_size", 0):
        raise NotOfferedError("its LSTM cell of one step has no projection")
    options = {"nonlinearity": module.nonlinearity} if isinstance(module, torch.nn.RNN) else {}
    make = getattr(torch.nn, f"{type(module).__name__}Cell")
    cell = make(workload.input_size, workload.hidden_size, dtype=x_t.dtype, device=x_t.device, **options).eval()
    cell.load_state_dict({name.removesuffix("_l0"): values for name, values in module.state_dict().items()})
    if workload.precision == INT8:
        cell = _quantized(cell)
    before = cell(x_t)

    def step() -> tuple[Any, Any]:
        state = cell(x_t, before)
        return state[0] if isinstance(state, tuple) else state, state

    return step
