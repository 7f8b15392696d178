"""Compiled code on disk: files that are whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pkgutil
import platform
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from .notices import warn_once
from .version import __version__

ROOFS = ".roofs"
"""Suffix of the files in which `rnncore bench` keeps the best rates of a machine."""
RUNS = ".run"
"""Suffix of the files in which `rnncore bench --base` keeps what another revision measured."""
ENGINES = {".o": "numba", ".names": "numba", ".ptx": "cuda", ".cubin": "cuda", ROOFS: "bench", RUNS: "bench"}
"""The owner of a file, by its suffix."""
NAME = re.compile(r"[0-9a-f]{40}(\.o|\.names|\.ptx|\.cubin|\.roofs|\.run)")
PARTIAL = re.compile(rf"\.{NAME.pattern}\.[0-9a-f]{{8}}")
"""The file that `write` or `_alone` leaves behind if the process is killed."""
PATIENCE = 60.0
"""Seconds for which a process waits for another that makes the same code, before it makes it too."""


class Kept(NamedTuple):
    """A file that `write` made.

    Attributes:
        path: where it is.
        engine: "numba" or "cuda", which compiled it; "bench", which measured it.
        size: in bytes.
    """

    path: Path
    engine: str
    size: int


def cache_folder() -> Path | None:
    """Where compiled code is kept: RNNCORE_CACHE_DIR, or the user's cache folder; None if the user has no home."""
    named = os.environ.get("RNNCORE_CACHE_DIR")
    if named:
        return Path(named)
    system, home = platform.system(), os.path.expanduser("~")
    if system == "Windows":
        base = os.environ.get("LOCALAPPDATA", "")
    elif system != "Darwin" and os.environ.get("XDG_CACHE_HOME"):
        base = os.environ["XDG_CACHE_HOME"]
    elif home == "~":
        # The user is none that the system knows.
        base = ""
    else:
        base = os.path.join(home, *(("Library", "Caches") if system == "Darwin" else (".cache",)))
    return Path(base) / "rnncore" if base else None


def read(name: str) -> bytes | None:
    """The content of a file; None where there is none, or a damaged one."""
    folder = cache_folder()
    if folder is not None:
        with contextlib.suppress(OSError):
            content = (folder / name).read_bytes()
            kept, digest = content[:-32], content[-32:]
            if hashlib.sha256(kept).digest() == digest:
                return kept
    return None


def write(name: str, content: bytes) -> None:
    """Keep a file; where the folder cannot be written to, warn of it."""
    folder, reason = cache_folder(), "the user has no home"
    if folder is not None:
        partial = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content + hashlib.sha256(content).digest())
            os.replace(partial, folder / name)
            return
        except OSError as error:
            reason = f"{folder}: {error.strerror or error}"
        finally:
            # Where it was not moved; the folder may be one that cannot even be looked into.
            with contextlib.suppress(OSError):
                partial.unlink()
    warn_once(
        f"compiled code cannot be kept ({reason}), so each process compiles it again, which takes seconds: name a "
        f"folder that can be written to in RNNCORE_CACHE_DIR"
    )


def refusal(folder: Path) -> str:
    """Why nothing can be kept in a folder, there or not yet; "" if it can. Tried, as permissions do not tell all."""
    place = folder
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    made = place / f".{secrets.token_hex(4)}"
    try:
        made.mkdir()
        made.rmdir()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def kept(folder: Path) -> Iterator[Kept]:
    """The files in a folder that `write` made; of a link or a folder by such a name it made neither.

    Raises:
        OSError: the folder is not there or cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            match = NAME.fullmatch(entry.name) or PARTIAL.fullmatch(entry.name)
            if match is None:
                continue
            # Another process may have removed it.
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Kept(folder / entry.name, ENGINES[match[1]], status.st_size)


def key(*parts: str | bytes) -> str:
    """A file name for a content that depends on the given parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part if isinstance(part, bytes) else part.encode()) + b"\0")
    return digest.hexdigest()[:40]


def compiled(suffix: str, folders: Sequence[str], parts: Sequence[str], make: Callable[[], bytes]) -> bytes:
    """Code made by this package: from disk, or made and put there.

    Args:
        suffix: of the file, one of ENGINES.
        folders: of this package, whose modules make it.
        parts: everything else that it depends on.
        make: returns the code.
    """
    name = key(source_digest(*folders), *parts) + suffix
    code = read(name)
    if code is None:
        with _alone(name):
            code = read(name)
            if code is None:
                code = make()
                if is_unchanged(*folders):
                    write(name, code)
    return code


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keep a file's lock, where system and folder have locks: processes that begin at once compile each kernel once."""
    with contextlib.ExitStack() as held:
        if (folder := cache_folder()) is not None:
            with contextlib.suppress(ImportError, OSError):
                _lock(folder / f".{name}.{0:08x}", held)
        yield


def _lock(path: Path, held: contextlib.ExitStack) -> None:
    """Lock a file until `held` ends, or wait for the process that has it, which makes the code, at most PATIENCE.

    Where that could not be kept, on a full disk say, all that have waited make it at once, not one after the other.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    held.callback(os.close, file)
    end, waited = time.monotonic() + PATIENCE, False

    def release() -> None:
        # Not only closed: a fork may have the file open, too.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_UN)

    while time.monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            time.sleep(0.02)
        except OSError:
            # The file system has no locks.
            release()
            return
        else:
            held.callback(release)
            if waited:
                held.close()
            return


@cache
def source_digest(*folders: str) -> bytes:
    """Digest of the version and of the modules in some folders of this package, as this process first saw them.

    Code is made from these. Where they cannot be read, it is a digest that no other process has.
    """
    try:
        return _digest(folders)
    # A loader raises what it likes.
    except Exception:
        return secrets.token_bytes(32)


def is_unchanged(*folders: str) -> bool:
    """Whether the modules are still those of `source_digest`; code made of others must not be kept under it."""
    try:
        return _digest(folders) == source_digest(*folders)
    except Exception:
        return False


def _digest(folders: Iterable[str]) -> bytes:
    digest = hashlib.sha256(__version__.encode() + b"\0")
    for folder in folders:
        spec = find_spec(f"{__package__}.{folder}")
        if spec is None:
            raise LookupError(f"expected a package {folder}, found none")
        for name, content in _modules(spec):
            digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.digest()


def _modules(spec: ModuleSpec) -> Iterator[tuple[str, bytes]]:
    """A module and all below it, by name, as its loader reads it: the source, or compiled code where that is all."""
    loader: Any = spec.loader
    yield spec.name, loader.get_data(spec.origin)
    if spec.submodule_search_locations is None:
        return
    below = sorted(pkgutil.iter_modules(spec.submodule_search_locations), key=lambda module: module.name)
    if not below:
        raise LookupError(f"expected modules in {spec.name}, found none")
    for module in below:
        finder: Any = module.module_finder
        yield from _modules(finder.find_spec(f"{spec.name}.{module.name}"))
