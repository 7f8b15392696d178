"""Where arrays are: in the host's memory or on a GPU. Nothing moves from one to the other by itself."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

DLPACK_HOSTS = (1, 3, 11)
"""DLPack's numbers of the host's memory: pageable, and pinned for CUDA and for ROCm."""

UNSHARED = (BufferError, RuntimeError, TypeError, ValueError)
"""What libraries raise where they do not share an array, or do not say where it is."""


def namespace_of(array: Array) -> ModuleType:
    """`numpy` or `cupy`, whose array it is."""
    return sys.modules[type(array).__module__.split(".")[0]]


def is_on_gpu(value: Any) -> bool:
    """Whether it is an array on a GPU, of whatever library."""
    if isinstance(value, type):
        return False
    if hasattr(value, "__dlpack_device__"):
        return _memory(value) not in (*DLPACK_HOSTS, None)
    return hasattr(value, "__cuda_array_interface__")


def is_anothers(value: Any, xp: ModuleType) -> bool:
    """Whether it is an array of another library than `xp`, in the memory of xp's."""
    if isinstance(value, (type, np.ndarray, xp.ndarray)):
        return False
    if xp is not np:
        return is_on_gpu(value)
    return hasattr(value, "__dlpack_device__") and _memory(value) in DLPACK_HOSTS


def _memory(value: Any) -> int | None:
    """DLPack's number of the memory that an array is in; None where its library does not say."""
    try:
        return int(value.__dlpack_device__()[0])
    except UNSHARED:
        return None


def on_host(array: Any) -> Any:
    """An array in the host's memory, moved there if it is CuPy's, which waits for the GPU."""
    return array.get() if hasattr(array, "get") else array


def as_array(value: Any, xp: ModuleType, expected: str) -> Array:
    """`value` as an array of `xp`, without a copy.

    On a GPU, arrays of other libraries are taken too, see `shared`.

    Args:
        value: what a user gave.
        xp: the namespace of the network's arrays.
        expected: the beginning of a message, which says what came, too.

    Raises:
        TypeError: it is no array, a masked one, one in another memory, or one that has no values yet.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{expected}: its mask would be ignored; fill it")
    if isinstance(value, xp.ndarray):
        array: Array = value.view(xp.ndarray)
        return array
    stays = "nothing moves between devices by itself"
    if xp is np and is_on_gpu(value):
        raise TypeError(f"{expected}, which is on a GPU: {stays}; copy it to the host, or use backend='cuda'")
    if xp is not np and is_on_gpu(value):
        return shared(value, xp, expected)
    convert = f"{xp.__name__}.asarray"
    if xp is not np and isinstance(value, np.ndarray):
        raise TypeError(
            f"{expected}, which is in the host's memory: {stays}; copy it to the GPU with {convert}, or use "
            f"backend='numba'"
        )
    if any(base.__name__ == "Tracer" and base.__module__.startswith("jax") for base in type(value).__mro__):
        raise TypeError(f"{expected}, which JAX traces: inside its jit, grad and vmap call rnncore.jax.recurrent")
    shaped = hasattr(value, "shape") or hasattr(value, "__dlpack__")
    is_array = isinstance(value, list) or (shaped and not isinstance(value, type))
    raise TypeError(f"{expected}: convert it with {convert}" if is_array else expected)


def shared(value: Any, xp: ModuleType, expected: str) -> Array:
    """An array of another library in the same memory (see `is_anothers`) as one of `xp`, without a copy.

    By DLPack, where a library has it, what is computed next waits on the GPU for what the library still computes there;
    by the CUDA array interface alone, on the host. Arguments are as in `as_array`.

    Raises:
        TypeError: its library does not share it, or it is a PyTorch tensor that requires a gradient.
    """
    if getattr(value, "requires_grad", False):
        name = expected.partition(":")[0].partition(" ")[0]
        raise TypeError(
            f"{expected}, which requires a gradient, and none flows back to it from here: write {name}.detach()"
        )
    try:
        # PyTorch shares the numbers of a tensor that it has yet to negate as they are.
        value = value.resolve_neg() if hasattr(value, "resolve_neg") else value
        array: Array = xp.from_dlpack(value) if hasattr(value, "__dlpack_device__") else xp.asarray(value)
    except UNSHARED as error:
        raise TypeError(
            f"{expected}, which its library does not share: {str(error).rstrip('.')}; convert it to a dense array of "
            f"the dtype expected"
        ) from error
    return array


def check_current(name: str, array: Any, xp: ModuleType) -> None:
    """Raise ValueError unless an array of `xp` is on the host, or on the current GPU."""
    if xp is np:
        return
    there, current = array.device.id, xp.cuda.runtime.getDevice()
    if there != current:
        raise ValueError(
            f"{name}: expected an array on GPU {current}, which is the current one, got one on GPU {there}"
        )
