"""Files that are written whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path


def is_device(path: Path) -> bool:
    """Whether there is something that is written to as it is, a pipe say, and cannot be replaced."""
    return path.exists() and not path.is_file()


def replace(path: Path, data: bytes) -> None:
    """Write a file: what was there before stays until all is written. A link stays one, and a file keeps its mode.

    Raises:
        OSError: it cannot be written; nothing has changed, unless it is a device.
    """
    target = path.resolve()
    if is_device(target):
        target.write_bytes(data)
        return
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(data)
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
