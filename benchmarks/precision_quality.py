"""Quality of networks with rounded products: `PYTHONPATH=examples python -m benchmarks.precision_quality`.

Trains the character model and the recogniser of speakers of examples/ with products of float32 and of bfloat16, and
tests each with products of float32, bfloat16 and int8. Prints a table: the perplexity of held-out characters, and the
share of utterances whose speaker is recognised, a mean over seeds. Takes some minutes; --quick, to try it, seconds.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import defaultdict

import char_language_model as text
import numpy as np
import speakers as voices

TRAINED = ("float32", "bfloat16")
TESTED = ("float32", "bfloat16", "int8")


def perplexities(iterations: int) -> dict[tuple[str, str], float]:
    """Perplexity of held-out characters, by the precisions of training and test."""
    _, characters, codes, held_out = text.read_codes()
    found: dict[tuple[str, str], float] = {}
    for compute in TRAINED:
        model = text.CharacterModel(characters, 0, "numba", compute)
        model.learn(codes, iterations)
        found |= {(compute, weights): math.exp(model.evaluate(held_out, weights)) for weights in TESTED}
    return found


def accuracies(epochs: int, seeds: int) -> dict[tuple[str, str], list[float]]:
    """Shares of utterances, in percent, for each seed, by the precisions of training and test."""
    utterances, names, test, test_names = voices.read_scaled()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed, compute in itertools.product(range(seeds), TRAINED):
        rnn, head = voices.learn(utterances, names, epochs, seed, backend="numba", compute=compute)
        for weights in TESTED:
            right = voices.recognise(rnn.freeze(weights), head, test) == test_names
            found[compute, weights].append(100 * float(np.mean(right)))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of the recogniser")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    words = perplexities(text.QUICK if arguments.quick else text.ITERATIONS)
    shares = accuracies(5 if arguments.quick else voices.EPOCHS, arguments.seeds)
    print("| trained in | tested in | perplexity | speakers recognised |\n|---|---|--:|--:|")
    for (compute, weights), perplexity in words.items():
        values = shares[compute, weights]
        print(f"| {compute} | {weights} | {perplexity:.3f} | {np.mean(values):.2f} % ± {np.std(values):.2f} |")


if __name__ == "__main__":
    main()
