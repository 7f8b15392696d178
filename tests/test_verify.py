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
from rnncore.cells import LSTM, cell, heaviside, sigmoid, sin, tanh
from rnncore.cli import main
from rnncore.verification import check, equations, oracle, regularisation, rounding, scalars
from rnncore.verification.check import CASES, REFERENCE, Finding, verify
from rnncore.verification.networks import VARIANTS
from rnncore.verification.tolerances import TOLERANCES, relative_error
from rnncore_kernels.contract import LayerGradients, Probe
from rnncore_kernels.numpy import NumpyEngine
from rnncore_kernels.precision import ROUNDINGS
from rnncore_kernels.program.derive import make_program
from rnncore_kernels.program.differentiate import PULLBACKS

MGU = ["verify", "--cell", "mgu", "--backend", "numpy", "--dtype", "float32"]


@pytest.fixture
def small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of few units alone: the oracle takes its time for others."""
    monkeypatch.setattr(check, "CASES", [case for case in CASES if case.options["hidden_size"] <= 5])


def scaled_weight_hh(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Plant a fault: the NumPy engine's gradient of W_hh is multiplied."""
    backward = NumpyEngine.backward

    def faulty(self: NumpyEngine, runs: Sequence[Any]) -> list[LayerGradients]:
        results = backward(self, runs)
        for grads in results:
            assert grads.weights.weight_hh is not None
            np.multiply(grads.weights.weight_hh, factor, out=grads.weights.weight_hh)
        return results

    monkeypatch.setattr(NumpyEngine, "backward", faulty)


@pytest.mark.slow
def test_every_backend_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    available = [name for name, probe in rnncore.backends().items() if probe.available]
    assert main(["verify", "--cell", "gru,rnn"]) == 0
    printed = capsys.readouterr()
    rows = [line.split("|")[1:-1] for line in printed.out.splitlines() if line.startswith("|")]
    header, _, *lines = [[cell.strip() for cell in row] for row in rows]
    assert header[:5] == ["backend", "cell", "dtype", "", "output"]
    assert header[-5:] == ["grad W_ih", "grad W_hh", "grad b_ih", "grad b_hh", "grad others"]
    assert len(lines) == len(available) * 8 * 2
    assert {line[0] for line in lines} == set(available)
    assert all(line[3] == "ok" and all(0 < float(share) < 1 for share in line[4:-1]) for line in lines)
    assert f"{len(lines)} of {len(lines)} right" in printed.out
    assert printed.err == ""


@pytest.mark.usefixtures("small_cases")
def test_unavailable_backends_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = registry._probe

    def without_cuda(name: str) -> Probe:
        return Probe(False, "no such thing", "buy one") if name == "cuda" else real(name)

    monkeypatch.setattr(registry, "_probe", without_cuda)
    assert main(["verify", "--cell", "rnn", "--dtype", "float64"]) == 0
    assert "cuda: not available: no such thing. buy one\n" in capsys.readouterr().out
    assert main(["verify", "--backend", "cuda"]) == 3
    assert "no such thing" in capsys.readouterr().err


@pytest.mark.usefixtures("small_cases")
@pytest.mark.parametrize(("factor", "error"), [(1.01, "error 0.00"), (np.nan, "error nan")])
def test_a_planted_fault_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, factor: float, error: str
) -> None:
    scaled_weight_hh(monkeypatch, factor)
    assert main(MGU) == 1
    printed = capsys.readouterr()
    assert "WRONG" in printed.out
    assert "0 of 1 right" in printed.out
    first = printed.err.splitlines()[0]
    assert first.startswith("rnncore: numpy, mgu, float32, one unit: gradient of weight_hh_l0: ")
    assert first.endswith("tolerance 1e-05")
    assert error in first
    assert all("weight_hh" in line or "more" in line for line in printed.err.splitlines())


