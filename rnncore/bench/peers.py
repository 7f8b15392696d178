"""The libraries that `rnncore bench --peer` measures beside our backends."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from rnncore_kernels.precision import BFLOAT16, INT8

from .. import registry
from ..cells_by_name import parse_cell
from ..errors import BackendUnavailableError
from ..pytorch import has_counterpart
from .workload import BACKWARD, FROZEN, Task, Workload


class Peer(NamedTuple):
    """A library: the packages that it takes, our module that calls it, and the precision of its products if rounded."""

    packages: tuple[str, ...]
    module: str
    precision: str | None = None


PEERS = {
    "torch": Peer(("torch",), "pytorch_peer"),
    "torch-bf16": Peer(("torch",), "pytorch_peer", BFLOAT16),
    "torch-int8": Peer(("torch",), "pytorch_peer", INT8),
    "torch-loop": Peer(("torch",), "pytorch_loop"),
    "cudnn": Peer(("torch",), "pytorch_peer"),
    "onnxruntime": Peer(("onnx", "onnxruntime"), "onnx_peers"),
    "onnxruntime-int8": Peer(("onnx", "onnxruntime"), "onnx_peers", INT8),
    "openvino": Peer(("onnx", "openvino"), "onnx_peers"),
}


class NotOfferedError(Exception):
    """A peer has no such computation; the message says why."""


def missing(peer: str) -> list[str]:
    """Packages that the peer takes and that are not installed. Imports nothing."""
    return [package for package in PEERS[peer].packages if importlib.util.find_spec(package) is None]


def require_peers(names: Sequence[str]) -> None:
    """Raise BackendUnavailableError unless all of them are installed."""
    for name in names:
        if packages := missing(name):
            raise BackendUnavailableError(
                f"peer {name!r} is not available: not installed: {', '.join(packages)}. "
                f"Install it, pip install {' '.join(packages)}, or leave out --peer {name}."
            )


def contenders_of(workload: Workload, names: Sequence[str]) -> list[str]:
    """The backends, and those peers whose products have the workload's precision.

    A loop over the steps takes the place of PyTorch's module for a cell that PyTorch lacks.
    """
    lacks = not has_counterpart(parse_cell(workload.cell))
    able = [name for name in names if name not in PEERS or PEERS[name].precision == workload.precision]
    return list(dict.fromkeys("torch-loop" if lacks and name == "torch" else name for name in able))


def on_gpu(contender: str) -> bool:
    """Whether it computes on a GPU."""
    return contender == "cudnn" or (contender in registry.MODULES and registry.module(contender).on_gpu)


def make_task(contender: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """The workload as a backend or a peer computes it; NotOfferedError where it does not.

    Contexts in `lasting` stay entered for as long as the task is used.
    """
    if contender not in PEERS:
        if workload.precision not in (None, *registry.module(contender).precisions):
            raise NotOfferedError(f"has no products in {workload.precision}")
        return workload.task(workload.network(contender))
    if workload.precision is not None and workload.mode in ("training", BACKWARD):
        raise NotOfferedError("measured for inference alone")
    if workload.extras:
        raise NotOfferedError(f"not offered, with {', '.join(workload.extras)}")
    task: Task = load(contender).make_task(contender, workload, lasting)
    return task


def load(contender: str) -> Any:
    """The module that computes on a peer, with all that it imports; None for a backend."""
    if contender not in PEERS:
        return None
    for package in PEERS[contender].packages:
        importlib.import_module(package)
    return importlib.import_module(f".{PEERS[contender].module}", __package__)


def impl_of(contender: str, workload: Workload) -> str:
    """How a contender computes a workload, in a few words: our engine's choice for its size, or a peer's version."""
    if contender in PEERS:
        return importlib.metadata.version(PEERS[contender].packages[-1])
    network, sizes = workload.network(contender), (workload.steps, workload.batch)
    if workload.mode in FROZEN:
        return network.freeze(workload.precision).impl(*sizes)
    return network.impl(*sizes, training=workload.mode in ("training", BACKWARD))
