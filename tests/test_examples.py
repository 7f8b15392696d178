"""The examples run, and what they claim holds."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import char_language_model
import minimal_gated_unit
import numpy as np
import pytest


def run(main: Callable[[], None], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["example", *arguments])
    main()


def test_minimal_gated_unit_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(minimal_gated_unit.main, [], monkeypatch)
    errors = [float(error) for error in re.findall(r"error ([\d.]+)", capsys.readouterr().out)]
    assert errors[-1] < 0.25 * errors[0]


def test_character_model_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a text that repeats itself, so that few iterations suffice."""
    text = "networks read. " * 3000
    monkeypatch.setattr(char_language_model, "read_text", lambda: text)
    monkeypatch.setattr(char_language_model, "HIDDEN", 64)
    monkeypatch.setattr(char_language_model, "BATCH", 16)
    monkeypatch.setattr(char_language_model, "PROMPT", "networks read. ")
    run(char_language_model.main, ["--short", "--backend", "numpy"], monkeypatch)
    printed = capsys.readouterr().out
    found = re.search(r"held-out text: ([\d.]+) nats per character, against ([\d.]+) by", printed)
    assert found is not None
    held_out, entropy = map(float, found.groups())
    assert held_out < 0.2 * entropy
    assert "networks read. networks read. networks" in printed.split("\n\n")[1]


def test_text_of_the_standard_library() -> None:
    text = char_language_model.read_text()
    assert len(text) > 100_000
    assert re.search(r"[-*=~+]{4}", text) is None
    assert all(line[0].isupper() and line[-1] in ".:" for line in text.split("\n"))
    assert len(set(text)) < 300
    assert np.isin(list("The "), list(text)).all()
