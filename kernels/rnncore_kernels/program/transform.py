"""Changes of a cell's recorded equations that every engine then runs, as it runs any cell's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..cells.symbol import HIDDEN, ROW, Symbol, Width, ordered
from ..codegen.philox import BITS, least
from .graphs import rewritten, substituted
from .record import FLOW, GRAD, Recorded

RESET = "(reset)"
"""Name of the row input that says which rows begin anew; no cell's own has such a name."""

COUNTERS = ("(row)", "(step)", "(key 0)", "(key 1)")
"""Names of the row inputs that random numbers are drawn from: bits of integers, see `codegen.functions.uniform`."""


class Changes(NamedTuple):
    """What a program computes beside the equations of its cell.

    Attributes:
        resets: whether rows may begin anew, see `with_resets`.
        reset_state: whether they begin with states that are given.
        states: whether every state has a cotangent at each step, as the output has.
        flow: whether the cotangent of each state at each step is a result.
        observed: whether what can be observed are states behind the cell's own.
        ready: whether the gates' parts of x are given, see `with_ready_x`.
        drawn: whether zoneout and recurrent dropout draw random numbers, as in training.
    """

    resets: bool = False
    reset_state: bool = False
    states: bool = False
    flow: bool = False
    observed: bool = False
    ready: bool = False
    drawn: bool = False


NOTHING = Changes()


def changed(recorded: Recorded, changes: Changes) -> Recorded:
    """The equations with changes.

    Cotangents of states are given to the backward pass as unit inputs behind all others, one for each state but the
    output; those that it returns are gradients of unit inputs, one for each state, whose values nothing reads.
    """
    if changes.observed:
        recorded = with_observed(recorded)
    if changes.ready:
        recorded = with_ready_x(recorded)
    if changes.resets:
        recorded = with_resets(recorded, given=changes.reset_state)
    states, more = recorded.names["states"], list[str]()
    more += [f"{GRAD} {name}" for name in states[1:]] if changes.states else []
    more += [f"{FLOW} {name}" for name in states] if changes.flow else []
    names = recorded.names | {"unit_inputs": (*recorded.names["unit_inputs"], *more)}
    return Recorded(names, recorded.initial, recorded.graph, recorded.outputs)


def observable(recorded: Recorded) -> dict[str, Symbol]:
    """By name: pre-activations of gates that a step uses as a whole, and what the cell observes."""
    nodes, found = ordered(recorded.outputs), dict[str, Symbol]()
    for gate in recorded.names["gates"]:
        whole = [node for node in nodes if node.operation == "gate" and node.arguments[0] == gate]
        if len(whole) == 1:
            found[gate] = whole[0]
    return found | recorded.graph.observed


def with_observed(recorded: Recorded) -> Recorded:
    """The equations of a cell whose last states are what can be observed, read by no step; all with units."""
    graph, found = recorded.graph, observable(recorded)
    zero = graph.node("number", 0.0, width=HIDDEN)
    values = (graph.apply("add", v, zero) if v.width == ROW else v for v in found.values())
    names = recorded.names | {"states": (*recorded.names["states"], *(f"(observed) {name}" for name in found))}
    return Recorded(names, recorded.initial, graph, (*recorded.outputs, *values))


def with_ready_x(recorded: Recorded) -> Recorded:
    """The equations of a cell whose gates' parts of x, W_ih x + b_ih, are unit inputs, in front of the cell's own."""
    graph, ready = recorded.graph, set[str]()

    def rule(node: Symbol, arguments: tuple[Any, ...]) -> Symbol | None:
        if node.operation not in ("gate", "x"):
            return None
        ready.add(arguments[0])
        x = graph.node("unit_input", f"(x) {arguments[0]}", width=HIDDEN)
        return x if node.operation == "x" else graph.apply("add", x, graph.node("recurrent", *arguments, width=HIDDEN))

    outputs = rewritten(graph, recorded.outputs, rule)
    parts = (f"(x) {gate}" for gate in recorded.names["gates"] if gate in ready)
    names = recorded.names | {"unit_inputs": (*parts, *recorded.names["unit_inputs"])}
    return Recorded(names, recorded.initial, graph, outputs)


