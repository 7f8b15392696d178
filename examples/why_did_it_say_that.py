"""Why did it say that? Gates, saliency and the path of the state, of a network whose rule is known (many-to-one).

An LSTM reads reviews and says whether they praise or criticise. The rule: the last opinion decides, "not" turns its
adjective around, and where the film was made is no opinion. It learns the rule from labels alone; `rnncore.insight`
then shows where it keeps the verdict, and which words made it say what it said.

Data: made here, so that the words that count are known.
Result: 100.0 % of 1000 new reviews, against 51.3 % for the last adjective alone, without "not".

    python examples/why_did_it_say_that.py             a few seconds; --plot writes the three pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared import options

from rnncore import Recurrent, clip_grad_norm, insight
from rnncore.training import Adam, Embedding, Linear, bucketed, collect, cross_entropy, pad

Array = NDArray[Any]

NOUNS, FILLERS = ["plot", "cast", "music", "ending"], ["really", "quite", "very", "rather"]
GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "dull", "poor", "awful"]
PLACES = ["france", "italy", "canada", "japan"]
WORDS = ["the", "was", "not", "but", "and", "from", *NOUNS, *FILLERS, *GOOD, *BAD, *PLACES]
CODES = {word: code for code, word in enumerate(WORDS)}
SHOWN = ["the", "plot", "was", "really", "good", "but", "the", "cast", "was", "not", "very", "fine"]
TURN = SHOWN.index("not")
SHOWN += ["and", "the", "music", "was", "from", "japan"]
WIDTH, HIDDEN, BATCH, RATE, POINTS = 8, 16, 32, 1e-2, 50


def review(rng: np.random.Generator) -> tuple[list[str], int]:
    """The words of a review, and 1 for praise or 0 for criticism."""
    words: list[str] = []
    label = 0
    for clause in range(rng.integers(1, 6)):
        is_opinion = not words or rng.random() < 0.5
        words += ["but" if is_opinion else "and"] * (clause > 0)
        words += ["the", str(rng.choice(NOUNS)), "was"]
        if is_opinion:
            turned, praised = (rng.random(2) < 0.5).tolist()
            words += ["not"] * turned + [str(word) for word in rng.choice(FILLERS, rng.integers(0, 3))]
            words.append(str(rng.choice(GOOD if praised else BAD)))
            label = int(praised != turned)
        else:
            words += ["from", str(rng.choice(PLACES))]
    return words, label


class Judge:
    """Embedding, LSTM, and a linear layer to "criticism" and "praise"."""

    def __init__(self, seed: int, backend: str) -> None:
        self.words = Embedding(len(WORDS), WIDTH, seed=seed)
        self.rnn = Recurrent("lstm", WIDTH, HIDDEN, seed=seed, backend=backend)
        self.head = Linear(HIDDEN, 2, seed=seed)
        self.adam = Adam(collect(words=self.words, rnn=self.rnn, head=self.head), rate=RATE)

    def read(self, reviews: list[list[str]]) -> tuple[Array, Array]:
        """The codes of words, padded (T, B), and the lengths."""
        return pad([[CODES[word] for word in words] for words in reviews])

    def train(self, reviews: list[list[str]], labels: Array) -> float:
        """One update."""
        codes, lengths = self.read(reviews)
        last, _, tape = self.rnn.forward(self.words(codes), lengths=lengths, return_sequence=False)
        loss, grad_logits = cross_entropy(self.head(last), labels)
        grad_last, head = self.head.backward(last, grad_logits)
        grads = self.rnn.backward(tape, grad_last=grad_last)
        together = collect(words=self.words.backward(codes, grads.x), rnn=grads, head=head)
        clip_grad_norm(together, 1.0)
        self.adam.step(together)
        return loss

    def praise(self, reviews: list[list[str]]) -> Array:
        """How much more like praise than like criticism each review is, (B,), in logits."""
        codes, lengths = self.read(reviews)
        last, _ = self.rnn(self.words(codes), lengths=lengths, return_sequence=False)
        difference: Array = self.head(last) @ np.array([-1, 1], "float32")
        return difference

    def vectors(self, words: list[str]) -> Array:
        """One review as the network reads it, (T, WIDTH)."""
        return self.words(np.array([CODES[word] for word in words]))

    def weights(self, words: list[str], ax: Any = None) -> Array:
        """What each word weighs in that review's praise, (T,), by integrated gradients."""
        direction = self.head.parameters["weight"][1] - self.head.parameters["weight"][0]
        x = self.vectors(words)
        return insight.saliency(self.rnn, x, grad_last=direction, times_input=True, points=POINTS, labels=words, ax=ax)


def main() -> None:
    """Train, evaluate, and look inside."""
    arguments = options(__doc__)
    rng = np.random.default_rng(arguments.seed)
    learnt, asked = ([review(rng) for _ in range(count)] for count in (4000, 1000))
    judge = Judge(arguments.seed, arguments.backend)
    for epoch in range(1 if arguments.quick else 6):
        judge.adam.rate = RATE / (1 + epoch)
        batches = bucketed([len(words) for words, _ in learnt], BATCH, rng)
        picked = [[learnt[number] for number in batch] for batch in batches]
        losses = [judge.train([w for w, _ in rows], np.array([label for _, label in rows])) for rows in picked]
        print(f"epoch {epoch + 1}  loss {np.mean(losses):.3f}", flush=True)
    labels = np.array([label for _, label in asked])
    right = 100 * float(np.mean((judge.praise([words for words, _ in asked]) > 0) == labels))
    verdicts = [[word in GOOD for word in words if word in GOOD + BAD][-1] for words, _ in asked]
    other = 100 * float(np.mean(verdicts == labels))

    score, *without = judge.praise([SHOWN, *(SHOWN[:i] + SHOWN[i + 1 :] for i in range(len(SHOWN)))])
    kept = insight.gates(judge.rnn, judge.vectors(SHOWN))["f"].mean(axis=1)
    print(f"praise {score:+.1f}  weight  left out  memory kept")
    for word, *figures in zip(SHOWN, judge.weights(SHOWN), without, 100 * kept, strict=True):
        print("{:13} {:+6.1f} {:+9.1f} {:10.0f} %".format(word, *figures))
    if arguments.plot:
        draw(judge, Path(arguments.plot))
    print(f"new reviews: {right:.1f} % right, against {other:.1f} % by the last adjective alone")


def draw(judge: Judge, path: Path) -> None:
    """Three pictures: the gates, the weights of words, and the way of the state with and without "not"."""
    with insight.figure(path.with_stem(f"{path.stem}_gates"), height=3.6) as ax:
        insight.gates(judge.rnn, judge.vectors(SHOWN), names=["i", "f", "c"], labels=SHOWN, ax=ax)
    with insight.figure(path.with_stem(f"{path.stem}_saliency"), height=2.4) as ax:
        judge.weights(SHOWN, ax)
    reviews = [SHOWN, [word for word in SHOWN if word != "not"]]
    codes, lengths = judge.read(reviews)
    with insight.figure(path.with_stem(f"{path.stem}_trajectory"), height=4) as ax:
        ways = insight.trajectory(
            judge.rnn, judge.words(codes), name="c", lengths=lengths, groups=["not very fine", "very fine"], ax=ax
        )
        for row, words in enumerate(reviews):
            for word, point in zip(words[TURN:], ways.points[TURN:, row], strict=False):
                ax.annotate(word, point, size=8)


if __name__ == "__main__":
    main()
