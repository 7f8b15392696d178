"""A kernel that applies functions of cells to an array, without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnncore_kernels.cuda.compiler import Source


def source(key: str, dtype: str, functions: Sequence[Callable[..., Any]], operands: int = 1) -> Source:
    """A kernel for one thread.

    Args:
        key: another one for other functions.
        dtype: of operands and results.
        functions: each of as many values as there are operands.
        operands: how many arrays stand one behind the other in `given`; so do the functions' in `result`.
    """
    kind = np.dtype(dtype)

    def make() -> Callable[..., None]:
        from numba.core import types

        from rnncore_kernels.cuda.kernels.functions import ELEMENTS, I64, from_ir, global_pointer
        from rnncore_kernels.cuda.kernels.scalar import Scalar

        def body(b: Any, given: Any, result: Any, count: Any, index: Any) -> None:
            def place(start: Any, row: int) -> Any:
                offset = b.mul(b.add(index, b.mul(count, I64(row))), I64(kind.itemsize))
                return global_pointer(b, b.add(start, offset), ELEMENTS[kind])

            values = [Scalar(b, b.load(place(given, row))) for row in range(operands)]
            for row, function in enumerate(functions):
                b.store(function(*values).value, place(result, row))

        apply = from_ir("functions", (types.int64,) * 4, None, body)

        def kernel(run: Any, arrays: Any) -> None:
            index = 0
            while index < run.count:
                apply(run.given, run.result, run.count, index)
                index += 1

        return kernel

    return Source("apply", f"{key} {dtype}", make, ("given", "result", "count"), 1, 32)
