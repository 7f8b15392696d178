"""From a Python function to PTX and machine code, without a GPU or a driver; all that touches compilers' insides.

numba-cuda makes PTX of a function, nvJitLink machine code of PTX. A driver takes machine code that a later minor
version of the toolkit made, but not its PTX, so machine code is what is launched and kept on disk.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as cached
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from .. import cache
from .numba_cuda_patches import removed_names, with_remembered_operators

Capability = tuple[int, int]
"""Compute capability, e.g. (9, 0)."""

SOURCE = ("codegen", "cuda", "program")
"""Folders of this package that the code of kernels depends on."""

_lock = threading.RLock()


@dataclass(frozen=True)
class Source:
    """A kernel to compile.

    Attributes:
        name: the kernel's in PTX.
        key: everything that the code depends on, beside this package's source and the compute capability.
        make: returns the function `kernel(run, arrays)`, in which all numbers are int64.
        fields: names in the tuple `run`.
        arrays: length of the tuple `arrays`.
        threads: most threads of a block.
    """

    name: str
    key: str
    make: Callable[[], Callable[..., None]]
    fields: tuple[str, ...]
    arrays: int
    threads: int


def ptx(source: Source, capability: Capability) -> str:
    """PTX of a kernel, from disk or compiled and put there."""
    return _cached(".ptx", source, capability, lambda: _compile(source, capability).encode()).decode()


def machine_code(source: Source, capability: Capability) -> bytes:
    """Machine code of a kernel, from disk or compiled and put there."""
    return _cached(".cubin", source, capability, lambda: link(ptx(source, capability), capability)[0])


def _cached(suffix: str, source: Source, capability: Capability, make: Callable[[], bytes]) -> bytes:
    with _lock:
        return cache.compiled(suffix, SOURCE, (source.name, source.key, str(capability), _versions()), make)


def link(text: str, capability: Capability) -> tuple[bytes, str]:
    """Machine code of PTX, and the assembler's report on it.

    Raises:
        RuntimeError: the assembler or linker refuses it; the message is theirs.
    """
    nvjitlink: Any = importlib.import_module("cuda.bindings.nvjitlink")
    content = text.encode()
    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-O3", "-Xptxas=-v"]
    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, content, len(content), "kernel")
        nvjitlink.complete(handle)
        code = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, code)
        report = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, report)
    except nvjitlink.nvJitLinkError as error:
        reason = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, reason)
        raise RuntimeError(f"nvJitLink: {error}: {_text(reason)}") from error
    finally:
        nvjitlink.destroy(handle)
    return bytes(code), _text(report)


def usage(report: str) -> tuple[int, int]:
    """Registers of a thread and bytes of stack, spilled registers among it, in an assembler's report on one kernel."""
    registers = re.search(r"Used (\d+) registers", report)
    stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    if registers is None or stack is None:
        raise ValueError(f"expected the assembler's report on a kernel, got {report!r:.200}")
    return int(registers[1]), max(map(int, stack.groups()))


def _text(log: bytearray) -> str:
    return log.decode(errors="replace").rstrip("\0\n")


@cached
def _versions() -> str:
    packages = ["numba-cuda", "numba", "llvmlite"]
    for package in ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12", "nvidia-nvjitlink", "nvidia-nvjitlink-cu12"):
        with contextlib.suppress(ModuleNotFoundError):
            version(package)
            packages.append(package)
    return " ".join(f"{package} {version(package)}" for package in packages)


def _compile(source: Source, capability: Capability) -> str:
    with removed_names():
        return _compiled(source, capability)


def _compiled(source: Source, capability: Capability) -> str:
    from numba import types

    cuda: Any = importlib.import_module("numba.cuda")
    run = types.NamedUniTuple(types.int64, len(source.fields), run_class(source.fields))
    signature = types.void(run, types.UniTuple(types.int64, source.arrays))
    typing: Any = importlib.import_module("numba.cuda.descriptor").cuda_target.typing_context

    def compiled() -> Any:
        return cuda.compile(
            _function(source),
            signature,
            device=False,
            cc=capability,
            abi="numba",
            abi_info={"abi_name": source.name},
            launch_bounds=source.threads,
        )

    text, _ = _without_driver(capability, lambda: with_remembered_operators(typing, compiled))
    if f".entry {source.name}(" not in text:
        raise RuntimeError(f"numba-cuda did not name the kernel {source.name}: its version is not one that is known")
    return str(text)


@cached
def _function(source: Source) -> Callable[..., None]:
    """A kernel's function, one for all capabilities: Numba keeps the types of the functions that it calls."""
    return source.make()


@cached
def run_class(fields: tuple[str, ...]) -> Any:
    """The class of `run`, one for all kernels with these fields, so that Numba compiles shared functions once."""
    return namedtuple("run", fields)


def _without_driver(capability: Capability, compiled: Callable[[], Any]) -> Any:
    """The result of `compiled`, for which numba-cuda asks the current GPU for its compute capability.

    It is told the truth again without a call, before which an interruption could come.
    """
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    real = dispatcher.get_current_device
    try:
        dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
        return compiled()
    finally:
        dispatcher.get_current_device = real