@pytest.mark.usefixtures("small_cases")
def test_a_fault_is_in_the_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scaled_weight_hh(monkeypatch, np.nan)
    assert main([*MGU, "--json"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    (outcome,) = found["outcomes"]
    assert outcome["worst"]["grad weight_hh"]["error"] == "NaN"
    assert outcome["worst"]["grad x"]["error"] <= TOLERANCES["float32", "gradient"]
    assert {one["tensor"] for one in outcome["wrong"]} >= {"gradient of weight_hh_l1_reverse"}
    assert found["environment"]["backends"]["numpy"]["available"]


@pytest.mark.usefixtures("small_cases")
def test_an_engine_that_raises(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: NumpyEngine, runs: Sequence[Any]) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(NumpyEngine, "infer", broken)
    assert main(MGU) == 4
    printed = capsys.readouterr()
    assert "FAILED" in printed.out
    assert "rnncore: numpy, mgu, float32, one unit: ZeroDivisionError: by zero" in printed.err


@pytest.mark.parametrize("option", [["--seed", "-1"], ["--dtype", "float16"], ["--backend", "tpu"], ["--cell", "grue"]])
def test_wrong_arguments(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["verify", *option])
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.slow
def test_another_seed_has_other_values() -> None:
    one, two = (next(verify(["numpy"], {"lstm": VARIANTS["lstm"]}, ["float64"], seed)) for seed in (0, 1))
    assert {name: finding.error for name, finding in one.worst.items()} != {
        name: finding.error for name, finding in two.worst.items()
    }


@cell(states="h", gates="a", units="p", row_inputs="dt", unit_inputs="given")
def own(h: Any, a: Any, p: Any, dt: Any, given: Any) -> Any:
    return h + dt * (tanh(a + given) - p * h)


def test_a_cell_that_the_oracle_lacks() -> None:
    """It is held against the NumPy engine in float64, and this against finite differences."""
    outcomes = list(verify(["numpy"], {"own": own}, ["float32"]))
    assert [outcome.backend for outcome in outcomes] == [REFERENCE, "numpy"]
    assert not any(outcome.wrong or outcome.failures for outcome in outcomes)
    assert outcomes[0].worst.keys() >= {"grad x", "grad state", "grad weight_hh", "grad p", "grad dt", "grad given"}
    assert all(finding.error > 0 for finding in outcomes[0].worst.values())


def test_a_wrong_derivative_of_a_cell_that_the_oracle_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    @cell(states="h", gates="a")
    def other(a: Any) -> Any:
        return sin(a)

    assert not next(verify(["numpy"], {"other": other}, ["float64"])).wrong
    monkeypatch.setitem(PULLBACKS, "sin", lambda y, d, x: (d,))
    make_program.cache_clear()
    assert next(verify(["numpy"], {"other": other}, ["float64"])).wrong


@pytest.mark.usefixtures("small_cases")
def test_a_projection_wider_than_the_networks() -> None:
    """Their hidden sizes grow with it."""
    (outcome,) = verify(["numpy"], {"wide": LSTM(projection=7)}, ["float32"])
    assert not outcome.wrong
    assert not outcome.failures
    assert outcome.worst["grad weight_hr"].share > 0


def test_no_differences_are_taken_of_a_surrogate() -> None:
    @cell(states="h", gates="a")
    def spiking(a: Any) -> Any:
        return heaviside(a, surrogate=sigmoid)

    assert [outcome.backend for outcome in verify(["numpy"], {"spiking": spiking}, ["float64"])] == ["numpy"]


def test_cases_reach_every_option() -> None:
    assert {1, 5, 17} <= {case.options["hidden_size"] for case in CASES}
    assert any(case.lengths is not None and 0 in case.lengths for case in CASES)
    assert any(case.options.get("bidirectional") for case in CASES)
    assert any(case.streams for case in CASES)


def test_the_oracle_imports_numpy_alone() -> None:
    """What it shared with the engines could be wrong in both."""
    modules = (scalars, rounding, regularisation, oracle, equations)
    own = {module.__name__ for module in modules}
    outside = {"__future__", "math", "collections.abc", "dataclasses", "fractions", "typing", "numpy", "numpy.typing"}
    for module in modules:
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= outside
            if isinstance(node, ast.ImportFrom):
                name = f"{oracle.__package__}.{node.module}" if node.level else str(node.module)
                assert name in (own if node.level else outside)


def test_nan_is_the_largest_error() -> None:
    assert np.isnan(relative_error(np.array([0.0, np.nan]), np.zeros(2)))
    assert relative_error(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    finding = Finding("case", "tensor", float("nan"), 1.0)
    assert not finding.ok
    assert finding.share == float("inf")


def test_precision_adds_rounded_products(small_cases: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MGU, "--precision"]) == 0
    text = capsys.readouterr().out
    rows = [[part.strip() for part in line.split("|")] for line in text.splitlines() if line.startswith("| numpy")]
    assert [row[3] for row in rows] == ["float32", "bfloat16", "int8"]
    assert "4e-03 in bfloat16" in text
    assert main([*MGU, "--precision", "int8"]) == 0
    printed = capsys.readouterr().out
    assert "bfloat16" not in printed


def test_a_cell_that_the_oracle_lacks_in_int8(small_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held against the NumPy engine, which rounds, too."""
    *_, outcome = verify(["numba"], {"own": own}, ["int8"])
    assert not outcome.wrong
    assert not outcome.failures
    assert outcome.worst.keys() == {"output", "state"}
    monkeypatch.setitem(ROUNDINGS, "int8", lambda values: np.float32(1.1) * values)
    *_, outcome = verify(["numpy"], {"mgu": VARIANTS["mgu"]}, ["int8"])
    assert outcome.wrong
