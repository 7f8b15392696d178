"""One network that learns a task, a slice of time after another."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..cells_by_name import parse_cell
from ..gradients import clip_grad_norm
from ..recurrent import Recurrent
from ..training import Adam, Linear, collect, cross_entropy
from .task import Batch, Task

LONGEST_NORM = 1.0
"""Gradients are clipped to it."""


class Choice(NamedTuple):
    """The settings that are compared; `cell` is spelled as for `--cell`, `compute` is as in `Recurrent`."""

    cell: str
    hidden_size: int
    rate: float
    compute: str = "float32"


class Point(NamedTuple):
    """Where a trial was when it was evaluated.

    Attributes:
        seconds: of training until then, without evaluations.
        iterations: updates until then.
        loss: on what is held out.
        right: the part of classes that were right; None for numbers.
    """

    seconds: float
    iterations: int
    loss: float
    right: float | None


@dataclass(eq=False)
class Trial:
    """A choice with one seed, which its weights and its batches come from: the same again after as many iterations.

    Attributes:
        points: its evaluations so far.
        predict_seconds: of one sequence, forward, by a frozen network; set by `time_prediction`.
    """

    task: Task
    choice: Choice
    seed: int
    backend: str = "auto"
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    iterations: int = 0
    predict_seconds: float = math.nan

    def __post_init__(self) -> None:
        cell, hidden, rate, compute = self.choice
        options: dict[str, Any] = {"seed": self.seed, "backend": self.backend, "compute": compute}
        self.rnn = Recurrent(parse_cell(cell), self.task.input_size, hidden, **options)
        self.head = Linear(self.rnn._architecture.output_size, self.task.outputs, seed=self.seed)
        self.adam = Adam(collect(rnn=self.rnn, head=self.head), rate=rate)
        self.rng = np.random.default_rng([self.seed, 1])

    @property
    def best(self) -> Point:
        """Its best evaluation; a loss of infinity before the first, and where all were NaN."""
        known = [point for point in self.points if not math.isnan(point.loss)]
        return min(known, key=lambda point: point.loss, default=Point(self.seconds, self.iterations, math.inf, None))

    def warm(self) -> None:
        """Compute a batch each way without learning, so that compiling is nobody's time."""
        batch = self.task.draw(np.random.default_rng(0))
        self._gradients(batch)
        self._answers(batch)

    def train(self, seconds: float = math.inf, iterations: float = math.inf) -> None:
        """Learn for so long, or so many more updates, but one at least; then evaluate."""
        start, done = time.perf_counter(), 0
        while not done or (done < iterations and time.perf_counter() - start < seconds):
            grads = self._gradients(self.task.draw(self.rng))
            clip_grad_norm(grads, LONGEST_NORM)
            self.adam.step(grads)
            done += 1
        self.seconds += time.perf_counter() - start
        self.iterations += done
        self.points.append(Point(self.seconds, self.iterations, *self._evaluate()))

    def time_prediction(self, seconds: float) -> None:
        """Time one held-out sequence, for about so many seconds."""
        batch = self.task.held_out[0]
        frozen, one = self.rnn.freeze(), np.ascontiguousarray(batch.x[:, :1])
        frozen(one)
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            start = time.perf_counter()
            frozen(one, return_sequence=self.task.every_step)
            samples.append(time.perf_counter() - start)
        self.predict_seconds = float(np.median(samples))

    def _answers(self, batch: Batch) -> np.ndarray:
        output, _ = self.rnn(batch.x, lengths=batch.lengths, return_sequence=self.task.every_step)
        return self.head(output)

    def _loss(self, answers: np.ndarray, target: Any) -> tuple[float, np.ndarray]:
        if self.task.loss == "classes":
            return cross_entropy(answers, target)
        error = answers - target
        return float(np.mean(error**2)), error * np.float32(2 / error.size)

    def _gradients(self, batch: Batch) -> dict[str, Any]:
        every = self.task.every_step
        output, _, tape = self.rnn.forward(batch.x, lengths=batch.lengths, return_sequence=every)
        _, grad_answers = self._loss(self.head(output), batch.target)
        grad, head = self.head.backward(output, grad_answers)
        grads = self.rnn.backward(tape, grad if every else None, grad_last=None if every else grad)
        return collect(rnn=grads, head=head)

    def _evaluate(self) -> tuple[float, float | None]:
        """The held-out loss, and the part of classes that are right."""
        losses, right, counts = [], 0, []
        for batch in self.task.held_out:
            answers = self._answers(batch)
            counted = batch.target >= 0 if self.task.loss == "classes" else np.ones(batch.target.shape, bool)
            losses.append(self._loss(answers, batch.target)[0])
            counts.append(max(1, int(counted.sum())))
            right += int((answers.argmax(-1) == batch.target)[counted].sum()) if self.task.loss == "classes" else 0
        loss = float(np.average(losses, weights=counts))
        return loss, right / sum(counts) if self.task.loss == "classes" else None
