"""Small functions on vectors, compiled with LLVM alone for several processors and called on arrays."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from rnncore_kernels.cpu.target import Target, target
from rnncore_kernels.cpu.vector import ELEMENTS, Vector

Array = NDArray[Any]

REQUIRED = {
    "skylake-avx512": ("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "adx"),
    "haswell": ("avx2", "fma", "bmi", "bmi2", "lzcnt", "movbe", "f16c"),
    "x86-64": ("sse2",),
}
X86 = llvm.get_process_triple().startswith("x86_64")
HOST = target(llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
X86_TARGETS = {name: target(HOST.triple, name, "") for name in REQUIRED} if X86 else {}
PRESENT = llvm.get_host_cpu_features()
TARGETS = {
    "scalar": dataclasses.replace(HOST, vector_bytes=4),
    **{name: made for name, made in X86_TARGETS.items() if all(PRESENT.get(f, False) for f in REQUIRED[name])},
    **({} if X86 else {"host": HOST}),
}
DTYPES = ("float32", "float64")
Body = Callable[[Any, Any, Any, Any], None]


def parsed(made_for: Target, bodies: dict[str, Body], dtype: str) -> tuple[Any, Any]:
    """LLVM's optimised module, and machine, of functions (pointer in, pointer out, i64) with the given bodies."""
    module = ir.Module()
    module.triple = made_for.triple
    pointer = ELEMENTS[np.dtype(dtype)].as_pointer()
    for name, body in bodies.items():
        signature = ir.FunctionType(ir.VoidType(), [pointer, pointer, ir.IntType(64)])
        function = ir.Function(module, signature, f"test_{name}")
        builder = ir.IRBuilder(function.append_basic_block())
        body(builder, *function.args)
        builder.ret_void()
    reference = llvm.parse_assembly(str(module))
    reference.verify()
    machine = llvm.Target.from_triple(made_for.triple).create_target_machine(
        cpu=made_for.cpu, features=made_for.features, opt=3, jit=True
    )
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(reference, passes)
    return reference, machine


class Compiled:
    """Functions (array in, array out, number) with the given bodies, in one module."""

    def __init__(self, made_for: Target, bodies: dict[str, Body], dtype: str) -> None:
        self.engine = llvm.create_mcjit_compiler(*parsed(made_for, bodies, dtype))
        self.engine.finalize_object()

    def __call__(self, name: str, given: Array, result: Array, number: int = 0) -> Array:
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        function = prototype(self.engine.get_function_address(f"test_{name}"))
        function(given.ctypes.data, result.ctypes.data, number)
        return result


def loop(made_for: Target, dtype: str, function: Callable[..., Vector], operands: int = 1) -> Body:
    """Apply a function to `number` elements, a multiple of the lanes, of as many arrays, one behind the other."""

    def body(builder: Any, given: Any, result: Any, number: Any) -> None:
        i64 = ir.IntType(64)
        entry, inner, end = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(inner)
        builder.position_at_end(inner)
        index = builder.phi(i64)
        index.add_incoming(i64(0), entry)
        places = [builder.add(index, builder.mul(i64(k), number)) for k in range(operands)]
        vectors = [Vector.load(builder, made_for, dtype, element(builder, given, p, dtype)) for p in places]
        function(*vectors).store(element(builder, result, index, dtype))
        following = builder.add(index, i64(made_for.lanes(dtype)))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, number), inner, end)
        builder.position_at_end(end)

    return body


def element(builder: Any, pointer: Any, index: Any, dtype: str) -> Any:
    return builder.gep(pointer, [index], source_etype=ELEMENTS[np.dtype(dtype)])
