"""Run a cell's `step` once, on symbols, and check all that it declares and does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from keyword import iskeyword
from numbers import Real
from pathlib import Path
from typing import Any

from ..cells.cell import KINDS, Cell, CellError, FunctionCell, names
from ..cells.symbol import HIDDEN, ROW, Graph, Symbol, Width, ordered
from .graphs import Line, flattened, rebuilt

PACKAGE = Path(__file__).resolve().parents[1]
LEAVES = {"units": ("unit", HIDDEN), "scalars": ("scalar", ROW), "row_inputs": ("row", ROW)}
LEAVES["unit_inputs"] = ("unit_input", HIDDEN)
"""Kind and width of the leaves of the graph, by the attribute of a cell that names them."""

GRAD, FLOW = "(gradient)", "(flow)"
"""Beginnings of the names of unit inputs that stand for cotangents of states at each step, see `transform.changed`."""

RESERVED = frozenset({"weight_ih", "weight_hh", "bias_ih", "bias_hh"})


@dataclass(frozen=True)
class Recorded:
    """The equations of a cell.

    Attributes:
        names: the declared names, by attribute of `Cell`.
        initial: the number that a unit parameter or scalar begins with.
        graph: the nodes.
        outputs: the new states.
    """

    names: dict[str, tuple[str, ...]]
    initial: dict[str, float]
    graph: Graph
    outputs: tuple[Symbol, ...]

    def __reduce__(self) -> Any:
        # As plain data: a graph is too deep for pickle, which recurses.
        observed = self.graph.observed
        flat = flattened([*self.outputs, *observed.values()])
        return _recorded, (self.names, self.initial, self.graph.projections, tuple(observed), *flat)


def _recorded(
    names: dict[str, tuple[str, ...]],
    initial: dict[str, float],
    projections: dict[str, tuple[Width, Width]],
    observed: Sequence[str],
    lines: Sequence[Line],
    places: Sequence[int],
) -> Recorded:
    """The equations that were pickled or copied."""
    graph = Graph()
    values = rebuilt(graph, lines, places)
    graph.projections.update(projections)
    count = len(names["states"])
    graph.observed.update(zip(observed, values[count:], strict=True))
    return Recorded(names, initial, graph, values[:count])


def record(cell: Any) -> Recorded:
    """The equations of a cell.

    Raises:
        TypeError: not an instance of Cell.
        CellError: what is wrong with its declaration or its `step`, with the line of the latter.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        raise TypeError(f"cell: expected an instance of Cell, got the class {cell.__name__}: write {cell.__name__}()")
    if not isinstance(cell, Cell):
        hint = ": make a cell of it with @rnncore.cells.cell(states=..., gates=...)" if callable(cell) else ""
        raise TypeError(f"cell: expected the name of a cell or an instance of Cell, got {type(cell).__name__}{hint}")
    declared = _declared(cell)
    initial = _initial(cell, declared)
    parameters = list(_parameters(cell, declared))
    graph, outputs = _run(cell, declared, parameters)
    _check_used(cell, declared, outputs, graph)
    return Recorded(declared, initial, graph, outputs)


def label(cell: Cell) -> str:
    """The name of a cell in a message."""
    return type(cell).__name__ if type(cell).__name__ != "FunctionCell" else cell.name


def _declared(cell: Cell) -> dict[str, tuple[str, ...]]:
    who = label(cell)
    if not isinstance(cell.name, str) or not cell.name:
        raise CellError(f"{who}.name: expected a string that identifies the cell, got {cell.name!r}")
    for option, value in cell.options.items():
        if not isinstance(value, str | int | float | None):
            raise CellError(f"{who}.{option}: expected an option to be a string, a number or None, got {value!r:.60}")
    undeclared = [name for name in vars(cell) if not hasattr(type(cell), name)]
    if undeclared and not is_dataclass(cell) and not isinstance(cell, FunctionCell):
        # A file would not hold them, and take a cell with others for the same.
        raise CellError(f"{who}.{undeclared[0]}: expected options to be fields: write @dataclass(frozen=True)")
    try:
        hash(cell)
    except TypeError as error:
        raise CellError(f"{who}: {error}: write @dataclass(frozen=True) above the class") from None
    if not callable(getattr(cell, "step", None)):
        raise CellError(f"{who}: define `step`, the equations of one time step")
    declared: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for kind in KINDS:
        try:
            value = getattr(cell, kind)
        except Exception as error:
            raise CellError(f"{who}.{kind}: {_line(error)}{type(error).__name__}: {error}") from error
        if not isinstance(value, str | tuple | list) or not all(isinstance(n, str) for n in names(value)):
            raise CellError(f"{who}.{kind}: expected a string of names or a tuple of them, got {value!r:.60}")
        declared[kind] = names(value)
        for name in declared[kind]:
            if not name.isidentifier() or iskeyword(name):
                raise CellError(
                    f"{who}.{kind}: expected names that a parameter can have, with spaces between, got {name!r}"
                )
            if name in RESERVED:
                raise CellError(f"{who}.{kind}: expected other names than those of the gates' weights, got {name!r}")
            if name in owner:
                raise CellError(f"{who}: expected different names, got {name!r} in {owner[name]} and in {kind}")
            owner[name] = kind
    if not declared["states"]:
        raise CellError(f"{who}.states: expected one or more names, got none: a cell carries a state")
    return declared


