"""Compiled code on disk: files that are whole or not there, in the first folder that can be written to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .host import cache_folders


def read(name: str) -> bytes | None:
    """The content of a file; None where there is none, or a damaged one."""
    for folder in cache_folders():
        with contextlib.suppress(OSError):
            content = (folder / name).read_bytes()
            kept, digest = content[:-32], content[-32:]
            if hashlib.sha256(kept).digest() == digest:
                return kept
    return None


def write(name: str, content: bytes) -> None:
    """Keep a file where a folder can be written to, without an error where none can."""
    for folder in cache_folders():
        partial = folder / f".{name}.{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content + hashlib.sha256(content).digest())
            os.replace(partial, folder / name)
        except OSError:
            # Also where the folder cannot even be looked into.
            with contextlib.suppress(OSError):
                partial.unlink()
        else:
            return


def key(*parts: str | bytes) -> str:
    """A file name for what depends on the given parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part if isinstance(part, bytes) else part.encode()) + b"\0")
    return digest.hexdigest()[:40]


@cache
def source_digest(*folders: str) -> bytes:
    """Digest of the source in some folders of this package, from which code is made."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in _sources(package / folder for folder in folders):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


def _sources(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))
