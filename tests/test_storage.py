"""Saving and loading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from minimal_gated_unit import MinimalGatedUnit

from rnncore import GRU, Elman, Recurrent
from rnncore.cells import LSTM


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {}),
        (GRU("carry", "before"), {"num_layers": 2, "bidirectional": True, "dropout": 0.25, "batch_first": True}),
        (Elman("relu"), {"bias": False, "dtype": "float64"}),
    ],
)
def test_round_trip(cell: Any, options: dict[str, Any], tmp_path: Path) -> None:
    rnn = Recurrent(cell, 3, 4, **options)
    rnn.save(tmp_path / "rnn.safetensors")
    loaded = Recurrent.load(str(tmp_path / "rnn.safetensors"), backend="numpy", num_threads=1)
    assert (loaded.backend, loaded.num_threads) == ("numpy", 1)
    for name in ("cell", "input_size", "hidden_size", "num_layers", "bidirectional", "bias", "batch_first", "dropout"):
        assert getattr(loaded, name) == getattr(rnn, name)
    assert loaded.dtype == rnn.dtype
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], values)
        assert loaded.parameters[name].flags.writeable
    with safetensors.safe_open(tmp_path / "rnn.safetensors", framework="numpy") as file:
        assert file.metadata()["format_version"] == "1"


def test_cell_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "rnn.safetensors"
    rnn = Recurrent(MinimalGatedUnit(), 3, 4)
    rnn.save(path)
    loaded = Recurrent.load(path, cell=MinimalGatedUnit())
    np.testing.assert_array_equal(loaded.parameters["weight_hh_l0"], rnn.parameters["weight_hh_l0"])
    with pytest.raises(
        ValueError, match="holds a network of the cell 'mgu', which is not the library's: pass it as cell="
    ):
        Recurrent.load(path)
    with pytest.raises(ValueError, match=re.escape("expected cell 'mgu' with {}, got LSTM()")):
        Recurrent.load(path, cell=LSTM())


def test_a_cell_that_takes_a_library_cells_name(tmp_path: Path) -> None:
    class LSTMLike(MinimalGatedUnit):
        name = "lstm"

    path = tmp_path / "rnn.safetensors"
    Recurrent(LSTMLike(), 3, 4).save(path)
    with pytest.raises(ValueError, match="holds a network of the cell 'lstm', which is not the library's"):
        Recurrent.load(path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match=r"expected a safetensors file written by Recurrent\.save, got: "):
        Recurrent.load(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path)
    with pytest.raises(ValueError, match="got safetensors without its metadata: make the network yourself"):
        Recurrent.load(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path, {"format": "rnncore", "format_version": "2"})
    with pytest.raises(ValueError, match="expected format version 1 or earlier, got 2: update rnncore"):
        Recurrent.load(path)
    with pytest.raises(FileNotFoundError):
        Recurrent.load(tmp_path / "missing")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rnn.safetensors"
    Recurrent("lstm", 3, 4, seed=0).save(path)
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Recurrent("lstm", 3, 4, seed=1).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
