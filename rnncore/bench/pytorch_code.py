"""A cell's equations as Python code of PyTorch's operations: the code that a user writes for a cell that PyTorch lacks.

There is an operation for each node of the recorded graph, but one product for each operand, and one operation for a
layer norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnncore_kernels.cells.symbol import Symbol, ordered
from rnncore_kernels.program.record import Recorded

OPERATIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "relu": "torch.relu({})",
    "log_sigmoid": "functional.logsigmoid({})",
    "softplus": "functional.softplus({})",
    "silu": "functional.silu({})",
    "maximum": "torch.maximum({}, {})",
    "minimum": "torch.minimum({}, {})",
    "clamp": "torch.clamp({}, {}, {})",
    "where_greater": "torch.where({} > {}, {}, {})",
    "where_greater_equal": "torch.where({} >= {}, {}, {})",
    "total": "{}.sum(1, keepdim=True)",
    **{name: f"torch.{name}({{}})" for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "abs", "sin", "cos")},
}
"""Expressions in the arguments, names and numbers."""

BOUNDS = {"maximum": "min", "minimum": "max"}
"""Arguments of `torch.clamp`, for operations that take tensors alone where the cell has a number."""


class Source:
    """The code of a cell: a function of a layer's weights that returns the function of a step.

    Attributes:
        matrices: gates whose recurrent weights are the rows of each matrix that `make` takes, with a bias each.
        x_gates, h_gates: gates that have input weights, and recurrent weights, in the order of the rows.
        text: the code of `make(*matrices and biases, *units, *scalars, *projections)`; it returns
            `step(x, *states, *row inputs, *unit inputs)`.
    """

    def __init__(self, recorded: Recorded) -> None:
        self._names: dict[Symbol, str] = {}
        self._lines: list[str] = []
        self._reads_x = False
        self._norms = {n: norm for n in ordered(recorded.outputs) if (norm := _layer_norm(n)) is not None}
        self._nodes = self._needed(recorded.outputs)
        self.matrices: list[list[str]] = []
        self.x_gates, self.h_gates = (
            [g for g in recorded.names["gates"] if any(_is_of(n, g, "gate", part) for n in self._nodes)]
            for part in ("x", "recurrent")
        )
        for node in self._nodes:
            self._emit(node)
        if self._reads_x:
            self._lines.insert(0, _taken_apart([f"x_{gate}" for gate in self.x_gates], "x"))
        self._lines.append(f"return {', '.join(self._names[output] for output in recorded.outputs)},")
        self.text = self._text(recorded)

    def _text(self, recorded: Recorded) -> str:
        """The functions around the lines."""

        def declared(**kinds: str) -> list[str]:
            return [f"{kind}_{name}" for kind, attribute in kinds.items() for name in recorded.names[attribute]]

        weights = [part for k in range(len(self.matrices)) for part in (f"w{k}", f"b{k}")]
        weights += declared(unit="units", scalar="scalars") + [f"matrix_{name}" for name in recorded.graph.projections]
        given = ["x", *declared(state="states", row="row_inputs", unit_input="unit_inputs")]
        body = "\n        ".join(self._lines)
        return f"def make({', '.join(weights)}):\n    def step({', '.join(given)}):\n        {body}\n    return step\n"

    def _needed(self, outputs: Sequence[Symbol]) -> list[Symbol]:
        """The nodes that code computes, each behind its arguments: not those inside of a layer norm."""
        needed, pending = set[Symbol](), [*outputs]
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending += [s for s in self._norms[node][:3] if s is not None] if node in self._norms else node.sources
        return [node for node in ordered(outputs) if node in needed]

    def _emit(self, node: Symbol) -> None:
        """Add the lines that compute a node, and its name."""
        name, kind, arguments = f"v{len(self._names)}", node.operation, node.arguments
        if node in self._norms:
            v, *affine, eps = self._norms[node]
            weights = ", ".join("None" if s is None else self._names[s] for s in affine)
            of = self._names[v]
            self._line(f"{name} = functional.layer_norm({of}, {of}.shape[1:], {weights}, {eps!r})")
        elif kind in ("state", "unit", "scalar", "row", "unit_input", "x"):
            name = f"{kind}_{arguments[0]}"
            self._reads_x |= kind == "x"
        elif kind == "inverse_size":
            name = kind
        elif kind == "number":
            name = repr(arguments[0])
        elif kind in ("gate", "recurrent"):
            name = self._product(node)
        elif kind == "project":
            self._line(f"{name} = functional.linear({self._names[arguments[1]]}, matrix_{arguments[0]})")
        elif kind == "heaviside":
            self._line(f"{name} = Spike.apply({self._names[arguments[0]]}, {self._surrogate(node, name)})")
        else:
            numbers = [repr(v) for v in arguments if not isinstance(v, Symbol)]
            values = [self._names[v] if isinstance(v, Symbol) else repr(v) for v in arguments]
            expression = OPERATIONS[kind].format(*values)
            if kind in BOUNDS and numbers:
                expression = f"torch.clamp({self._names[node.sources[0]]}, {BOUNDS[kind]}={numbers[0]})"
            self._line(f"{name} = {expression}")
        self._names[node] = name

    def _line(self, text: str) -> None:
        self._lines.append(text)

    def _product(self, node: Symbol) -> str:
        """The name of a gate's sum. Its product comes with those of all gates that multiply the same operand."""
        operand = node.sources[0]
        of = self._names[operand]
        blocks = [n for n in self._nodes if n.operation in ("gate", "recurrent") and n.sources[0] is operand]
        gates = [g for g in self.h_gates if any(n.arguments[0] == g for n in blocks)]
        fused = gates == self.x_gates and all(n.operation == "gate" for n in blocks)
        if node is blocks[0]:
            number = len(self.matrices)
            self.matrices.append(gates)
            product = f"functional.linear({of}, w{number}, b{number})"
            self._line(_taken_apart([f"{g}_of_{of}" for g in gates], f"x + {product}" if fused else product))
        name = f"{node.arguments[0]}_of_{of}"
        if node.operation == "gate" and not fused:
            self._reads_x = True
            self._line(f"sum_{name} = x_{node.arguments[0]} + {name}")
            name = f"sum_{name}"
        return name

    def _surrogate(self, node: Symbol, name: str) -> str:
        """A function that computes the surrogate's derivative, from values of the step."""
        if node.extra is None:
            return "lambda: 0.0"
        outer, self._lines = self._lines, []
        for inner in ordered([node.extra], self._names):
            if inner not in self._names:
                self._emit(inner)
        lines = [*self._lines, f"return {self._names[node.extra]}"]
        self._lines = [*outer, f"def surrogate_{name}():", *(f"    {line}" for line in lines)]
        return f"surrogate_{name}"


