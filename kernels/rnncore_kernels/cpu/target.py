"""What processor code is made for, asked of LLVM.

LLVM is given a processor's name and a list of features, both of which Numba's environment variables replace. What
follows from the two together (the list may take away what the name implies, or add to it) is LLVM's to know, so a few
instructions are compiled and looked at.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from .amx import permission
from .names import check_names

LLVM_LOCK = threading.RLock()
"""Held while LLVM works: a child forked meanwhile would find LLVM's own lock held by nobody."""

# Sandy Bridge, Ivy Bridge and "nocona", for which Numba turns AVX off by default.
NUMBA_WITHOUT_AVX = frozenset({"corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona"})

PROBE = """
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.fmuladd.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""

ROUND_PROBE = """
define <16 x bfloat> @probe(<16 x float> %a) {
  %r = fptrunc <16 x float> %a to <16 x bfloat>
  ret <16 x bfloat> %r
}
"""

DOT_PROBE = """
define i32 @probe(<64 x i8> %a, <64 x i8> %b) {{
  %x = {extend} <64 x i8> %a to <64 x i32>
  %y = sext <64 x i8> %b to <64 x i32>
  %m = mul nsw <64 x i32> %x, %y
  %r = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %m)
  ret i32 %r
}}
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
"""


@dataclass(frozen=True)
class Target:
    """A processor, as far as the choice of code depends on it.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the processor.
        features: LLVM's list of features, "+name,-name,...", on top of what the processor's name implies.
        vector_bytes: size of a SIMD register; of one float32 where there are none or unknown ones.
        registers: number of SIMD registers.
        fma: whether a multiplication and an addition are one instruction.
        matrix: whether tile registers can be used, those of AMX for bfloat16; only if the features name them.
        bfloat16: whether an instruction multiplies and adds pairs of bfloat16 in such registers (AVX512-BF16, BFDOT).
        int8: the same of four bytes of 32 bits (AVX512-VNNI, AVX-VNNI, SDOT).
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool
    matrix: bool = False
    bfloat16: bool = False
    int8: bool = False

    @property
    def arm(self) -> bool:
        """Whether instructions are those of 64-bit ARM."""
        return _is_arm(self.triple)

    @property
    def avx512(self) -> bool:
        """Whether vectors are those of AVX-512 and its instructions can be used on them."""
        return self.vector_bytes == 64

    def lanes(self, dtype: Any) -> int:
        """Elements of a NumPy dtype in a SIMD register, at least 1."""
        return max(1, self.vector_bytes // int(np.dtype(dtype).itemsize))


def host_target() -> Target:
    """The target of this process: the host, or what NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name instead, now.

    NUMBA_CPU_NAME alone means that processor's own features, not the host's on top of them.

    Raises:
        ValueError: LLVM makes no code for what the variables name; the message has the names that exist.
    """
    named, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    given = named is not None or features is not None
    with LLVM_LOCK:
        triple = llvm.get_process_triple()
        cpu = llvm.get_host_cpu_name() if named is None else named
        if features is None:
            features = _host_features(cpu) if named is None else ""
        if given:
            check_names(triple, cpu, features)
        return target(triple, cpu, features)


@functools.cache
def target(triple: str, cpu: str, features: str) -> Target:
    """The target that LLVM takes these names for.

    Raises:
        RuntimeError: LLVM knows no such triple, or was built without it.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=1)
    assembly = machine.emit_assembly(llvm.parse_assembly(PROBE))
    size, registers, fma = _registers(triple, assembly)
    # LLVM would not tell whether a name alone means these features, but stop the process when they are used.
    matrix = size == 64 and all(_is_named(feature, features) for feature in ("amx-tile", "amx-bf16"))
    matrix = matrix and permission.is_permitted()
    # An instruction that rounds to bfloat16 comes with one that multiplies, in vectors of this size.
    least, rounds = (16, "bfcvtn") if _is_arm(triple) else (64, "vcvtneps2bf16")
    bfloat16 = size >= least and rounds in machine.emit_assembly(llvm.parse_assembly(ROUND_PROBE))
    # Rows have signs on ARM, and are numbers from 0 on elsewhere.
    least, extend, dot = (16, "sext", "sdot") if _is_arm(triple) else (32, "zext", "vpdpbusd")
    int8 = size >= least and dot in machine.emit_assembly(llvm.parse_assembly(DOT_PROBE.format(extend=extend)))
    return Target(triple, cpu, features, size, registers, fma, matrix, bfloat16, int8)


def _is_named(feature: str, features: str) -> bool:
    """Whether the last word of a list about a feature is that it is there."""
    said = [each[0] for each in features.split(",") if each[1:] == feature]
    return said[-1:] == ["+"]


def _is_arm(triple: str) -> bool:
    return triple.partition("-")[0] in ("aarch64", "arm64")


def _registers(triple: str, assembly: str) -> tuple[int, int, bool]:
    """Size and number of the SIMD registers that the probe uses, and whether it is fused."""
    architecture = triple.partition("-")[0]
    if architecture in ("x86_64", "i386", "i686"):
        extended = architecture == "x86_64"
        fma = "vfmadd" in assembly
        if "zmm" in assembly:
            return 64, 32 if extended else 8, fma
        if "ymm" in assembly and fma:
            return 32, 16 if extended else 8, fma
        if "xmm" in assembly or "ymm" in assembly:
            return 16, 16 if extended else 8, fma
    if _is_arm(triple) and "fmla" in assembly and ".4s" in assembly:
        return 16, 32, True
    return 4, 16, False


def _host_features(cpu: str) -> str:
    """The features that Numba passes for the host: LLVM's, without AVX where NUMBA_ENABLE_AVX or the name says so."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:
        return ""
    try:
        avx = bool(int(os.environ["NUMBA_ENABLE_AVX"]))
    except (KeyError, ValueError):
        avx = cpu not in NUMBA_WITHOUT_AVX
    if not avx:
        features.update({name: False for name in features if name.startswith("avx")})
    return str(features.flatten())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LLVM_LOCK.acquire, after_in_parent=LLVM_LOCK.release, after_in_child=LLVM_LOCK.release)
