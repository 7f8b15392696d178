"""Where arrays are: in the host's memory or on a GPU. Nothing moves from one to the other by itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

DLPACK_GPUS = (2, 13)
"""DLPack's numbers of CUDA's memory, and of that which host and GPU share."""


def namespace_of(array: Array) -> ModuleType:
    """`numpy` or `cupy`, whose array it is."""
    return sys.modules[type(array).__module__.split(".")[0]]


def is_on_gpu(value: Any) -> bool:
    """Whether it is an array on a GPU, of whatever library."""
    if isinstance(value, type):
        return False
    if hasattr(value, "__dlpack_device__"):
        return value.__dlpack_device__()[0] in DLPACK_GPUS
    return hasattr(value, "__cuda_array_interface__")


def on_host(array: Any) -> Any:
    """An array in the host's memory, moved there if it is CuPy's, which waits for the GPU."""
    return array.get() if hasattr(array, "get") else array


def as_array(value: Any, xp: ModuleType, expected: str) -> Array:
    """`value` as an array of `xp`, without a copy.

    On a GPU, arrays of other libraries are taken too. By DLPack, where a library has it, what is computed next waits on
    the GPU for what the library still computes there; by the CUDA array interface alone, on the host.

    Args:
        value: what a user gave.
        xp: the namespace of the network's arrays.
        expected: the beginning of a message, which says what came, too.

    Raises:
        TypeError: it is no array, a masked one, or one in another memory.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{expected}: its mask would be ignored; fill it")
    if isinstance(value, xp.ndarray):
        array: Array = value.view(xp.ndarray)
        return array
    stays = "nothing moves between devices by itself"
    if is_on_gpu(value):
        if xp is np:
            raise TypeError(f"{expected}, which is on a GPU: {stays}; copy it to the host, or use backend='cuda'")
        try:
            array = xp.from_dlpack(value) if hasattr(value, "__dlpack_device__") else xp.asarray(value)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise TypeError(f"{expected}, which its library does not share: {error}") from error
        return array
    convert = f"{xp.__name__}.asarray"
    if xp is not np and isinstance(value, np.ndarray):
        raise TypeError(
            f"{expected}, which is in the host's memory: {stays}; copy it to the GPU with {convert}, or use "
            f"backend='numba'"
        )
    raise TypeError(f"{expected}: convert it with {convert}")


def check_current(name: str, array: Any, xp: ModuleType) -> None:
    """Raise ValueError unless an array of `xp` is on the host, or on the current GPU."""
    if xp is np:
        return
    there, current = array.device.id, xp.cuda.runtime.getDevice()
    if there != current:
        raise ValueError(
            f"{name}: expected an array on GPU {current}, which is the current one, got one on GPU {there}"
        )
