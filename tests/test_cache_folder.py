"""The folder of compiled code: by what code is found in it, damaged files, refusals, and who waits for whom."""

from __future__ import annotations

import errno
import functools
import importlib.machinery
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llvmlite
import processes
import pytest
from kept_code import NAME, load
from llvmlite import ir

from rnncore_kernels import cache, notices
from rnncore_kernels.cache import cache_folder
from rnncore_kernels.cpu import toolchain
from rnncore_kernels.cpu.code.ir import PREFIX, Definition, call_external
from rnncore_kernels.cpu.target import host_target, target


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


@pytest.fixture
def others_wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], bool]:
    """A function that returns True when so many threads wait for the lock of a file."""
    fcntl = pytest.importorskip("fcntl")
    lock, refused = fcntl.flock, set[int]()

    def flock(file: int, operation: int) -> None:
        try:
            lock(file, operation)
        except BlockingIOError:
            refused.add(threading.get_ident())
            raise

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(cache, "PATIENCE", processes.TIMEOUT)
    return lambda count: processes.wait_until(lambda: len(refused) == count)


def test_two_that_need_the_same_code_make_it_once(folder: Path, others_wait: Callable[[int], bool]) -> None:
    """Here threads, each with the lock's file open for itself as processes have it."""
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
        assert others_wait(1)
        end.set()
        assert first.result() == second.result() == b"code"
    assert len(made) == len(os.listdir(folder)) == 1


def test_those_that_waited_in_vain_make_it_together(
    folder: Path, others_wait: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where code cannot be kept, the second does not wait for the first, and the third for both."""
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
        assert others_wait(2)
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
