"""The code in README and docs runs."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path
from types import ModuleType

import commands
import front_page
import pytest

import rnncore
from rnncore import registry
from rnncore.bench.record import load
from rnncore.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LIBRARIES = ("torch", "jax", "onnx", "onnxruntime", "keras")
BLOCKS = [
    (path.name, number, block)
    for path in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
    if "...)" not in block  # a fragment; an index of NumPy's has dots, too
]

SLOW = ("precision.md",)
"""Pages whose blocks compile a network in every precision."""


def imported(block: str) -> list[str]:
    """The libraries that a block takes, where they are installed."""
    return [library for library in LIBRARIES if f"import {library}\n" in block]


@pytest.mark.parametrize(
    ("name", "number", "block"),
    [
        pytest.param(
            *(name, number, block),
            id="-".join([name, str(number), *imported(block)]),
            marks=[pytest.mark.slow] if name in SLOW else [],
        )
        for name, number, block in BLOCKS
    ],
)
def test_block_runs(name: str, number: int, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in imported(block):
        pytest.importorskip(library)
    # Where a block may write files.
    monkeypatch.chdir(tmp_path)
    exec(compile(block, f"{name} block {number}", "exec"), {})


def test_errors_are_as_their_page_says() -> None:
    (page,) = (path for path in PAGES if path.name == "errors.md")
    session = "\n".join(re.findall(r"```pycon\n(.*?)```", page.read_text(), re.DOTALL))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    outcome = runner.run(doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0))
    assert outcome.attempted >= 10
    assert outcome.failed == 0


@pytest.mark.parametrize("path", front_page.PAGES, ids=[path.name for path in front_page.PAGES])
def test_factors_are_those_of_the_run(path: Path) -> None:
    assert front_page.filled(path, load(str(front_page.RUN))) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["", ".choose", ".insight", ".jax", ".torch", ".training"])
def test_public_names_are_in_the_api_reference(package: str) -> None:
    # Not imported: PyTorch and JAX may not be installed.
    source = (ROOT / f"rnncore{package.replace('.', '/')}" / "__init__.py").read_text()
    exported = re.search(r"^__all__ = (\[.*?\])", source, re.DOTALL | re.MULTILINE)
    assert exported
    page = (ROOT / "docs" / "api.rst").read_text()
    names = [name for name in ast.literal_eval(exported[1]) if not name.startswith("_")]
    assert [name for name in names if f"rnncore{package}.{name}" not in page and f"``{name}``" not in page] == []


def test_there_are_blocks() -> None:
    assert {name for name, _, _ in BLOCKS} >= {"README.md", "cells.md", "kernels.md", "quickstart.md"}


def test_no_page_is_between_two_versions() -> None:
    marked = [path.name for path in PAGES if re.search("^(<{7}|={7}$|>{7})", path.read_text(), re.MULTILINE)]
    assert not marked


def test_no_command_stands_twice_in_the_readme() -> None:
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line]
    assert len({*lines}) == len(lines)


@pytest.mark.parametrize("module", [rnncore, registry])
def test_docstrings(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\"#:]+)\"", path.read_text()):
        target = "".join(target)
        assert (path.parent / target).exists(), target


def test_every_option_is_on_the_page_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    page = commands.as_markdown()
    for command in (command.__name__.rpartition(".")[2] for command in COMMANDS):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert f"## rnncore {command}\n" in page
        for option in re.findall(r"^  +(-[^ ,\n]+)", capsys.readouterr().out, re.MULTILINE):
            assert option in page or option == "-h", option