Norm = tuple[Symbol, Symbol | None, Symbol | None, float]
"""A layer norm: the value, gain and shift where there are, and epsilon."""


def _layer_norm(node: Any) -> Norm | None:
    """The layer norm that `cells.layer_norm` has recorded as a node; PyTorch has one operation for it."""
    value, shift = _arguments(node, "add")
    if _is_unit(shift) and (norm := _layer_norm(value)) is not None and norm[1] is not None and norm[2] is None:
        return norm[0], norm[1], shift, norm[3]
    centred, factor = _arguments(node, "mul")
    if _is_unit(factor) and (norm := _layer_norm(centred)) is not None and norm[1] is None:
        return norm[0], factor, None, norm[3]
    one, deviation = _arguments(factor, "div")
    variance, eps = _arguments(_arguments(deviation, "sqrt")[0], "add")
    square, other = _arguments(_mean_of(variance), "mul")
    v, mean = _arguments(centred, "sub")
    matches = isinstance(one, float) and one == 1.0 and square is centred and other is centred and _mean_of(mean) is v
    if v is None or not matches or not isinstance(eps, float):
        return None
    return v, None, None, eps


def _arguments(node: Any, operation: str) -> tuple[Any, ...]:
    """The arguments of a node of an operation; pairs of None of any other."""
    is_one = isinstance(node, Symbol) and node.operation == operation
    return node.arguments if is_one else (None, None)


def _mean_of(node: Any) -> Any:
    """The value whose mean over the units a node is; None of any other."""
    total, factor = _arguments(node, "mul")
    is_mean = isinstance(factor, float) or (isinstance(factor, Symbol) and factor.operation == "inverse_size")
    return _arguments(total, "total")[0] if is_mean else None


def _is_unit(node: Any) -> bool:
    return isinstance(node, Symbol) and node.operation == "unit"


def _is_of(node: Symbol, gate: str, *kinds: str) -> bool:
    return node.operation in kinds and node.arguments[0] == gate


def _taken_apart(names: Sequence[str], value: str) -> str:
    """A line that gives names to the parts of a value, gates side by side."""
    return f"{names[0]} = {value}" if len(names) == 1 else f"{', '.join(names)} = ({value}).chunk({len(names)}, 1)"
