"""From compiled Python to machine code: Numba compiles a kernel, its object code is kept on disk and loaded from there.

Numba's own cache is not used: it raises where no folder is writable, keys on the file of one function and not on what
that function calls, and needs Numba itself (0.4 s of imports) to load what it holds. An object file needs llvmlite.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from .. import cache
from .code.ir import PREFIX, Definition
from .target import LLVM_LOCK, Target

Kernel = Callable[[int, int], None]
"""A compiled kernel: called with the address of its words and the number of the thread; releases the GIL."""

KERNEL_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)

EXTERNAL = frozenset(
    {
        *("memcpy", "memset", "clock_gettime", "sched_yield", "SwitchToThread", "usleep", "Sleep"),
        *("syscall", "sched_getcpu", "sched_getaffinity", "sched_setaffinity", "__ulock_wait", "__ulock_wake"),
    }
)
"""Functions of the C library that kernels call."""

SOURCE = ("codegen", "cpu")
"""Folders of what code is made from."""


class Library:
    """Machine code in memory: addresses of its kernels, and functions that call them."""

    def __init__(self, target: Target, code: bytes, names: Sequence[str]) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(target))
        # Never freed, interrupted or not: the target machine, which others use, would be freed with it, and threads may
        # be in its code when the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self.addresses = {name: int(self._engine.get_function_address(PREFIX + name)) for name in names}
        self.functions: dict[str, Kernel] = {name: KERNEL_TYPE(self.addresses[name]) for name in names}


def load(target: Target, key: str, names: Sequence[str], define: Callable[[], Mapping[str, Definition]]) -> Library:
    """The kernels of a key: from disk, or compiled and put there.

    Args:
        target: what code is made for.
        key: everything that the code depends on, beside this package's own source.
        names: of the functions wanted.
        define: returns the definitions of these and of all that they call, by their names in LLVM.
    """
    parts = key, repr(target), llvmlite.__version__, _numba_version()
    with LLVM_LOCK:
        code = cache.compiled(".o", SOURCE, parts, lambda: _compile(target, names, define()))
        return Library(target, code, names)


@functools.cache
def _numba_version() -> str:
    from importlib.metadata import version

    return version("numba")


@functools.cache
def _machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    chosen = llvm.Target.from_triple(target.triple)
    # Absolute addresses of any size, as it is not known now where the code will be; what Numba's own code has.
    reloc = "static" if target.triple.startswith("x86_64") else "default"
    return chosen.create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


def _compile(target: Target, names: Sequence[str], definitions: Mapping[str, Definition]) -> bytes:
    """Object code of functions, and of all that they call."""
    machine = _machine(target)
    module = llvm.parse_assembly("")
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    wanted, done, finished = [PREFIX + name for name in names], set[str](), []
    while wanted:
        name = wanted.pop()
        if name in done:
            continue
        done.add(name)
        definition = definitions[name]
        for text in _text(definition, target.triple):
            part = llvm.parse_assembly(text)
            part.triple, part.data_layout = module.triple, module.data_layout
            wanted += [f.name for f in part.functions if f.is_declaration and f.name.startswith(PREFIX)]
            if definition.finished:
                finished.append(part)
            else:
                module.link_in(part)
    _hide(module, names)
    # More optimisation than inlining takes time and changes nothing.
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    for part in finished:
        module.link_in(part)
    _hide(module, names)
    unknown = [f.name for f in module.functions if f.is_declaration and not _is_known(f.name)]
    if unknown:
        raise RuntimeError(f"compiled code calls what was not compiled: {', '.join(unknown)}")
    module.verify()
    return bytes(machine.emit_object(module))


def _hide(module: Any, names: Sequence[str]) -> None:
    """Let nobody outside call a module's functions but these."""
    for function in module.functions:
        if not function.is_declaration and function.name.removeprefix(PREFIX) not in names:
            function.linkage = "internal"


def _is_known(name: str) -> bool:
    """Whether a function that code calls is LLVM's own or the C library's."""
    return name.startswith("llvm.") or name in EXTERNAL


@functools.lru_cache(maxsize=256)
def _text(definition: Definition, triple: str) -> tuple[str, ...]:
    """LLVM's text of a function; remembered, as several libraries have the same ones."""
    if definition.python is None:
        return (str(definition.emit(triple)),)
    from .front_end import compile_python

    return compile_python(definition)
