"""Networks on disk: one safetensors file, parameters as tensors, the architecture as metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from rnncore_kernels.cells import Cell

from .architecture import OPTIONS, check_seed, check_threads
from .cells_by_name import describe_cell, find_cell
from .definition import define
from .devices import on_host
from .files import atomic_write, of_torch
from .registry import resolve

if TYPE_CHECKING:
    from .network import Network, SomeNetwork

FORMAT_VERSION = 2
"""Version of files whose networks an older library would read as others, or not at all."""

_ARGUMENTS = ("input_size", "hidden_size", *OPTIONS)


def save(rnn: Network, path: str | os.PathLike[str]) -> None:
    """See `Recurrent.save`."""
    architecture = {name: getattr(rnn, name) for name in _ARGUMENTS}
    architecture |= {"dtype": rnn.dtype.name, "cell": describe_cell(rnn.cell)}
    plain = rnn.direction == "forward", not rnn.learn_initial_state, rnn.heads == 1, rnn.input_size is not None
    plain += (rnn.compute == rnn.dtype.name,)
    metadata = {
        "format": "rnncore",
        "format_version": str(1 if all(plain) else FORMAT_VERSION),
        "architecture": json.dumps(architecture, sort_keys=True),
    }
    # safetensors writes the buffer of a non-contiguous array as if it were contiguous, without an error.
    tensors = {name: np.array(on_host(array), order="C") for name, array in rnn.parameters.items()}
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
    where = os.fspath(path)
    # What is wrong with the arguments is no damage of the file.
    check_threads(num_threads)
    check_seed(seed)
    backend = resolve(backend)
    given = None if cell is None else define(cell).cell
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
    try:
        # Of a file from before a network had all its options, those are as they were.
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
