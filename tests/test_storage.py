"""Saving and loading."""

from __future__ import annotations

import json
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
        ValueError,
        match="holds a network of the cell 'minimal_gated_unit', which is not the library's: pass it as cell=",
    ):
        Recurrent.load(path)
    with pytest.raises(ValueError, match=re.escape("expected your own cell 'minimal_gated_unit', got LSTM()")):
        Recurrent.load(path, cell=LSTM())


def test_a_cell_with_other_options(tmp_path: Path) -> None:
    path = tmp_path / "rnn.safetensors"
    Recurrent(LSTM(projection=2), 3, 4).save(path)
    expected = (
        "expected the library's cell 'lstm' with coupled=False, peephole=False, projection=2, got LSTM(projection=3)"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        Recurrent.load(path, cell=LSTM(projection=3))


def test_a_cell_that_takes_a_library_cells_name(tmp_path: Path) -> None:
    class LSTMLike(MinimalGatedUnit):
        name = "lstm"

    path = tmp_path / "rnn.safetensors"
    Recurrent(LSTMLike(), 3, 4).save(path)
    with pytest.raises(ValueError, match="holds a network of the cell 'lstm', which is not the library's"):
        Recurrent.load(path)
    with pytest.raises(ValueError, match=re.escape("expected your own cell 'lstm', got LSTM()")):
        Recurrent.load(path, cell=LSTM())
    Recurrent("lstm", 3, 4).save(path)
    with pytest.raises(ValueError, match="expected the library's cell 'lstm'"):
        Recurrent.load(path, cell=LSTMLike())
    with pytest.raises(TypeError, match="cell: expected an instance of Cell, got str 'lstm'"):
        Recurrent.load(path, cell="lstm")  # type: ignore[arg-type]


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match=r"expected a safetensors file written by Recurrent\.save, got: "):
        Recurrent.load(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path)
    with pytest.raises(ValueError, match="got safetensors without its metadata: make the network yourself"):
        Recurrent.load(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path, {"format": "rnncore", "format_version": "3"})
    with pytest.raises(ValueError, match="expected format version 1 to 2, got 3: update rnncore"):
        Recurrent.load(path)
    for nothing in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileNotFoundError, match="expected a file written by"):
            Recurrent.load(nothing)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Recurrent("lstm", 3, 4).save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        good, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    architecture = json.loads(good["architecture"])
    without_size = {name: value for name, value in architecture.items() if name != "input_size"}
    unknown_option = architecture | {"cell": {"name": "lstm", "options": {"x": 1}, "own": False}}
    damaged: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"architecture": json.dumps(without_size)}, tensors),
        ({"architecture": json.dumps(unknown_option)}, tensors),
        ({"architecture": "{"}, tensors),
        ({"architecture": "[]"}, tensors),
        ({}, {name: value for name, value in tensors.items() if "bias" not in name}),
        ({"format_version": "x"}, tensors),
    ]
    for changes, values in damaged:
        safetensors.numpy.save_file(values, path, good | changes)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            Recurrent.load(path)


def test_wrong_arguments_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Recurrent("lstm", 3, 4).save(path)
    wrong: Any = 2.0
    with pytest.raises(TypeError, match=r"^num_threads: expected an integer, got float"):
        Recurrent.load(path, num_threads=wrong)
    with pytest.raises(ValueError, match=r"^backend: expected 'auto'"):
        Recurrent.load(path, backend="gpu")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/no/file: expected a file in a folder that exists"):
        Recurrent("lstm", 3, 4).save(tmp_path / "no" / "file")


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    Recurrent("lstm", 3, 4, seed=0).save(target)
    target.chmod(0o640)
    link.symlink_to(target)
    Recurrent("lstm", 3, 4, seed=1).save(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    loaded = Recurrent.load(target)
    np.testing.assert_array_equal(
        loaded.parameters["bias_ih_l0"], Recurrent("lstm", 3, 4, seed=1).parameters["bias_ih_l0"]
    )


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
