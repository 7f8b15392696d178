"""`rnncore cache`: what is there, and what `--clear` removes and leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rnncore.bench.table import format_bytes
from rnncore.cli import main
from rnncore.machine import cache_configuration
from rnncore_kernels import cache

NAME = cache.key("a kernel")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path / "compiled"))
    return tmp_path / "compiled"


@pytest.fixture
def filled(folder: Path) -> Path:
    """A folder with a file of each kind, what an interrupted process left, and what is not ours."""
    cache.write(f"{NAME}.o", b"0" * 2016)
    cache.write(f"{NAME}.cubin", b"0" * 68)
    cache.write(f"{NAME}.roofs", b"{}")
    (folder / f".{NAME}.o.0123abcd").write_bytes(b"0" * 10)
    (folder / "notes.txt").write_text("not compiled")
    (folder / f"{NAME[:-1]}.o").write_text("a shorter name")
    (folder / f"{cache.key('a folder')}.o").mkdir()
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / f"{NAME}.o").write_text("elsewhere")
    (folder / f"{cache.key('a link')}.o").symlink_to(outside / f"{NAME}.o")
    (folder / "link").symlink_to(outside)
    return folder


def test_what_is_there(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(filled),
        "  numba: 2 files, 2.01 KiB kept",
        "  cuda: 1 file, 100 bytes kept",
        "  bench: 1 file, 34 bytes kept",
    ]


def test_clear_removes_only_what_is_ours(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = {path.name for path in filled.iterdir()} - {f"{NAME}{end}" for end in (".o", ".cubin", ".roofs")}
    others -= {f".{NAME}.o.0123abcd"}
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  numba: 2 files, 2.01 KiB removed",
        "  cuda: 1 file, 100 bytes removed",
        "  bench: 1 file, 34 bytes removed",
    ]
    assert {path.name for path in filled.iterdir()} == others
    assert (filled.parent / "outside" / f"{NAME}.o").read_text() == "elsewhere"
    assert cache.read(f"{NAME}.o") is None


def test_json(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--clear", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folder"] == str(filled)
    assert shown["engines"] == {
        "numba": {"files": 2, "bytes": 2058},
        "cuda": {"files": 1, "bytes": 100},
        "bench": {"files": 1, "bytes": 34},
    }
    assert shown["removed"] == shown["engines"]


@pytest.mark.parametrize("clear", [[], ["--clear"]])
def test_a_folder_that_is_not_there(folder: Path, clear: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", *clear]) == 0
    assert "not there yet" in capsys.readouterr().out
    assert not folder.exists()


def test_what_is_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write_text("a file")
    assert main(["cache"]) == 0
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("above", ["file", "/proc"])
def test_what_cannot_be_made(
    above: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root, permissions say that it can."""
    if not os.path.isdir("/proc"):
        pytest.skip("needs a folder in which nobody makes anything")
    (tmp_path / "file").touch()
    folder = tmp_path / above / "not" / "there"
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(folder))
    assert main(["cache"]) == 0
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith(f"{folder}: ")
    assert "is compiled in each process: name another in RNNCORE_CACHE_DIR" in said
    found = cache_configuration()
    assert found["folder"] == str(folder)
    assert found["problem"].startswith("nothing can be kept there: ")


def test_a_folder_that_can_be_made_or_written_to_is_no_problem(folder: Path) -> None:
    assert cache_configuration() == {"folder": str(folder)}
    assert not folder.exists()
    folder.mkdir()
    assert cache_configuration() == {"folder": str(folder)}
    assert not list(folder.iterdir())


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("rnncore.cli.cache.cache_folder", lambda: None)
    assert main(["cache"]) == 0
    assert "RNNCORE_CACHE_DIR" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Root may write anywhere.
    for operation in ("mkdir", "unlink"):
        monkeypatch.setattr(Path, operation, refuse)
    assert main(["cache"]) == 0
    assert "cannot be written to: Permission denied; what is not there is compiled in" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 4
    printed = capsys.readouterr()
    assert "numba: 0 files, 0 bytes removed" in printed.out
    assert printed.err.count("not removed: Permission denied") == 4


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (3 << 20, "3 MiB")])
def test_bytes_with_a_unit(count: int, text: str) -> None:
    assert format_bytes(count) == text
