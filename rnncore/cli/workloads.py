"""The options of `rnncore bench` that say what is measured, and the workloads that follow from them."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence

from rnncore_kernels.cores import usable_cores
from rnncore_kernels.precision import INT8, PRECISIONS

from ..bench.grid import PRESETS, Axes, at_precisions, of_preset, product
from ..bench.peers import PEERS
from ..bench.shapes import SHAPES, of_shapes
from ..bench.workload import ALL_MODES, FROZEN, ROUNDED, Workload
from ..registry import MODULES
from .cells import add_cell_option
from .status import UsageError
from .values import above_zero, choices, shares, sizes, without, yes_no

DTYPES = ("float32", "float64")
UNROUNDED = "float32"
"""The precision of products of that dtype, by name."""
BUDGETED = [64, 128, 256, 512, 1024]
"""Hidden sizes to find the largest that fits a budget, where none are named."""
SHAPED = (
    *("--cell", "-T", "-B", "-H", "-I", "--layers", "--bidirectional", "--ragged", "--resets", "--states"),
    *("--heads", "--zoneout"),
)
"""Options whose values a shape has."""


def add_axes(parser: argparse.ArgumentParser) -> None:
    """Add the group of options."""
    axes = parser.add_argument_group("what is measured")
    axes.add_argument(
        "--preset", choices=tuple(PRESETS), default="default", help="sizes, modes and repeats by one name"
    )
    add_cell_option(axes, "lstm,gru,rnn")
    axes.add_argument(
        "--backend",
        type=choices(("all", "auto", *MODULES)),
        help=f"all that can run here, auto, or {','.join(MODULES)} (the preset's, all)",
    )
    axes.add_argument(
        "--peer",
        type=choices(tuple(PEERS)),
        action="extend",
        default=[],
        help=f"libraries to measure beside ours on the same work: {','.join(PEERS)}; torch-loop is a loop over the "
        f"steps in PyTorch, and stands for torch where that lacks the cell; cudnn is PyTorch on the GPU; with those in "
        f"bf16 and int8, ours are measured in that --precision, too",
    )
    axes.add_argument(
        "--mode",
        type=choices(ALL_MODES),
        help=f"{','.join(ALL_MODES)}: backward is that pass alone, the last two one step of a stream (the preset's)",
    )
    axes.add_argument("-T", type=sizes, metavar="STEPS", help="time steps (100, where another size is given)")
    axes.add_argument("-B", type=sizes, metavar="BATCH", help="sequences computed together (32, likewise)")
    axes.add_argument("-H", type=sizes, metavar="HIDDEN", help="hidden size (256, likewise)")
    axes.add_argument("-I", type=sizes, metavar="INPUT", help="input size; the hidden size if not given")
    axes.add_argument("--layers", type=sizes, default=[1], help="number of layers (1)")
    for name, text in (("--bidirectional", "each layer in both directions"), ("--ragged", "rows of 1 to T steps")):
        axes.add_argument(name, type=yes_no, nargs="?", const=[True], default=[False], metavar="yes,no", help=text)
    axes.add_argument(
        "--resets", type=shares, default=[0.0], metavar="SHARE", help="share of the steps at which rows begin anew (0)"
    )
    axes.add_argument(
        "--states", type=choices(("output", "all")), default=["output"], help="all: every state at each step (output)"
    )
    axes.add_argument("--heads", type=sizes, default=[1], help="blocks on the diagonal of the recurrent weights (1)")
    axes.add_argument(
        "--zoneout",
        type=shares,
        default=[0.0],
        metavar="SHARE",
        help="probability that a state is kept, in training (0)",
    )
    axes.add_argument(
        "--shapes",
        type=choices(("all", *SHAPES)),
        metavar="NAME,...",
        help=f"networks of other projects, instead of cells and sizes: all, or {', '.join(SHAPES)}",
    )
    axes.add_argument("--dtype", type=choices(DTYPES), default=["float32"], help=",".join(DTYPES))
    axes.add_argument(
        "--precision",
        type=choices((UNROUNDED, *PRECISIONS)),
        metavar="NAME,...",
        help=f"precision of products: {UNROUNDED},{','.join(PRECISIONS)}; int8 with frozen weights, in the modes "
        f"{' and '.join(FROZEN)} ({UNROUNDED})",
    )
    axes.add_argument("--threads", type=sizes, help="most threads of a call; all cores if not given")
    axes.add_argument("--seed", type=int, default=0, help="seed of all random values (0)")

    axes.add_argument(
        "--budget",
        type=above_zero,
        metavar="TIME",
        help="time that a call may take, such as 5ms: says which cells and hidden sizes fit; B is 1 and mode inference "
        "unless named",
    )


def read_workloads(arguments: argparse.Namespace, peers: Sequence[str]) -> list[Workload]:
    """The workloads that the options name, in the precisions of the peers too.

    Raises:
        UsageError: options do not go together.
    """
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}")
    preset, budget = PRESETS[arguments.preset], arguments.budget
    named = arguments.T or arguments.B or arguments.H or arguments.I or budget
    axes = Axes(
        arguments.cell,
        arguments.mode or (["inference"] if budget else preset.modes),
        [
            (steps, batch, inputs, hidden)
            for steps in arguments.T or [100]
            for batch in arguments.B or [1 if budget else 32]
            for hidden in arguments.H or (BUDGETED if budget else [256])
            for inputs in arguments.I or [0]
        ],
        arguments.dtype,
        arguments.layers,
        arguments.bidirectional,
        arguments.ragged,
        arguments.threads or [usable_cores()],
        arguments.seed,
        arguments.resets,
        [name == "all" for name in arguments.states],
        arguments.heads,
        arguments.zoneout,
    )
    if arguments.shapes:
        if fixed := [option for option in SHAPED if without(arguments.argv, option) != arguments.argv]:
            raise UsageError(f"--shapes: expected no {', '.join(fixed)} beside it, as a shape has its own")
        names = SHAPES if "all" in arguments.shapes else arguments.shapes
        workloads = of_shapes(list(names), arguments.mode, arguments.dtype, axes.threads, arguments.seed)
    else:
        workloads = product(axes) if named else of_preset(preset, axes)
    for workload in workloads:
        try:
            _ = workload.architecture
        except ValueError as error:
            raise UsageError(error) from None
    if not workloads:
        raise UsageError(
            "nothing to measure: a step has one direction and no lengths, no resets and one output, so --mode step and "
            "frozen-step take none of these"
        )
    modes = dict.fromkeys(workload.mode for workload in workloads)
    return at_precisions(workloads, _precisions(arguments, peers, modes))


def _precisions(arguments: argparse.Namespace, peers: Sequence[str], modes: Collection[str]) -> list[str | None]:
    """The precisions of products that are named, None for float32, and those of the peers."""
    named = {None if name == UNROUNDED else name for name in arguments.precision or [UNROUNDED]}
    named |= {PEERS[name].precision for name in peers}
    precisions = [precision for precision in ROUNDED if precision in named]
    rounded = ", ".join(name for name in precisions if name)
    if "float64" in arguments.dtype and (arguments.precision or rounded):
        raise UsageError(
            f"--dtype: expected float32 beside products in {rounded or UNROUNDED}, got {', '.join(arguments.dtype)}"
        )
    if INT8 in precisions and not {*FROZEN}.intersection(modes):
        raise UsageError(
            f"--mode: expected {' or '.join(FROZEN)} beside products in int8, which are for frozen weights, got "
            f"{', '.join(modes)}"
        )
    return precisions
