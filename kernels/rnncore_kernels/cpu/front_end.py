"""From a Python function of integers to LLVM's text: the only place that touches Numba's compiler.

Numba is told of integers alone. To load what it knows of arrays, strings and the rest, of which each operator has some,
takes longer than to compile the kernels.
"""

from __future__ import annotations

from typing import Any

import numba.cpython.builtins
import numba.cpython.numbers
import numba.cpython.rangeobj
import numba.cpython.tupleobj  # noqa: F401
from llvmlite import ir
from numba.core import typed_passes, types, untyped_passes
from numba.core.compiler import Compiler, Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.cpu import CPUContext
from numba.core.typing import builtins, templates
from numba.core.typing.context import BaseContext

from .code.emitted import BUILTINS, Native, Structure, field, numba_types, set_field
from .code.ir import BYTE, I64, Definition

FLAGS = {
    "nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "no_compile": True,
    "error_model": "numpy",
}
"""No reference counts, no wrappers for Python and C, no linking, and no exception on division by zero."""

PASSES = (
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
"""Numba's passes, as far as loops over integers need them: the others take a sixth of the time."""

_registry = templates.Registry()
_registry.functions += [each for each in templates.builtin_registry.functions if each.__module__ == builtins.__name__]
_registry.globals += templates.builtin_registry.globals


class _Types(BaseContext):  # type: ignore[misc]
    """The types of what a function says; a signature is looked up once, not at each place."""

    def __init__(self) -> None:
        self._signatures: dict[Any, Any] = {}
        super().__init__()

    def _load_builtins(self) -> None:
        self.install_registry(_registry)

    def resolve_value_type(self, val: Any) -> Any:
        native = BUILTINS.get(val) if callable(val) else None
        return native or super().resolve_value_type(val)

    def resolve_getattr(self, typ: Any, attr: str) -> Any:
        if isinstance(typ, Structure):
            return types.int64 if attr in typ.fields else None
        return super().resolve_getattr(typ, attr)

    def resolve_setattr(self, target: Any, attr: str, value: Any) -> Any:
        fits = isinstance(target, Structure) and attr in target.fields
        return types.void(target, types.int64) if fits else super().resolve_setattr(target, attr, value)

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        if kws:
            return super().resolve_function_type(func, args, kws)
        place = func, tuple(types.unliteral(arg) for arg in args)
        if place not in self._signatures:
            self._signatures[place] = super().resolve_function_type(*place, kws)
        return self._signatures[place]


class _Instructions(CPUContext):  # type: ignore[misc]
    """What LLVM is told for them."""

    def __init__(self, types: _Types) -> None:
        self._known: set[Native] = set()
        super().__init__(types, "cpu")

    def load_additional_registries(self) -> None:
        """What is needed was imported above."""

    def post_lowering(self, mod: Any, library: Any) -> None:
        """Nothing of Numba's runtime is needed."""

    def get_getattr(self, typ: Any, attr: str) -> Any:
        return field if isinstance(typ, Structure) else super().get_getattr(typ, attr)

    def get_setattr(self, attr: str, sig: Any) -> Any:
        kind = sig.args[0]
        if not isinstance(kind, Structure):
            return super().get_setattr(attr, sig)
        return lambda builder, values: set_field(self, builder, kind, attr, values)

    def cast(self, builder: Any, val: Any, fromty: Any, toty: Any) -> Any:
        """An address of a structure may be taken for one of its beginning, or for an integer."""
        return val if isinstance(fromty, Structure) else super().cast(builder, val, fromty, toty)

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        if isinstance(fn, Native) and fn not in self._known:
            self.insert_func_defn([(fn.generate, fn.get_impl_key(sig), sig.args)])
            self._known.add(fn)
        return super().get_function(fn, sig, _firstcall)


class _Pipeline(Compiler):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        manager = PassManager("integers")
        for each in PASSES:
            manager.add_pass(each, each.__name__)
        manager.finalize()
        return [manager]


_types = _Types()
_instructions = _Instructions(_types)


def compile_python(definition: Definition) -> tuple[str, ...]:
    """LLVM's text of a compiled function, and of one that calls it."""
    flags = Flags()
    for option, setting in FLAGS.items():
        setattr(flags, option, setting)
    arguments, result = numba_types(definition)
    # What a function calls comes after it: the linker drops a function that nobody has called yet.
    texts: list[str] = []
    with global_compiler_lock:
        library = _instructions.codegen().create_library(definition.name)
        # Numba would parse, optimise, link and load each function on its own; here all are linked first.
        library.add_ir_module = lambda module: texts.append(str(module))
        compiled = compile_extra(
            _types, _instructions, definition.python, arguments, result, flags, {}, library, pipeline_class=_Pipeline
        )
    return (_caller(definition, compiled.fndesc.llvm_func_name), *texts)


def _caller(definition: Definition, name: str) -> str:
    """Numba's functions take places for a result and for an exception; these have no exceptions."""
    module = ir.Module()
    outer = definition.declare(module)
    kind = ir.FunctionType(ir.IntType(32), [I64.as_pointer(), BYTE.as_pointer(), *[I64] * definition.arity])
    inner = ir.Function(module, kind, name)
    builder = ir.IRBuilder(outer.append_basic_block())
    value, nothing = builder.alloca(I64), builder.alloca(BYTE, 16)
    builder.call(inner, [value, nothing, *outer.args])
    builder.ret(builder.load(value)) if definition.returns else builder.ret_void()
    return str(module)
