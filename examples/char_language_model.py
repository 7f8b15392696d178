"""A character language model: an LSTM reads Python's documentation, then writes (one-to-many).

It predicts each next character, with truncated back-propagation through time, gradient clipping and Adam. Afterwards it
writes: by drawing characters at several temperatures, and by beam search for the likeliest text.

Data: the documentation topics of Python (`pydoc_data.topics`, in the standard library; PSF licence).
Result: 1.32 nats per character of held-out text, against 1.44 for counts of up to 6 characters (interpolated).

    python examples/char_language_model.py             about a minute on two cores
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from baselines import n_gram_loss
from numpy.typing import NDArray
from shared import options

from rnncore import Recurrent, clip_grad_norm, insight
from rnncore.training import Adam, Linear, collect, cross_entropy, log_softmax

Array = NDArray[Any]

HIDDEN, BATCH, WINDOW = 256, 32, 25
ITERATIONS, QUICK = 2400, 100
RATE, PROMPT = 8e-3, "The "
HELD_OUT = 20_000  # characters


def read_text() -> str:
    """The prose of the topics, a paragraph on each line and none twice; half of the topics is code and tables."""
    from pydoc_data.topics import topics

    paragraphs = (" ".join(text.split()) for name in sorted(topics) for text in topics[name].split("\n\n"))
    return "\n".join(dict.fromkeys(filter(is_prose, paragraphs)))


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph is a sentence or more: it begins and ends like one, and is made of words."""
    words = sum(character.isalpha() or character in " ,." for character in paragraph)
    return len(paragraph) >= 60 and paragraph[0].isupper() and paragraph[-1] in ".:" and words >= 0.85 * len(paragraph)


def read_codes() -> tuple[str, str, Array, Array]:
    """The text, its characters, and the codes of those to learn from and of the last, held out."""
    text = read_text()
    characters = "".join(sorted(set(text)))
    codes = np.array([characters.index(character) for character in text])
    return text, characters, codes[:-HELD_OUT], codes[-HELD_OUT:]


