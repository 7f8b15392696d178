"""Translation with an encoder, a decoder and attention (many-to-many): numbers and dates, from English into German.

"four hundred and twenty-one" becomes "vierhunderteinundzwanzig", and "Wednesday, March 5, 1986" becomes "Mittwoch,
5. März 1986", a character at a time. German says units before tens, so the decoder has to look ahead and back;
attention shows where. The encoder is a bidirectional GRU; the decoder, a GRU, begins with its last states, and attends
to all its outputs (M.-T. Luong, H. Pham and C. Manning, EMNLP 2015).

Data: made by num2words (LGPL) and Babel (BSD licence; names from Unicode's CLDR): numbers to 9999, and days from 1950
to 2049. None of the held-out numbers and days occurs in training.
Result: 99.4 % of 1000 held-out phrases right to the last letter, against 0.1 % for the same network without attention,
trained as long.

    python examples/translation.py             about a minute on two cores
"""

from __future__ import annotations

import datetime
import time
from typing import Any

import numpy as np
from babel.dates import format_date  # pyright: ignore[reportMissingImports]
from num2words import num2words  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray
from shared import options

from rnncore import Recurrent, clip_grad_norm, insight
from rnncore.training import Adam, Embedding, Linear, attend, attend_backward, bucketed, collect, cross_entropy, pad

Array = NDArray[Any]

HIDDEN, WIDTH, BATCH, EPOCHS = 128, 32, 64, 5
END, START = "\n", "\t"


def phrases(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Numbers and days in English and in German, each at most once."""
    numbers = rng.permutation(10_000)[: count // 2].tolist()
    days = [
        datetime.date(1950, 1, 1) + datetime.timedelta(days) for days in rng.permutation(36_525)[: count // 2].tolist()
    ]
    pairs = [(num2words(number, lang="en"), num2words(number, lang="de")) for number in numbers]
    pairs += [(format_date(day, "full", locale="en"), format_date(day, "full", locale="de")) for day in days]
    return [pairs[i] for i in rng.permutation(len(pairs))]


class Translator:
    """The encoder, the decoder, and a linear layer over the decoder's output beside what it attended to."""

    def __init__(self, characters: str, attention: bool, seed: int, backend: str) -> None:
        self.characters, self.attention = characters, attention
        self.read, self.written = (Embedding(len(characters), WIDTH, seed=seed + i) for i in range(2))
        self.encoder = Recurrent("gru", WIDTH, HIDDEN // 2, bidirectional=True, seed=seed, backend=backend)
        self.decoder = Recurrent("gru", WIDTH, HIDDEN, seed=seed + 1, backend=backend)
        self.head = Linear(2 * HIDDEN, len(characters), seed=seed)
        parts = {name: getattr(self, name) for name in ("read", "written", "encoder", "decoder", "head")}
        self.adam = Adam(collect(**parts))

    def codes(self, texts: list[str], fill: int = 0) -> tuple[Array, Array]:
        """The codes of characters, padded (T, B), and the lengths."""
        return pad([[self.characters.index(character) for character in text] for text in texts], fill=fill)

    def train(self, pairs: list[tuple[str, str]]) -> float:
        """One update, with the right characters so far as the decoder's input (teacher forcing)."""
        source, lengths = self.codes([english for english, _ in pairs])
        inputs, _ = self.codes([START + german for _, german in pairs])
        targets, _ = self.codes([german + END for _, german in pairs], fill=-1)
        keys, ends, reading = self.encoder.forward(self.read(source), lengths=lengths)  # ends (2, B, HIDDEN / 2)
        output, _, writing = self.decoder.forward(self.written(inputs), np.concatenate(ends, axis=1)[None])
        context, weights = attend(output, keys, keys, lengths) if self.attention else (np.zeros_like(output), None)
        both = np.concatenate([output, context], axis=2)
        loss, grad_logits = cross_entropy(self.head(both), targets)

        grad_both, head = self.head.backward(both, grad_logits)
        grad_output, grad_context = np.split(grad_both, 2, axis=2)
        grad_keys = np.zeros_like(keys)
        if weights is not None:
            grad_query, grad_key, grad_value = attend_backward(grad_context, output, keys, keys, weights)
            grad_output, grad_keys = grad_output + grad_query, grad_key + grad_value
        decoder = self.decoder.backward(writing, grad_output)
        encoder = self.encoder.backward(reading, grad_keys, np.stack(np.split(decoder.state[0], 2, axis=1)))
        read, written = self.read.backward(source, encoder.x), self.written.backward(inputs, decoder.x)
        grads = collect(read=read, written=written, encoder=encoder, decoder=decoder, head=head)
        clip_grad_norm(grads, 1.0)
        self.adam.step(grads)
        return loss

    def translate(self, texts: list[str], most: int = 60) -> tuple[list[str], Array]:
        """The likeliest characters one after another, and the weights of attention (steps, B, S)."""
        source, lengths = self.codes(texts)
        keys, ends = self.encoder(self.read(source), lengths=lengths)
        state, last = np.concatenate(ends, axis=1)[None], np.full(len(texts), self.characters.index(START))
        said, looked = [], []
        for _ in range(most):
            output, state = self.decoder.step(self.written(last), state)
            context, weights = attend(output[None], keys, keys, lengths)
            both = np.concatenate([output, context[0] if self.attention else np.zeros_like(output)], axis=1)
            last = self.head(both).argmax(-1)
            said.append(last)
            looked.append(weights[0])
        rows = ("".join(self.characters[code] for code in row) for row in np.array(said).T)
        return [row.partition(END)[0] for row in rows], np.array(looked)


def main() -> None:
    """Train with attention and without, and translate what was held out."""
    arguments = options(__doc__)
    rng = np.random.default_rng(arguments.seed)
    pairs = phrases(rng, 2000 if arguments.quick else 8_000)
    held_out, rest = np.split(np.array(pairs, object), [1000])
    characters = "".join(sorted({character for pair in pairs for text in pair for character in text + START + END}))
    lengths = np.array([len(german) for _, german in rest])
    rights = {}
    for attention in (True, False):
        model = Translator(characters, attention, arguments.seed, arguments.backend)
        start, epochs = time.perf_counter(), 1 if arguments.quick else EPOCHS
        for epoch in range(epochs):
            model.adam.rate = 5e-3 * (1 - epoch / epochs)
            losses = [model.train(rest[batch].tolist()) for batch in bucketed(lengths, BATCH, rng)]
            seconds = time.perf_counter() - start
            print(f"{attention=}  epoch {epoch + 1}  loss {np.mean(losses):.3f}  {seconds:4.0f} s", flush=True)
        said, _ = model.translate(held_out[:, 0].tolist())
        rights[attention] = 100 * np.mean(np.array(said) == held_out[:, 1])
        for (english, german), text in list(zip(held_out, said, strict=True))[:4]:
            print(f"  {english} -> {text}{'' if text == german else '  (wrong: ' + german + ')'}")
        if attention and arguments.plot:
            with insight.figure(arguments.plot, columns=2, width=7, height=3.2) as axes:
                for axis, english in zip(axes, (num2words(4721), "Sunday, October 9, 1994"), strict=True):
                    (german,), weights = model.translate([english])
                    axis.imshow(weights[: len(german), 0], cmap="Blues", aspect="auto")
                    axis.set_xticks(range(len(english)), english, fontsize=6)
                    axis.set_yticks(range(len(german)), german, fontsize=6)
    print(f"held-out phrases: {rights[True]:.1f} % right to the last letter, {rights[False]:.1f} % without attention")


if __name__ == "__main__":
    main()
