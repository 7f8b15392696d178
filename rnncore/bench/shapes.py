"""Sizes at which other projects compute recurrent networks, by name: what `rnncore bench --shapes` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .workload import Workload


@dataclass(frozen=True)
class Shape:
    """A network as a project computes it.

    Attributes:
        cell: as `--cell` spells it.
        size: (T, B, I, H).
        source: where the sizes are from.
        mode, layers, bidirectional, ragged, resets, heads: as in `Workload`.
        estimates: the sizes that the source leaves open, and that are typical values here; empty for none.
    """

    cell: str
    size: tuple[int, int, int, int]
    source: str
    mode: str = "training"
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False
    resets: float = 0.0
    heads: int = 1
    estimates: str = ""

    def workload(self, dtype: str, threads: int, seed: int) -> Workload:
        """The workload of this shape."""
        steps, batch, inputs, hidden = self.size
        options = {"resets": self.resets, "heads": self.heads, "threads": threads, "seed": seed}
        sizes = (steps, batch, inputs, hidden, dtype, self.layers, self.bidirectional, self.ragged)
        return Workload(self.cell, self.mode, *sizes, **options)  # type: ignore[arg-type]


GITHUB = "https://github.com/"

SHAPES: dict[str, Shape] = {
    "neuralhydrology": Shape(
        "lstm", (365, 256, 32, 128), GITHUB + "neuralhydrology/neuralhydrology", estimates="I of 5 to 32"
    ),
    "sb3": Shape(
        "lstm", (128, 16, 64, 256), GITHUB + "Stable-Baselines-Team/sb3-contrib", resets=0.01, estimates="B, I, resets"
    ),
    "cleanrl-atari": Shape("lstm", (128, 8, 512, 128), GITHUB + "vwxyzjn/cleanrl", resets=0.01, estimates="resets"),
    "torchrl-reset": Shape(
        "gru:update=carry", (128, 128, 256, 256), GITHUB + "pytorch/rl/pull/3816", resets=0.03, estimates="I"
    ),
    "silero": Shape("lstm", (125_000, 1, 128, 128), GITHUB + "snakers4/silero-vad/pull/784", "inference"),
    "nam": Shape("lstm", (8192, 16, 1, 24), GITHUB + "sdatkinson/neural-amp-modeler", estimates="B of 16 to 32"),
    "flair": Shape(
        *("lstm", (60, 32, 1024, 256), GITHUB + "flairNLP/flair"),
        bidirectional=True,
        ragged=True,
        estimates="T, I of 1,000 to 4,000",
    ),
    "easyocr": Shape(
        *("lstm", (80, 32, 512, 256), GITHUB + "JaidedAI/EasyOCR", "inference", 2, True), estimates="T, B"
    ),
    "pyannote": Shape(
        *("lstm", (293, 32, 60, 128), GITHUB + "pyannote/pyannote-audio", "training", 2, True),
        estimates="T of 293 to 590, 2 to 4 layers",
    ),
    "speechbrain-ligru": Shape(
        "ligru", (500, 64, 89, 512), GITHUB + "speechbrain/speechbrain/issues/793", layers=3, bidirectional=True
    ),
    "bonito": Shape(
        *("lstm", (1000, 64, 768, 768), GITHUB + "nanoporetech/bonito", "inference", 5),
        estimates="T, B; its layers alternate in direction, these do not",
    ),
    "tirex": Shape(
        *("slstm", (64, 64, 512, 512), GITHUB + "NX-AI/tirex/pull/35", "inference"),
        heads=4,
        estimates="H and heads; x is multiplied here, there the cell reads ready pre-activations",
    ),
    "deepar": Shape("lstm", (100, 32, 40, 40), GITHUB + "awslabs/gluonts", layers=2, estimates="T, B, I"),
    "kernelbench": Shape(
        "lstm", (512, 10, 128, 256), GITHUB + "ScalingIntelligence/KernelBench", "inference", layers=6
    ),
}
"""By name."""


def of_shapes(
    names: Sequence[str], modes: Sequence[str] | None, dtypes: Sequence[str], threads: Sequence[int], seed: int
) -> list[Workload]:
    """The workloads of some shapes, in their own modes or those of `modes`."""
    return [
        replace(SHAPES[name].workload(dtype, count, seed), mode=mode, shape=name)
        for name in names
        for dtype in dtypes
        for count in threads
        for mode in modes or [SHAPES[name].mode]
    ]
