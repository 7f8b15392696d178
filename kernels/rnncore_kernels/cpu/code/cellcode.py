"""A stage of a cell on rows of one vector of hidden units, compiled from the cell's expression graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...codegen.expression import emit
from ...codegen.program import Program, StageProgram
from ..shape import Shape
from ..vector import Vector, first_lanes
from .ir import I64, PREFIX, Definition, loop, pointer, word_pointer

FORWARD = (
    "n",
    "pre_x", "pre_x_row",  # columns of what x alone contributes to
    "pre", "pre_row",  # the other columns
    "column",  # distance of columns
    "operand", "rest", "rest_value",  # the first carried value; the others, and their distance
    "next_operand", "next_rest", "next_value",
    "row",  # distance of rows in all of these
    "kept", "kept_row", "kept_value",
    "out_rows", "out_offset", "count",  # table of addresses, or 0; elements written there
)  # fmt: skip
"""Arguments of a stage's forward function: sizes and distances in bytes, addresses of the first row."""

BACKWARD = (
    "n",
    "grad", "grad_value",  # cotangents of what the stage returned, and their distance
    "next_grad", "next_value",  # the same of what it was given; written
    "grad_row",
    "state", "new_state", "state_value", "state_row",
    "kept", "kept_row",
    "pre", "pre_row",  # cotangents of pre-activations; written
    "value",  # distance of values in `kept` and `pre`
    "out_rows", "out_offset", "count",  # cotangent of the output, table of addresses, or 0; valid elements
)  # fmt: skip
"""Arguments of a stage's backward function."""


def make_cell(shape: Shape, program: Program) -> list[Definition]:
    """The functions of a cell's stages: `forward_0`, `forward_0_keep`, `backward_0`, `forward_1` and so on."""
    return [
        definition
        for stage in program.stages
        for definition in (
            make_stage_forward(shape, program, stage, keep=False),
            make_stage_forward(shape, program, stage, keep=True),
            make_stage_backward(shape, program, stage),
        )
    ]


class _Inputs(dict[str, Vector]):
    """Values by name, loaded when they are first needed."""

    def __init__(self, load: Callable[[str, int], Vector]) -> None:
        super().__init__()
        self._load = load

    def __missing__(self, name: str) -> Vector:
        kind = name.rstrip("0123456789") if not name.startswith("pre_") else name
        index = int(name[len(kind) :] or 0)
        value = self[name] = self._load(kind, index)
        return value


def make_stage_forward(shape: Shape, program: Program, stage: StageProgram, keep: bool) -> Definition:
    """The forward function of a stage, keeping what backward needs or not; see FORWARD."""
    last = stage is program.stages[-1]

    def body(b: Any, *arguments: Any) -> None:
        a: dict[str, Any] = dict(zip(FORWARD, arguments, strict=True))
        with loop(b, a["n"]) as turn:

            def at(base: str, row: str, step: Any = None, times: int = 0) -> Any:
                address = b.add(a[base], b.mul(turn, a[row]))
                return pointer(b, address if step is None else b.add(address, b.mul(step, I64(times))))

            def carried(operand: str, rest: str, value: str, index: int) -> Any:
                return at(operand, "row") if index == 0 else at(rest, "row", a[value], index - 1)

            def load(kind: str, index: int) -> Vector:
                if kind.startswith("pre_"):
                    column = stage.pre.index(kind)
                    base = "pre_x" if column < stage.split else "pre"
                    where = at(base, f"{base}_row", a["column"], column)
                else:
                    where = carried("operand", "rest", "rest_value", index)
                return Vector.load(b, shape.target, shape.dtype, where)

            kept = stage.keep if keep else ()
            results = emit((*stage.next_carry, *kept), _Inputs(load))
            for index, value in enumerate(results):
                assert value is not None
                if index < len(stage.next_carry):
                    value.store(carried("next_operand", "next_rest", "next_value", index))
                else:
                    place = stage.kept + index - len(stage.next_carry)
                    value.store(at("kept", "kept_row", a["kept_value"], place))
            if last:
                with b.if_then(b.icmp_signed("!=", a["out_rows"], I64(0))):
                    out = b.load(word_pointer(b, a["out_rows"], turn))
                    results[0].store(pointer(b, out, a["out_offset"]), a["count"])  # type: ignore[union-attr]

    name = f"forward_{program.stages.index(stage)}" + ("_keep" if keep else "")
    return Definition(PREFIX + name, len(FORWARD), returns=False, body=body)


def make_stage_backward(shape: Shape, program: Program, stage: StageProgram) -> Definition:
    """The backward function of a stage; see BACKWARD."""
    last = stage is program.stages[-1]

    def body(b: Any, *arguments: Any) -> None:
        a: dict[str, Any] = dict(zip(BACKWARD, arguments, strict=True))
        with loop(b, a["n"]) as turn:

            def at(base: str, row: str, step: str, times: int) -> Any:
                moved = b.add(b.mul(turn, a[row]), b.mul(a[step], I64(times)))
                return pointer(b, b.add(a[base], moved))

            def load(kind: str, index: int) -> Vector:
                base, row, step = {
                    "grad": ("grad", "grad_row", "grad_value"),
                    "state": ("state", "state_row", "state_value"),
                    "new": ("new_state", "state_row", "state_value"),
                    "kept": ("kept", "kept_row", "value"),
                }[kind]
                return Vector.load(b, shape.target, shape.dtype, at(base, row, step, index))

            inputs = _Inputs(load)
            if last:
                inputs["grad0"] = _add_output(b, shape, a, load("grad", 0), turn)
            results = emit((*stage.grad_pre, *stage.grad_carry), inputs)
            zero = load("grad", 0).constant(0.0)
            for index, value in enumerate(results):
                if index < stage.columns:
                    assert value is not None
                    # Lanes past the last unit may hold anything, and the products run over them.
                    valid = value.select(first_lanes(value, a["count"]), 0.0)
                    valid.store(at("pre", "pre_row", "value", stage.column + index))
                else:
                    place = at("next_grad", "grad_row", "next_value", index - stage.columns)
                    (zero if value is None else value).store(place)

    name = f"backward_{program.stages.index(stage)}"
    return Definition(PREFIX + name, len(BACKWARD), returns=False, body=body)


def _add_output(b: Any, shape: Shape, a: dict[str, Any], grad: Vector, index: Any) -> Vector:
    """The cotangent of h, with that of the output where there is one."""
    before = b.block
    with b.if_then(b.icmp_signed("!=", a["out_rows"], I64(0))):
        out = b.load(word_pointer(b, a["out_rows"], index))
        of_output = Vector.load(b, shape.target, shape.dtype, pointer(b, out, a["out_offset"]), a["count"])
        total = grad + of_output
        inside = b.block
    value = b.phi(grad.value.type)
    value.add_incoming(grad.value, before)
    value.add_incoming(total.value, inside)
    return Vector(b, value, shape.target)
