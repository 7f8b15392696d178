"""What code is made for: what environment variables say, and what Numba makes of them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest

pytest.importorskip("llvmlite")

from compiled import HOST, X86

from rnncore_kernels.cpu import names
from rnncore_kernels.cpu.amx import permission
from rnncore_kernels.cpu.target import host_target, target


@pytest.mark.skipif(not X86, reason="names of x86 processors")
@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("haswell", "", (32, 16, True)),
        ("x86-64", "", (16, 16, False)),
        ("skylake-avx512", "", (64, 32, True)),
        ("skylake-avx512", "-avx512f", (32, 16, True)),
        ("sandybridge", "", (16, 16, False)),
        ("x86-64", "+avx2,+fma", (32, 16, True)),
        ("generic", None, (16, 16, False)),
        ("x86-64", None, (16, 16, False)),
    ],
)
def test_host_target_is_what_the_environment_says(
    name: str, features: str | None, expected: tuple[int, int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    found = host_target()
    assert (found.cpu, found.vector_bytes, found.registers, found.fma) == (name, *expected)
    assert found.lanes("float32") == 2 * found.lanes("float64") == expected[0] // 4


def set_environment(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> None:
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        if value is not None:
            monkeypatch.setenv(name, value)


@pytest.mark.skipif(not X86, reason="features of x86 processors")
def test_host_target_is_the_host_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)
    assert host_target() == HOST
    set_environment(monkeypatch, NUMBA_CPU_NAME="haswell")
    assert host_target().features == ""
    set_environment(monkeypatch, NUMBA_ENABLE_AVX="0")
    assert not host_target().avx512


@pytest.mark.skipif(not HOST.matrix, reason="no tile registers")
def test_tile_registers_are_used_where_they_are_named_and_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, NUMBA_CPU_NAME=HOST.cpu, NUMBA_CPU_FEATURES=HOST.features)
    assert host_target().matrix
    set_environment(monkeypatch, NUMBA_CPU_NAME=HOST.cpu, NUMBA_CPU_FEATURES=f"{HOST.features},-amx-tile")
    assert not host_target().matrix
    set_environment(monkeypatch, NUMBA_CPU_NAME=HOST.cpu, NUMBA_CPU_FEATURES=HOST.features)
    # The system may refuse: a sandbox that knows no such call, or an alternate signal stack too small for them.
    permission.is_permitted.cache_clear()
    monkeypatch.setattr(permission, "REQUEST_PERMISSION", 0x1FFF)
    target.cache_clear()
    assert not host_target().matrix
    permission.is_permitted.cache_clear()
    target.cache_clear()


def test_host_target_is_numbas(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)
    code = """
from numba.core.registry import cpu_target
from rnncore_kernels.cpu.amx import permission
from rnncore_kernels.cpu.target import host_target, target
found = host_target()
assert cpu_target.target_context.codegen().magic_tuple() == (found.triple, found.cpu, found.features)
"""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code], check=True)


# Values of NUMBA_CPU_NAME and NUMBA_CPU_FEATURES for which LLVM would end the process, or warn on each occasion.
REFUSED: dict[tuple[str | None, str | None], str] = {
    ("nosuchcpu", ""): "NUMBA_CPU_NAME: expected one of ",
    ("native", None): "NUMBA_CPU_NAME: expected one of ",
    ("generic", "garbage"): "NUMBA_CPU_FEATURES: expected names with + or - before each, and commas between, of ",
    ("generic", "+nosuch"): "NUMBA_CPU_FEATURES: expected names with + or - before each, and commas between, of ",
    (None, "fma"): "NUMBA_CPU_FEATURES: expected names with + or - before each, and commas between, of ",
}
if X86:
    REFUSED["pentium4", None] = (
        "expected a processor of x86_64 and features for which LLVM makes code, got 'pentium4' and"
    )


def test_names_that_llvm_does_not_know_are_refused(tmp_path: Path) -> None:
    script = f"""
import json, os
import rnncore
from rnncore.registry import _probe
reasons = []
for names in {list(REFUSED)}:
    for variable, value in zip(("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"), names):
        os.environ.pop(variable, None) if value is None else os.environ.update({{variable: value}})
    _probe.cache_clear()
    try:
        rnncore.Recurrent("gru", 3, 4, backend="numba")
    except rnncore.BackendUnavailableError as error:
        reasons.append(str(error))
print(json.dumps(reasons))
"""
    process = processes.start(["-c", script], {"RNNCORE_CACHE_DIR": str(tmp_path)})
    reasons = json.loads(processes.finish(process))
    for reason, (given, expected) in zip(reasons, REFUSED.items(), strict=True):
        assert reason.startswith("backend 'numba' is not available: NUMBA_CPU_")
        assert expected in reason
        assert repr(given[1 if "FEATURES: " in expected else 0]) in reason
        assert reason.endswith(". Correct the variable, or unset it.")
    # The next process is told, too.
    assert not list(tmp_path.iterdir())


def test_good_names_are_asked_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path))
    set_environment(monkeypatch, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    names.check_names.cache_clear()
    found = host_target()
    assert [path.suffix for path in tmp_path.iterdir()] == [".names"]
    names.check_names.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert host_target() == found


def test_unknown_processors_have_one_lane() -> None:
    nothing = dataclasses.replace(HOST, vector_bytes=4)
    assert nothing.lanes("float32") == nothing.lanes("float64") == 1
