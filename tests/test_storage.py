"""Saving and loading."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from minimal_gated_unit import MinimalGatedUnit

from rnncore import GRU, Elman, Recurrent
from rnncore.cells import LSTM


def with_a_state_of_its_own() -> Recurrent:
    rnn = Recurrent(LSTM(projection=2), 3, 4, backend="numpy", seed=0, learn_initial_state=True)
    rnn.parameters["h_0"][:] = 0.5
    rnn.parameters["c_0"][:] = -0.25
    return rnn


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
    assert Recurrent.load(path, cell="lstm").cell == LSTM()
    with pytest.raises(TypeError, match=r"cell: expected an instance of Cell, got the class LSTM: write LSTM\(\)"):
        Recurrent.load(path, cell=LSTM)  # type: ignore[arg-type]


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match=r"expected a safetensors file written by Recurrent\.save, got: "):
        Recurrent.load(path)
    for head in (b"\x80\x02}q", b"PK\x05\x06" + 18 * b"\0"):
        path.write_bytes(head)
        for read in (Recurrent.load, Recurrent.from_state_dict):
            with pytest.raises(
                ValueError, match=r"of torch\.save, whose mapping torch\.load\(path, weights_only=True\)"
            ):
                read(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path)
    with pytest.raises(ValueError, match="got safetensors without its metadata: make the network yourself"):
        Recurrent.load(path)
    safetensors.numpy.save_file({"weight_ih_l0": np.ones(3)}, path, {"format": "rnncore", "format_version": "4"})
    with pytest.raises(ValueError, match="expected format version 1 to 3, got 4: update rnncore"):
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


HANDED_ON: dict[str, Callable[[Recurrent, Path], Recurrent]] = {
    "load": lambda _, path: Recurrent.load(path, backend="numpy"),
    "a file": lambda _, path: Recurrent.from_state_dict(path, backend="numpy"),
    "a plain dict": lambda rnn, path: Recurrent.from_state_dict(
        safetensors.numpy.load_file(path), "rnncore", rnn.cell, backend="numpy"
    ),
    "state_dict": lambda rnn, _: Recurrent.from_state_dict(rnn.state_dict(), backend="numpy"),
    "a copy": lambda rnn, _: Recurrent.from_state_dict(rnn.state_dict().copy(), backend="numpy"),
    "a pickle": lambda rnn, _: Recurrent.from_state_dict(pickle.loads(pickle.dumps(rnn.state_dict())), backend="numpy"),
    "parameters": lambda rnn, _: Recurrent.from_state_dict(rnn.parameters, backend="numpy"),
    "deepcopy": lambda rnn, _: copy.deepcopy(rnn),
}


@pytest.mark.parametrize("way", HANDED_ON)
def test_a_state_of_its_own_is_handed_on(way: str, tmp_path: Path) -> None:
    rnn, x = with_a_state_of_its_own(), np.ones((3, 2, 3), np.float32)
    rnn.save(tmp_path / "file")
    other = HANDED_ON[way](rnn, tmp_path / "file")
    for ours, theirs in zip(rnn.initial_state, other.initial_state, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(other(x)[0], rnn(x)[0])
    other.load_state_dict(rnn.state_dict())


DAMAGED_STATES: dict[str, tuple[dict[str, Any], str]] = {
    "one is missing": ({"c": None}, "missing ['c_0'], unknown []"),
    "one too many": ({"s": np.zeros((1, 4), np.float32)}, "missing [], unknown ['s_0']"),
    "width": ({"h": np.zeros((1, 4), np.float32)}, "h_0: expected (num_layers, 2) = (1, 2), got (1, 4)"),
    "layers": ({"c": np.zeros((2, 4), np.float32)}, "c_0: expected (num_layers, hidden_size) = (1, 4), got (2, 4)"),
    "axes": ({"c": np.zeros((1, 3, 4), np.float32)}, "h_0: expected (num_layers, B, 2) = (1, 3, 2), got (1, 2)"),
    "dtype": ({"c": np.zeros((1, 4))}, "c_0: expected float32, got float64"),
}


@pytest.mark.parametrize("what", DAMAGED_STATES)
def test_damaged_states(what: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with_a_state_of_its_own().save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changes, message = DAMAGED_STATES[what]
    tensors |= {f"{name}_0": value for name, value in changes.items()}
    safetensors.numpy.save_file({name: v for name, v in tensors.items() if v is not None}, path, metadata)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: the file is damaged: .*{re.escape(message)}"):
        Recurrent.load(path)
    with pytest.raises((KeyError, TypeError, ValueError), match=re.escape(message)):
        Recurrent.from_state_dict(path)


def test_a_parameter_of_another_shape_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with_a_state_of_its_own().save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.numpy.save_file({**tensors, "bias_ih_l0": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: the file is damaged: .*bias_ih_l0: expected"):
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
        raise OSError(28, "disk full", str(self))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=f"disk full: '{path}'$"):
        Recurrent("lstm", 3, 4, seed=1).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
