"""A cell as it was when a network was made: its functions' expressions, replayed on the values of any engine.

Replayed, a function reads no global number and draws no random number, so a network computes the same for ever and on
every engine.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..cells import Cell, CellError, Stage, Values, functions
from ..cells.check import call, check_cell
from ..cells.symbol import Symbol
from .expression import OPERATIONS, Node, numbered

OPERATORS = {"add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})", "neg": "(-{})"}
"""Operations of expressions in Python; the others are functions."""

NAMES = {
    "inf": math.inf,
    "nan": math.nan,
    **{name: getattr(functions, name) for name in OPERATIONS if name not in OPERATORS},
}
"""What a replayed function may name."""

MOST_NESTED = 20
"""Operations in one expression of a replayed function; Python's parser refuses some hundred."""

_calls = itertools.count()


@dataclass(frozen=True)
class Replay:
    """A function of a stage, from the expressions of its results.

    Attributes:
        nodes: the operations in their order; an input is named by its place in the arguments, "[0][1]".
        places: of the results among the nodes, None for a result that is None.
        count: number of results in the first of the two tuples.
    """

    nodes: tuple[Node, ...]
    places: tuple[int | None, ...]
    count: int

    def __call__(self, *arguments: Values) -> tuple[Values, Values]:
        results: tuple[Values, Values] = self._function(*arguments)
        return results

    def __reduce__(self) -> Any:
        return Replay, (self.nodes, self.places, self.count)

    @cached_property
    def _function(self) -> Callable[..., Any]:
        """Compiled Python: as fast as what was recorded, where an interpreter of the nodes takes half as long again."""
        found: dict[str, Any] = {}
        exec(self._source(), {**NAMES}, found)
        function: Callable[..., Any] = found["replayed"]
        return function

    def _source(self) -> str:
        """A function of the same arguments; what is used once stands where it is used, so that NumPy can reuse it."""
        uses = Counter(a for _, arguments in self.nodes for a in arguments if isinstance(a, int))
        uses.update(place for place in self.places if place is not None)
        lines: list[str] = []
        texts: list[tuple[str, int]] = []
        for place, (operation, arguments) in enumerate(self.nodes):
            if operation == "input":
                text, nested = f"arguments{arguments[0]}", 0
            else:
                operands = [texts[a] if isinstance(a, int) else (f"({float.fromhex(a)!r})", 0) for a in arguments]
                written = [operand for operand, _ in operands]
                nested = 1 + max(depth for _, depth in operands)
                name = f"{operation}({', '.join(written)})"
                text = OPERATORS[operation].format(*written) if operation in OPERATORS else name
            if uses[place] > 1 or nested == MOST_NESTED:
                lines.append(f"    value{place} = {text}")
                text, nested = f"value{place}", 0
            texts.append((text, nested))
        results = ["None" if place is None else texts[place][0] for place in self.places]
        pair = (f"({''.join(f'{text}, ' for text in part)})" for part in (results[: self.count], results[self.count :]))
        return "\n".join(["def replayed(*arguments):", *lines, f"    return {', '.join(pair)}"])


class RecordedCell(Cell):
    """What `record` made of a cell; equal to another if it computes the same."""

    def __init__(self, name: str, states: tuple[str, ...], stages: tuple[Stage, ...]) -> None:
        self.name, self.states, self.stages = name, states, stages
        self._text = repr((states, stages))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedCell) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        return RecordedCell, (self.name, self.states, self.stages)


def record(cell: Any) -> Cell:
    """Check a cell as `check_cell` does, and record its functions, each twice.

    Raises:
        TypeError: not an instance of Cell.
        CellError: which function is wrong, or not the same twice, what was expected and what came.
    """
    who, states = type(check_cell(cell)).__name__, len(cell.states)
    all_kept = sum(len(stage.kept) for stage in cell.stages)
    stages, carried = [], states
    for number, stage in enumerate(cell.stages):
        forward = _recorded(f"{who}, forward of stage {number}", stage.forward, len(stage.pre), carried)
        passed = states if number == len(cell.stages) - 1 else forward.count
        backward = _recorded(f"{who}, backward of stage {number}", stage.backward, passed, all_kept, states, states)
        stages.append(Stage(stage.gates, forward, backward, stage.kept, stage.split))
        carried = passed
    return check_cell(RecordedCell(cell.name, cell.states, tuple(stages)))


def _recorded(label: str, function: Callable[..., Any], *counts: int) -> Replay:
    first, second = (_traced(label, function, counts) for _ in range(2))
    if first != second:
        once, again = _difference(first, second)
        raise CellError(
            f"{label}: expected the same arithmetic at every call, got {once}, then {again}: it is recorded when a "
            f"network is made, so draw no random number in it and change nothing that it reads; noise is an input"
        )
    return first


def _traced(label: str, function: Callable[..., Any], counts: tuple[int, ...]) -> Replay:
    """One recording, on symbols that no other call has seen."""
    tag = f"{next(_calls)}"
    arguments = [tuple(Symbol("input", f"{tag}[{k}][{i}]") for i in range(count)) for k, count in enumerate(counts)]
    first, second = call(label, function, *arguments)
    nodes: list[Node] = []
    outputs = [value if isinstance(value, Symbol) else None for value in (*first, *second)]
    recorded, results = numbered(outputs)
    for operation, operands in recorded:
        if operation == "input":
            name = str(operands[0])
            if not name.startswith(f"{tag}["):
                raise CellError(f"{label}: expected values computed from the arguments, got one from another call")
            operands = (name.removeprefix(tag),)
        nodes.append((operation, operands))
    return Replay(tuple(nodes), tuple(results), len(first))


def _difference(first: Replay, second: Replay) -> tuple[str, str]:
    """What two recordings differ in, each in a few words."""
    for one, other in zip(first.nodes, second.nodes, strict=False):
        if one != other:
            return _described(one), _described(other)
    return f"{len(first.nodes)} operations", f"{len(second.nodes)}"


def _described(node: Node) -> str:
    operation, arguments = node
    numbers = [repr(float.fromhex(a)) for a in arguments if isinstance(a, str) and operation != "input"]
    return " ".join([operation, *numbers])
