"""Which tests `make test` leaves out, and how those that are skipped are reported."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import conftest
import pytest

ROOT = Path(__file__).parent.parent


def test_what_executes_ptx_is_left_out_of_the_everyday_tests() -> None:
    pytest.importorskip("numba_cuda")
    files = ["tests/test_cuda_engine.py", "tests/test_ptx_floats.py", "tests/test_against_oracle.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "test_dense[numpy-" in listed
    assert "test_dense[ptx-" not in listed
    assert "test_cuda_engine" not in listed
    assert "test_ptx_floats" not in listed


def test_what_is_left_out_or_skipped_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "LEFT_OUT", Counter())
    reasons = ["no GPU", "no torch", "no GPU"]
    skipped = [SimpleNamespace(longrepr=("test_x.py", line, f"Skipped: {text}")) for line, text in enumerate(reasons)]
    lines: list[str] = []
    for stats in ({"skipped": skipped}, {}):
        conftest.pytest_terminal_summary(SimpleNamespace(stats=stats, write_line=lines.append))
    assert lines == ["3 skipped (2 no GPU, 1 no torch)"]
    config = SimpleNamespace(getoption={"-m": "not slow"}.get)
    items: list[Any] = [
        SimpleNamespace(config=config, get_closest_marker={name}.__contains__) for name in ("ptx", "slow")
    ]
    conftest.pytest_deselected([*items, items[0]])
    for stats in ({}, {"skipped": skipped}):
        conftest.pytest_terminal_summary(SimpleNamespace(stats=stats, write_line=lines.append))
    left = "3 left to `make test-all` (2 execute PTX, 1 take long)"
    assert lines[1:] == [left, f"{left}; {lines[0]}"]
