"""The fundamental types of PTX, and the types of LLVM that hold their values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Type:
    """A fundamental type.

    Attributes:
        name: in PTX, without the dot.
        kind: "b" (bits), "u", "s", "f" or "p" (predicate).
        bits: width; 1 of a predicate.
    """

    name: str
    kind: str
    bits: int

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.bits // 8

    @property
    def integer(self) -> str:
        """LLVM's integer of this width."""
        return f"i{self.bits}"

    @property
    def llvm(self) -> str:
        """LLVM's type of a value."""
        return {32: "float", 64: "double"}[self.bits] if self.kind == "f" else self.integer


TYPES = {f"{kind}{bits}": Type(f"{kind}{bits}", kind, bits) for kind in "bus" for bits in (8, 16, 32, 64)}
TYPES |= {"f32": Type("f32", "f", 32), "f64": Type("f64", "f", 64), "pred": Type("pred", "p", 1)}
"""Those that the executor knows, by name; those of 16 bits and fewer that are floats are not among them."""
