"""The command line: what it prints, and its exit status."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from records import made_up

import rnncore
from rnncore import LSTM, registry
from rnncore.bench import measure
from rnncore.cli import main
from rnncore_kernels.cpu import kernels

QUICK = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0"]


def test_interruption(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "run", interrupt)
    assert main(["bench", *QUICK]) == 130
    assert capsys.readouterr().err.endswith("rnncore: interrupted\n")


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "processor: " in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    loaded = json.loads(capsys.readouterr().out)
    assert loaded["versions"]["rnncore"] == rnncore.__version__
    assert set(loaded["backends"]) == {"cuda", "numba", "numpy"}


def test_as_a_module_and_into_a_closed_pipe() -> None:
    command = [sys.executable, "-m", "rnncore", "info"]
    assert "processor: " in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_terminal_without_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding="ascii", write_through=True))
    monkeypatch.setattr(measure, "run", lambda *_: (row for row in [made_up("numpy", [1.0])]))
    assert main(["bench", *QUICK]) == 0
    assert b"?s/step" in content.getvalue()


def test_not_enough_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("3 TiB")

    monkeypatch.setattr(measure, "run", fail)
    assert main(["bench", *QUICK]) == 4
    assert capsys.readouterr().err == "rnncore: not enough memory: 3 TiB\n"


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "compare cells, sizes and learning rates on a task" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--bas", "HEAD"], ["--shapes", "nam", "--head", "4"]])
def test_options_have_whole_names(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Else a run of another revision would be given its own --base, and one of shapes would not see what it refuses."""
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments, "--dry-run", "--backend", "numpy"])
    assert caught.value.code == 2
    assert f"unrecognized arguments: {arguments[-2]} {arguments[-1]}" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"rnncore {rnncore.__version__}\n"


def test_warmup_with_nowhere_to_keep_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert main(["warmup"]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("rnncore: no folder for compiled code can be written to (")
    assert printed.err.endswith("): name one in RNNCORE_CACHE_DIR\n")


def test_warmup_takes_lists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    for kind in ("pack_kernels", "pass_kernels", "cell_functions", "thread_kernels"):
        monkeypatch.setattr(kernels, kind, lambda *_: None)
    assert main(["warmup", "--cell", "gru,lstm,gru", "--dtype", "float64,float32"]) == 0
    names = [line.removesuffix(": already there") for line in capsys.readouterr().out.splitlines()]
    cells = [f"GRU({update=}, {reset=})" for reset in ("after", "before") for update in ("candidate", "carry")]
    float32 = kernels.host_shape(np.dtype(np.float32))
    passes = ("forward", "backward")
    for dtype, part, tiles in (("float64", names[1:10], False), ("float32", names[10:-1], float32.matrix)):
        on_tiles = [f"{name} on tile registers" for name in passes if tiles]
        weights = [f"{name} weights" for name in passes]
        assert part == [f"{dtype} {name}" for name in (*weights, *passes, *on_tiles, *cells, repr(LSTM()))]
    assert main(["warmup", "--cell", "lstm", "--dtype", "float64", "--precision", "int8,bfloat16"]) == 0
    names = [line.removesuffix(": already there") for line in capsys.readouterr().out.splitlines()]
    ways = [f"{name}{where}" for where in ("", " on tile registers")[: 1 + float32.matrix] for name in passes]
    rounded = ["int8 forward", *(f"bfloat16 {way}" for way in ways)]
    assert names[6:-1] == [*(f"float32 {name} weights" for name in passes), *rounded, f"float32 {LSTM()!r}"]
    monkeypatch.setattr(registry.module("numba"), "precisions", ())
    assert main(["warmup", "--precision", "int8"]) == 2
    assert "--precision: expected no 'int8' with backend='numba'" in capsys.readouterr().err
    assert main(["warmup", "--cell", "rnn", "--mode", "inference"]) == 0
    assert "backward" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["warmup", "--mode", "both"])
    assert caught.value.code == 2
