"""Tasks that need no file: made ones, the text of Python's documentation, and scikit-learn's digits."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

import numpy as np

from ..cells_by_name import import_here
from ..errors import did_you_mean
from .task import Batch, Task

BATCH, HELD_OUT = 32, 512
"""Rows of a batch, and of what is held out."""
ADDED_STEPS, COPIED_STEPS, WINDOW = 50, 20, 50
"""Steps of a sequence: of numbers to add, between symbols and the call for them, of text."""
SYMBOLS, SHOWN = 8, 2


class UnknownTaskError(ValueError):
    """There is no such task; the message says why."""


def adding() -> Task:
    """The sum of the two of 50 numbers that are marked (S. Hochreiter and J. Schmidhuber, 1997)."""

    def draw(rng: np.random.Generator, batch: int = BATCH) -> Batch:
        numbers, marks = rng.random((ADDED_STEPS, batch)), np.zeros((ADDED_STEPS, batch))
        half = ADDED_STEPS // 2
        marked = np.stack([rng.integers(0, half, batch), rng.integers(half, ADDED_STEPS, batch)])
        np.put_along_axis(marks, marked, 1, axis=0)
        x = np.stack([numbers, marks], axis=-1).astype("float32")
        return Batch(x, (numbers * marks).sum(0)[:, None].astype("float32"))

    return Task(draw, [draw(np.random.default_rng(0), HELD_OUT)], outputs=1, loss="numbers")


def copying() -> Task:
    """Two of eight symbols, repeated after a pause of 20 steps (S. Hochreiter and J. Schmidhuber, 1997)."""

    def draw(rng: np.random.Generator, batch: int = BATCH) -> Batch:
        codes = np.full((COPIED_STEPS + 2 * SHOWN, batch), SYMBOLS)
        target = np.full(codes.shape, -1)
        codes[:SHOWN] = target[-SHOWN:] = rng.integers(0, SYMBOLS, (SHOWN, batch))
        codes[-SHOWN:] = SYMBOLS + 1
        return Batch(np.eye(SYMBOLS + 2, dtype="float32")[codes], target)

    return Task(draw, [draw(np.random.default_rng(0), HELD_OUT)], outputs=SYMBOLS, every_step=True)


def characters() -> Task:
    """The next character of the topics of Python's documentation, which the standard library has (PSF licence)."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    text = " ".join(" ".join(topics[name].split()) for name in sorted(topics))
    known = sorted({*text})
    codes = np.searchsorted(known, list(text))
    cut = len(codes) * 9 // 10

    def windows(starts: np.ndarray) -> Batch:
        taken = codes[starts + np.arange(WINDOW + 1)[:, None]]
        return Batch(np.eye(len(known), dtype="float32")[taken[:-1]], taken[1:])

    def draw(rng: np.random.Generator) -> Batch:
        return windows(rng.integers(0, cut - WINDOW, BATCH))

    held_out = np.linspace(cut, len(codes) - WINDOW - 1, HELD_OUT // 4, dtype=int)
    return Task(draw, [windows(held_out)], outputs=len(known), every_step=True)


def digits() -> Task:
    """Handwritten digits, 8 x 8, row by row: scikit-learn's, from the UCI repository (CC BY 4.0)."""
    images, labels = importlib.import_module("sklearn.datasets").load_digits(return_X_y=True)
    x = (images / 16).astype("float32").reshape(-1, 8, 8).swapaxes(0, 1)
    order = np.random.default_rng(0).permutation(len(labels))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]

    def draw(rng: np.random.Generator) -> Batch:
        rows = rng.choice(rest, BATCH)
        return Batch(x[:, rows], labels[rows])

    return Task(draw, [Batch(x[:, held_out], labels[held_out])], outputs=10)


TASKS: dict[str, Callable[[], Task]] = {
    "adding": adding,
    "copying": copying,
    "characters": characters,
    "digits": digits,
}
NEEDS = {"digits": "sklearn"}
"""A package that a task takes its data from."""


def task_of(text: str) -> Task:
    """The task of a name, or that a function returns, `package.module:function`; a module is looked for here, too.

    Raises:
        UnknownTaskError: there is no such name or function, or no network can be trained on what it returns.
    """
    module, colon, name = text.partition(":")
    if not colon and text not in TASKS:
        known = ", ".join(TASKS)
        raise UnknownTaskError(
            f"expected one of {known}, or package.module:function of your own, got {text!r}{did_you_mean(text, TASKS)}"
        )
    if importlib.util.find_spec(NEEDS.get(text, "numpy")) is None:
        raise UnknownTaskError(
            f"{text} takes its data from scikit-learn, which is not installed: pip install scikit-learn"
        )
    try:
        made = getattr(import_here(module), name)() if colon else TASKS[text]()
        if not isinstance(made, Task):
            raise TypeError(f"expected a rnncore.choose.Task, got {type(made).__name__}")
        made.check()
    except Exception as error:
        # Whatever a user's module raises.
        raise UnknownTaskError(f"{text}: {type(error).__name__}: {error}") from error
    return made


def summaries() -> dict[str, str]:
    """What each task is, in a line."""
    return {name: (function.__doc__ or "").partition("\n")[0] for name, function in TASKS.items()}
