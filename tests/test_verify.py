"""`rnncore verify`: what it finds, prints and returns; and that the oracle shares nothing with the engines."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import registry
from rnncore.cli import main
from rnncore.verification import oracle
from rnncore.verification.check import CASES, Finding, verify
from rnncore.verification.networks import CELLS
from rnncore.verification.tolerances import TOLERANCES, relative_error
from rnncore_kernels.contract import LayerGradients, Probe
from rnncore_kernels.numpy import NumpyEngine

LSTM = ["verify", "--cell", "lstm", "--backend", "numpy", "--dtype", "float32"]


def scaled_weight_hh(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Plant a fault: the NumPy engine's gradient of W_hh is multiplied."""
    backward = NumpyEngine.backward

    def faulty(self: NumpyEngine, runs: Sequence[Any]) -> list[LayerGradients]:
        return [
            grads._replace(weights=grads.weights._replace(weight_hh=grads.weights.weight_hh * np.float32(factor)))
            for grads in backward(self, runs)
        ]

    monkeypatch.setattr(NumpyEngine, "backward", faulty)


@pytest.mark.slow
def test_every_backend_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    available = [name for name, probe in rnncore.backends().items() if probe.available]
    assert main(["verify", "--cell", "gru,rnn"]) == 0
    printed = capsys.readouterr()
    rows = [line.split("|")[1:-1] for line in printed.out.splitlines() if line.startswith("|")]
    header, _, *lines = [[cell.strip() for cell in row] for row in rows]
    assert header[:5] == ["backend", "cell", "dtype", "", "output"]
    assert header[-4:] == ["grad W_ih", "grad W_hh", "grad b_ih", "grad b_hh"]
    assert len(lines) == len(available) * 8 * 2
    assert {line[0] for line in lines} == set(available)
    assert all(line[3] == "ok" and all(0 < float(share) < 1 for share in line[4:]) for line in lines)
    assert f"{len(lines)} of {len(lines)} right" in printed.out
    assert printed.err == ""


def test_unavailable_backends_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry._probe

    def without_cuda(name: str) -> Probe:
        return Probe(False, "no such thing", "buy one") if name == "cuda" else real(name)

    monkeypatch.setattr(registry, "_probe", without_cuda)
    assert main(["verify", "--cell", "rnn", "--dtype", "float64"]) == 0
    assert "cuda: not available: no such thing. buy one\n" in capsys.readouterr().out
    assert main(["verify", "--backend", "cuda"]) == 3
    assert "no such thing" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "error"), [(1.01, "error 0.00"), (np.nan, "error nan")])
def test_a_planted_fault_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, factor: float, error: str
) -> None:
    scaled_weight_hh(monkeypatch, factor)
    assert main(LSTM) == 1
    printed = capsys.readouterr()
    assert "WRONG" in printed.out
    assert "0 of 1 right" in printed.out
    first = printed.err.splitlines()[0]
    assert first.startswith("rnncore: numpy, lstm, float32, one unit: gradient of weight_hh_l0: ")
    assert first.endswith("tolerance 1e-05")
    assert error in first
    assert all("weight_hh" in line or "more" in line for line in printed.err.splitlines())


def test_a_fault_is_in_the_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scaled_weight_hh(monkeypatch, np.nan)
    assert main([*LSTM, "--json"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    (outcome,) = found["outcomes"]
    assert outcome["worst"]["grad weight_hh"]["error"] == "NaN"
    assert outcome["worst"]["grad x"]["error"] <= TOLERANCES["float32", "gradient"]
    assert {one["tensor"] for one in outcome["wrong"]} >= {"gradient of weight_hh_l1_reverse"}
    assert found["environment"]["backends"]["numpy"]["available"]


def test_an_engine_that_raises(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: NumpyEngine, runs: Sequence[Any]) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(NumpyEngine, "infer", broken)
    assert main(LSTM) == 4
    printed = capsys.readouterr()
    assert "FAILED" in printed.out
    assert "rnncore: numpy, lstm, float32, dense: ZeroDivisionError: by zero" in printed.err


@pytest.mark.parametrize("option", [["--seed", "-1"], ["--dtype", "float16"], ["--backend", "tpu"], ["--cell", "mgu"]])
def test_wrong_arguments(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["verify", *option])
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.slow
def test_another_seed_has_other_values() -> None:
    one, two = (next(verify(["numpy"], ["lstm"], ["float64"], seed)).worst["output"].error for seed in (0, 1))
    assert one != two


def test_cases_reach_every_option() -> None:
    assert {1, 5, 17} <= {case.options["hidden_size"] for case in CASES}
    assert any(case.lengths is not None and 0 in case.lengths for case in CASES)
    assert any(case.options.get("bidirectional") for case in CASES)
    assert any(case.streams for case in CASES)
    assert len(CELLS) == 9


def test_the_oracle_imports_numpy_alone() -> None:
    """What it shared with the engines could be wrong in both."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(Path(oracle.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    assert imported == {"__future__", "math", "collections.abc", "dataclasses", "typing", "numpy", "numpy.typing"}


def test_nan_is_the_largest_error() -> None:
    assert np.isnan(relative_error(np.array([0.0, np.nan]), np.zeros(2)))
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    finding = Finding("case", "tensor", float("nan"), 1.0)
    assert not finding.ok
    assert finding.share == float("inf")
