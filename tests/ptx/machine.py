"""From LLVM's text to machine code, kept on disk where RNNCORE_CACHE_DIR or the user's cache folder allows."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import secrets
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from rnncore_kernels.cache import cache_folder
from rnncore_kernels.cpu import toolchain
from rnncore_kernels.cpu.code.ir import PREFIX
from rnncore_kernels.cpu.target import Target, host_target

from .translate import STEP, Translation
from .translate.emitter import RUNTIME

LAUNCH = "ptx.launch"

OPTIMISATION = 1
"""LLVM's level of code generation: what takes the least time in all for kernels that run for some milliseconds."""


@functools.cache
def source_digest(folder: str = ".") -> bytes:
    """Digest of the executor's source, or of a folder of it."""
    digest = hashlib.sha256(llvmlite.__version__.encode())
    here = Path(__file__).parent / folder
    for path in sorted(here.rglob("*.py")):
        digest.update(path.relative_to(here).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.digest()


@functools.cache
def runtime() -> Any:
    """The function that launches: of the address of a launch's record. The first call in a process loads the runtime."""
    names = [name.removeprefix("rnncore.") for name in _called_by_kernels()] + [LAUNCH]

    def define() -> Any:
        from rnncore_kernels.cpu.code.emitted import DEFINITIONS

        from .runtime import schedule, strong

        assert schedule
        assert strong
        return DEFINITIONS

    library = toolchain.load(_target(), f"ptx {source_digest('runtime').hex()}", names, define)
    for name in names:
        llvm.add_symbol(PREFIX + name, library.addresses[name])
    return library.functions[LAUNCH]


def _called_by_kernels() -> list[str]:
    spaces = ("global", "shared", "local", "generic")
    names = [f"{what}_{space}" for what in ("load", "store") for space in spaces]
    names += ["load_constant", "strong", "poll", "fence", "sleep", "fail", "noise", "ticks"]
    return [RUNTIME + name for name in names]


def read(key: str) -> tuple[Translation, bytes] | None:
    """What was kept under a key: a translation with its machine code."""
    if (folder := cache_folder()) is not None:
        with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, AttributeError, ValueError):
            content = (folder / _file_name(key)).read_bytes()
            if hashlib.sha256(content[:-32]).digest() == content[-32:]:
                found: tuple[Translation, bytes] = pickle.loads(content[:-32])
                return found
    return None


def write(key: str, translation: Translation, code: bytes) -> None:
    """Keep it, whole or not at all."""
    content = pickle.dumps((translation, code))
    if (folder := cache_folder()) is not None:
        partial = folder / f".{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content + hashlib.sha256(content).digest())
            os.replace(partial, folder / _file_name(key))
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()


def _file_name(key: str) -> str:
    digest = hashlib.sha256(source_digest() + repr(_target()).encode() + key.encode())
    return f"ptx-{digest.hexdigest()[:40]}.bin"


def compile_text(text: str) -> bytes:
    """Machine code of a module."""
    machine = _compiler()
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = llvm.get_process_triple(), str(machine.target_data)
    module.verify()
    return bytes(machine.emit_object(module))


@functools.cache
def _compiler() -> Any:
    """The machine that compiles; one that loads code belongs to what it loads."""
    return _machine()


class Loaded:
    """Machine code in memory, as long as this object lives; `address` is the kernel's."""

    def __init__(self, code: bytes) -> None:
        runtime()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self.address = int(self._engine.get_function_address(STEP))


@functools.cache
def _target() -> Target:
    return host_target()


def _machine() -> Any:
    target = _target()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = llvm.Target.from_triple(target.triple)
    # Absolute addresses of any size, as it is not known now where the code will be.
    reloc = "static" if target.triple.startswith("x86_64") else "default"
    return chosen.create_target_machine(
        cpu=target.cpu, features=target.features, opt=OPTIMISATION, reloc=reloc, codemodel="jitdefault", jit=True
    )
