"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from pathlib import Path


def is_device(path: Path) -> bool:
    """Whether there is something that is written to as it is, a pipe say, and cannot be replaced."""
    return path.exists() and not path.is_file()


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file: what was there before stays until all is written. A link stays one, and a file keeps its mode.

    Raises:
        OSError: it cannot be written; nothing has changed, unless it is a device.
    """
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected a file in a folder that exists, found no {target.parent}")
    if is_device(target):
        target.write_bytes(data)
        return
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(data)
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    except OSError as error:
        # Nobody knows the other name.
        if error.filename is not None:
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def of_torch(path: str | os.PathLike[str]) -> str:
    """What to do about a file that torch.save wrote, to end a message; empty for others."""
    with open(path, "rb") as file:
        is_pickle = file.read(1) == b"\x80"
    if not is_pickle and not zipfile.is_zipfile(path):
        return ""
    return ": it looks like one of torch.save, whose mapping torch.load(path, weights_only=True) gives"
