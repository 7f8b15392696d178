"""Compiled code is kept and found again, for the processor, the cell and the versions that it was made for."""

from __future__ import annotations

import compileall
import errno
import functools
import importlib.machinery
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
import processes
import pytest
from conftest import Close
from llvmlite import ir

from rnncore import Recurrent, cells
from rnncore_kernels import cache, notices
from rnncore_kernels.cache import cache_folder
from rnncore_kernels.cpu import toolchain
from rnncore_kernels.cpu.code.ir import I64, PREFIX, Definition, call_external, word_pointer
from rnncore_kernels.cpu.memory import make_words, words_address
from rnncore_kernels.cpu.target import Target, host_target, target

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


NAME = "writes"


def writes(value: int) -> Definition:
    """A kernel that needs no Numba: it sets the word that it is called with."""

    def body(builder: Any, words: Any, thread: Any) -> None:
        builder.store(I64(value), word_pointer(builder, words))

    return Definition(PREFIX + NAME, 2, returns=False, body=body)


def load(key: str = "test", value: int = 7, chosen: Target | None = None) -> int:
    """The number that the kernel of a key writes, which is `value` if it was compiled just now."""
    library = toolchain.load(chosen or host_target(), key, (NAME,), lambda: {PREFIX + NAME: writes(value)})
    words = make_words([0])
    library.functions[NAME](words_address(words), 0)
    return words[0]


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_given", set())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled code is kept in this test."""
    monkeypatch.setenv("RNNCORE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_code_is_kept_by_its_key(folder: Path) -> None:
    assert load("a", 1) == 1
    assert load("a", 2) == 1
    assert load("b", 2) == 2
    assert load("a", 3, target(host_target().triple, "generic", "")) == 3
    assert len(os.listdir(folder)) == 3


@pytest.mark.parametrize("part", ["source_digest", "_numba_version", "llvmlite.__version__"])
def test_code_is_kept_by_what_made_it(part: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(value=1) == 1
    if part == "llvmlite.__version__":
        monkeypatch.setattr(llvmlite, "__version__", "other")
    elif part == "_numba_version":
        monkeypatch.setattr(toolchain, part, lambda: "other")
    else:
        other_source(monkeypatch)
        monkeypatch.setattr(cache, part, lambda *folders: cache._digest(folders))
    assert load(value=2) == 2
    assert len(os.listdir(folder)) == 2


def test_code_of_source_that_changed_meanwhile_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.source_digest(*toolchain.SOURCE)
    with monkeypatch.context() as changed:
        other_source(changed)
        assert load(value=1) == 1
    assert not folder.exists() or not os.listdir(folder)
    assert load(value=2) == 2
    assert len(os.listdir(folder)) == 1


def other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_digest", lambda _: b"other")


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


def test_code_of_modules_that_cannot_be_read_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen application has loaders that read no module."""

    def refuse(*_: object) -> bytes:
        raise OSError("frozen")

    monkeypatch.setattr(importlib.machinery.SourceFileLoader, "get_data", refuse)
    monkeypatch.setattr(cache, "source_digest", functools.cache(cache.source_digest.__wrapped__))
    assert load(value=1) == 1
    assert load(value=2) == 2
    assert not folder.exists() or not os.listdir(folder)
    assert cache.source_digest("cpu") == cache.source_digest("cpu") != cache.source_digest.__wrapped__("cpu")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "short": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0",
    "changed": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    "other": lambda content: b"garbage" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(damage: str, folder: Path) -> None:
    assert load(value=1) == 1
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    assert load(value=1) == 1
    assert list(folder.iterdir()) == [path]
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_file(folder: Path) -> None:
    assert load(value=1) == 1
    (path,) = folder.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        assert load(value=2) == 2
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, NotADirectoryError])
def test_a_folder_that_refuses_everything(error: type[OSError], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.is_relative_to(folder):
                raise error("refused")
            return real(path, *arguments, **options)

        return operation

    for name in ("mkdir", "stat", "unlink", "read_bytes", "write_bytes"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    with pytest.warns(RuntimeWarning, match=r"cannot be kept \(.*: refused\), so .* RNNCORE_CACHE_DIR"):
        assert load(value=3) == 3
    # Once is enough.
    assert load(value=4) == 4


def test_no_partial_file_is_left_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(RuntimeWarning, match="no space left on device"):
        assert load(value=3) == 3
    assert os.listdir(folder) == []


def test_two_that_need_the_same_code_make_it_once(folder: Path) -> None:
    """Here threads, each with the lock's file open for itself as processes have it."""
    pytest.importorskip("fcntl")
    made, begun, end = list[int](), threading.Event(), threading.Event()

    def make() -> bytes:
        made.append(1)
        begun.set()
        assert end.wait(processes.TIMEOUT)
        return b"code"

    def compiled() -> bytes:
        return cache.compiled(".o", ("codegen",), ("once",), make)

    with ThreadPoolExecutor(2) as executor:
        first = executor.submit(compiled)
        assert begun.wait(processes.TIMEOUT)
        second = executor.submit(compiled)
        time.sleep(0.1)
        end.set()
        assert first.result() == second.result() == b"code"
    assert len(made) == len(os.listdir(folder)) == 1


def test_those_that_waited_in_vain_make_it_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where code cannot be kept, the second does not wait for the first, and the third for both."""
    pytest.importorskip("fcntl")
    monkeypatch.setattr(cache, "write", lambda *_: None)
    begun, end, both = threading.Event(), threading.Event(), threading.Barrier(2, timeout=processes.TIMEOUT)

    def make_first() -> bytes:
        begun.set()
        assert end.wait(processes.TIMEOUT)
        return b"code"

    def make_with_the_other() -> bytes:
        both.wait()
        return b"code"

    def compiled(make: Callable[[], bytes]) -> bytes:
        return cache.compiled(".o", ("codegen",), ("in vain",), make)

    with ThreadPoolExecutor(3) as executor:
        first = executor.submit(compiled, make_first)
        assert begun.wait(processes.TIMEOUT)
        others = [executor.submit(compiled, make_with_the_other) for _ in range(2)]
        time.sleep(0.1)
        end.set()
        assert [each.result() for each in (first, *others)] == [b"code"] * 3
    assert os.listdir(folder) == []


def test_a_file_system_without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "function not implemented")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", fail)
    assert load(value=3) == 3
    assert [Path(name).suffix for name in os.listdir(folder)] == [".o"]


def test_nobody_waits_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(cache, "PATIENCE", 0.05)
    folder.mkdir()
    monkeypatch.setattr(cache, "key", lambda *_: "0" * 40)
    with open(folder / f".{'0' * 40}.o.00000000", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert load(value=5) == 5


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RNNCORE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder() is None
    with pytest.warns(RuntimeWarning, match=r"cannot be kept \(the user has no home\)"):
        assert load(value=4) == 4
    assert load(value=5) == 5


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("Linux", {}, "/home/me/.cache/rnncore"),
        ("Linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/rnncore"),
        ("FreeBSD", {"XDG_CACHE_HOME": "/caches"}, "/caches/rnncore"),
        ("Darwin", {"XDG_CACHE_HOME": "/caches"}, "/home/me/Library/Caches/rnncore"),
        ("Windows", {"LOCALAPPDATA": "/local"}, "/local/rnncore"),
        ("Windows", {}, None),
        ("Linux", {"RNNCORE_CACHE_DIR": "/named"}, "/named"),
    ],
)
def test_cache_folder(
    system: str, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RNNCORE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(os.path, "expanduser", lambda path: "/home/me")
    assert cache_folder() == (None if expected is None else Path(expected))


def test_what_is_called_must_be_known(folder: Path) -> None:
    def body(builder: Any, words: Any, thread: Any) -> None:
        call_external(builder, "missing", ir.VoidType(), [words])

    definition = Definition(PREFIX + NAME, 2, returns=False, body=body)
    with pytest.raises(RuntimeError, match="compiled code calls what was not compiled: missing"):
        toolchain.load(host_target(), "test", (NAME,), lambda: {definition.name: definition})
    assert not list(folder.glob("*"))
