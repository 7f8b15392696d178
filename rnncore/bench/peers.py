"""The libraries that `rnncore bench --peer` measures beside our backends."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import Any

from ..errors import BackendUnavailableError
from .workload import Task, Workload

PEERS = {"torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
"""Each peer, and the packages that it takes."""
MODULES = {"torch": "pytorch_peer", "onnxruntime": "onnx_peers", "openvino": "onnx_peers"}


class NotOfferedError(Exception):
    """A peer has no such computation; the message says what it lacks."""


def missing(peer: str) -> list[str]:
    """Packages that the peer takes and that are not installed. Imports nothing."""
    return [package for package in PEERS[peer] if importlib.util.find_spec(package) is None]


def installed_peers() -> list[str]:
    """The peers that can be measured here."""
    return [peer for peer in PEERS if not missing(peer)]


def require_peers(names: Sequence[str]) -> None:
    """Raise BackendUnavailableError unless all of them are installed."""
    for name in names:
        if packages := missing(name):
            raise BackendUnavailableError(
                f"peer {name!r} is not available: not installed: {', '.join(packages)}. "
                f"Install it, pip install {' '.join(packages)}, or leave out --peer {name}."
            )


def make_task(contender: str, workload: Workload, lasting: contextlib.ExitStack) -> Task:
    """The workload as a backend or a peer computes it; NotOfferedError where it does not.

    `lasting` is what stays entered for as long as the task is used.
    """
    if contender not in PEERS:
        return workload.task(workload.network(contender))
    task: Task = load(contender).make_task(contender, workload, lasting)
    return task


def load(contender: str) -> Any:
    """The module that computes on a peer, with all that it imports; None for a backend."""
    for package in PEERS.get(contender, ()):
        importlib.import_module(package)
    return importlib.import_module(f".{MODULES[contender]}", __package__) if contender in PEERS else None


def impl_of(contender: str, workload: Workload) -> str:
    """How a contender computes a workload, in a few words: what our engine chose for its size, or a peer's version."""
    if contender in PEERS:
        return importlib.metadata.version(contender)
    return workload.network(contender).impl(workload.steps, workload.batch, training=workload.mode == "training")
