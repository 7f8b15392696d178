"""What the CUDA kernels take and what a model expects of them, as the tables of docs/gpu.md. Needs no GPU.

    python benchmarks/gpu_kernels.py

Registers and spills are the assembler's, of machine code for each architecture; blocks and shared memory are what the
engine would launch; times are those of the model by which it chooses (`rnncore_kernels.cuda.plan`). It fails where
a kernel of any of the library's cells has something that is in `UNWANTED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore.verification.networks import VARIANTS
from rnncore_kernels.contract import Sizes
from rnncore_kernels.cuda import compiler
from rnncore_kernels.cuda.compiler import Capability, Source
from rnncore_kernels.cuda.device import GpuLimits
from rnncore_kernels.cuda.launch import is_few, plan_of
from rnncore_kernels.cuda.libraries import make_source
from rnncore_kernels.cuda.steps import backward_steps, forward_steps
from rnncore_kernels.cuda.tile import LANES
from rnncore_kernels.program.derive import make_program

CAPABILITIES: tuple[Capability, ...] = ((7, 5), (8, 0), (9, 0), (10, 0), (12, 0))
CELLS: dict[str, list[Cell]] = {
    "Elman": [Elman(name) for name in ("tanh", "relu", "sigmoid", "identity")],
    "LSTM": [LSTM()],
    "GRU, reset after": [GRU("candidate", "after"), GRU("carry", "after")],
    "GRU, reset before": [GRU("candidate", "before"), GRU("carry", "before")],
}
"""The cells of the register table, in all variants."""

OTHERS = {name: cell for name, cell in VARIANTS.items() if cell not in [c for cells in CELLS.values() for c in cells]}
"""The library's other cells, whose kernels are shown in float32 for many rows alone."""

UNWANTED = (r"\.local", r"\b(div|rem)\.[su]64", r"\bcall\b")
"""Memory of a thread, 64-bit division, functions that were not inlined; and in float32 `DOUBLE`."""

DOUBLE = r"\.f64"
GPUS = {
    "A100": (GpuLimits((8, 0), 108, 166_912), 1.41),
    "H100": (GpuLimits((9, 0), 132, 232_448), 1.755),
    "24 multiprocessors, 8.9": (GpuLimits((8, 9), 24, 101_376), 2.37),
}
"""Multiprocessors, bytes of shared memory that a block may have, and clock in GHz, of NVIDIA's data sheets."""

SHARED_OF_MULTIPROCESSOR = {(8, 0): 167_936, (8, 9): 102_400, (9, 0): 233_472}
THREADS_OF_MULTIPROCESSOR = {(8, 0): 2048, (8, 9): 1536, (9, 0): 2048}
BLOCKS_OF_MULTIPROCESSOR = {(8, 0): 32, (8, 9): 24, (9, 0): 32}
RESERVED_BYTES = 1024
"""By compute capability, see docs/gpu.md."""

POINTS = ((100, 64, 512), (1000, 16, 768), (50, 1, 1024))
"""T, B, H."""

PASSES = {"forward": forward_steps, "backward": backward_steps}

MULTIPLY_ADDS = 128
"""A multiprocessor's in a cycle, in float32."""


def kernel_table() -> Iterator[str]:
    """Most registers of a thread in any variant of a cell, for each kernel and architecture; most bytes spilled."""
    yield f"| cell | dtype | rows | kernel | {' | '.join(f'sm_{a}{b}' for a, b in CAPABILITIES)} | spilled bytes |"
    yield f"|---|---|---|---|{'---:|' * (len(CAPABILITIES) + 1)}"
    for name, cells in CELLS.items():
        programs = [make_program(cell) for cell in cells]
        for dtype in map(np.dtype, (np.float32, np.float64)):
            for few in (True, False):
                for kernel, steps_of in PASSES.items():
                    sources = [make_source(steps_of(program), dtype, few) for program in programs]
                    used = [[usage(source, dtype, capability) for source in sources] for capability in CAPABILITIES]
                    registers = " | ".join(str(max(count for count, _ in each)) for each in used)
                    spilled = max(count for each in used for _, count in each)
                    rows = "few" if few else "many"
                    yield f"| {name} | {dtype} | {rows} | {kernel} | {registers} | {spilled} |"


