"""The functions of a program: the code of each phase, compiled for the passes."""

from __future__ import annotations

from ...codegen.expression import differently_used
from ...program.program import Code, Program
from ..shape import Shape
from ..values import backward_values, flow_of, forward_values
from .cellcode import PhaseCode, make_code
from .ir import Definition


def make_cell(shape: Shape, program: Program) -> list[Definition]:
    """Those of the forward pass, with what it keeps and without, and of the backward pass."""
    made = []
    for number, phase in enumerate(program.forward.phases):
        blocks = () if phase.product is None else program.products[phase.product].blocks
        fenced, values = differently_used(phase.code, {"saved"}), forward_values(program)
        without = Code(phase.code.nodes, tuple(o for o in phase.code.outputs if o.kind != "saved"))
        for suffix, code in (("", without), ("_keep", phase.code)):
            full = PhaseCode(code, phase.x, blocks, values, program.row_inputs, False, frozenset(), fenced)
            made.append(make_code(shape, full, f"forward_{number}{suffix}"))
    adds = flow_of(program).adds
    for number, phase in enumerate(program.backward.phases):
        if phase.code.outputs:
            added = frozenset(("grad_state", state) for at, state in adds if at == number)
            full = PhaseCode(phase.code, (), (), backward_values(program), program.row_inputs, True, added, frozenset())
            made.append(make_code(shape, full, f"backward_{number}"))
    return made
