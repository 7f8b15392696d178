"""How the registers of a target are used: the sizes of vectors and tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .target import Target


@dataclass(frozen=True)
class Shape:
    """Vectors and tiles of one dtype on one target.

    Attributes:
        target: what code is made for.
        dtype: of all values.
    """

    target: Target
    dtype: np.dtype[Any]

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.target.lanes(self.dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return self.lanes * self.itemsize

    @property
    def columns(self) -> int:
        """Most vectors side by side in a tile."""
        return 4 if self.target.registers >= 32 else 3

    @property
    def matrix(self) -> bool:
        """Whether many rows are multiplied on tile registers, see `amx.gemm`."""
        return self.target.matrix and self.dtype == np.float32

    def rows(self, vectors: int) -> int:
        """Height of the highest tile of that many vectors: 8, 6 or 4, so that accumulators, vectors and a splat fit."""
        fit = (self.target.registers - vectors - 1) // vectors
        return 8 if fit >= 8 else 6 if fit >= 6 else 4
