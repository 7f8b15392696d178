"""Networks on disk: one safetensors file, parameters as tensors, the architecture as metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from rnncore_kernels.cells import Cell
from rnncore_kernels.contract import Array

from .architecture import OPTIONS, Architecture
from .cells_by_name import describe_cell, find_cell
from .definition import define
from .devices import on_host
from .files import atomic_write, of_torch
from .options import check_seed, check_threads
from .registry import resolve

if TYPE_CHECKING:
    from .network import Network, SomeNetwork

FORMAT_VERSION = 3
"""Version of files with rounded weights; 2 is that of networks that the first library would read as others."""

_ARGUMENTS = ("input_size", "hidden_size", *OPTIONS)


def save(rnn: Network, path: str | os.PathLike[str]) -> None:
    """See `Recurrent.save`."""
    write(path, rnn._architecture, {name: on_host(array) for name, array in rnn.parameters.items()})


def write(
    path: str | os.PathLike[str], arch: Architecture, parameters: Mapping[str, Array], weights: str | None = None
) -> None:
    """Write an architecture and its parameters; `weights` is the precision of the matrices, None for the dtype's."""
    architecture = {name: getattr(arch, name) for name in _ARGUMENTS}
    architecture |= {"dtype": arch.dtype.name, "cell": describe_cell(arch.cell)}
    plain = arch.direction == "forward", not arch.learn_initial_state, arch.heads == 1, arch.input_size is not None
    version = 1 if all(plain) and arch.precision is None and not arch.zoneout else 2
    metadata = {
        "format": "rnncore",
        "format_version": str(version if weights is None else FORMAT_VERSION),
        "architecture": json.dumps(architecture, sort_keys=True),
    }
    if weights is not None:
        metadata["weights"] = weights
    # safetensors writes the buffer of a non-contiguous array as if it were contiguous, without an error.
    tensors = {name: np.array(array, order="C") for name, array in parameters.items()}
    atomic_write(Path(path), safetensors.numpy.save(tensors, metadata))


def load(
    kind: type[SomeNetwork],
    path: str | os.PathLike[str],
    *,
    backend: str,
    cell: str | Cell | None,
    num_threads: int | None,
    seed: int | None,
) -> SomeNetwork:
    """See `Recurrent.load`."""
    # What is wrong with the arguments is no damage of the file.
    check_threads(num_threads)
    check_seed(seed)
    backend = resolve(backend)
    tensors, metadata = read(path)
    check_whole(path, metadata)
    return network(kind, path, metadata, tensors, backend=backend, cell=cell, num_threads=num_threads, seed=seed)


def check_whole(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    """Raise ValueError for a file whose matrices are less precise than the dtype."""
    if weights := metadata.get("weights"):
        raise ValueError(
            f"{os.fspath(path)}: expected a file written by Recurrent.save, got a frozen network with weights of "
            f"{weights}: read it by rnncore.Frozen.load"
        )


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a file that `write` wrote."""
    where = os.fspath(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{where}: expected a file written by Recurrent.save, found none")
    try:
        with safetensors.safe_open(where, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{where}: expected a safetensors file written by Recurrent.save, got: {error}{of_torch(path)}"
        ) from None
    if metadata.get("format") != "rnncore":
        raise ValueError(
            f"{where}: expected a file written by Recurrent.save, got safetensors without its metadata: make the "
            f"network yourself and pass the tensors to load_state_dict, or to from_state_dict"
        )
    version = metadata.get("format_version")
    if version not in [str(number) for number in range(1, FORMAT_VERSION + 1)]:
        raise ValueError(f"{where}: expected format version 1 to {FORMAT_VERSION}, got {version}: update rnncore")
    return tensors, metadata


def network(
    kind: type[SomeNetwork],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str],
    tensors: Mapping[str, Array],
    *,
    backend: str,
    cell: str | Cell | None,
    num_threads: int | None,
    seed: int | None,
) -> SomeNetwork:
    """The network of a file."""
    where, given = os.fspath(path), None if cell is None else define(cell).cell
    try:
        # A file that is older than an option lacks it: the network then had its default.
        architecture = {**OPTIONS, **json.loads(metadata["architecture"])}
        found = find_cell(where, architecture.pop("cell"), given)
        options = {name: architecture[name] for name in (*_ARGUMENTS, "dtype")}
        rnn = kind(found, **options, backend=backend, seed=seed, num_threads=num_threads)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: the file is damaged: {error}") from error
    try:
        rnn._take(tensors, "rnncore")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: the file is damaged: {error}") from error
    return rnn
