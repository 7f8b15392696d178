"""Check that a cell's functions return what its declaration says, before an engine runs or compiles it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cell import Cell, CellError, Stage, Values

_SHAPE = (2, 3)


def pre_names(stage: Stage) -> tuple[str, ...]:
    """Names of the stage's pre-activations, in the order in which `forward` gets them."""
    return tuple(
        part for gate in stage.gates for part in ((f"{gate}_x", f"{gate}_h") if gate in stage.split else (gate,))
    )


def check_cell(cell: Any) -> Cell:
    """Return `cell` if its functions fit its declaration.

    Every function is called once on small float32 arrays; the number, shape and dtype of the values it returns must
    match the stage's gates, `split` and `kept` and the cell's `states`.

    Raises:
        TypeError: not an instance of Cell.
        CellError: a contradiction: which function, what was expected and what came.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        raise TypeError(f"cell: expected an instance of Cell, got the class {cell.__name__}: write {cell.__name__}()")
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected 'rnn', 'lstm', 'gru' or an instance of Cell, got {type(cell).__name__}")
    _check_declaration(cell)
    with np.errstate(all="ignore"):
        _check_functions(cell)
    return cell


def _check_declaration(cell: Cell) -> None:
    who = type(cell).__name__
    for attribute in ("name", "states", "stages"):
        if not hasattr(cell, attribute):
            raise CellError(f"{who}: define `{attribute}`")
    if not isinstance(cell.name, str) or not cell.name:
        raise CellError(f"{who}.name: expected a string that identifies the cell, got {cell.name!r}")
    for what, names in (("states", cell.states), ("gates", cell.gates)):
        if not names or not isinstance(names, tuple) or len(set(names)) != len(names):
            raise CellError(f"{who}.{what}: expected a tuple of one or more different names, got {names!r}")
    for stage in cell.stages:
        if not set(stage.split) <= set(stage.gates):
            raise CellError(f"{who}: split={stage.split!r} names a gate that its stage {stage.gates!r} does not have")


def _check_functions(cell: Cell) -> None:
    who, final = type(cell).__name__, len(cell.stages) - 1
    rng = np.random.default_rng(0)

    def some(count: int) -> Values:
        return tuple(rng.standard_normal(_SHAPE).astype(np.float32) for _ in range(count))

    state = carry = some(len(cell.states))
    kept: Values = ()
    carried = []
    for number, stage in enumerate(cell.stages):
        label = f"{who}, forward of stage {number}"
        carried.append(len(carry))
        carry, kept_here = _pair(label, stage.forward(some(len(pre_names(stage))), carry))
        if number < final and not carry:
            raise CellError(f"{label}: expected a carry that begins with the next stage's operand, got no values")
        _check_values(label, "new state", carry, cell.states if number == final else range(len(carry)))
        _check_values(label, "kept", kept_here, stage.kept)
        kept += kept_here
    grad = some(len(cell.states))
    for number, stage in reversed(list(enumerate(cell.stages))):
        label = f"{who}, backward of stage {number}"
        grad_pre, grad = _pair(label, stage.backward(grad, kept, state, carry))
        _check_values(label, "gradients of pre-activations", grad_pre, pre_names(stage))
        names = cell.states if number == 0 else range(carried[number])
        _check_values(label, "gradients of the carry", grad, names, optional=True)
        grad = tuple(np.zeros(_SHAPE, np.float32) if value is None else value for value in grad)


def _pair(label: str, result: Any) -> tuple[Values, Values]:
    if not (isinstance(result, tuple) and len(result) == 2 and all(isinstance(part, tuple) for part in result)):
        raise CellError(f"{label}: expected a pair of tuples, got {result!r:.80}")
    return result


def _check_values(label: str, what: str, values: Values, names: Sequence[Any], *, optional: bool = False) -> None:
    if len(values) != len(names):
        listed = f" ({', '.join(map(str, names))})" if names else ""
        raise CellError(f"{label}: {what}: expected {len(names)} values{listed}, got {len(values)}")
    for name, value in zip(names, values, strict=True):
        if optional and value is None:
            continue
        if not isinstance(value, np.ndarray) or value.shape != _SHAPE or value.dtype != np.float32:
            got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise CellError(f"{label}: {what}: {name}: expected float32 {_SHAPE} like the arguments, got {got}")
