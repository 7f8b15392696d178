"""Where tensors are, and the engine that computes there: arrays and tensors share their memory."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncore_kernels.contract import Array, Engine

from ..registry import backends, make_engine, resolve_on_host


class Memory(NamedTuple):
    """The memory of a device.

    Attributes:
        engine: what computes there.
        array: an array over the memory of a tensor that requires no gradient.
        tensor: the inverse.
        entered: a context in which the engine computes on the device, after what PyTorch has begun there.
    """

    engine: Engine[Any, Any]
    array: Callable[[Tensor], Array]
    tensor: Callable[[Array], Tensor]
    entered: Callable[[], AbstractContextManager[Any]]


def reason_against_device(device: torch.device) -> str | None:
    """Why no engine computes on a device; None if one does."""
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        return f"a tensor on {device.type}"
    return None if (probe := backends()["cuda"]).available else f"a tensor on cuda: {probe.reason}"


@functools.lru_cache(maxsize=64)
def memory_of(device: torch.device) -> Memory:
    """The memory of a device, on which an engine computes, see `reason_against_device`."""
    if device.type == "cpu":
        nothing = contextlib.nullcontext()
        return Memory(make_engine(resolve_on_host(), None), Tensor.numpy, torch.from_numpy, lambda: nothing)
    with torch.cuda.device(device):
        engine = make_engine("cuda", None)
    cupy: Any = engine.xp

    @contextlib.contextmanager
    def entered() -> Iterator[None]:
        with cupy.cuda.Device(device.index), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
            yield

    return Memory(engine, cupy.from_dlpack, torch.from_dlpack, entered)
