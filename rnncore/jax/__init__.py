"""rnncore inside JAX: networks of any cell as functions of their parameters, on the engines of the processor."""

from __future__ import annotations

from .flax import from_flax, to_flax
from .parameters import init
from .recurrent import observe, recurrent

__all__ = ["from_flax", "init", "observe", "recurrent", "to_flax"]
