"""Who speaks? Utterances of unequal length are assigned to nine speakers (many-to-one).

A GRU reads the 12 cepstral coefficients of each frame; the last output of each row, wherever that row ends, is
classified.

Data: Japanese Vowels by M. Kudo, J. Toyama and M. Shimbo (UCI repository, CC BY 4.0): 270 utterances of "ae" to learn
from and 370 to test, of 7 to 29 frames. The package aeon (BSD licence) ships it; pip downloads it without installing.
Result: 98.1 % of the 370 utterances, against 96.2 % for logistic regression on each utterance's mean and deviation.

    python examples/speakers.py             about 5 seconds on two cores
"""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared import from_pypi, options
from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]
from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingImports]

from rnncore import Frozen, Recurrent, clip_grad_norm, insight
from rnncore.training import Adam, Linear, bucketed, collect, cosine, cross_entropy, pad

Array = NDArray[Any]

HIDDEN, EPOCHS, BATCH = 96, 60, 30
NOISE = 0.3
"""The deviation of the noise that is added to the coefficients in training, in standard deviations."""


def read(part: str) -> tuple[list[Array], Array]:
    """The utterances of "TRAIN" or "TEST", each (frames, 12), and their speakers from 0 to 8."""
    name = f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    with zipfile.ZipFile(from_pypi("aeon==1.6.0")) as archive:
        lines = archive.read(name).decode().partition("@data\n")[2].split()
    # A line has the 12 series and the speaker, with colons between them.
    rows = [line.split(":") for line in lines]
    utterances = [np.array([series.split(",") for series in row[:-1]], "float32").T for row in rows]
    return utterances, np.array([int(row[-1]) - 1 for row in rows])


def read_scaled() -> tuple[list[Array], Array, list[Array], Array]:
    """Utterances to learn from and their speakers, and those to test, in standard deviations of the former."""
    (utterances, speakers), (test, test_speakers) = read("TRAIN"), read("TEST")
    frames = np.concatenate(utterances)
    utterances, test = ([(u - frames.mean(0)) / frames.std(0) for u in part] for part in (utterances, test))
    return utterances, speakers, test, test_speakers


def learn(utterances: list[Array], speakers: Array, epochs: int, seed: int, **options: Any) -> tuple[Recurrent, Linear]:
    """A trained network, made with more options, and its classifier."""
    rng = np.random.default_rng(seed)
    rnn = Recurrent("gru", 12, HIDDEN, seed=seed, **options)
    head = Linear(HIDDEN, 9, seed=seed)
    adam = Adam(collect(rnn=rnn, head=head), weight_decay=0.1)
    for epoch in range(epochs):
        adam.rate = 0.01 * cosine(epoch, epochs)
        losses = []
        for batch in bucketed([len(utterance) for utterance in utterances], BATCH, rng):
            x, lengths = pad([utterances[i] for i in batch])
            x += NOISE * rng.standard_normal(x.shape, "float32")
            last, _, tape = rnn.forward(x, lengths=lengths, return_sequence=False)
            loss, grad_logits = cross_entropy(head(last), speakers[batch])
            grad_last, head_grads = head.backward(last, grad_logits)
            grads = collect(rnn=rnn.backward(tape, grad_last=grad_last), head=head_grads)
            clip_grad_norm(grads, 1.0)
            adam.step(grads)
            losses.append(loss)
        if (epoch + 1) % max(epochs // 6, 1) == 0:
            print(f"epoch {epoch + 1:3}  loss {np.mean(losses):.3f}")
    return rnn, head


def recognise(network: Recurrent | Frozen, head: Linear, utterances: list[Array]) -> Array:
    """The speaker of each utterance."""
    x, lengths = pad(utterances)
    last, _ = network(x, lengths=lengths, return_sequence=False)
    found: Array = head(last).argmax(-1)
    return found


def main() -> None:
    """Train, and recognise the speakers of the test set."""
    arguments = options(__doc__)
    utterances, speakers, test, test_speakers = read_scaled()
    epochs = 5 if arguments.quick else EPOCHS
    found = recognise(*learn(utterances, speakers, epochs, arguments.seed, backend=arguments.backend), test)
    scaler = StandardScaler()
    learnt, asked = (np.array([np.r_[u.mean(0), u.std(0)] for u in part]) for part in (utterances, test))
    logistic = LogisticRegression(max_iter=2000).fit(scaler.fit_transform(learnt), speakers)
    right = 100 * np.mean(found == test_speakers)
    other = 100 * logistic.score(scaler.transform(asked), test_speakers)
    print(f"test utterances: {right:.1f} % right, against {other:.1f} % by logistic regression on mean and deviation")
    if arguments.plot:
        confusion = np.zeros((9, 9), int)
        np.add.at(confusion, (test_speakers, found), 1)
        with insight.figure(arguments.plot, width=3.6, height=3.2) as axes:
            axes.imshow(confusion, cmap="Blues")
            for (row, column), number in np.ndenumerate(confusion):
                if number:
                    ink = "k" if number < 50 else "#f7fbff"  # the lightest of these blues
                    axes.text(column, row, number, ha="center", va="center", color=ink, fontsize=7)
            axes.set(xlabel="speaker found", ylabel="speaker", xticks=range(9), yticks=range(9))


if __name__ == "__main__":
    main()
