"""Compiled code is kept and found again, for the processor, the cell and the versions that it was made for."""

from __future__ import annotations

import compileall
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from conftest import Close

from rnncore import Recurrent, cells
from rnncore_kernels import cache
from rnncore_kernels.cpu.target import host_target

COMPUTE = """
import sys
import numpy as np
from rnncore import Recurrent
frozen = Recurrent("rnn", 5, 20, backend="numba", seed=0, num_threads=1).freeze()
output, _ = frozen(np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 3, 5))
print("numba" in sys.modules, output.tobytes().hex())
"""
"""Prints whether Numba was imported, and a result."""

FILES = 4
"""That COMPUTE makes: the trial of the probe, the kernels that pack weights and the forward pass, and the cell."""


def computed(printed: str) -> tuple[bool, np.ndarray[Any, Any]]:
    imported, output = printed.split()
    return imported == "True", np.frombuffer(bytes.fromhex(output), np.float32)


@pytest.fixture(scope="module", autouse=True)
def own_processor() -> Iterator[None]:
    """Code for this machine, whatever processor the tests are run for: tests here name the others themselves."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder that did not exist, and what two processes printed that began with it at once."""
    folder = tmp_path_factory.mktemp("cache") / "not" / "there"
    both = [processes.start(["-c", COMPUTE], {"RNNCORE_CACHE_DIR": str(folder)}) for _ in range(2)]
    return folder, [processes.finish(process) for process in both]


@pytest.fixture
def warm(together: tuple[Path, list[str]]) -> str:
    """A folder that holds what COMPUTE needs."""
    return str(together[0])


def test_two_processes_fill_a_folder_at_once(together: tuple[Path, list[str]], close: Close) -> None:
    folder, printed = together
    assert len(list(folder.iterdir())) == len(list(folder.glob("*.o"))) == FILES
    (first, output), (second, other) = map(computed, printed)
    assert first or second
    np.testing.assert_array_equal(output, other)
    expected, _ = Recurrent("rnn", 5, 20, backend="numpy", seed=0)(
        np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 3, 5)
    )
    close(output, expected.ravel(), "output")


def test_a_warm_process_does_not_import_numba(together: tuple[Path, list[str]], warm: str) -> None:
    imported, output = computed(processes.run(COMPUTE, RNNCORE_CACHE_DIR=warm))
    assert not imported
    np.testing.assert_array_equal(output, computed(together[1][0])[1])


@pytest.mark.slow
def test_another_processor_has_files_of_its_own(warm: str, together: tuple[Path, list[str]], close: Close) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the processor's name is one of x86-64")
    before = set(os.listdir(warm))
    plain = processes.run(COMPUTE, RNNCORE_CACHE_DIR=warm, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES=None)
    close(computed(plain)[1], computed(together[1][0])[1], "output")
    made = {name for name in set(os.listdir(warm)) - before if name.endswith(".o")}
    assert len(made) == FILES


@pytest.mark.slow
def test_warmup_compiles_what_is_not_there(tmp_path: Path, warm: str) -> None:
    arguments = ["-m", "rnncore", "warmup", "--cell", "rnn", "--mode", "inference"]
    lines = processes.finish(processes.start(arguments, {"RNNCORE_CACHE_DIR": warm})).splitlines()
    printed = [line for line in lines if "on tile registers" not in line]
    assert printed[1:4] == [
        "float32 forward weights: already there",
        "float32 forward: already there",
        "float32 Elman(activation='tanh'): already there",
    ]
    assert printed[0].startswith("threads: compiled in ")
    assert all(f"{name}'): compiled in" in line for name, line in zip(("relu", "sigmoid"), printed[4:6], strict=True))
    assert printed[-1].startswith(f"kept in {warm} for {host_target().cpu}: ")
    again = processes.finish(processes.start(arguments, {"RNNCORE_CACHE_DIR": warm})).splitlines()
    assert all(line.endswith(": already there") for line in again[:-1])


