"""Names in Python source: every character is labelled as part of a class's name, a function's, or neither.

A bidirectional GRU reads the characters in both directions (many-to-many, one label at each step), so what comes after
a name counts, too. A name is a class's or a function's if its module defines it with `class` or `def`, wherever it
occurs in code; `ast` and `tokenize` say where that is. The network sees some lines at a time, so it has to judge by
the form of a name and by what stands around it.

Data: modules of the standard library of the Python that runs this (PSF licence); every fifth module is held out.
Result: F1 of 54.5 % over the names of classes and functions in held-out modules, against 53.7 % for a dictionary of the
names seen in training with rules for others (CapWords are classes; before a parenthesis or after "def", functions).

    python examples/names_in_source.py             about a minute on two cores
"""

from __future__ import annotations

import ast
import io
import sysconfig
import time
import tokenize
from itertools import groupby, islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from baselines import labels_by_dictionary
from numpy.typing import NDArray
from shared import draw_words, options

from rnncore import Recurrent, clip_grad_norm
from rnncore.training import Adam, Embedding, Linear, bucketed, collect, cosine, cross_entropy, log_softmax, pad

Array = NDArray[Any]

WIDTH, HIDDEN, BATCH, EPOCHS, MODULES = 32, 96, 32, 4, 80
CHUNK = 400
"""Characters, in whole lines, that are read as one sequence."""

OTHER, CLASS, FUNCTION = range(3)


class Chunk(NamedTuple):
    """Some lines of a module: the text, where its names are, and the label of each character."""

    text: str
    names: list[tuple[int, int]]
    labels: Array


def read(path: Path) -> list[Chunk]:
    """A module in chunks."""
    source = path.read_text("utf-8", "replace").expandtabs()
    defined: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            defined[node.name] = CLASS
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            defined.setdefault(node.name, FUNCTION)
    starts = np.cumsum([0, *(len(line) + 1 for line in source.split("\n"))])
    labels, names = np.zeros(len(source), int), []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            begin = int(starts[token.start[0] - 1]) + token.start[1]
            names.append((begin, begin + len(token.string)))
            labels[begin : begin + len(token.string)] = defined.get(token.string, OTHER)
    cuts = [0]
    for start in starts[1:].tolist():
        if start - cuts[-1] >= CHUNK or start >= len(source):
            cuts.append(start)
    spans = [[(i - a, j - a) for i, j in names if a <= i < b] for a, b in pairwise(cuts)]
    return [Chunk(source[a:b], span, labels[a:b]) for (a, b), span in zip(pairwise(cuts), spans, strict=True)]


def f1(found: Array, truth: Array) -> float:
    """F1 in percent over names of classes and functions together."""
    right = np.sum((found == truth) & (truth != OTHER))
    return float(200 * right / (np.sum(found != OTHER) + np.sum(truth != OTHER)))


class Tagger:
    """An embedding of characters, a bidirectional GRU, and a linear layer to the labels."""

    def __init__(self, seed: int, backend: str) -> None:
        self.characters = Embedding(128, WIDTH, seed=seed)
        self.rnn = Recurrent("gru", WIDTH, HIDDEN, bidirectional=True, seed=seed, backend=backend)
        self.head = Linear(2 * HIDDEN, 3, seed=seed)
        self.adam = Adam(collect(characters=self.characters, rnn=self.rnn, head=self.head))

    def codes(self, chunks: list[Chunk]) -> tuple[Array, Array]:
        """The characters' codes, padded (T, B), and the lengths; what is not ASCII is a question mark."""
        return pad([np.frombuffer(chunk.text.encode("ascii", "replace"), np.uint8) for chunk in chunks])

    def train(self, chunks: list[Chunk]) -> float:
        """One update."""
        codes, lengths = self.codes(chunks)
        output, _, tape = self.rnn.forward(self.characters(codes), lengths=lengths)
        loss, grad_logits = cross_entropy(self.head(output), pad([chunk.labels for chunk in chunks], fill=-1)[0])
        grad_output, head = self.head.backward(output, grad_logits)
        grads = self.rnn.backward(tape, grad_output)
        together = collect(characters=self.characters.backward(codes, grads.x), rnn=grads, head=head)
        clip_grad_norm(together, 1.0)
        self.adam.step(together)
        return loss

    def names(self, chunks: list[Chunk]) -> list[list[int]]:
        """The label of each name of each chunk: the likeliest for all its letters together."""
        codes, lengths = self.codes(chunks)
        logs = log_softmax(self.head(self.rnn(self.characters(codes), lengths=lengths)[0]))
        return [[int(logs[a:b, row].sum(0).argmax()) for a, b in chunk.names] for row, chunk in enumerate(chunks)]


def main() -> None:
    """Train on four fifths of the modules, and find the names in the others."""
    arguments = options(__doc__)
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py"))[: 10 if arguments.quick else MODULES]
    modules = [read(path) for path in paths]
    held_out = [chunk for module in modules[::5] for chunk in module if chunk.names]
    rest = [chunk for i, module in enumerate(modules) if i % 5 for chunk in module]
    print(f"{len(paths)} modules, {sum(len(chunk.text) for chunk in rest):,} characters to learn from")
    rng = np.random.default_rng(arguments.seed)
    tagger, start = Tagger(arguments.seed, arguments.backend), time.perf_counter()
    epochs = 1 if arguments.quick else EPOCHS
    for epoch in range(epochs):
        tagger.adam.rate = 5e-3 * cosine(epoch, epochs)
        losses = [tagger.train([rest[i] for i in batch]) for batch in bucketed([len(c.text) for c in rest], BATCH, rng)]
        print(f"epoch {epoch + 1}  loss {np.mean(losses):.4f}  {time.perf_counter() - start:4.0f} s", flush=True)

    truth = np.array([chunk.labels[a] for chunk in held_out for a, _ in chunk.names])
    found = [labels for i in range(0, len(held_out), 64) for labels in tagger.names(held_out[i : i + 64])]
    mine, other = (f1(labels, truth) for labels in (np.concatenate(found), labels_by_dictionary(rest, held_out)))
    at = next(i for i, chunk in enumerate(held_out) if set(chunk.labels.tolist()) == {OTHER, CLASS, FUNCTION})
    text = held_out[at].text
    for (a, _), label in reversed(list(zip(held_out[at].names, found[at], strict=True))):
        text = text[:a] + ["", "class:", "function:"][label] + text[a:]
    print(f"\n{text}\nnames in held-out modules: F1 {mine:.1f} %, against {other:.1f} % by a dictionary and rules")
    if arguments.plot:
        values = np.zeros(len(held_out[at].text))
        for (a, b), label in zip(held_out[at].names, found[at], strict=True):
            values[a:b] = [0, 1, -1][label]
        marked = iter(zip(held_out[at].text, values.tolist(), strict=True))
        lines = held_out[at].text.splitlines()
        rows = [groupby(list(islice(marked, len(line) + 1))[:-1], itemgetter(1)) for line in lines]
        draw_words([[("".join(c for c, _ in run), value) for value, run in row] for row in rows], arguments.plot)


if __name__ == "__main__":
    main()
