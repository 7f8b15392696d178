"""`torch.autocast`: tensors of other dtypes are cast to that of the parameters, and products may be less precise."""

from __future__ import annotations

import torch
from torch import Tensor

from rnncore_kernels.precision import BFLOAT16


def autocasts(x: Tensor) -> bool:
    """Whether PyTorch casts what is computed on a tensor's device."""
    return bool(torch.is_autocast_enabled("cuda" if x.is_cuda else "cpu"))


def is_cast(tensor: Tensor) -> bool:
    """Whether PyTorch casts a tensor where it casts: one of fractions, but not of float64."""
    return tensor.is_floating_point() and tensor.dtype is not torch.float64


def recast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a dtype, if PyTorch casts it."""
    return tensor.to(dtype) if is_cast(tensor) else tensor


def asked_precision(weight: Tensor) -> str | None:
    """The precision of products that autocast asks for; None for the module's own, which also has no float16."""
    if not (weight.is_cpu and weight.dtype is torch.float32 and torch.is_autocast_enabled("cpu")):
        return None
    return BFLOAT16 if torch.get_autocast_dtype("cpu") is torch.bfloat16 else None
