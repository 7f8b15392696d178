"""Which workloads a report is made of: presets, and the product of axes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rnncore_kernels.precision import INT8

from .measure import Settings
from .workload import FROZEN, MODES, STEPS, Workload

Size = tuple[int, int, int, int]
"""(T, B, I, H)."""


@dataclass(frozen=True)
class Preset:
    """Sizes, modes and settings by one name.

    Attributes:
        sizes: measured in every mode of `modes` but steps, which take the sizes `step_hidden` with one row.
        extras: options of further workloads: a size, a mode, layers, directions, ragged.
        backends: as of `--backend`, where none is named.
        peers: those that are installed are measured where none is named.
    """

    sizes: tuple[Size, ...]
    modes: tuple[str, ...]
    settings: Settings
    step_hidden: tuple[int, ...] = (128,)
    extras: tuple[tuple[Size, str, int, bool, bool], ...] = ()
    backends: tuple[str, ...] = ("all",)
    peers: tuple[str, ...] = ()


GRID: tuple[Size, ...] = (
    *((100, 1, 64, 64), (100, 1, 256, 256), (100, 1, 512, 512), (100, 1, 1024, 1024)),
    *((100, 16, 128, 128), (100, 32, 256, 256), (100, 64, 512, 512), (50, 32, 1024, 1024), (100, 128, 128, 128)),
    *((500, 64, 64, 64), (37, 3, 50, 50), (100, 7, 200, 200), (64, 33, 96, 96), (100, 32, 40, 200)),
)
"""Small and large, odd and even: the sizes that the library is tuned for."""

GPU_GRID: tuple[Size, ...] = (
    *((100, 64, 512, 512), (1000, 16, 768, 768), (50, 1, 1024, 1024), (100, 1, 256, 256), (100, 32, 256, 256)),
    *((100, 128, 128, 128), (500, 64, 64, 64), (25, 256, 1024, 1024)),
)
"""The first three are the sizes that the CUDA engine was made for."""

PRESETS = {
    "quick": Preset(
        ((100, 1, 256, 256), (100, 32, 128, 128)),
        MODES,
        Settings(repeats=6, passes=3, min_time=0.1),
        peers=("torch", "onnxruntime", "openvino"),
    ),
    "default": Preset(
        ((100, 1, 256, 256), (100, 32, 256, 256), (100, 64, 512, 512)), MODES, Settings(repeats=9, passes=3)
    ),
    "full": Preset(
        GRID,
        (*MODES, *STEPS),
        Settings(repeats=7),
        (128, 512),
        (((100, 32, 256, 256), "training", 2, True, False), ((200, 64, 256, 256), "training", 1, False, True)),
    ),
    "gpu": Preset(GPU_GRID, MODES, Settings(), backends=("cuda",), peers=("cudnn",)),
}


@dataclass(frozen=True)
class Axes:
    """Values of each axis; `sizes` are (T, B, I, H), and 0 for I is H."""

    cells: Sequence[str]
    modes: Sequence[str]
    sizes: Sequence[Size]
    dtypes: Sequence[str] = ("float32",)
    layers: Sequence[int] = (1,)
    bidirectional: Sequence[bool] = (False,)
    ragged: Sequence[bool] = (False,)
    threads: Sequence[int] = field(default=())
    seed: int = 0
    resets: Sequence[float] = (0.0,)
    states: Sequence[bool] = (False,)
    heads: Sequence[int] = (1,)
    zoneout: Sequence[float] = (0.0,)


def product(axes: Axes) -> list[Workload]:
    """All workloads of the axes, none twice. A step has T = 1, one direction, one output, no lengths and no resets."""
    workloads, more = [], list(itertools.product(axes.resets, axes.states, axes.heads, axes.zoneout))
    for cell, dtype, (steps, batch, inputs, hidden), layers, both, ragged, threads, mode in itertools.product(
        axes.cells, axes.dtypes, axes.sizes, axes.layers, axes.bidirectional, axes.ragged, axes.threads, axes.modes
    ):
        sizes = (1 if mode in STEPS else steps, batch, inputs or hidden, hidden)
        for resets, states, heads, zoneout in more:
            if mode in STEPS and (both or ragged or resets or states):
                continue
            options = (resets, states, heads, zoneout)
            workloads.append(Workload(cell, mode, *sizes, dtype, layers, both, ragged, threads, axes.seed, *options))
    return list(dict.fromkeys(workloads))


def at_precisions(workloads: Sequence[Workload], precisions: Sequence[str | None]) -> list[Workload]:
    """Each workload with products of each precision; those of int8 are for frozen weights."""
    return [
        replace(workload, precision=precision)
        for workload in workloads
        for precision in precisions
        if precision != INT8 or workload.mode in FROZEN
    ]


def of_preset(preset: Preset, axes: Axes) -> list[Workload]:
    """A preset's workloads, with the cells, dtypes, threads and so on of `axes` but its own sizes."""
    steps = [(1, 1, hidden, hidden) for hidden in preset.step_hidden]
    workloads = [
        *product(replace(axes, sizes=preset.sizes, modes=[mode for mode in axes.modes if mode not in STEPS])),
        *product(replace(axes, sizes=steps, modes=[mode for mode in axes.modes if mode in STEPS])),
    ]
    for size, mode, layers, both, ragged in preset.extras:
        if mode in axes.modes:
            more = replace(axes, modes=[mode], sizes=[size], layers=[layers], bidirectional=[both], ragged=[ragged])
            workloads += product(more)
    return list(dict.fromkeys(workloads))
