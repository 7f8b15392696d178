"""The phases of a step as a kernel computes them: products, sums, code and barriers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from ..cells.symbol import Width
from ..program.program import Code, Output, Pass, Phase, Program


@dataclass(frozen=True)
class Visit:
    """A phase of a step: every block visits its rows and units, and computes for each.

    Attributes:
        width: units of the values that code computes.
        code: computed for each row and unit.
        product: the product that is computed first, transposed in the backward pass; None for none.
        into: the state whose cotangent the product of the step before is added to, here where that cotangent is first
            read; None where the product is of this step.
        settles: whether other visits read this cotangent too, so that the sum is written.
        totals: sums over units that code reads.
        kept: those of them that the backward pass reads and no earlier visit has kept, with their places there.
        summed: sums over units of values that code writes.
        waits: whether blocks that share rows wait for each other before it.
        begins: numbers of the states whose new value is written here first; later visits add to it.
    """

    width: Width
    code: Code
    product: int | None
    into: int | None
    settles: bool
    totals: tuple[int, ...]
    kept: tuple[tuple[int, int], ...]
    summed: tuple[int, ...]
    waits: bool
    begins: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Steps:
    """A pass over the steps of a program, forward or backward; there is one for equal programs.

    Attributes:
        program: the cell.
        backward: whether it is the backward pass.
        visits: of each step, in order.
    """

    program: Program
    backward: bool
    visits: tuple[Visit, ...]

    @property
    def values(self) -> Pass:
        """The pass in the program."""
        return self.program.backward if self.backward else self.program.forward

    @property
    def turns_more(self) -> int:
        """1 if there is a turn behind the last, for the product that it adds to the states' cotangents; else 0."""
        return int(any(visit.into is not None for visit in self.visits))

    def sums_of(self, visit: Visit) -> int:
        """Sums of a row and unit: the blocks of the visit's product; 1 without one, and where it is transposed."""
        return 1 if visit.product is None or self.backward else len(self.program.products[visit.product].blocks)


@cache
def forward_steps(program: Program) -> Steps:
    """The forward pass. Without a product of a state, blocks need nothing of each other from step to step."""
    kept: set[int] = set()
    visits = []
    for number, phase in enumerate(program.forward.phases):
        here = tuple((t, program.kept_totals.index(t)) for t in phase.totals if t in program.kept_totals)
        visit = _visit(program.forward, phase, "total")
        begins = tuple(output.number for output in phase.code.outputs if output.kind == "new")
        waits = phase.meets or (number == 0 and bool(program.products))
        visits.append(replace(visit, kept=here, waits=waits, begins=begins))
        kept.update(phase.totals)
    return Steps(program, False, tuple(visits))


@cache
def backward_steps(program: Program) -> Steps:
    """The backward pass.

    A transposed product that is added to a state's cotangent at the end of a step is computed in the next, in the visit
    that reads it first: its sums need not be written.
    """
    phases = [_with_code(program, phase) for phase in program.backward.phases]
    late = None
    if phases and program.backward.phases[-1].into is not None:
        late = next(
            (n for n, phase in enumerate(phases) if _is_first(phases, n) and phase.width == phases[-1].width), None
        )
    last = None if late is None else phases.pop()
    phases = _with_zeros(program, phases)
    begun: set[int] = set()
    visits = []
    for number, phase in enumerate(phases):
        states = tuple(output.number for output in phase.code.outputs if output.kind == "grad_state")
        begins = tuple(state for state in states if state not in begun)
        begun.update(states)
        visit = replace(_visit(program.backward, phase, "grad_total"), begins=begins)
        if number == late and last is not None and last.into is not None:
            others = (other for n, other in enumerate(phases) if n != number)
            settles = any(("grad", last.into) in other.code.reads() for other in others)
            visit = replace(visit, product=last.product, into=last.into, settles=settles, waits=True)
        visits.append(visit)
    return Steps(program, True, tuple(visits))


def _visit(values: Pass, phase: Phase, total: str) -> Visit:
    totals = tuple(dict.fromkeys(index for kind, index in phase.code.reads() if kind == total))
    carried = {output.number for output in phase.code.outputs if output.kind == "carried"}
    summed = tuple(total for total, value in enumerate(values.totals) if value in carried)
    return Visit(phase.width, phase.code, phase.product, None, False, totals, (), summed, phase.meets, ())


def _with_code(program: Program, phase: Phase) -> Phase:
    """A phase of the backward pass; where it adds a product to a state's cotangent, with the code that says so."""
    if phase.into is None or phase.product is None:
        return phase
    code = Code((("back", (phase.product,)),), (Output("grad_state", phase.into, 0),))
    return replace(phase, width=program.states[phase.into], code=code)


def _is_first(phases: list[Phase], number: int) -> bool:
    """Whether a phase comes before all that read values of other units."""
    return not any(phase.meets for phase in phases[: number + 1])


def _with_zeros(program: Program, phases: list[Phase]) -> list[Phase]:
    """The phases, where cotangents that nothing else contributes to are 0."""
    written = {o.number for phase in phases for o in phase.code.outputs if o.kind == "grad_state"}
    result = list(phases)
    for state, width in enumerate(program.states):
        if state in written:
            continue
        number = next((n for n, phase in enumerate(result) if phase.width == width), None)
        if number is None:
            number = len(result)
            result.append(Phase(None, None, (), (), width, Code((), ()), False))
        code = result[number].code
        nodes = (*code.nodes, ("number", (0.0,)))
        outputs = (*code.outputs, Output("grad_state", state, len(code.nodes)))
        result[number] = replace(result[number], code=Code(nodes, outputs))
    return result
