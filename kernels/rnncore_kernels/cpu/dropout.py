"""Dropout of sequences: compiled, by all threads that pay."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..alignment import address
from ..codegen.philox import Dropout, least
from ..contract import Array
from . import toolchain
from .arguments import Arguments, structure
from .code.ir import Definition
from .kernels import host_shape
from .threads import POOL

ALONE = 1 << 16
"""Elements up to which one thread drops them: in some 10 microseconds, as long as others take to wake."""


@structure
class DropArguments(Arguments):
    """A sequence of which elements are dropped."""

    __slots__ = ()
    values: int  # address of (steps, rows, width)
    steps: int
    rows: int
    width: int
    step_bytes: int
    row_bytes: int
    first: int  # number of the first step in counters
    turns: int  # 1 where each step has a number of its own, else 0
    key_0: int
    key_1: int
    least: int  # random numbers below it drop
    scale: int  # bits of the factor of what is kept, in float64
    threads: int


def drop(values: Array, dropout: Dropout, threads: int) -> None:
    """See `contract.Engine.drop`; with `threads` at most."""
    steps, rows, width = values.shape
    if values.size <= ALONE:
        threads = 1
    call = DropArguments(
        values=address(values),
        steps=steps,
        rows=rows,
        width=width,
        step_bytes=values.strides[0],
        row_bytes=values.strides[1],
        first=dropout.first,
        turns=int(not dropout.together),
        key_0=dropout.key[0],
        key_1=dropout.key[1],
        least=least(dropout.rate),
        scale=struct.unpack("q", struct.pack("d", values.dtype.type(dropout.scale)))[0],
        threads=threads,
    )
    code = library(values.dtype)
    tasks = [(code.addresses["drop"], call.address, thread) for thread in range(threads)]
    if threads == 1 or POOL.try_run(tasks) is None:
        for thread in range(threads):
            code.functions["drop"](call.address, thread)


@functools.cache
def library(dtype: np.dtype[Any]) -> toolchain.Library:
    """The kernel `drop`."""
    shape = host_shape(dtype)

    def define() -> Mapping[str, Definition]:
        from .code import dropping, emitted

        dropping.make_drop(shape)
        return emitted.DEFINITIONS

    return toolchain.load(shape.target, f"drop {shape.dtype.name}", ("drop",), define)
