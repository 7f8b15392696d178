"""The registry: what there is, what is chosen, and how a backend that cannot run refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import processes
import pytest
from conftest import required

import rnncore
from rnncore import BackendUnavailableError, Recurrent
from rnncore import backends as listing
from rnncore.registry import MODULES
from rnncore_kernels import cpu


@pytest.mark.parametrize("name", MODULES)
def test_listed(name: str, request: pytest.FixtureRequest) -> None:
    probe = listing()[name]
    if name in required(request, "--require-backend"):
        assert probe.available, f"required: {probe.reason}"
    if probe.available:
        assert probe.device
        assert not probe.reason
        assert Recurrent("lstm", 3, 4, backend=name).backend == name
        return
    assert probe.reason
    assert probe.fix
    with pytest.raises(BackendUnavailableError, match=f"backend '{name}' is not available: ") as caught:
        Recurrent("lstm", 3, 4, backend=name)
    assert probe.reason in str(caught.value)
    assert probe.fix in str(caught.value)
    pytest.skip(f"{name}: {probe.reason}")


def test_auto_takes_the_first_that_is_available() -> None:
    first = next(name for name, probe in listing().items() if probe.available)
    assert Recurrent("lstm", 3, 4).backend == first
    assert f"backend='{first}'" in repr(Recurrent("lstm", 3, 4, backend="auto"))
    assert list(listing()) == ["cuda", "numba", "numpy"]


def test_importing_loads_no_engine_and_nothing_heavy() -> None:
    heavy = ["numba", "cupy", "rich", "torch", "jax", "safetensors", "threadpoolctl", "onnxruntime"]
    code = f"""
import sys, numpy, rnncore
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_without_a_compiler_numpy_is_left() -> None:
    code = """
import sys
sys.modules["llvmlite"] = sys.modules["cupy"] = None
import rnncore
probe = rnncore.backends()["numba"]
assert not probe.available and "llvmlite" in probe.reason and probe.fix
print(rnncore.Recurrent("lstm", 3, 4).backend)
rnncore.Recurrent("lstm", 3, 4)
rnncore.Recurrent("lstm", 3, 4, backend="numpy")
rnncore.show_config()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == "numpy"
    said = result.stderr.splitlines()[0]
    assert said.startswith("<string>:7: RuntimeWarning: backend: 'auto' is 'numpy' here")
    assert "llvmlite cannot be loaded" in said
    assert "pip install" in said
    assert result.stderr.count("Warning") == 1


@pytest.mark.parametrize(
    "part", ["core.typed_passes.PreLowerStripPhis", "extending.register_model", "core.compiler.compile_extra"]
)
def test_a_numba_that_does_not_compile_is_not_available(part: str, tmp_path: Path) -> None:
    """The probe says so, before a first call fails; also where llvmlite is there, and code that it could load."""
    pytest.importorskip("numba")
    module, _, name = part.rpartition(".")
    code = f"""
import numba.{module}
del numba.{module}.{name}
import rnncore
probe = rnncore.backends()["numba"]
print(probe.available, probe.reason)
print(probe.fix)
"""
    available, fix = processes.run(code, RNNCORE_CACHE_DIR=str(tmp_path)).splitlines()
    assert available.startswith("False Numba does not compile here: ")
    assert name in available
    assert "pip install" in fix


def test_versions_of_numba_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    least, below = (".".join(map(str, version)) for version in cpu.NUMBA)
    assert f"numba>={least},<{below}" in project["dependencies"]


def test_show_config(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/home/somebody")
    rnncore.show_config()
    printed = capsys.readouterr().out
    assert "somebody" not in printed
    for part in ("rnncore: ", "numpy: ", "processor: ", "blas: ", "  numpy: available on", "OMP_NUM_THREADS: 1"):
        assert part in printed
    for name, probe in listing().items():
        if not probe.available:
            assert f"  {name}: not available: {probe.reason}" in printed


def test_packages_are_where_the_house_says() -> None:
    """`kernels` is a folder of sources, not a package: another project of that name may be installed."""
    assert importlib.util.find_spec("rnncore_kernels") is not None
    spec = importlib.util.find_spec("kernels")
    assert spec is None or spec.origin is None
