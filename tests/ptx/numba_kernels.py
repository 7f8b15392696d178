"""Kernels that numba-cuda compiles, without a GPU or a driver, and their launch in the executor."""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.cuda.numba_cuda_patches import removed_names

from .executor import Execution, Program
from .memory import Array

CAPABILITIES = [(8, 0), (10, 0)]
"""One of each flavour of numba-cuda's PTX: from 10.0 on another NVVM writes it."""


@dataclass(frozen=True)
class Address:
    """An array that a kernel is given by the address of its first element alone."""

    array: Array


@contextlib.contextmanager
def target(capability: tuple[int, int]) -> Iterator[None]:
    """Let numba-cuda compile for a device that is not there."""

    class Device:
        compute_capability = capability

    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: Device
    try:
        yield
    finally:
        dispatcher.get_current_device = real


@functools.cache
def ptx_of(kernel: Callable[..., None], signature: Any, capability: tuple[int, int]) -> str:
    """PTX of a kernel for a compute capability."""
    cuda: Any = importlib.import_module("numba.cuda")
    with removed_names(), target(capability):
        text, _ = cuda.compile(kernel, signature, cc=capability, device=False, abi="numba")
    return str(text)


def run(text: str, blocks: int, threads: int, arguments: list[Any], shared_bytes: int = 0, seed: int = 0) -> Execution:
    """Launch it; Numba's kernels take an array as nine or more numbers."""
    flat: list[Any] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            flat += [0, 0, argument.size, argument.itemsize, argument, *argument.shape, *argument.strides]
        else:
            flat.append(argument.array if isinstance(argument, Address) else argument)
    return Program(text).run(blocks, threads, flat, shared_bytes, seed)


def without(text: str, instruction: str) -> Iterator[str]:
    """The text without one of the instructions that match, for each of them."""
    for match in re.finditer(instruction, text):
        # As many lines as before.
        yield text[: match.start()] + "//" + text[match.start() :]