def _initial(cell: Cell, declared: dict[str, tuple[str, ...]]) -> dict[str, float]:
    who, learnable = label(cell), declared["units"] + declared["scalars"]
    result: dict[str, float] = {}
    if not isinstance(cell.initial, Mapping):
        raise CellError(f"{who}.initial: expected numbers by name, as in {{'p': 1.0}}, got {cell.initial!r:.60}")
    for name, value in cell.initial.items():
        if name not in learnable:
            raise CellError(f"{who}.initial: expected names of units or scalars ({', '.join(learnable)}), got {name!r}")
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
            raise CellError(f"{who}.initial[{name!r}]: expected a finite number, got {value!r:.60}")
        result[name] = float(value)
    return result


def _parameters(cell: Cell, declared: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Names of the parameters of `step` that are declared."""
    who, known = label(cell), {name for kind in KINDS for name in declared[kind]}
    for parameter in inspect.signature(cell.step).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise CellError(f"{who}.step: expected parameters that are named, got {parameter}")
        if parameter.name in known:
            yield parameter.name
        elif parameter.default is parameter.empty:
            hint = "the input reaches a cell through its gates" if parameter.name == "x" else ""
            raise CellError(
                f"{who}.step: expected parameters named after {', '.join(sorted(known))}, got {parameter.name!r}: "
                f"{hint or 'declare it in one of ' + ', '.join(KINDS)}"
            )


def _run(cell: Cell, declared: dict[str, tuple[str, ...]], parameters: list[str]) -> tuple[Graph, tuple[Symbol, ...]]:
    """The graph of two equal runs, with states as wide as the values that are returned for them."""
    count = len(declared["states"])
    widths: tuple[Width, ...] = (HIDDEN,) * count
    for _ in range(3):
        graph, outputs = _once(cell, declared, parameters, widths)
        returned = tuple(output.width for output in outputs)
        if returned == widths:
            break
        widths = returned
    else:
        raise CellError(f"{label(cell)}.step: expected states that keep their widths, got others at each step")
    _, others = _once(cell, declared, parameters, widths)
    if repr(flattened(outputs)) != repr(flattened(others)):
        raise CellError(
            f"{label(cell)}.step: expected the same arithmetic at every call: it is recorded when a network is made, "
            f"so draw no random number in it and change nothing that it reads; noise is an input"
        )
    return graph, outputs


def _once(
    cell: Cell, declared: dict[str, tuple[str, ...]], parameters: list[str], widths: tuple[Width, ...]
) -> tuple[Graph, tuple[Symbol, ...]]:
    who, graph, states = label(cell), Graph(), declared["states"]
    values = {n: graph.node("state", n, width=w) for n, w in zip(states, widths, strict=True)}
    output = values[states[0]]
    values |= {name: graph.node("gate", name, output, width=HIDDEN) for name in declared["gates"]}
    for kind, (operation, width) in LEAVES.items():
        values |= {name: graph.node(operation, name, width=width) for name in declared[kind]}
    try:
        result = cell.step(**{name: values[name] for name in parameters})
    except Exception as error:
        raise CellError(f"{who}.step: {_line(error)}{type(error).__name__}: {_plain(error)}") from error
    returned = tuple(result) if isinstance(result, tuple | list) else (result,)
    if len(returned) != len(states):
        got = f"{len(returned)} values" if isinstance(result, tuple | list) else f"one value, {result!r:.60}"
        raise CellError(f"{who}.step: expected to return the new states ({', '.join(states)}), got {got}")
    for name, value in zip(states, returned, strict=True):
        if not isinstance(value, Symbol) or value.graph is not graph:
            raise CellError(f"{who}.step: {name}: expected a value computed from the arguments, got {value!r:.60}")
        if value.width == ROW:
            raise CellError(f"{who}.step: {name}: expected a value with units, got one number a row")
    return graph, returned


def _check_used(cell: Cell, declared: dict[str, tuple[str, ...]], outputs: tuple[Symbol, ...], graph: Graph) -> None:
    used = {str(node.arguments[0]) for node in ordered([*outputs, *graph.observed.values()]) if node.arguments}
    for kind in KINDS[1:]:
        for name in declared[kind]:
            if name not in used:
                raise CellError(f"{label(cell)}.{kind}: {name!r} is declared, but nothing that step returns uses it")
    computed = {node.arguments[0] for node in ordered(outputs) if node.operation == "project"}
    for name in graph.projections:
        if name not in computed:
            raise CellError(f"{label(cell)}.step: the result of project({name!r}, ...) is not used by what it returns")
    there = set(_gate_parts(ordered(outputs)))
    surrogates = [node.extra for node in ordered(outputs) if node.extra is not None]
    others = {"heaviside: surrogate": (surrogates, "the surrogate"), "observe": (graph.observed.values(), "it")}
    for where, (values, who) in others.items():
        for name, *product in _gate_parts(ordered(values)):
            if (name, *product) not in there:
                part = f"the product of {name} with a value" if product else f"{name}.x"
                raise CellError(
                    f"{label(cell)}.step: {where}: expected parts of gates that step returns something of, got {part}, "
                    f"which {who} alone uses"
                )


def _gate_parts(nodes: list[Symbol]) -> Iterator[tuple[Any, ...]]:
    """The parts of gates in nodes: a gate's name for its part of x, its name and the operand for a product."""
    for node in nodes:
        if node.operation in ("gate", "x"):
            yield (node.arguments[0],)
        if node.operation in ("gate", "recurrent"):
            yield node.arguments


def _plain(error: BaseException) -> str:
    if "__array_ufunc__" in str(error):
        return "a function of NumPy computes arrays, not values of a cell: use the functions of rnncore.cells"
    return str(error)


def _line(error: BaseException) -> str:
    """The innermost line of the user's own code in a traceback, with its place."""
    import linecache
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not Path(frame.filename).is_relative_to(PACKAGE):
            text = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
            return f"{Path(frame.filename).name}, line {frame.lineno}: {text}: "
    return ""


__all__ = ["Recorded", "label", "record"]
