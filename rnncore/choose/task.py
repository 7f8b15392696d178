"""A task that networks are compared on: what a user's function returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import describe

Array = NDArray[Any]


class Batch(NamedTuple):
    """Sequences and what a network should say of them.

    Attributes:
        x: (T, B, I) of float32.
        target: for classes integers from 0 to outputs - 1, (B,), or (T, B) where every step is asked; -1 counts for
            nothing. For numbers (B, outputs), or (T, B, outputs), of float32.
        lengths: (B,) steps of each row, where they are not all T. The target past a row's end should be -1; of numbers,
            it is compared with the output there.
    """

    x: Array
    target: Array
    lengths: Array | None = None


@dataclass(frozen=True)
class Task:
    """What is to be learnt. A function without arguments returns one: `rnncore choose --task package.module:function`.

    Attributes:
        draw: the next batch to train on, with a generator of which each trial has its own.
        held_out: batches that no trial is trained on, the same for all.
        outputs: the number of classes, or of numbers.
        loss: "classes" for cross-entropy, in nats, "numbers" for the mean squared error.
        every_step: whether each step is asked, not the last of each row alone.
    """

    draw: Callable[[np.random.Generator], Batch]
    held_out: Sequence[Batch]
    outputs: int
    loss: str = "classes"
    every_step: bool = False

    def check(self) -> None:
        """Draw a batch, and refuse what cannot be trained on.

        Raises:
            TypeError, ValueError: the message says what was expected.
        """
        if self.loss not in ("classes", "numbers"):
            raise ValueError(f"loss: expected 'classes' or 'numbers', got {self.loss!r}")
        if not self.held_out:
            raise ValueError("held_out: expected at least one batch, got none")
        for name, batch in {"draw": self.draw(np.random.default_rng(0)), "held_out[0]": self.held_out[0]}.items():
            self._check_batch(name, batch)

    def _check_batch(self, name: str, batch: Any) -> None:
        if not isinstance(batch, Batch):
            raise TypeError(f"{name}: expected a rnncore.choose.Batch, got {describe(batch)}")
        x, target = batch.x, batch.target
        if not isinstance(x, np.ndarray) or x.ndim != 3 or x.dtype != np.float32:
            raise ValueError(f"{name}: expected x (T, B, I) of float32, got {describe(x)}")
        shape = x.shape[:2] if self.every_step else x.shape[1:2]
        shape += () if self.loss == "classes" else (self.outputs,)
        kinds = "iu" if self.loss == "classes" else "f"
        if not isinstance(target, np.ndarray) or target.shape != shape or target.dtype.kind not in kinds:
            kind = "integers" if self.loss == "classes" else "floats"
            raise ValueError(f"{name}: expected a target {shape} of {kind}, got {describe(target)}")

    @property
    def input_size(self) -> int:
        """I, the width of x."""
        return int(self.held_out[0].x.shape[2])

    def guess(self) -> float:
        """The held-out loss of the best answer that reads nothing: how often each class comes, or the mean."""
        targets = [batch.target for batch in self.held_out]
        if self.loss == "numbers":
            numbers = np.concatenate([target.reshape(-1, self.outputs) for target in targets]).astype(float)
            return float(numbers.var(axis=0).mean())
        classes = np.concatenate([target[target >= 0].ravel() for target in targets])
        shares = np.bincount(classes) / max(1, classes.size)
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
