"""A character language model with nothing but rnncore and NumPy, on English text from the standard library.

Many-to-many in training: an LSTM reads the documentation of Python (`pydoc_data.topics`) and predicts each next
character, with truncated back-propagation through time, gradient clipping and Adam. One-to-many afterwards: it writes.

    python examples/char_language_model.py             about a minute on two cores
    python examples/char_language_model.py --short     a quarter of a minute
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncore import Recurrent, clip_grad_norm

Array = NDArray[Any]

HIDDEN, BATCH, WINDOW = 256, 32, 25
RATE = 8e-3
PROMPT = "The "


class Adam:
    """D. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, arXiv:1412.6980."""

    def __init__(self, parameters: dict[str, Array], rate: float) -> None:
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.mean = {name: np.zeros_like(values) for name, values in parameters.items()}
        self.square = {name: np.zeros_like(values) for name, values in parameters.items()}

    def step(self, grads: dict[str, Array]) -> None:
        """Update the parameters in place."""
        self.steps += 1
        rate = self.rate * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for name, grad in grads.items():
            self.mean[name] += 0.1 * (grad - self.mean[name])
            self.square[name] += 0.001 * (grad * grad - self.square[name])
            self.parameters[name] -= rate * self.mean[name] / (np.sqrt(self.square[name]) + 1e-8)


class CharacterModel:
    """An LSTM over one-hot characters, and a linear layer to the logits of the next one."""

    def __init__(self, characters: str, seed: int, backend: str) -> None:
        size = len(characters)
        self.characters = characters
        self.rng = np.random.default_rng(seed)
        self.rnn = Recurrent("lstm", input_size=size, hidden_size=HIDDEN, seed=seed, backend=backend)
        # Units that remember from the first iteration on: R. Jozefowicz et al., ICML 2015.
        self.rnn.parameters["bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 1
        bound = 1 / math.sqrt(HIDDEN)
        self.decoder = {
            "decoder_weight": self.rng.uniform(-bound, bound, (size, HIDDEN)).astype(np.float32),
            "decoder_bias": np.zeros(size, np.float32),
        }
        self.adam = Adam({**self.rnn.parameters, **self.decoder}, RATE)

    def one_hot(self, codes: Array) -> Array:
        """(...,) character codes as (..., V)."""
        return np.eye(len(self.characters), dtype=np.float32)[codes]

    def probabilities(self, output: Array) -> Array:
        """Softmax of the logits, (..., V)."""
        logits = output @ self.decoder["decoder_weight"].T + self.decoder["decoder_bias"]
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        normalised: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
        return normalised

    def train(self, inputs: Array, targets: Array, state: Any) -> tuple[float, Any]:
        """One update on a window of (T, B) codes; the mean cross-entropy in nats, and the state to go on from."""
        output, state, tape = self.rnn.forward(self.one_hot(inputs), state)
        grad_logits = self.probabilities(output)
        loss = cross_entropy(grad_logits, targets)
        rows = np.indices(targets.shape)
        grad_logits[(*rows, targets)] -= 1
        grad_logits /= targets.size
        grads = self.rnn.backward(tape, grad_logits @ self.decoder["decoder_weight"]).parameters
        flat = grad_logits.reshape(-1, len(self.characters))
        grads["decoder_weight"] = flat.T @ output.reshape(-1, HIDDEN)
        grads["decoder_bias"] = flat.sum(axis=0)
        clip_grad_norm(grads, 1.0)
        self.adam.step(grads)
        return loss, state

    def evaluate(self, codes: Array) -> float:
        """Mean cross-entropy of a text, in nats per character."""
        output, _ = self.rnn(self.one_hot(codes[:-1]))
        return cross_entropy(self.probabilities(output), codes[1:])

    def write(self, prompt: str, length: int, temperature: float = 0.5) -> str:
        """The prompt, and `length` characters drawn from the model one after the other."""
        codes = [self.characters.index(character) for character in prompt]
        _, state = self.rnn(self.one_hot(np.array(codes[:-1])))

        def sample(output: Array) -> Array:
            weights = self.probabilities(output) ** (1 / temperature)
            codes.append(int(self.rng.choice(len(weights), p=weights / weights.sum())))
            return self.one_hot(np.array(codes[-1]))

        self.rnn.generate(self.one_hot(np.array(codes[-1])), length + 1, state, feedback=sample)
        return "".join(self.characters[code] for code in codes)


def cross_entropy(probabilities: Array, targets: Array) -> float:
    """Mean of -log p(target) in nats."""
    rows = np.indices(targets.shape)
    return float(-np.log(probabilities[(*rows, targets)] + 1e-30).mean())


def read_text() -> str:
    """The prose of this Python's documentation topics, a paragraph on each line and none twice.

    Half of the topics is code, grammar and tables, and their rules of dashes would be learnt first.
    """
    from pydoc_data.topics import topics

    paragraphs = (" ".join(text.split()) for name in sorted(topics) for text in topics[name].split("\n\n"))
    return "\n".join(dict.fromkeys(filter(is_prose, paragraphs)))


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph is a sentence or more: begins and ends like one, and is made of words."""
    words = sum(character.isalpha() or character in " ,." for character in paragraph)
    return len(paragraph) >= 60 and paragraph[0].isupper() and paragraph[-1] in ".:" and words >= 0.85 * len(paragraph)


def main() -> None:
    """Train, evaluate on text that was held out, and write some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a quarter of a minute instead of a whole one")
    parser.add_argument("--backend", default="numba", help="one with NumPy's arrays")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    iterations = 400 if arguments.short else 2400

    text = read_text()
    characters = "".join(sorted(set(text)))
    code_of = {character: code for code, character in enumerate(characters)}
    codes = np.array([code_of[character] for character in text])
    held_out, codes = codes[-20_000:], codes[:-20_000]
    frequencies = np.bincount(codes) / len(codes)
    entropy = -float((frequencies[frequencies > 0] * np.log(frequencies[frequencies > 0])).sum())
    model = CharacterModel(characters, arguments.seed, arguments.backend)
    print(f"{len(text):,} characters, {len(characters)} different; unigram entropy {entropy:.2f} nats per character")
    print(model.rnn)

    # Each row of the batch reads its own part of the text from end to end, so the state can be passed on.
    length = (len(codes) - 1) // BATCH
    streams = codes[: BATCH * length].reshape(BATCH, length).T
    following = codes[1 : BATCH * length + 1].reshape(BATCH, length).T
    windows = length // WINDOW
    start, state = time.perf_counter(), None
    for iteration in range(1, iterations + 1):
        window = (iteration - 1) % windows
        span = slice(window * WINDOW, (window + 1) * WINDOW)
        if window == 0:
            state = None
        model.adam.rate = RATE * (1 - (iteration - 1) / iterations)
        loss, state = model.train(streams[span], following[span], state)
        if iteration == 1 or iteration % (iterations // 10) == 0:
            seconds = time.perf_counter() - start
            speed = iteration * BATCH * WINDOW / seconds
            print(f"iteration {iteration:5}  loss {loss:.3f}  {seconds:5.1f} s  {speed:,.0f} characters/s")
    print(
        f"held-out text: {model.evaluate(held_out):.3f} nats per character, against {entropy:.2f} by frequencies alone"
    )
    print(f"\n{model.write(PROMPT, 400)}")


if __name__ == "__main__":
    main()
