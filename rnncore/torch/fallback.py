"""Calls that the engine cannot take: PyTorch computes them itself, which is said once for each reason, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from rnncore_kernels.notices import warn_once

from .memory import reason_against_device
from .network import DTYPES

fallbacks: Counter[str] = Counter()
"""How many calls PyTorch has computed itself, by reason."""

_TYPES = (Tensor, torch.nn.Parameter)


def fall_back(reason: str) -> None:
    """Count a call, and warn of the first one for its reason."""
    fallbacks[reason] += 1
    warn_once(
        f"rnncore.torch: expected calls that the engine can compute, got {reason}: PyTorch computes these itself; "
        f"rnncore.torch.fallbacks counts them"
    )


def reason_against(tensors: Sequence[Tensor]) -> str | None:
    """Why the engine cannot compute with tensors, the first of which is a parameter; None if it can."""
    dtype, on_host = tensors[0].dtype, tensors[0].is_cpu
    for tensor in tensors:
        if type(tensor) not in _TYPES:
            return f"a tensor of type {type(tensor).__name__}"
        if not (on_host and tensor.is_cpu):
            if reason := reason_against_device(tensor.device):
                return reason
            if tensor.device != tensors[0].device:
                return f"tensors on {tensors[0].device} and {tensor.device}"
        if tensor.dtype is not dtype or dtype not in DTYPES:
            return f"a tensor of {tensor.dtype}" if tensor.dtype not in DTYPES else f"tensors of {dtype} and others"
        if tensor.layout is not torch.strided:
            return f"a tensor with layout {tensor.layout}"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transformation of torch.func"
    if torch._C._len_torch_dispatch_stack() > 0:
        return "a mode of __torch_dispatch__"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return None
