"""Models that the networks of the examples have to beat, which read no sequences."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Labelled = tuple[str, list[tuple[int, int]], Array]


def n_gram_loss(text: str, held_out: str, order: int = 6) -> float:
    """Nats per character of counts alone, interpolated over all lengths of context (Witten and Bell, 1991)."""
    counts = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, order + 1)]
    contexts: list[Counter[str]] = [Counter() for _ in counts]
    kinds: list[Counter[str]] = [Counter() for _ in counts]  # different characters seen after a context
    for of_length, context, kind in zip(counts, contexts, kinds, strict=True):
        for gram, number in of_length.items():
            context[gram[:-1]] += number
            kind[gram[:-1]] += 1
    nats = 0.0
    for i in range(order, len(held_out)):
        p = 1 / len(counts[0])
        for n in range(order):
            before = held_out[i - n : i]
            seen = contexts[n][before] + kinds[n][before]
            p = (counts[n][before + held_out[i]] + kinds[n][before] * p) / seen if seen else p
        nats -= math.log(p)
    return nats / (len(held_out) - order)


def logistic_on_words(texts: list[list[str]], labels: Array, held_out: list[list[str]], truth: Array) -> float:
    """The percentage of held-out texts right by logistic regression on tf-idf of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # pyright: ignore[reportMissingImports]
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]
    from sklearn.pipeline import make_pipeline  # pyright: ignore[reportMissingImports]

    counter = TfidfVectorizer(tokenizer=str.split, lowercase=False, token_pattern=None, ngram_range=(1, 2), min_df=2)
    pipeline = make_pipeline(counter, LogisticRegression(C=10, max_iter=1000))
    pipeline.fit([" ".join(text) for text in texts], labels)
    return float(100 * pipeline.score([" ".join(text) for text in held_out], truth))


def labels_by_dictionary(train: Sequence[Labelled], asked: Sequence[Labelled]) -> Array:
    """The label of each name in texts: its commonest one in training, or for a new name one by rules.

    Args:
        train: texts, where their names begin and end, and the label of each character.
        asked: the texts whose names are to be labelled; their labels are not read.
    """
    other, a_class, a_function = range(3)
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for text, names, labels in train:
        for begin, end in names:
            seen[text[begin:end]][int(labels[begin])] += 1
    found = []
    for text, names, _ in asked:
        for begin, end in names:
            name, called = text[begin:end], text[end : end + 1] == "(" or text[:begin].endswith("def ")
            rule = a_class if re.fullmatch(r"_*[A-Z]+[a-z]\w*", name) else a_function if called else other
            found.append(seen[name].most_common(1)[0][0] if name in seen else rule)
    return np.array(found)
