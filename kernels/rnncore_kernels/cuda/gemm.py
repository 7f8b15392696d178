"""The matrices of a product as cuBLAS wants them."""

from __future__ import annotations

from typing import NamedTuple

from ..contract import Array

LARGEST = 2**31 - 1
"""The largest size or leading dimension that cuBLAS takes, an int."""


class Gemm(NamedTuple):
    """Arguments of cuBLAS's gemm for `out = a @ b`.

    cuBLAS reads matrices column by column, which is how it reads the transpose of one that lies row by row: it is asked
    for out' = b' a', so its first operand is `b` and its second `a`.
    """

    transa: int  # 1 if the columns of `b` are contiguous, else 0
    transb: int  # likewise of `a`
    m: int  # columns of `out`
    n: int  # rows of `out`
    k: int  # columns of `a`
    lda: int  # elements between the rows or columns of `b`
    ldb: int  # of `a`
    ldc: int  # of `out`


def gemm_arguments(a: Array, b: Array, out: Array) -> Gemm:
    """The arguments for matrices of which none is empty.

    Raises:
        ValueError: shapes do not match, a matrix is laid out in another way, or a size is too large for cuBLAS.
    """
    (rows, inner), columns = a.shape, b.shape[1]
    if b.shape[0] != inner or out.shape != (rows, columns):
        raise ValueError(f"multiply: expected (M, K) @ (K, N) = (M, N), got {a.shape} @ {b.shape} = {out.shape}")
    of_a, of_b, of_out = leading(a), leading(b), leading(out)
    if of_a is None or of_b is None or of_out is None or of_out[0]:
        raise ValueError(
            f"multiply: expected contiguous rows or columns, and rows of the result, got strides {a.strides}, "
            f"{b.strides}, {out.strides} of {out.itemsize} bytes"
        )
    gemm = Gemm(int(of_b[0]), int(of_a[0]), columns, rows, inner, of_b[1], of_a[1], of_out[1])
    if max(gemm) > LARGEST:
        raise ValueError(f"multiply: expected sizes and distances up to {LARGEST}, got {gemm}: use a smaller batch")
    return gemm


def leading(matrix: Array) -> tuple[bool, int] | None:
    """Whether columns are contiguous, not rows, and the elements from one to the next; None where neither is.

    The stride of an axis of one element says nothing, and rows or columns must not overlap.
    """
    (rows, columns), (row, column) = matrix.shape, matrix.strides
    for transposed, count, stride, width, step in (
        (False, rows, row, columns, column),
        (True, columns, column, rows, row),
    ):
        apart, rest = divmod(stride, matrix.itemsize)
        contiguous = width == 1 or step == matrix.itemsize
        if contiguous and (count == 1 or (apart >= width and not rest)):
            return transposed, width if count == 1 else apart
    return None
