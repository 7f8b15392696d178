"""The examples run in their short form, and what they claim holds."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import char_language_model
import minimal_gated_unit
import numpy as np
import pytest
from baselines import labels_by_dictionary, n_gram_loss

EXAMPLES = Path(char_language_model.__file__).parent

TAKES = {
    "cart_pole": ["gymnasium"],
    "char_language_model": [],
    "digits": ["sklearn"],
    "forecasting": ["statsmodels", "vega_datasets"],
    "image_captions": ["sklearn"],
    "long_memory": [],
    "names_in_source": [],
    "sentiment": ["sklearn"],
    "speakers": ["sklearn"],
    "translation": ["babel", "num2words"],
    "why_did_it_say_that": [],
    "why_does_it_not_learn": [],
}
"""What each example imports beside this library; the extra `examples` brings it."""


def run(main: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["example", *arguments])
    main()


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKES)
@pytest.mark.filterwarnings("default")
def test_short_form(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for package in TAKES[name]:
        pytest.importorskip(package)
    try:
        plot = ["--plot", str(tmp_path / "plot.svg")] if importlib.util.find_spec("matplotlib") else []
        run(importlib.import_module(name).main, ["--quick", "--backend", "numpy", *plot], monkeypatch)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no data, as pip cannot download it: {error}")
    printed = capsys.readouterr().out
    # The figure stands beside a baseline's, in the last line.
    last = printed.splitlines()[-1]
    assert re.search(r"\d", last)
    assert re.search("against|without|guess", last)
    assert "--quick" not in last
    pictures = [*tmp_path.glob("plot*.svg")]
    assert bool(plot) == bool(pictures)
    assert all(picture.read_text().lstrip().startswith("<?xml") for picture in pictures)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_is_short_and_says_where_its_data_is_from(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") < 150
    if path.stem in TAKES:
        said = ast.get_docstring(ast.parse(source)) or ""
        assert "\nData: " in said
        assert re.search(r"\nResult: ", said)


def test_every_example_is_in_the_gallery() -> None:
    gallery = (EXAMPLES.parent / "docs" / "gallery.md").read_text()
    for name in [*TAKES, "minimal_gated_unit"]:
        assert f"../examples/{name}.py" in gallery


def test_minimal_gated_unit_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(minimal_gated_unit.main, [], monkeypatch)
    errors = [float(error) for error in re.findall(r"error ([\d.]+)", capsys.readouterr().out)]
    assert errors[-1] < 0.25 * errors[0]


@pytest.mark.slow
def test_character_model_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a text that repeats itself, so that few iterations suffice."""
    text = "networks read. " * 3000
    monkeypatch.setattr(char_language_model, "read_text", lambda: text)
    monkeypatch.setattr(char_language_model, "HIDDEN", 64)
    monkeypatch.setattr(char_language_model, "QUICK", 300)
    monkeypatch.setattr(char_language_model, "BATCH", 16)
    monkeypatch.setattr(char_language_model, "PROMPT", "networks read. ")
    run(char_language_model.main, ["--quick", "--backend", "numpy"], monkeypatch)
    printed = capsys.readouterr().out
    found = re.search(r"held-out text: ([\d.]+) nats per character, against ([\d.]+) by", printed)
    assert found is not None
    assert float(found[1]) < 0.1
    for way in ("temperature 0.3", "temperature 0.6", "beam search"):
        assert f"{way}: networks read. networks read. networks" in printed


def test_text_of_the_standard_library() -> None:
    text = char_language_model.read_text()
    assert len(text) > 100_000
    assert re.search(r"[-*=~+]{4}", text) is None
    assert all(line[0].isupper() and line[-1] in ".:" for line in text.split("\n"))
    assert len(set(text)) < 300
    assert np.isin(list("The "), list(text)).all()


def test_counts_are_a_distribution() -> None:
    """A text of a repeated word costs little; of two random letters, log 2."""
    assert n_gram_loss("abc" * 1000, "abc" * 100) < 0.01
    coins = "".join(np.random.default_rng(0).choice(list("ab"), 40_000))
    assert n_gram_loss(coins[:30_000], coins[30_000:]) == pytest.approx(np.log(2), rel=0.01)


def test_labels_by_dictionary_know_what_was_seen_and_guess_the_rest() -> None:
    seen = ("run x", [(0, 3), (4, 5)], np.array([2, 2, 2, 0, 0]))
    asked = ("run x New go( it", [(0, 3), (4, 5), (6, 9), (10, 12), (14, 16)], np.zeros(16, int))
    assert labels_by_dictionary([seen], [asked]).tolist() == [2, 0, 1, 2, 0]