@pytest.mark.slow
def test_nowhere_to_keep_code(tmp_path: Path) -> None:
    """It is said once, however much is compiled, and at the place of the user's call."""
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "folder")
    with processes.start(["-c", COMPUTE], {"RNNCORE_CACHE_DIR": folder}) as process:
        printed, said = process.communicate(timeout=processes.TIMEOUT)
    assert computed(printed)[0]
    place, *others = said.splitlines()
    assert place.startswith(
        f"<string>:5: RuntimeWarning: compiled code cannot be kept ({folder}: Not a directory), so "
    )
    assert "RNNCORE_CACHE_DIR" in place
    assert "Warning" not in "".join(others)
    assert os.listdir(tmp_path) == ["file"]


def edited(scale: float, slope: float) -> cells.Cell:
    """A cell of the one name for all."""

    @cells.cell(states="h", gates="a")
    def same(a: Any) -> Any:
        return cells.tanh(scale * a) + cells.heaviside(a, surrogate=lambda v: slope * v)

    return same


EDITS = [edited(2, 1), edited(3, 1), edited(3, 2)]
"""The same cell after changes, of which the last is in the gradient alone."""


def results(cell: cells.Cell, backend: str) -> list[Any]:
    rnn = Recurrent(cell, 5, 20, backend=backend, seed=0)
    output, _, tape = rnn.forward(np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 3, 5))
    grads = rnn.backward(tape, output)
    return [output, grads.x, *grads.parameters.values()]


def test_an_edited_cell_has_code_of_its_own(close: Close) -> None:
    edits = [results(cell, "numba") for cell in EDITS]
    for cell, values in zip(EDITS, edits, strict=True):
        for value, expected in zip(values, results(cell, "numpy"), strict=True):
            close(value, expected, "gradient")
    assert not np.allclose(edits[0][0], edits[1][0])
    np.testing.assert_array_equal(edits[1][0], edits[2][0])
    assert not np.allclose(edits[1][1], edits[2][1])


@pytest.mark.slow
def test_an_edited_cell_has_code_of_its_own_in_another_process(warm: str, close: Close) -> None:
    script = COMPUTE.replace('"rnn"', "test_compiled_code.EDITS[int(sys.argv[1])]")
    script = script.replace("import sys", "import sys\nimport test_compiled_code")
    x = np.linspace(-1, 1, 60, dtype=np.float32).reshape(4, 3, 5)
    for edit in (0, 1):
        _, output = computed(processes.run(script, str(edit), RNNCORE_CACHE_DIR=warm))
        expected, _ = Recurrent(EDITS[edit], 5, 20, backend="numpy", seed=0)(x)
        close(output, expected.ravel(), "output")


SCRIPT = """
from rnncore_kernels import cache, version
folders = ("codegen", "cpu"), ("codegen", "cuda")
print(*(cache.source_digest(*each).hex() for each in folders), all(cache.is_unchanged(*each) for each in folders))
print(*(cache.source_digest(*each).hex() for each in folders))
"""


def without_source(folder: Path) -> None:
    assert compileall.compile_dir(folder, quiet=1, legacy=True, workers=1)
    for path in folder.rglob("*.py"):
        path.unlink()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_versions_have_code_of_their_own_without_source_too(zipped: bool, compiled: bool, tmp_path: Path) -> None:
    """Installed as files, without source as by `compileall -b`, and in a zip."""
    digests: list[list[str]] = []
    for number, (module, change) in enumerate([("version.py", ""), ("version.py", "0"), ("codegen/functions.py", "0")]):
        place = tmp_path / str(number)
        package = place / "rnncore_kernels"
        shutil.copytree(Path(cache.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / module
        path.write_text(path.read_text().replace('"0.1.0"', f'"0.1.0{change}"').replace("= 1.44", f"= 1.44{change}"))
        if compiled:
            without_source(package)
        if zipped:
            shutil.make_archive(str(place), "zip", place)
            place = Path(f"{place}.zip")
        first, second, unchanged, *again = processes.run(SCRIPT, PYTHONPATH=str(place)).split()
        assert unchanged == "True"
        assert again == [first, second]
        digests.append([first, second])
    for original, *changed in zip(*digests, strict=True):
        assert len({original, *changed}) == 3
