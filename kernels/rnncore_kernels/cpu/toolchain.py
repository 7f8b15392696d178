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
from ..codegen.front_end import remembered_operators
from .code.ir import PREFIX, Definition
from .target import LLVM_LOCK, Target

Kernel = Callable[[int, int], None]
"""A compiled kernel: called with the address of its words and the number of the thread; releases the GIL."""

KERNEL_TYPE = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)

EXTERNAL = frozenset({"memcpy", "memset", "read", "write", "sched_yield", "SwitchToThread"})
"""Functions of the C library that kernels call."""

SOURCE = ("codegen", "cpu")
"""Folders of what code is made from."""

FLAGS = {
    "nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "no_compile": True,
    "error_model": "numpy",
}
"""Numba's: no reference counts, no wrappers for Python and C, no linking, and no exception on division by zero."""


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
    name = _file_name(target, key)
    with LLVM_LOCK:
        code = cache.read(name)
        if code is None:
            code = _compile(target, names, define())
            if cache.is_unchanged(*SOURCE):
                cache.write(name, code)
        return Library(target, code, names)


def _file_name(target: Target, name: str) -> str:
    digest = cache.source_digest(*SOURCE)
    return f"{cache.key(digest, name, repr(target), llvmlite.__version__, _numba_version())}.o"


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
    wanted, done = [PREFIX + name for name in names], set[str]()
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
            module.link_in(part)
    unknown = [f.name for f in module.functions if f.is_declaration and not _is_known(f.name)]
    if unknown:
        raise RuntimeError(f"compiled code calls what was not compiled: {', '.join(unknown)}")
    for function in module.functions:
        if not function.is_declaration and function.name.removeprefix(PREFIX) not in names:
            function.linkage = "internal"
    # Tiles are written as they should run; more optimisation than inlining takes time and changes nothing.
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    module.verify()
    return bytes(machine.emit_object(module))


def _is_known(name: str) -> bool:
    """Whether a function that code calls is LLVM's own or the C library's."""
    return name.startswith("llvm.") or name in EXTERNAL


@functools.lru_cache(maxsize=256)
def _text(definition: Definition, triple: str) -> tuple[str, ...]:
    """LLVM's text of a function; remembered, as several libraries have the same ones."""
    return (str(definition.emit(triple)),) if definition.python is None else _compile_python(definition)


@functools.cache
def _pipeline() -> Any:
    """Numba's passes, as far as loops over integers need them: a sixth of the time goes into the others."""
    from numba.core import typed_passes, untyped_passes
    from numba.core.compiler import CompilerBase
    from numba.core.compiler_machinery import PassManager

    passes = (
        untyped_passes.TranslateByteCode,
        untyped_passes.FixupArgs,
        untyped_passes.IRProcessing,
        untyped_passes.ReconstructSSA,
        typed_passes.NopythonTypeInference,
        typed_passes.PreLowerStripPhis,
        typed_passes.IRLegalization,
        typed_passes.NativeLowering,
        typed_passes.NoPythonBackend,
    )

    class Pipeline(CompilerBase):  # type: ignore[misc]
        def define_pipelines(self) -> list[Any]:
            manager = PassManager("integers")
            for each in passes:
                manager.add_pass(each, each.__name__)
            manager.finalize()
            return [manager]

    return Pipeline


def _compile_python(definition: Definition) -> tuple[str, ...]:
    """LLVM's text of a compiled function, and of one that calls it. The only place that touches Numba's compiler."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.compiler import Flags, compile_extra
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    flags = Flags()
    for option, setting in FLAGS.items():
        setattr(flags, option, setting)
    result = types.int64 if definition.returns else types.void
    arguments = (types.int64,) * definition.arity
    typing, target = cpu_target.typing_context, cpu_target.target_context
    with global_compiler_lock, remembered_operators(typing):
        compiled = compile_extra(
            typing, target, definition.python, arguments, result, flags, {}, pipeline_class=_pipeline()
        )
        # Numba would link, optimise and load the function at once; here all are linked first.
        # What it calls comes after it: the linker drops a function that nobody has called yet.
        parts = [compiled.library._final_module]
        parts += [library._get_module_for_linking() for library in compiled.library._linking_libraries]
    # Numba's functions take places for a result and for an exception; these have no exceptions.
    word = ir.IntType(64)
    caller = ir.Module()
    outer = definition.declare(caller)
    place = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.IntType(32), [word.as_pointer(), place, *[word] * definition.arity])
    inner = ir.Function(caller, kind, compiled.fndesc.llvm_func_name)
    builder = ir.IRBuilder(outer.append_basic_block())
    value = builder.alloca(word)
    nothing = builder.alloca(ir.IntType(8), 16)
    builder.call(inner, [value, nothing, *outer.args])
    builder.ret(builder.load(value)) if definition.returns else builder.ret_void()
    return (str(caller), *map(str, parts))
