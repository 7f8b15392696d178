"""PTX kernels on the processor: `Program(ptx).run(blocks, threads, arguments)`.

A run fails, with an `ExecutionError` that names the kernel, the thread and the instruction, on the first

- access out of bounds, misaligned, or to what may only be read;
- read of shared, local or global memory (see `memory.empty`) or of a register that nobody has written;
- data race, between threads of a block or of several (what orders them: runtime/clocks.py);
- barrier or exchange in a warp at which not all threads arrive, deadlock, and livelock.

All blocks are resident, as those of a cooperative launch. Threads run one at a time, in an order that the seed decides.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import machine
from .errors import LaunchError, UnsupportedInstruction
from .launch import Launch
from .lower import lower
from .memory import Array, span_of
from .parse import parse
from .report import Report
from .runtime import layout as at
from .syntax import Module
from .translate import Parameter, Translation, translate
from .types import TYPES

BUDGET = 4_000_000_000
"""Instructions of all threads together after which a launch is taken for one that does not end."""

SHARED_BYTES = {
    75: 65536,
    80: 166912,
    86: 101376,
    87: 166912,
    89: 101376,
    90: 232448,
    100: 232448,
    103: 232448,
    120: 101376,
}
"""Shared memory that a block of each architecture may have."""

Argument = Array | int | float | np.generic


@dataclass(frozen=True)
class Execution:
    """What a launch took.

    Attributes:
        instructions: executed by all threads together.
    """

    instructions: int


class Program:
    """A kernel of a PTX module.

    Args:
        ptx: text of the module.
        entry: name of the kernel; may be left out where there is one.

    Raises:
        UnsupportedInstruction: the module has something that the executor does not know.
        ValueError: there is no such kernel, or there are several and none was named.
    """

    def __init__(self, ptx: str, entry: str | None = None) -> None:
        self._text = ptx
        target = re.search(r"^\s*\.target\s+sm_(\d+)", ptx, re.MULTILINE)
        self._shared_limit = SHARED_BYTES.get(int(target[1]) if target else 0, max(SHARED_BYTES.values()))
        key = hashlib.sha256(f"{entry}\0{ptx}".encode()).hexdigest()
        found = machine.read(key)
        if found is None:
            module = parse(ptx)
            translation, text = translate(lower(module, module.functions[_entry(module, entry)]), module.variables)
            found = translation, machine.compile_text(text)
            machine.write(key, *found)
        self.translation: Translation = found[0]
        self._loaded = machine.Loaded(found[1])

    @property
    def name(self) -> str:
        """The kernel's."""
        return self.translation.name

    def run(
        self,
        blocks: int,
        threads: int,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
        seed: int = 0,
        *,
        reachable: Sequence[Array] = (),
        budget: int = BUDGET,
    ) -> Execution:
        """Launch the kernel on a grid of `blocks` with `threads` each, all of them resident, and wait for its end.

        Args:
            blocks: 1 to 4096.
            threads: of a block, 1 to 1024 and no more than the kernel is made for.
            arguments: one for each parameter. An array for one of 64 bits: the kernel gets the address of the first
                element and may access the memory from the array's lowest to its highest byte, and write there if the
                array is writeable. Otherwise a number of the parameter's type.
            shared_bytes: of dynamic shared memory; with the static, no more than the module's target has.
            seed: of the order in which threads run and of the errors of approximations; the same seed, the same run.
            reachable: further arrays that the kernel may access, by addresses that it was given otherwise.
            budget: instructions of all threads together, after which the launch is a `Livelock`.

        Raises:
            ExecutionError: the launch, or what the kernel did, is wrong; arrays then hold what was written until then.
        """
        kernel = self.translation
        self._check(blocks, threads, arguments, shared_bytes)
        packed = b"".join(self._packed(arguments))
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        launch = Launch(
            kernel,
            self._loaded.address,
            blocks,
            threads,
            packed,
            [*arrays, *reachable],
            shared_bytes,
            seed,
            budget,
        )
        machine.runtime()(launch.context.ctypes.data, 0)
        names = [(f"argument {i}", a) for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]
        names += [(f"reachable array {i}", a) for i, a in enumerate(reachable)]
        error = Report(kernel, launch, self._text, [(n, *span_of(a)[:2]) for n, a in names]).error()
        if error is not None:
            raise error
        return Execution(int(launch.context[at.C_EXECUTED]))

    def _check(self, blocks: int, threads: int, arguments: Sequence[Argument], shared_bytes: int) -> None:
        kernel = self.translation
        if not 1 <= blocks <= at.MAX_BLOCKS:
            raise LaunchError(f"blocks: expected 1 to {at.MAX_BLOCKS}, got {blocks}")
        if not 1 <= threads <= min(at.MAX_THREADS, kernel.max_threads):
            raise LaunchError(f"threads: expected 1 to {min(at.MAX_THREADS, kernel.max_threads)}, got {threads}")
        limit = self._shared_limit - kernel.shared_bytes
        if not 0 <= shared_bytes <= limit:
            raise LaunchError(f"shared_bytes: expected 0 to {limit}, got {shared_bytes}")
        if len(arguments) != len(kernel.parameters):
            raise LaunchError(f"arguments: expected {len(kernel.parameters)}, got {len(arguments)}")

    def _packed(self, arguments: Sequence[Argument]) -> list[bytes]:
        parts, size = [], 0
        for i, (parameter, argument) in enumerate(zip(self.translation.parameters, arguments, strict=True)):
            parts.append(bytes(parameter.offset - size) + _pack(i, parameter, argument))
            size = parameter.offset + parameter.bytes
        return parts


def _entry(module: Module, name: str | None) -> str:
    entries = [f.name for f in module.functions.values() if f.entry]
    if name is None:
        if len(entries) != 1:
            raise ValueError(f"entry: expected a name, the module has {entries}")
        return entries[0]
    if name not in entries:
        raise ValueError(f"entry: expected one of {entries}, got {name!r}")
    return name


def _pack(index: int, parameter: Parameter, argument: Any) -> bytes:
    """The bytes of a parameter."""
    kind = TYPES[parameter.type]
    if parameter.bytes != kind.bytes:
        raise UnsupportedInstruction(f"parameter {parameter.name}: a structure of {parameter.bytes} bytes")
    where = f"arguments[{index}]: expected .{kind.name}"
    if isinstance(argument, np.ndarray):
        if kind.bits != 64 or kind.kind == "f":
            raise LaunchError(f"{where}, got an array")
        return struct.pack("<q", argument.ctypes.data)
    if kind.kind == "f":
        if not isinstance(argument, float | np.floating):
            raise LaunchError(f"{where}, got {argument!r}")
        return struct.pack("<f" if kind.bits == 32 else "<d", argument)
    if not isinstance(argument, int | np.integer) or isinstance(argument, bool):
        raise LaunchError(f"{where}, got {argument!r}")
    low = 0 if kind.kind == "u" else -(1 << (kind.bits - 1))
    high = (1 << (kind.bits - 1)) if kind.kind == "s" else 1 << kind.bits
    if not low <= int(argument) < high:
        raise LaunchError(f"{where}, got {argument}")
    return (int(argument) % (1 << kind.bits)).to_bytes(kind.bytes, "little")
