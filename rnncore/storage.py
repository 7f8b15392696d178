"""Networks on disk: one safetensors file, parameters as tensors, the architecture as metadata."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from rnncore_kernels.cells import CELLS, Cell

if TYPE_CHECKING:
    from .recurrent import Recurrent

FORMAT_VERSION = 1
_SIZES = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", "batch_first", "dropout")


def save(rnn: Recurrent, path: str | os.PathLike[str]) -> None:
    """See `Recurrent.save`."""
    architecture = {name: getattr(rnn, name) for name in _SIZES}
    own = type(rnn.cell) is not CELLS.get(rnn.cell.name)
    described = {"name": rnn.cell.name, "options": rnn.cell.options, "own": own}
    architecture |= {"dtype": rnn.dtype.name, "cell": described}
    metadata = {
        "format": "rnncore",
        "format_version": str(FORMAT_VERSION),
        "architecture": json.dumps(architecture, sort_keys=True),
    }
    # safetensors writes the buffer of a non-contiguous array as if it were contiguous, without an error.
    tensors = {name: np.ascontiguousarray(_on_host(array)) for name, array in rnn.parameters.items()}
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(safetensors.numpy.save(tensors, metadata))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load(
    kind: type[Recurrent], path: str | os.PathLike[str], *, backend: str, cell: Cell | None, num_threads: int | None
) -> Recurrent:
    """See `Recurrent.load`."""
    where = os.fspath(path)
    try:
        with safetensors.safe_open(where, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{where}: expected a safetensors file written by Recurrent.save, got: {error}") from None
    if metadata.get("format") != "rnncore":
        raise ValueError(
            f"{where}: expected a file written by Recurrent.save, got safetensors without its metadata: make the "
            f"network yourself and pass the tensors to load_state_dict"
        )
    version = int(metadata["format_version"])
    if version > FORMAT_VERSION:
        raise ValueError(f"{where}: expected format version {FORMAT_VERSION} or earlier, got {version}: update rnncore")
    architecture = json.loads(metadata["architecture"])
    described = architecture.pop("cell")
    rnn = kind(_find_cell(where, described, cell), backend=backend, num_threads=num_threads, **architecture)
    rnn.load_state_dict(tensors)
    return rnn


def _find_cell(where: str, described: dict[str, Any], given: Cell | None) -> Cell:
    name, options = described["name"], described["options"]
    if given is not None:
        if (given.name, given.options) != (name, options):
            raise ValueError(f"{where}: expected cell {name!r} with {options}, got {given!r}")
        return given
    if described["own"]:
        raise ValueError(f"{where}: holds a network of the cell {name!r}, which is not the library's: pass it as cell=")
    return CELLS[name](**options)


def _on_host(array: Any) -> Any:
    """A CuPy array as a NumPy array; saving is the one place where moving is what was asked for."""
    return array.get() if hasattr(array, "get") else array