def other_table() -> Iterator[str]:
    """Most registers of a thread on any architecture in the kernels of other cells, and most bytes spilled."""
    yield "| cell | forward | backward | spilled bytes |"
    yield "|---|---:|---:|---:|"
    dtype = np.dtype(np.float32)
    for name, cell in OTHERS.items():
        sources = [make_source(steps_of(make_program(cell)), dtype, False) for steps_of in PASSES.values()]
        used = [[usage(source, dtype, capability) for capability in CAPABILITIES] for source in sources]
        registers = " | ".join(str(max(count for count, _ in each)) for each in used)
        yield f"| {name} | {registers} | {max(spilled for each in used for _, spilled in each)} |"


def usage(source: Source, dtype: np.dtype[Any], capability: Capability) -> tuple[int, int]:
    """Registers of a thread, and bytes of spilled ones.

    Raises:
        ValueError: the kernel has what is unwanted.
    """
    text = compiler.ptx(source, capability)
    for pattern in (*UNWANTED, DOUBLE) if dtype == np.float32 else UNWANTED:
        if found := re.search(pattern, text):
            raise ValueError(f"{source.name} {source.key} for {capability}: {found[0]}")
    _, report = compiler.link(text, capability)
    return compiler.usage(report)


def resident_blocks(capability: Capability, registers: int, warps: int, shared_bytes: int) -> int:
    """Blocks that a multiprocessor holds at once, by NVIDIA's formula in docs/gpu.md."""
    of_warp = -(-registers * LANES // 256) * 256
    by_registers = (65_536 // 4 // of_warp) * 4 // warps
    by_shared = SHARED_OF_MULTIPROCESSOR[capability] // (-(-(shared_bytes + RESERVED_BYTES) // 128) * 128)
    by_threads = THREADS_OF_MULTIPROCESSOR[capability] // (LANES * warps)
    return min(BLOCKS_OF_MULTIPROCESSOR[capability], by_threads, by_registers, by_shared)


def launch_table() -> Iterator[str]:
    """The LSTM on each GPU: sizes of a launch, how many blocks fit; of a step FLOPs, bytes, barriers, times."""
    figures = "threads | registers | shared bytes | blocks | fit | MFLOP | KB | barriers | bound | model |"
    yield f"| GPU | T, B, H | pass | impl | {figures}"
    yield f"|---|---|---|---|{'---:|' * figures.count('|')}"
    for gpu, (limits, clock) in GPUS.items():
        for steps, batch, hidden in POINTS:
            program, dtype = make_program(LSTM()), np.dtype(np.float32)
            columns = len(program.blocks)
            for name, steps_of in PASSES.items():
                plan = plan_of(limits, steps_of(program), Sizes(hidden, hidden, dtype), batch)
                flops = 2 * batch * columns * hidden * hidden
                tile = plan.work.tile
                row_slices = -(-batch // (tile.rows << plan.log_rows))
                unit_slices = -(-hidden // (tile.units << plan.log_units))
                # Each slice of units needs the whole operand, each of rows all weights that do not stay.
                brought = batch * hidden * 4 * (columns if name == "backward" else 1) * unit_slices
                if not plan.resident:
                    brought += columns * hidden * hidden * 4 * row_slices
                bound = flops / (2 * MULTIPLY_ADDS * limits.multiprocessors * clock * 1e3)
                registers, _ = usage(make_source(steps_of(program), dtype, is_few(batch)), dtype, limits.capability)
                fit = resident_blocks(limits.capability, registers, plan.warps, plan.shared_bytes)
                yield (
                    f"| {gpu} | {steps}, {batch}, {hidden} | {name} | {plan.impl} | {LANES * plan.warps} "
                    f"| {registers} | {plan.shared_bytes:,} | {plan.blocks} | {fit * limits.multiprocessors} "
                    f"| {flops / 1e6:.1f} | {brought / 1e3:,.0f} "
                    f"| {int(plan.unit_groups > 1)} | {bound:.2f} | {plan.cycles / clock / 1e3:.1f} |"
                )


if __name__ == "__main__":
    for table in (launch_table, kernel_table, other_table):
        for line in table():
            print(line, flush=True)
        print()
