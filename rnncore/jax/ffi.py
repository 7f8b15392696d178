"""XLA's C interface for foreign functions, as far as one handler needs it: arrays in, arrays out, errors.

The structures are those of xla/ffi/api/c_api.h. XLA calls from threads of its own, several at a time; ctypes takes the
GIL for them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

import jax
import numpy as np

from rnncore_kernels.contract import Array

Compute = Callable[[str, Sequence[Array], Sequence[Array]], None]
"""What is called: with the text that a call was given, its arguments, and its results, to be written."""

DTYPES = {1: np.bool_, 4: np.int32, 5: np.int64, 6: np.uint8, 8: np.uint32, 11: np.float32, 12: np.float64}
"""NumPy's types by XLA_FFI_DataType."""

INVALID_ARGUMENT, INTERNAL = 3, 13
"""XLA_FFI_Error_Code."""

VERSION = 0, 3
"""Major and minor version of the C interface whose structures are below. Earlier minor versions begin with the same
fields."""

METADATA = 1
"""XLA_FFI_Extension_Type of a call that asks for the version instead of computing."""

HEAD: Any = [("size", c_size_t), ("extension", c_void_p)]
"""Fields that most structures begin with."""


class _Version(ctypes.Structure):
    _fields_ = [*HEAD, ("major", c_int), ("minor", c_int)]


class _Api(ctypes.Structure):
    _fields_ = [*HEAD, ("version", _Version), ("internal", c_void_p), ("create_error", c_void_p)]


class _ErrorArguments(ctypes.Structure):
    _fields_ = [*HEAD, ("message", c_char_p), ("code", c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [*HEAD, ("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))]


class _Span(ctypes.Structure):
    _fields_ = [("start", c_void_p), ("length", c_size_t)]


class _Buffers(ctypes.Structure):
    _fields_ = [*HEAD, ("count", c_int64), ("types", c_void_p), ("values", POINTER(POINTER(_Buffer)))]


class _Attributes(ctypes.Structure):
    _fields_ = [
        *HEAD,
        ("count", c_int64),
        ("types", c_void_p),
        ("names", c_void_p),
        ("values", POINTER(POINTER(_Span))),
    ]


class _Frame(ctypes.Structure):
    _fields_ = [
        *HEAD, ("api", POINTER(_Api)), ("context", c_void_p), ("stage", c_int), ("arguments", _Buffers),
        ("results", _Buffers), ("attributes", _Attributes), ("future", c_void_p),
    ]  # fmt: skip


class _Metadata(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("version", _Version), ("traits", c_uint32)]


class _MetadataExtension(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("type", c_int), ("next", c_void_p), ("metadata", POINTER(_Metadata))]


_Handler = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))
_handlers: list[Any] = []
"""XLA has their addresses for as long as the process lives."""


def register(name: str, compute: Compute) -> None:
    """Let `jax.ffi.ffi_call(name, ...)(*arguments, call=text)` on the processor compute."""

    def handle(pointer: Any) -> int | None:
        frame = pointer.contents
        try:
            if frame.extension:
                extension = ctypes.cast(frame.extension, POINTER(_MetadataExtension)).contents
                if extension.type == METADATA:
                    version, theirs = extension.metadata.contents.version, frame.api.contents.version
                    version.major, version.minor = min(VERSION, (theirs.major, theirs.minor))
                    return None
            span = frame.attributes.values[0].contents
            text = ctypes.string_at(span.start, span.length).decode()
            compute(text, _read(frame.arguments), _read(frame.results))
        except BaseException as error:
            return _make_error(frame.api.contents, error)
        return None

    _handlers.append(_Handler(handle))
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(ctypes.cast(_handlers[-1], c_void_p).value), platform="cpu")


def _read(buffers: _Buffers) -> list[Array]:
    """Arrays over XLA's memory."""
    return [_array(buffers.values[index].contents) for index in range(buffers.count)]


def _array(buffer: _Buffer) -> Array:
    shape, dtype = buffer.dims[: buffer.rank], np.dtype(DTYPES[buffer.dtype])
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_char * size).from_address(buffer.data)
    return np.ndarray(shape, dtype, memory)


def _make_error(api: _Api, error: BaseException) -> int | None:
    create = ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArguments))(api.create_error)
    code = INVALID_ARGUMENT if isinstance(error, ValueError) else INTERNAL
    message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message.encode(), code)
    made: int | None = create(ctypes.byref(arguments))
    return made
