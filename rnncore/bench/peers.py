"""The libraries that `rnncore bench --peer` measures beside our backends."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import Any

from .. import registry
from ..cells_by_name import parse_cell
from ..errors import BackendUnavailableError
from ..pytorch import has_counterpart
from .workload import BACKWARD, Task, Workload

PEERS = {
    "torch": ("torch",),
    "torch-loop": ("torch",),
    "cudnn": ("torch",),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}
"""Each peer, and the packages that it takes."""

MODULES = {
    "torch": "pytorch_peer",
    "torch-loop": "pytorch_loop",
    "cudnn": "pytorch_peer",
    "onnxruntime": "onnx_peers",
    "openvino": "onnx_peers",
}


class NotOfferedError(Exception):
    """A peer has no such computation; the message says why."""


def missing(peer: str) -> list[str]:
    """Packages that the peer takes and that are not installed. Imports nothing."""
    return [package for package in PEERS[peer] if importlib.util.find_spec(package) is None]


def require_peers(names: Sequence[str]) -> None:
    """Raise BackendUnavailableError unless all of them are installed."""
    for name in names:
        if packages := missing(name):
            raise BackendUnavailableError(
                f"peer {name!r} is not available: not installed: {', '.join(packages)}. "
                f"Install it, pip install {' '.join(packages)}, or leave out --peer {name}."
            )


def contenders_of(workload: Workload, names: Sequence[str]) -> list[str]:
    """The contenders, with a loop over the steps in the place of PyTorch's module for a cell that PyTorch lacks."""
    lacks = not has_counterpart(parse_cell(workload.cell))
    return list(dict.fromkeys("torch-loop" if lacks and name == "torch" else name for name in names))


def on_gpu(contender: str) -> bool:
    """Whether it computes on a GPU."""
    return contender == "cudnn" or (contender in registry.MODULES and registry.module(contender).on_gpu)


def make_task(contender: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """The workload as a backend or a peer computes it; NotOfferedError where it does not.

    Contexts in `lasting` stay entered for as long as the task is used.
    """
    if contender not in PEERS:
        return workload.task(workload.network(contender))
    if workload.extras:
        raise NotOfferedError(f"not offered, with {', '.join(workload.extras)}")
    task: Task = load(contender).make_task(contender, workload, lasting)
    return task


def load(contender: str) -> Any:
    """The module that computes on a peer, with all that it imports; None for a backend."""
    for package in PEERS.get(contender, ()):
        importlib.import_module(package)
    return importlib.import_module(f".{MODULES[contender]}", __package__) if contender in PEERS else None


def impl_of(contender: str, workload: Workload) -> str:
    """How a contender computes a workload, in a few words: our engine's choice for its size, or a peer's version."""
    if contender in PEERS:
        return importlib.metadata.version(PEERS[contender][-1])
    return workload.network(contender).impl(
        workload.steps, workload.batch, training=workload.mode in ("training", BACKWARD)
    )
