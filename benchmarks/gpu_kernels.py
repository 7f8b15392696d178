"""What the CUDA kernels take and what a model expects of them, as the tables of docs/gpu.md. Needs no GPU.

    python benchmarks/gpu_kernels.py

Registers and spills are the assembler's, of machine code for each architecture; blocks and shared memory are what the
engine would launch; times are those of the model by which it chooses (`rnncore_kernels.cuda.division`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnncore.cells import GRU, LSTM, Cell, Elman
from rnncore_kernels.codegen.program import Program, make_program
from rnncore_kernels.cuda import toolchain
from rnncore_kernels.cuda.device import Limits
from rnncore_kernels.cuda.kernels import backward_source, forward_source
from rnncore_kernels.cuda.launch import backward_division, forward_division, is_few
from rnncore_kernels.cuda.tile import LANES
from rnncore_kernels.cuda.toolchain import Capability, Source

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0), (12, 0))
CELLS: dict[str, Cell] = {
    "Elman": Elman(),
    "LSTM": LSTM(),
    "GRU, reset after": GRU(),
    "GRU, reset before": GRU(reset="before"),
}
GPUS = {
    "A100": (Limits((8, 0), 108, 166_912), 1.41),
    "H100": (Limits((9, 0), 132, 232_448), 1.755),
    "24 multiprocessors, 8.9": (Limits((8, 9), 24, 101_376), 2.37),
}
"""Multiprocessors, bytes of shared memory that a block may have, and clock in GHz, of NVIDIA's data sheets."""

SHARED_OF_MULTIPROCESSOR = {(8, 0): 167_936, (8, 9): 102_400, (9, 0): 233_472}
THREADS_OF_MULTIPROCESSOR = {(8, 0): 2048, (8, 9): 1536, (9, 0): 2048}
BLOCKS_OF_MULTIPROCESSOR = {(8, 0): 32, (8, 9): 24, (9, 0): 32}
RESERVED_BYTES = 1024
"""By compute capability, see docs/gpu.md."""

POINTS = ((100, 64, 512), (1000, 16, 768), (50, 1, 1024))
"""T, B, H."""

MULTIPLY_ADDS = 128
"""A multiprocessor's in a cycle, in float32."""


def kernel_table() -> Iterator[str]:
    """Registers of a thread, for each kernel and architecture, and the bytes of spilled ones."""
    yield f"| cell | dtype | rows | kernel | {' | '.join(f'sm_{a}{b}' for a, b in CAPABILITIES)} | spilled bytes |"
    yield f"|---|---|---|---|{'---:|' * (len(CAPABILITIES) + 1)}"
    for name, cell in CELLS.items():
        program = make_program(cell)
        for dtype in map(np.dtype, (np.float32, np.float64)):
            for few in (True, False):
                yield from _kernel_rows(name, program, dtype, few)


def _kernel_rows(name: str, program: Program, dtype: np.dtype[Any], few: bool) -> Iterator[str]:
    for source in (forward_source(program, dtype, few), backward_source(program, dtype, few)):
        used = [usage(source, capability) for capability in CAPABILITIES]
        registers = " | ".join(str(count) for count, _ in used)
        kernel = source.name.removeprefix("rnncore_")
        yield f"| {name} | {dtype} | {'few' if few else 'many'} | {kernel} | {registers} | {max(s for _, s in used)} |"


def usage(source: Source, capability: Capability) -> tuple[int, int]:
    """Registers of a thread, and bytes of spilled ones."""
    _, report = toolchain.link(toolchain.ptx(source, capability), capability)
    return toolchain.usage(report)


def resident_blocks(capability: Capability, registers: int, warps: int, shared_bytes: int) -> int:
    """Blocks that a multiprocessor holds at once, by NVIDIA's formula in docs/gpu.md."""
    of_warp = -(-registers * LANES // 256) * 256
    by_registers = (65_536 // 4 // of_warp) * 4 // warps
    by_shared = SHARED_OF_MULTIPROCESSOR[capability] // (-(-(shared_bytes + RESERVED_BYTES) // 128) * 128)
    by_threads = THREADS_OF_MULTIPROCESSOR[capability] // (LANES * warps)
    return min(BLOCKS_OF_MULTIPROCESSOR[capability], by_threads, by_registers, by_shared)


def launch_table() -> Iterator[str]:
    """The LSTM on each GPU: registers, shared memory, blocks, how many fit; of a step FLOPs, bytes, meetings, times."""
    figures = "registers | shared bytes | blocks | fit | MFLOP | KB | meetings | bound | model |"
    yield f"| GPU | T, B, H | pass | impl | {figures}"
    yield f"|---|---|---|---|{'---:|' * figures.count('|')}"
    for gpu, (limits, clock) in GPUS.items():
        for steps, batch, hidden in POINTS:
            program = make_program(LSTM())
            columns = program.columns
            for name, make in (("forward", forward_division), ("backward", backward_division)):
                division = make(limits, program, np.dtype(np.float32), batch, hidden)
                flops = 2 * batch * columns * hidden * hidden
                rows = (division.tiles[0].rows << division.log_rows) * -(
                    -batch // (division.tiles[0].rows << division.log_rows)
                )
                width = columns if name == "backward" else 1
                brought = rows * width * hidden * 4 * division.unit_groups
                if not division.resident:
                    brought += columns * hidden * hidden * 4 * division.row_groups
                bound = flops / (2 * MULTIPLY_ADDS * limits.multiprocessors * clock * 1e3)
                kernel = forward_source if name == "forward" else backward_source
                source = kernel(program, np.dtype(np.float32), is_few(batch))
                registers, _ = usage(source, limits.capability)
                fit = resident_blocks(limits.capability, registers, division.warps, division.shared_bytes)
                yield (
                    f"| {gpu} | {steps}, {batch}, {hidden} | {name} | {division.impl} | {registers} "
                    f"| {division.shared_bytes:,} | {division.blocks} | {fit * limits.multiprocessors} "
                    f"| {flops / 1e6:.1f} | {brought / 1e3:,.0f} "
                    f"| {int(division.unit_groups > 1)} | {bound:.2f} | {division.cycles / clock / 1e3:.1f} |"
                )


if __name__ == "__main__":
    for table in (launch_table, kernel_table):
        for line in table():
            print(line, flush=True)
        print()
