"""The environment that make works in: of which Python it is, and when it is made anew. No Python but this one is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAKE = """#!/bin/sh
# A Python of version {version}: pip writes down what it is asked for, and refuses to install where the version is too old.
case "$*" in
  -V*) echo "Python {version}" ;;
  "-m venv "*) for folder; do :; done; rm -rf "$folder"; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python"; {venv} ;;
  "-m pip "*) echo "{version} $*" >> log; case {version} in 3.10*) exit 1 ;; esac ;;
  *) exec {real} -c 'import sys; sys.version_info = tuple(map(int, "{version}".split("."))); exec(sys.argv[1])' "$2" ;;
esac
"""
GOAL = ".venv/.installed-test"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what make reads, and in bin `python3` of 3.10, 3.11, 3.12, and one that cannot make environments."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name, version, venv in (
        ("python3", "3.10.13", 'touch "$folder/pyvenv.cfg"'),
        ("python3.11", "3.11.7", 'touch "$folder/pyvenv.cfg"'),
        ("python3.12", "3.12.1", 'touch "$folder/pyvenv.cfg"'),
        ("python-without-venv", "3.12.1", "exit 1"),
    ):
        path = tmp_path / "bin" / name
        path.write_text(FAKE.format(version=version, venv=venv, real=sys.executable))
        path.chmod(0o755)
    return tmp_path


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")
    }
    environment["PATH"] = f"{clone / 'bin'}:{environment['PATH']}"
    return subprocess.run(["make", GOAL, *arguments], cwd=clone, env=environment, capture_output=True, text=True)


def installed(clone: Path) -> list[str]:
    """The version of Python of each installation so far."""
    log = clone / "log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def test_a_python_that_is_too_old(clone: Path) -> None:
    refused = make(clone)
    assert refused.returncode != 0
    assert refused.stderr.splitlines()[0] == (
        "PYTHON=python3: expected Python 3.11 or later, got Python 3.10.13; "
        f"name another: make {GOAL} PYTHON=python3.12"
    )
    assert not (clone / ".venv").exists()
    assert "got nothing that runs" in make(clone, "PYTHON=python3.99").stderr
    assert make(clone, "PYTHON=python3.12").returncode == 0
    assert installed(clone) == ["3.12.1"] * 2


def test_an_environment_of_an_old_python_is_made_anew(clone: Path) -> None:
    subprocess.run([clone / "bin" / "python3", "-m", "venv", ".venv"], cwd=clone, check=True)
    assert make(clone, "PYTHON=python3.12").returncode == 0
    assert installed(clone) == ["3.12.1"] * 2


def test_an_environment_is_kept_unless_another_python_is_named(clone: Path) -> None:
    for arguments in (["PYTHON=python3.12"], [], ["PYTHON=python3.12"]):
        assert make(clone, *arguments).returncode == 0
        assert installed(clone) == ["3.12.1"] * 2
    assert make(clone, "PYTHON=python3.11").returncode == 0
    assert installed(clone) == ["3.12.1"] * 2 + ["3.11.7"] * 2


def test_an_environment_that_could_not_be_made_is_not_left(clone: Path) -> None:
    assert make(clone, "PYTHON=python-without-venv").returncode != 0
    assert not (clone / ".venv").exists()
    assert make(clone, "PYTHON=python3.12").returncode == 0
