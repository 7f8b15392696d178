"""Check that a cell's functions return what its declaration says, and use nothing that an engine lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .cell import Cell, CellError, Stage, Values
from .symbol import Symbol


def check_cell(cell: Any) -> Cell:
    """Return `cell` if its functions fit its declaration.

    Every function is called once on symbols. It must return as many values as the stage's gates, `split` and `kept` and
    the cell's `states` say, and compute them with what all engines have.

    Raises:
        TypeError: not an instance of Cell.
        CellError: which function is wrong, what was expected and what came.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        raise TypeError(f"cell: expected an instance of Cell, got the class {cell.__name__}: write {cell.__name__}()")
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected 'rnn', 'lstm', 'gru' or an instance of Cell, got {type(cell).__name__}")
    _check_declaration(cell)
    _check_functions(cell)
    return cell


def _check_declaration(cell: Cell) -> None:
    who = type(cell).__name__
    for attribute in ("name", "states", "stages"):
        if not hasattr(cell, attribute):
            raise CellError(f"{who}: define `{attribute}`")
    if not isinstance(cell.name, str) or not cell.name:
        raise CellError(f"{who}.name: expected a string that identifies the cell, got {cell.name!r}")
    if not isinstance(cell.stages, tuple) or not all(isinstance(stage, Stage) for stage in cell.stages):
        raise CellError(f"{who}.stages: expected a tuple of Stage, got {cell.stages!r:.60}")
    try:
        hash(cell)
    except TypeError as error:
        raise CellError(f"{who}: {error}: write @dataclass(frozen=True) above the class") from None
    for option, value in cell.options.items():
        if not isinstance(value, (str, int, float)):
            raise CellError(f"{who}.{option}: expected an option to be a string or a number, got {value!r:.60}")
    for what, names in (("states", cell.states), ("gates", cell.gates)):
        if not names or not isinstance(names, tuple) or len(set(names)) != len(names):
            raise CellError(f"{who}.{what}: expected a tuple of one or more different names, got {names!r}")
    for stage in cell.stages:
        if not stage.gates:
            raise CellError(f"{who}: expected every stage to have a gate, got one without: compute it in its neighbour")
        if not set(stage.split) <= set(stage.gates):
            raise CellError(f"{who}: split={stage.split!r} names a gate that its stage {stage.gates!r} does not have")
        if len(set(stage.pre)) < len(stage.pre):
            raise CellError(f"{who}: expected different names of pre-activations, got {stage.pre!r}: rename a gate")


def _check_functions(cell: Cell) -> None:
    who, final = type(cell).__name__, len(cell.stages) - 1
    state = carry = _inputs(cell.states)
    kept: Values = ()
    carried = []
    for number, stage in enumerate(cell.stages):
        label = f"{who}, forward of stage {number}"
        carried.append(len(carry))
        carry, kept_here = call(label, stage.forward, _inputs(stage.pre), carry)
        if number < final and not carry:
            raise CellError(f"{label}: expected a carry that begins with the next stage's operand, got no values")
        last = number == final
        _check_values(label, "new state" if last else "carry", carry, cell.states if last else range(len(carry)))
        _check_values(label, "kept", kept_here, stage.kept)
        kept += kept_here
    grad = _inputs(cell.states)
    for number, stage in reversed(list(enumerate(cell.stages))):
        label = f"{who}, backward of stage {number}"
        grad_pre, grad = call(label, stage.backward, grad, kept, state, carry)
        _check_values(label, "gradients of pre-activations", grad_pre, stage.pre)
        names = range(carried[number]) if number else cell.states
        what = "gradients of the carry" if number else "gradients of the state"
        _check_values(label, what, grad, names, optional=True)
        grad = tuple(Symbol("input", "zero") if value is None else value for value in grad)


def _inputs(names: Sequence[str]) -> Values:
    return tuple(Symbol("input", name) for name in names)


def call(label: str, function: Callable[..., Any], *arguments: Values) -> tuple[Values, Values]:
    """The result of a cell's function on symbols; CellError where it raises or returns anything but two tuples."""
    try:
        result = function(*arguments)
    except Exception as error:
        counts = ", ".join(str(len(values)) for values in arguments)
        raise CellError(
            f"{label}: {type(error).__name__}: {error} (called with tuples of {counts} values; all must be computed "
            f"with + - * / and the functions of rnncore.cells)"
        ) from error
    if not (isinstance(result, tuple) and len(result) == 2 and all(isinstance(part, tuple) for part in result)):
        raise CellError(f"{label}: expected a pair of tuples, got {_describe(result)}")
    return result


def _check_values(label: str, what: str, values: Values, names: Sequence[Any], *, optional: bool = False) -> None:
    if len(values) != len(names):
        listed = f" ({', '.join(map(str, names))})" if names else ""
        raise CellError(f"{label}: {what}: expected {len(names)} values{listed}, got {len(values)}")
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Symbol) and not (optional and value is None):
            raise CellError(f"{label}: {what}: {name}: expected a value computed from the arguments, got {value!r:.60}")


def _describe(result: Any) -> str:
    return f"a tuple of {len(result)} values" if isinstance(result, tuple) else type(result).__name__