def with_resets(recorded: Recorded, *, given: bool) -> Recorded:
    """The equations of a cell whose rows begin anew before the steps at which a row input is above 0.

    The row input stands behind the cell's own. If `given`, a row begins with unit inputs, one for each state behind the
    cell's own, and else with 0. The state before is selected away, not multiplied by 0: it and its cotangent may be
    infinite.
    """
    graph, names = recorded.graph, recorded.names
    reset = graph.node("row", RESET, width=ROW)
    begins = [f"{RESET} {state}" for state in names["states"]] if given else []
    others = {}
    for number, (name, output) in enumerate(zip(names["states"], recorded.outputs, strict=True)):
        state = graph.node("state", name, width=output.width)
        begin = graph.node("unit_input", begins[number], width=output.width) if given else 0.0
        others[state] = graph.apply("where_greater", reset, 0.0, begin, state)
    names = names | {
        "row_inputs": (*names["row_inputs"], RESET),
        "unit_inputs": (*names["unit_inputs"], *begins),
    }
    return Recorded(names, recorded.initial, graph, substituted(graph, recorded.outputs, others))


def with_zoneout(recorded: Recorded, rates: Sequence[float]) -> Recorded:
    """The equations of a cell each of whose states is the mean of what it was and would be: the expectation of zoneout.

    D. Krueger et al., Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations, 2016, arXiv:1606.01305.
    """
    return _kept(recorded, rates, lambda _, rate, old, new: rate * old + (1 - rate) * new)


def with_draws(recorded: Recorded, rates: Sequence[float], dropout: float) -> Recorded:
    """The equations of a cell with zoneout and recurrent dropout as in training, with COUNTERS behind its row inputs.

    Each unit of a state keeps its value with the probability that `rates` has for the state. What recurrent weights
    multiply is dropped with the probability `dropout`, the same units at all steps, and else scaled by 1 / (1 -
    dropout): Y. Gal and Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks,
    2016, arXiv:1512.05287. Counters (unit, row, 0, 0) draw dropout, and (unit, row, step, 1 + k // 4) state k.
    """
    graph, names = recorded.graph, recorded.names
    row, step, *key = (graph.node("row", name, width=ROW) for name in COUNTERS)

    def below(rate: float, use: int, word: int, time: Symbol | float, width: Width, x: Any, y: Any) -> Symbol:
        """x with a probability, else y."""
        counter = graph.node("index", width=width), row, time
        drawn = graph.node("uniform", float(use), float(word), *counter, *key, width=width)
        return graph.apply("where_greater", least(rate) / (1 << BITS), drawn, x, y)

    def masked(node: Symbol, arguments: tuple[Any, ...]) -> Symbol | None:
        if node.operation not in ("gate", "recurrent"):
            return None
        name, operand = arguments
        scaled = operand * (1 / (1 - dropout) if dropout < 1 else 0.0)
        return graph.node(node.operation, name, below(dropout, 0, 0, 0.0, operand.width, 0.0, scaled), width=node.width)

    outputs = rewritten(graph, recorded.outputs, masked) if dropout else recorded.outputs
    named = names | {"row_inputs": (*names["row_inputs"], *COUNTERS)}
    changed = Recorded(named, recorded.initial, graph, outputs)
    return _kept(changed, rates, lambda k, rate, old, new: below(rate, 1 + k // 4, k % 4, step, new.width, old, new))


def _kept(recorded: Recorded, rates: Sequence[float], keep: Callable[[int, float, Symbol, Symbol], Symbol]) -> Recorded:
    """The equations with `keep(number, rate, old, new)` for each new state that has a rate."""
    graph, states = recorded.graph, recorded.names["states"]
    outputs = [
        keep(k, rate, graph.node("state", name, width=new.width), new) if rate else new
        for k, (name, rate, new) in enumerate(zip(states, rates, recorded.outputs, strict=True))
    ]
    return Recorded(recorded.names, recorded.initial, graph, tuple(outputs))