class CharacterModel:
    """An LSTM over one-hot characters, and a linear layer to the logits of the next one."""

    def __init__(self, characters: str, seed: int, backend: str, compute: str | None = None) -> None:
        self.characters, self.rng = characters, np.random.default_rng(seed)
        self.rnn = Recurrent("lstm", len(characters), HIDDEN, seed=seed, backend=backend, compute=compute)
        # Units that remember from the first iteration on: R. Jozefowicz et al., ICML 2015.
        self.rnn.parameters["bias_ih_l0"][HIDDEN : 2 * HIDDEN] = 1
        self.head = Linear(HIDDEN, len(characters), seed=seed)
        self.adam = Adam(collect(rnn=self.rnn, head=self.head), RATE)

    def one_hot(self, codes: Array) -> Array:
        """(...) codes of characters as (..., V)."""
        return np.eye(len(self.characters), dtype=np.float32)[codes]

    def train(self, inputs: Array, targets: Array, state: Any) -> tuple[float, Any]:
        """One update on a window of (T, B) codes; the loss, and the state to go on from."""
        output, state, tape = self.rnn.forward(self.one_hot(inputs), state)
        loss, grad_logits = cross_entropy(self.head(output), targets)
        grad_output, head_grads = self.head.backward(output, grad_logits)
        grads = collect(rnn=self.rnn.backward(tape, grad_output), head=head_grads)
        clip_grad_norm(grads, 1.0)
        self.adam.step(grads)
        return loss, state

    def learn(self, codes: Array, iterations: int) -> list[float]:
        """Train on a text; the losses. Each row of the batch reads its own part, so the state can be passed on."""
        length = (len(codes) - 1) // BATCH
        streams = codes[: BATCH * length].reshape(BATCH, length).T
        following = codes[1 : BATCH * length + 1].reshape(BATCH, length).T
        start, state, losses = time.perf_counter(), None, []
        for iteration in range(iterations):
            window = iteration % (length // WINDOW)
            span = slice(window * WINDOW, (window + 1) * WINDOW)
            self.adam.rate = RATE * (1 - iteration / iterations)
            loss, state = self.train(streams[span], following[span], state if window else None)
            losses.append(loss)
            if (iteration + 1) % (iterations // 10) == 0:
                print(f"iteration {iteration + 1:5}  loss {loss:.3f}  {time.perf_counter() - start:5.1f} s")
        return losses

    def evaluate(self, codes: Array, weights: str | None = None) -> float:
        """Mean cross-entropy of a text, in nats per character; `weights` as of `Recurrent.freeze`."""
        return cross_entropy(self.head(self.rnn.freeze(weights)(self.one_hot(codes[:-1]))[0]), codes[1:])[0]

    def write(self, prompt: str, length: int, temperature: float) -> str:
        """The prompt, and characters drawn one after the other; a low temperature prefers the likely ones."""
        codes = [self.characters.index(character) for character in prompt]
        _, state = self.rnn(self.one_hot(np.array(codes[:-1])))
        for _ in range(length):
            output, state = self.rnn.step(self.one_hot(np.array(codes[-1])), state)
            p = np.exp(log_softmax(self.head(output).astype("float64") / temperature))
            codes.append(int(self.rng.choice(len(p), p=p)))
        return "".join(self.characters[code] for code in codes)

    def beam(self, prompt: str, length: int, width: int = 8) -> str:
        """The prompt, and the likeliest text after it that a search finds which keeps the `width` best at each step."""
        codes = np.array([[self.characters.index(character) for character in prompt]])  # (beams, characters)
        _, (h, c) = self.rnn(self.one_hot(codes[:, :-1].T))
        totals = np.zeros(1)
        for _ in range(length):
            output, (h, c) = self.rnn.step(self.one_hot(codes[:, -1]), (h, c))
            scores = totals[:, None] + log_softmax(self.head(output))  # (beams, V)
            beams, following = np.unravel_index(np.argsort(scores, axis=None)[-width:], scores.shape)
            totals, h, c = scores[beams, following], h[:, beams], c[:, beams]
            codes = np.column_stack([codes[beams], following])
        return "".join(self.characters[code] for code in codes[totals.argmax()])


def main() -> None:
    """Train, evaluate on text that was held out, and write."""
    arguments = options(__doc__)
    iterations = QUICK if arguments.quick else ITERATIONS
    text, characters, codes, held_out = read_codes()
    model = CharacterModel(characters, arguments.seed, arguments.backend)
    print(f"{len(text):,} characters, {len(characters)} different\n{model.rnn}")
    losses = model.learn(codes, iterations)
    if arguments.quick:
        print(f"{iterations} of {ITERATIONS:,} iterations; all of them, without --quick, reach 1.32 and write words")
    loss, n_gram = model.evaluate(held_out), n_gram_loss(text[:-HELD_OUT], text[-HELD_OUT:])
    for temperature in (0.3, 0.6, 1.0):
        print(f"\ntemperature {temperature}: {model.write(PROMPT, 200, temperature)}")
    print(f"\nbeam search: {model.beam(PROMPT, 100)}")
    print(f"\nheld-out text: {loss:.3f} nats per character, against {n_gram:.3f} by counts of up to 6 characters")
    if arguments.plot:
        with insight.figure(arguments.plot, width=5, height=2.6) as axes:
            axes.plot(np.convolve(losses, np.ones(20) / 20, "valid"), label="training, mean of 20")
            axes.axhline(loss, color="C1", label="held out")
            axes.axhline(n_gram, color="0.5", linestyle="--", label="held out, counts")
            axes.set(xlabel="iteration", ylabel="nats per character", ylim=(0.8, 3))
            axes.legend()


if __name__ == "__main__":
    main()
