"""The command line: `rnncore bench` measures, `info` says what this machine has, `warmup` compiles ahead of use."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence

from rnncore_kernels.cells import CELLS

from .bench import measure, report
from .bench.children import MeasurementError
from .bench.peers import PEERS, require_peers
from .bench.workload import MODES, Workload
from .errors import BackendUnavailableError
from .machine import configuration, show_config
from .registry import MODULES, backends, resolve
from .version import __version__

OK, WRONG_RESULT, UNAVAILABLE, FAILED, INTERRUPTED = 0, 1, 3, 4, 130
SIZES = ((100, 1, 256), (100, 32, 256), (100, 64, 512))
"""(T, B, H) measured where no size is given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 is success, 1 a wrong result, 2 a wrong argument, 3 a backend or peer that was named and cannot run, 4 a
    measurement that failed or nowhere to keep compiled code, 130 an interruption.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    parsed = _parser().parse_args(arguments)
    try:
        status = int(parsed.run(parsed))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except MemoryError as error:
        print(f"rnncore: not enough memory: {error}", file=sys.stderr)
        return FAILED
    except BackendUnavailableError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return UNAVAILABLE
    except MeasurementError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("rnncore: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnncore", description="Recurrent networks: how fast is this machine?")
    parser.add_argument("--version", action="version", version=f"rnncore {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    bench = commands.add_parser(
        "bench",
        help="measure throughput",
        description="Measure the throughput of networks, each backend in a process of its own. Every result is checked "
        "against float64 before it is timed. Values may be lists: -H 128,256.",
    )
    bench.set_defaults(run=_bench)
    bench.add_argument("--cell", type=_choices(tuple(CELLS)), default=["lstm", "gru", "rnn"], help="lstm,gru,rnn")
    bench.add_argument(
        "--backend",
        type=_choices(("all", "auto", *MODULES)),
        default=["all"],
        help=f"all that can run here (the default), auto, or {','.join(MODULES)}",
    )
    bench.add_argument(
        "--peer",
        type=_choices(tuple(PEERS)),
        action="extend",
        default=[],
        help=f"libraries to measure beside ours on the same work: {','.join(PEERS)}",
    )
    bench.add_argument("--mode", type=_choices(MODES), default=list(MODES))
    bench.add_argument("-T", type=_sizes, metavar="STEPS", help="time steps")
    bench.add_argument("-B", type=_sizes, metavar="BATCH", help="sequences computed together")
    bench.add_argument("-H", type=_sizes, metavar="HIDDEN", help="hidden size")
    bench.add_argument("-I", type=_sizes, metavar="INPUT", help="input size; the hidden size if not given")
    bench.add_argument("--layers", type=_sizes, default=[1], help="number of layers (1)")
    bench.add_argument("--bidirectional", action="store_true", help="each layer in both directions")
    bench.add_argument("--ragged", action="store_true", help="rows of different lengths, 1 to T steps")
    bench.add_argument("--dtype", type=_choices(("float32", "float64")), default=["float32"])
    bench.add_argument("--threads", type=_size, help="most threads of a call; all cores if not given")
    bench.add_argument("--min-time", type=_seconds, default=0.5, metavar="SECONDS", help="time to spend on a row (0.5)")

    info = commands.add_parser("info", help="say what this machine and this installation have")
    info.set_defaults(run=_info)
    info.add_argument("--json", action="store_true", help="as JSON")

    warmup = commands.add_parser(
        "warmup",
        help="compile ahead of the first use",
        description="Compile what the Numba engine needs of the library's cells, in all their variants, and keep it "
        "in RNNCORE_CACHE_DIR or the user's cache folder. NUMBA_CPU_NAME names another processor to compile for; what "
        "is compiled under it is used under it.",
    )
    warmup.set_defaults(run=_warmup)
    warmup.add_argument("--cell", type=_choices(tuple(CELLS)), default=["lstm", "gru", "rnn"], help="lstm,gru,rnn")
    warmup.add_argument("--dtype", type=_choices(("float32", "float64")), default=["float32"])
    warmup.add_argument("--mode", type=_choices(MODES), default=list(MODES))
    return parser


def _bench(arguments: argparse.Namespace) -> int:
    names: list[str] = []
    for name in arguments.backend:
        available = [b for b, probe in backends().items() if probe.available]
        names += available if name == "all" else [resolve(name)]
    require_peers(arguments.peer)
    contenders = list(dict.fromkeys([*names, *arguments.peer]))
    workloads = _workloads(arguments)
    results = []
    try:
        with contextlib.closing(measure.run(workloads, contenders, arguments.min_time, arguments.threads)) as measured:
            for result in measured:
                results.append(result)
                if sys.stderr.isatty():
                    print(f"{len(results)} of {len(workloads) * len(contenders)} measured", end="\r", file=sys.stderr)
    finally:
        if sys.stderr.isatty():
            print(" " * 40, end="\r", file=sys.stderr)
        if results:
            report.write(results, sys.stdout)
            machine = configuration()["machine"]
            print(f"{machine['processor']}, {machine['cores']} cores; {machine['blas']}")
    return WRONG_RESULT if any(result.wrong for result in results) else OK


def _workloads(arguments: argparse.Namespace) -> list[Workload]:
    sizes: list[tuple[int, int, int]] = list(SIZES)
    if arguments.T or arguments.B or arguments.H:
        sizes = list(itertools.product(arguments.T or [100], arguments.B or [32], arguments.H or [256]))
    workloads = [
        Workload(
            *(cell, mode, steps, batch, inputs, hidden, dtype),
            num_layers=layers,
            bidirectional=arguments.bidirectional,
            ragged=arguments.ragged,
        )
        for cell, dtype, (steps, batch, hidden), layers in itertools.product(
            arguments.cell, arguments.dtype, sizes, arguments.layers
        )
        for inputs in arguments.I or [hidden]
        for mode in arguments.mode
    ]
    return list(dict.fromkeys(workloads))


def _info(arguments: argparse.Namespace) -> int:
    if arguments.json:
        print(json.dumps(configuration(), indent=2))
    else:
        show_config()
    return OK


def _warmup(arguments: argparse.Namespace) -> int:
    resolve("numba")
    # Here, as it loads the Numba engine.
    from . import warmup

    try:
        folder = warmup.cache_folder()
        for name, seconds in warmup.warm_up(arguments.cell, arguments.dtype, arguments.mode):
            print(f"{name}: {'already there' if seconds is None else f'compiled in {seconds:.1f} s'}", flush=True)
    except warmup.CacheError as error:
        print(f"rnncore: {error}", file=sys.stderr)
        return FAILED
    print(f"kept in {folder} for {warmup.processor()}")
    return OK


def _choices(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Parser of a list of names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"expected {', '.join(allowed)}, got {name!r}")
        return names

    return parse


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _sizes(text: str) -> list[int]:
    return [_size(part) for part in text.split(",")]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds
