"""Cells by name: how the command line spells them, and cells in files and in a user's own module."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.bench.record import RecordError, load
from rnncore.bench.workload import Workload
from rnncore.cells_by_name import UnknownCellError, find_cell, is_spelling, parse_cell, split_spellings
from rnncore.cli import main

MODULE = '''
"""A user's cells."""
from dataclasses import dataclass
from rnncore.cells import Cell, cell, project, tanh


@cell(states="h", gates="a", units="rate", row_inputs="dt")
def leaky(h, a, rate, dt):
    return h + rate * dt * (tanh(a) - h)


@dataclass(frozen=True)
class Narrow(Cell):
    width: int = 2
    states, gates = "h", "a"

    def step(self, a):
        return project("out", tanh(a), self.width)


number = 3
'''

SMALL = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "-r", "2", "--passes", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of cells."""
    (tmp_path / "my_cells.py").write_text(MODULE)
    (tmp_path / "broken_cells.py").write_text("raise RuntimeError('not today')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_cells", "broken_cells"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_lists() -> None:
    for text, spellings in (
        ("lstm", ["lstm"]),
        ("lstm,gru:update=carry,package.module:name", ["lstm", "gru:update=carry", "package.module:name"]),
        ("gru:update=carry,reset=before,rnn", ["gru:update=carry:reset=before", "rnn"]),
        ("a.b:C:d=1,e=2", ["a.b:C:d=1:e=2"]),
    ):
        assert split_spellings(text) == spellings
        assert all(map(is_spelling, spellings))
    assert not any(map(is_spelling, ["lstn", "", "lstn:x=1", "module:"]))


def test_cells(folder: Path) -> None:
    for spelling, cell in (
        ("rnn", Elman()),
        ("gru:update=carry:reset=before", GRU("carry", "before")),
        ("lstm:peephole=True:projection=3", LSTM(peephole=True, projection=3)),
        ("elman:activation=relu", Elman("relu")),
    ):
        assert parse_cell(spelling) == cell
    assert repr(parse_cell("my_cells:leaky")) == "leaky"
    assert repr(parse_cell("my_cells:Narrow")) == "Narrow(width=2)"
    assert repr(parse_cell("my_cells:Narrow:width=3")) == "Narrow(width=3)"


REFUSED = {
    "lstn": "expected one of rnn, elman, lstm, gru, mgu, ",
    "lstn:x=1": "with options as in gru:update=carry, or package.module:name of a cell of your own, got 'lstn:x=1'",
    "lsmt": "of a cell of your own, got 'lsmt': did you mean 'lstm'?",
    "my_cells.leaky": "of a cell of your own, got 'my_cells.leaky': did you mean 'my_cells:leaky'?",
    "my_cells.py:leaky": "in a module 'my_cells.py', got ModuleNotFoundError: ",
    "my_cells.py:Narrow": "did you mean 'my_cells:Narrow'?",
    "gru:carry": "gru:carry: expected options of gru as name=value, got 'carry'",
    "gru:update=carry:x": "gru:update=carry:x: expected options name=value, got 'x'",
    "gru:updat=carry": "gru:updat=carry: expected options among update, reset, got 'updat'",
    "gru:update=both": "gru:update=both: GRU: update: expected one of 'candidate', 'carry', got 'both'",
    "lstm:projection=0": "lstm:projection=0: LSTM: projection: expected a whole number from 1 on, or None, got 0",
    "no_such:cell": "no_such:cell: expected the cell 'cell' in a module 'no_such', got ModuleNotFoundError: No module",
    "my_cells:other": "my_cells:other: expected the cell 'other' in a module 'my_cells', got AttributeError: module",
    "my_cells:number": "my_cells:number: expected an instance or a class of Cell, got int 3",
    "my_cells:leaky:x=1": "my_cells:leaky:x=1: expected no options, which a class could take, got x",
    "my_cells:Narrow:x=1": "my_cells:Narrow:x=1: expected options among width, got 'x'",
    "my_cells:Narrow:width=0": 'Narrow.step: my_cells.py, line 18: return project("out", tanh(a), self.width): TypeError',
    "broken_cells:x": "broken_cells:x: expected the cell 'x' in a module 'broken_cells', got RuntimeError: not today",
}


@pytest.mark.parametrize("spelling", REFUSED)
def test_refusals(folder: Path, spelling: str) -> None:
    with pytest.raises(UnknownCellError, match=re.escape(REFUSED[spelling])):
        parse_cell(spelling)


def test_the_command_line_says_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("bench", "verify", "warmup"):
        with pytest.raises(SystemExit):
            main([command, "--cell", "lstm,my_cells:other"])
        assert "argument --cell: my_cells:other: expected the cell 'other' in a module" in capsys.readouterr().err
    assert main(["bench", "--cell", "lstm:projection=9", "-H", "8", "--dry-run"]) == 2
    assert "expected projections of at most hidden_size=8 units, got 'hr' of 9" in capsys.readouterr().err


def test_a_users_cell_is_verified_and_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In processes of their own, which find its module as the command does."""
    users = "my_cells:leaky,my_cells:Narrow:width=3"
    cells = ["--cell", f"{users},gru:reset=before"]
    assert main(["verify", "--cell", users, "--backend", "numpy", "--dtype", "float32"]) == 0
    assert "my_cells:leaky" in capsys.readouterr().out
    sizes = [*SMALL, "--mode", "inference,training,step"]
    assert main(["bench", *cells, *sizes, "--backend", "numpy", "-o", "json=run.json"]) == 0
    rows = json.loads(Path("run.json").read_text())["results"]
    assert [row["workload"]["cell"] for row in rows[::3]] == [
        "my_cells:leaky",
        "my_cells:Narrow:width=3",
        "gru:reset=before",
    ]
    assert {row["status"] for row in rows} == {"measured"}
    assert load("run.json").results[0].workload.cell == "my_cells:leaky"


def test_a_record_of_a_cell_that_is_not_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is read, compared and drawn without the cell; one without counts of operations is refused, and imports nothing."""
    sizes = [*SMALL, "--mode", "inference"]
    assert main(["bench", "--cell", "my_cells:leaky", *sizes, "--backend", "numpy", "-o", "json=run.json"]) == 0
    record = Path("run.json")
    record.write_text(record.read_text().replace("my_cells:leaky", "your_cells:leaky"))
    capsys.readouterr()
    assert load("run.json").results[0].workload.cell == "your_cells:leaky"
    assert main(["compare", "run.json", "run.json"]) == 0
    assert "your_cells:leaky" in capsys.readouterr().out
    if importlib.util.find_spec("matplotlib"):
        assert main(["plot", "run.json", "--kind", "roofline", "-o", "plot.svg"]) == 0
    content = json.loads(record.read_text().replace("your_cells", "broken_cells"))
    del content["results"][0]["counts"]
    record.write_text(json.dumps(content))
    with pytest.raises(
        RecordError, match="counts: expected those of a cell of one's own, broken_cells:leaky, got none"
    ):
        load("run.json")


def test_operations_and_bytes_of_any_cell() -> None:
    def work(cell: str, **options: Any) -> Workload:
        return Workload(cell, "inference", 3, 2, 5, 7, "float32", **options)

    for cell, gates in (("rnn", 1), ("lstm", 4), ("gru", 3), ("gru:reset=before", 3)):
        assert work(cell).flops() == 2 * 6 * gates * 7 * (5 + 7)
        assert work(cell).weight_bytes() == 4 * gates * 7 * 7
        deep = work(cell, num_layers=2, bidirectional=True)
        assert deep.flops() == 2 * 6 * gates * 14 * (5 + 14 + 2 * 7)
    assert work("lstm:projection=2").flops() == 2 * 6 * (28 * (5 + 2) + 2 * 7)
    assert work("mingru").weight_bytes() == 0


def test_files_of_cells_that_got_options_since() -> None:
    """An LSTM was described without options before it had any; they are the defaults."""
    old = {"name": "lstm", "options": {}, "own": False}
    assert find_cell("file", old, None) == LSTM()
    assert find_cell("file", old, LSTM()) == LSTM()
    with pytest.raises(ValueError, match=re.escape("file: expected the library's cell 'lstm', got LSTM(")):
        find_cell("file", old, LSTM(peephole=True))
    with pytest.raises(
        ValueError, match="file: holds a network of the cell 'next', which this version does not have: upd"
    ):
        find_cell("file", {"name": "next", "options": {}, "own": False}, None)


@pytest.mark.parametrize("cell", [LSTM(projection=2), LSTM(peephole=True, coupled=True)], ids=repr)
def test_options_of_the_lstm_are_saved(cell: LSTM, tmp_path: Path) -> None:
    rnn = Recurrent(cell, 3, 4, backend="numpy", seed=0)
    rnn.save(tmp_path / "rnn")
    loaded = Recurrent.load(tmp_path / "rnn", backend="numpy")
    assert loaded.cell == cell
    for name, values in rnn.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], values)
