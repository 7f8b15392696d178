"""Sentiment of sentences, and the words that decided it (many-to-one).

A bidirectional GRU reads the words; attention with one learnt query picks the steps that count; a linear layer decides.
Then each word in turn is left out: those whose absence changes the verdict most are marked.

Data: sentences from tweets, reviews of films and of products, and editorials, each rated by 20 people from -4 to 4
(C. Hutto and E. Gilbert, VADER, ICWSM 2014), in the source distribution of vaderSentiment (MIT licence), which pip
downloads without installing. Those with a mean of at least 0.5 either way count; a fifth of them is held out.
Result: 79.3 % of held-out sentences, against 79.3 % for logistic regression on tf-idf of words and pairs of words.

    python examples/sentiment.py             about half a minute on two cores
"""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from typing import Any

import numpy as np
from baselines import logistic_on_words
from numpy.typing import NDArray
from shared import draw_words, from_pypi, options

from rnncore import Recurrent, clip_grad_norm
from rnncore.training import Adam, Embedding, Linear, attend, attend_backward, bucketed, collect, cross_entropy, pad

Array = NDArray[Any]

WIDTH, HIDDEN, EPOCHS, BATCH, DROPOUT = 64, 64, 4, 32, 0.6
UNKNOWN = 0


def read() -> tuple[list[list[str]], Array]:
    """The words of sentences, and 1 where they were found positive or 0 where negative."""
    with tarfile.open(from_pypi("vaderSentiment==3.3.2", source=True)) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=io.BytesIO(inner.read() if inner else b"")) as archive:
            files = [file for file in archive if file.name.endswith("_GroundTruth.txt")]
            texts = [archive.extractfile(file).read().decode("latin-1") for file in files]  # type: ignore[union-attr]
    rows = [line.split("\t", 2) for text in texts for line in text.splitlines()]
    rated = {tuple(words(text)): float(mean) for _, mean, text in rows}  # none twice
    clear = {text: mean for text, mean in rated.items() if len(text) > 1 and abs(mean) >= 0.5}
    return [list(text) for text in clear], np.array([int(mean > 0) for mean in clear.values()])


def words(text: str) -> list[str]:
    """Words, signs and emoticons, in lower case."""
    return re.findall(r"[a-z']+|[:;=][-']?[()dp/]+|[!?.]+|\d+", text.lower())


class Classifier:
    """Embedding, bidirectional GRU, attention by one learnt query, and a linear layer to two classes."""

    def __init__(self, vocabulary: dict[str, int], seed: int, backend: str) -> None:
        self.vocabulary, self.rng = vocabulary, np.random.default_rng(seed)
        self.words = Embedding(len(vocabulary) + 1, WIDTH, seed=seed)
        self.words.parameters["weight"] *= 0.1  # what is known of rare words should stay small
        self.rnn = Recurrent("gru", WIDTH, HIDDEN, bidirectional=True, seed=seed, backend=backend)
        self.head = Linear(2 * HIDDEN, 2, seed=seed)
        self.query = np.zeros((1, 1, 2 * HIDDEN), "float32")  # at first, all steps count alike
        parts = collect(words=self.words, rnn=self.rnn, head=self.head, query={"query": self.query})
        self.adam = Adam(parts, weight_decay=0.1)

    def codes(self, texts: list[list[str]]) -> tuple[Array, Array]:
        """The codes of words, padded (T, B), and the lengths."""
        return pad([[self.vocabulary.get(word, UNKNOWN) for word in text] for text in texts])

    def mask(self, *shape: int) -> Array:
        """Dropout: zero for a part of the elements, and a factor for the others."""
        return (self.rng.random(shape, "float32") >= DROPOUT).astype("float32") / np.float32(1 - DROPOUT)

    def train(self, texts: list[list[str]], labels: Array) -> float:
        """One update."""
        codes, lengths = self.codes(texts)
        mask = self.mask(*codes.shape, WIDTH)
        output, _, tape = self.rnn.forward(self.words(codes) * mask, lengths=lengths)
        query = np.repeat(self.query, len(texts), axis=1)
        context, weights = attend(query, output, output, lengths)  # (1, B, 2 H)
        keep = self.mask(*context.shape)
        loss, grad_logits = cross_entropy(self.head(context * keep), labels[None])

        grad_context, head = self.head.backward(context * keep, grad_logits)
        grad_query, grad_keys, grad_values = attend_backward(grad_context * keep, query, output, output, weights)
        grads = self.rnn.backward(tape, grad_keys + grad_values)
        embedded, query_grads = self.words.backward(codes, grads.x * mask), {"query": grad_query.sum(1, keepdims=True)}
        together = collect(words=embedded, rnn=grads, head=head, query=query_grads)
        clip_grad_norm(together, 1.0)
        self.adam.step(together)
        return loss

    def scores(self, texts: list[list[str]]) -> Array:
        """How much more positive than negative each text is, (B,), in logits."""
        codes, lengths = self.codes(texts)
        output, _ = self.rnn(self.words(codes), lengths=lengths)
        context, _ = attend(np.repeat(self.query, len(texts), axis=1), output, output, lengths)
        difference: Array = self.head(context)[0] @ np.array([-1, 1], "float32")
        return difference

    def reasons(self, text: list[str]) -> list[float]:
        """The score of a text, and for each word how much of it goes when the word is left out."""
        score, *others = self.scores([text, *(text[:i] + text[i + 1 :] for i in range(len(text)))]).tolist()
        return [score, *(score - other for other in others)]


def main() -> None:
    """Train, evaluate, and show the words that decided."""
    arguments = options(__doc__)
    texts, labels = read()
    rng = np.random.default_rng(arguments.seed)
    held_out, rest = np.split(rng.permutation(len(texts)), [len(texts) // 5])
    rest = rest[:2000] if arguments.quick else rest
    counts = Counter(word for i in rest for word in texts[i])
    vocabulary = {word: code for code, word in enumerate((word for word in counts if counts[word] > 1), 1)}
    model = Classifier(vocabulary, arguments.seed, arguments.backend)
    print(f"{len(rest)} sentences, {100 * labels[rest].mean():.0f} % positive, {len(vocabulary)} words")
    right, epochs = 0.0, 1 if arguments.quick else EPOCHS
    for epoch in range(epochs):
        model.adam.rate = 2e-3 * (1 - epoch / epochs)
        batches = [rest[batch] for batch in bucketed([len(texts[i]) for i in rest], BATCH, rng)]
        loss = np.mean([model.train([texts[i] for i in batch], labels[batch]) for batch in batches])
        scores = np.concatenate([model.scores([texts[i] for i in part]) for part in np.array_split(held_out, 20)])
        right = 100 * float(np.mean((scores > 0) == labels[held_out]))
        print(f"epoch {epoch + 1}  loss {loss:.3f}  held out {right:.1f} %", flush=True)

    learnt, asked = ([texts[i] for i in part] for part in (rest, held_out))
    other = logistic_on_words(learnt, labels[rest], asked, labels[held_out])
    rows = []
    for text in [text for text in asked if 8 < len(text) < 15][:6]:
        score, *parts = model.reasons(text)
        largest = max(map(abs, parts))
        rows.append([(f"{score:+.1f} ", score), *((f"{w} ", p / largest) for w, p in zip(text, parts, strict=True))])
        print("  " + " ".join(f"[{word[:-1]}]" if abs(value) > 0.4 else word[:-1] for word, value in rows[-1]))
    print(f"held-out sentences: {right:.1f} % right, against {other:.1f} % by logistic regression on words and pairs")
    if arguments.plot:
        draw_words(rows, arguments.plot)


if __name__ == "__main__":
    main()
