"""A cell as a network computes it: what was recorded of it when the network was made."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from rnncore_kernels.cells import CELLS, Cell, CellError
from rnncore_kernels.program.program import Program
from rnncore_kernels.program.record import Recorded, record
from rnncore_kernels.program.transform import NOTHING, Changes, changed, with_draws, with_zoneout

from .errors import did_you_mean


@dataclass(frozen=True, eq=False)
class Definition:
    """A cell, its names, and the program that engines run.

    The program is plain data: a copied or unpickled network computes what was recorded, whatever became of the cell.

    Attributes:
        cell: the cell that the user gave, or one of the library's.
        program: the equations, forward and backward.
        states, gates, units, scalars, row_inputs, unit_inputs: the declared names.
        inputs: names of all that a call is given beside x.
        projections: names of the matrices of `project`.
        initial: the number that a unit parameter or scalar begins with, by name.
        recorded: the equations.
        zoneout: probability that a unit keeps its value in training, of each state.
        recurrent_dropout: probability of dropping a unit of what recurrent weights multiply, in training.
    """

    cell: Cell
    program: Program
    states: tuple[str, ...]
    gates: tuple[str, ...]
    units: tuple[str, ...]
    scalars: tuple[str, ...]
    row_inputs: tuple[str, ...]
    unit_inputs: tuple[str, ...]
    inputs: tuple[str, ...]
    projections: tuple[str, ...]
    initial: dict[str, float]
    recorded: Recorded
    zoneout: tuple[float, ...]
    recurrent_dropout: float
    _changed: dict[Changes, Program] = field(default_factory=dict, init=False)

    def changed(self, changes: Changes) -> Program:
        """The program with changes; made when it is first asked for."""
        if changes == NOTHING:
            return self.program
        if changes not in self._changed:
            recorded = self._expected
            if changes.drawn and self.draws:
                recorded = with_draws(self.recorded, self.zoneout, self.recurrent_dropout)
            self._changed[changes] = _derive(changed(recorded, changes))
        return self._changed[changes]

    @functools.cached_property
    def draws(self) -> bool:
        """Whether the equations of training draw random numbers."""
        return any(self.zoneout) or self.recurrent_dropout > 0

    @property
    def _expected(self) -> Recorded:
        """The equations of inference."""
        return with_zoneout(self.recorded, self.zoneout) if any(self.zoneout) else self.recorded

    def regularised(self, zoneout: tuple[float, ...], recurrent_dropout: float) -> Definition:
        """The cell with zoneout, at the rate of each state, and recurrent dropout."""
        if (self.zoneout, self.recurrent_dropout) == (zoneout, recurrent_dropout):
            return self
        made = replace(self, zoneout=zoneout, recurrent_dropout=recurrent_dropout)
        return replace(made, program=_derive(made._expected))

    def without_draws(self) -> Definition:
        """The cell whose training computes what inference does."""
        rates = (0.0,) * len(self.states)
        return replace(self, recorded=self._expected, zoneout=rates, recurrent_dropout=0.0) if self.draws else self


def define(cell: str | Cell | Definition) -> Definition:
    """The definition of a cell, or of one of the library's by its name; a definition is returned as it is.

    Raises:
        ValueError: no such name; CellError for what is wrong with the cell.
        TypeError: something else than a cell.
    """
    if isinstance(cell, Definition):
        return cell
    if isinstance(cell, str):
        if cell not in CELLS:
            known = ", ".join(map(repr, CELLS))
            raise ValueError(
                f"cell: expected one of {known} or an instance of Cell, got {cell!r}{did_you_mean(cell, CELLS)}"
            )
        cell = CELLS[cell]()
    # A cell of one's own may read numbers that change: it is recorded anew for each network.
    shipped = isinstance(cell, Cell) and CELLS.get(cell.name) is type(cell)
    return _library(cell) if shipped else _define(cell, record(cell))


@functools.lru_cache(maxsize=256)
def _library(cell: Cell) -> Definition:
    return _define(cell, record(cell))


def _derive(recorded: Recorded) -> Program:
    # What a network needs, and `import rnncore` does not, is imported when a network is made.
    from rnncore_kernels.program.derive import derive

    return derive(recorded)


def _define(cell: Cell, recorded: Recorded) -> Definition:
    projections = tuple(recorded.graph.projections)
    learnable = recorded.names["units"] + recorded.names["scalars"]
    for name in projections:
        if f"weight_{name}" in learnable:
            raise CellError(
                f"{cell!r}: expected different names of parameters, got weight_{name} for the matrix of "
                f"project({name!r}, ...) and for what is declared: rename one of them"
            )
    return Definition(
        cell=cell,
        program=_derive(recorded),
        projections=projections,
        inputs=recorded.names["row_inputs"] + recorded.names["unit_inputs"],
        initial=recorded.initial,
        recorded=recorded,
        zoneout=(0.0,) * len(recorded.names["states"]),
        recurrent_dropout=0.0,
        **recorded.names,
    )


DEFINITIONS: dict[str, Definition] = {}
"""Cells that graphs of other libraries refer to, by a text that is the same for the same equations in any process."""


def cell_key(definition: Definition) -> str:
    """The key of a definition in `DEFINITIONS`, where it is put."""
    import hashlib

    digest = hashlib.sha256(definition.program.text.encode()).hexdigest()[:16]
    key = f"{definition.cell!r} {' '.join(definition.states)} {digest}"
    DEFINITIONS.setdefault(key, definition)
    return key
