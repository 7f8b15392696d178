"""What compiled code asks of the operating system and the processor, for systems that are not here too."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from rnncore_kernels.cpu.code import system
from rnncore_kernels.cpu.code.emitted import Function
from rnncore_kernels.cpu.toolchain import EXTERNAL

FUNCTIONS = {name: value for name, value in vars(system).items() if isinstance(value, Function)}

TRIPLES = {
    "x86_64-unknown-linux-gnu": {"syscall", "clock_gettime", "sched_yield", "sched_getaffinity"},
    "aarch64-unknown-linux-gnu": {"syscall", "clock_gettime", "sched_yield", "sched_getaffinity"},
    "riscv64-unknown-linux-gnu": {"syscall", "clock_gettime", "sched_yield", "sched_getaffinity"},
    "s390x-ibm-linux-gnu": {"sched_yield"},  # the low half of a word comes second
    "arm64-apple-darwin23": {"__ulock_wait", "__ulock_wake", "clock_gettime", "sched_yield"},
    "x86_64-pc-windows-msvc": {"SwitchToThread"},
}


@pytest.mark.parametrize("triple", TRIPLES)
def test_every_function_is_machine_code(triple: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = llvm.Target.from_triple(triple).create_target_machine()
    except RuntimeError as error:
        pytest.skip(f"LLVM has no such target here: {error}")
    called = set[str]()
    assert len(FUNCTIONS) >= 12
    for function in FUNCTIONS.values():
        module = llvm.parse_assembly(str(function._numba_type_.definition.emit(triple)))
        module.verify()
        assert machine.emit_object(module)
        called |= {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    assert called <= EXTERNAL
    assert TRIPLES[triple] <= called
