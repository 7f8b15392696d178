"""Parameters by name from outside a network: whose convention they have, and the network that they make."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell
from rnncore_kernels.contract import Array

from .architecture import Architecture
from .cells_by_name import describe_cell, find_cell
from .definition import Definition, define
from .devices import is_anothers, shared
from .errors import describe, one_of
from .parameters import Parameters
from .pytorch import CARRY, from_pytorch, is_tensor, to_numpy

if TYPE_CHECKING:
    from .network import SomeNetwork

CONVENTIONS = ("rnncore", "torch")
"""Whose cell the rows of weights are for: they differ in the GRU's update gate, which is the other way round."""


GATES = {1: ", as an Elman cell has", 3: ", as a GRU has", 4: ", as an LSTM has"}
"""Cells of these numbers of gates, for messages."""

NUMBERED = re.compile(r"(.+)_l(\d+)(_reverse)?")
"""Names of parameters of a layer and direction."""

MARK = "rnncore"
"""Key in the metadata of a state_dict of `rnncore.torch.Recurrent`, whose value is as `Recurrent.save` writes it."""


class StateDict(dict[str, Array]):
    """Parameters by name that say whose they are, from `Recurrent.state_dict`; what `dict` makes of it does not.

    Attributes:
        cell: name and options of the cell, as `Recurrent.save` writes them.
        direction: of the network, "forward" or "reverse".
        heads: blocks on the diagonal of its recurrent weights.
        zoneout: of the network, on which inference depends, too.
    """

    def __init__(
        self,
        values: Mapping[str, Array],
        cell: dict[str, Any],
        direction: str = "forward",
        heads: int = 1,
        zoneout: float | dict[str, float] = 0.0,
    ) -> None:
        super().__init__(values)
        self.cell, self.direction, self.heads, self.zoneout = cell, direction, heads, zoneout

    @staticmethod
    def described(values: Mapping[str, Array], architecture: str) -> StateDict:
        """Those of a file that `Recurrent.save` wrote, by its metadata."""
        import json

        read = json.loads(architecture)
        given = {name: read[name] for name in ("direction", "heads", "zoneout") if name in read}
        return StateDict(values, read["cell"], **given)

    def copy(self) -> StateDict:
        """A shallow copy that says whose they are, too."""
        return copy.copy(self)

    def __reduce__(self) -> Any:
        return StateDict, (dict(self), self.cell, self.direction, self.heads, self.zoneout)


def read_state_dict(
    architecture: Architecture, xp: ModuleType, values: Any, convention: str | None
) -> Mapping[str, Array]:
    """The values as a network of this architecture has them; see `Recurrent.load_state_dict` for the errors."""
    values = _marked(values, values)
    cell, origin = architecture.cell, _origin(values, convention)
    if origin is not None:
        if is_another(cell, origin):
            raise ValueError(
                f"state_dict: expected the parameters of {cell!r}, got those of the cell {origin['name']!r} with "
                f"{origin['options']}: make the network with that cell, or write "
                f"load_state_dict(dict(values), convention='rnncore') to read them as this one's all the same"
            )
        if (came := values.direction) != architecture.direction:
            plain = "dict(values), convention='rnncore'"
            raise ValueError(other_direction("state_dict", architecture.direction, came, plain))
    elif convention is None and isinstance(cell, GRU) and cell != CARRY:
        raise ValueError(
            f"state_dict: expected parameters that say whose GRU they are for, as {cell!r} is not PyTorch's, got "
            f"{type(values).__name__} without a word: write convention='torch' for PyTorch's, convention='rnncore' for "
            f"those of this cell, from a copy of a state_dict or a file"
        )
    arrays = {name: _on_host(name, value) for name, value in values.items()}
    if xp is not np:
        arrays = {name: xp.asarray(value) if isinstance(value, np.ndarray) else value for name, value in arrays.items()}
    return from_pytorch(architecture, xp, arrays) if convention == "torch" else arrays


def names_hint(architecture: Architecture, missing: Sequence[str], unknown: Sequence[str]) -> str:
    """What to do about missing and unknown names of a network's parameters, to end a message."""
    initial = {f"{state}_0" for state in architecture.definition.states}
    if initial & {*unknown}:
        return ": make the network with learn_initial_state=True, as that of these was"
    if initial & {*missing}:
        return ": make the network without learn_initial_state, as that of these was"
    if "weight_ih_l0" in unknown:
        return ": make the network with an input_size, as that of these was"
    prefixes = sorted(
        {str(name).removesuffix("weight_ih_l0") for name in unknown if str(name).endswith("weight_ih_l0")}
    )
    if not prefixes:
        return ""
    first = prefixes[0]
    return (
        f": leave out what names begin with, {{n.removeprefix({first!r}): v for n, v in values.items() if "
        f"n.startswith({first!r})}}, or make the network with from_state_dict(values, prefix={first!r})"
    )


def is_another(cell: Cell, origin: dict[str, Any]) -> bool:
    """Whether parameters of a cell, as `describe_cell` has it, mean something else for `cell`: the GRU's do."""
    return origin != describe_cell(cell) and (isinstance(cell, GRU) or origin["name"] == GRU.name)


def other_direction(who: str, direction: str, came: str, plain: str) -> str:
    """The message for parameters of a network that runs the other way; they are loaded as `plain` all the same."""
    return (
        f"{who}: expected the parameters of a network with direction={direction!r}, got those of one with "
        f"direction={came!r}: make the network with that direction, or write load_state_dict({plain}) to read them as "
        f"this one's all the same"
    )


def _marked(values: Any, whole: Any, prefix: str = "") -> Any:
    """Values that say whose they are, where the state_dict of PyTorch's that they are from says it."""
    metadata = getattr(whole, "_metadata", None)
    module = metadata.get(prefix.removesuffix("."), {}) if isinstance(metadata, Mapping) else {}
    return StateDict.described(values, module[MARK]) if MARK in module else values


def _on_host(name: str, value: Any) -> Any:
    """Arrays of other libraries in the host's memory as NumPy's; anything else as it is."""
    if is_tensor(value):
        return to_numpy(name, value)
    return shared(value, np, f"{name}: expected an array, got {describe(value)}") if is_anothers(value, np) else value


def from_state_dict(
    kind: type[SomeNetwork],
    values: Any,
    *,
    convention: str | None,
    cell: str | Cell | None,
    direction: str | None,
    heads: int | None,
    prefix: str | Sequence[str],
    **options: Any,
) -> SomeNetwork:
    """See `Recurrent.from_state_dict`."""
    from .interchange.names import from_names, guess, select

    if convention in ("flax", "keras"):
        if heads not in (None, 1):
            raise ValueError(f"heads: expected None or 1 with convention={convention!r}, got {heads}")
        chosen = [select(values, each) for each in ([prefix] if isinstance(prefix, str) else prefix)]
        return from_names(kind, chosen, convention, cell, direction, **options)
    if convention not in (None, *CONVENTIONS):
        known = ", ".join(map(repr, (*CONVENTIONS, "flax")))
        raise ValueError(f"convention: expected None, {known} or 'keras', got {convention!r}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: expected a string, as here names have the numbers of layers, got {describe(prefix)}")
    values = _marked(select(values, prefix), values, prefix)
    lacking = isinstance(values, Mapping) and "weight_ih_l0" not in values and "weight_hh_l0" not in values
    if lacking and (hint := guess(values, prefix)):
        raise ValueError(f"state_dict: expected weight_ih_l0 and others of its kind, got {', '.join(values)}: {hint}")
    origin = _origin(values, convention)
    if direction is None:
        direction = str(getattr(values, "direction", "forward"))
    if heads is None:
        heads = int(getattr(values, "heads", 1))
    options["zoneout"] = getattr(values, "zoneout", 0.0)
    if origin is not None:
        # Whoever names a direction or heads wants these.
        values = StateDict(values, origin, direction, heads, options["zoneout"])
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in values.items()}
    definition = define(_cell_of(origin, convention, shapes) if cell is None else cell)
    _check_gates(definition, shapes, heads)
    options |= read_options("state_dict", definition, shapes)
    first = next(name for name in values if NUMBERED.fullmatch(name))
    dtype = str(getattr(values[first], "dtype", "")).removeprefix("torch.")
    rnn = kind(definition.cell, dtype=dtype, direction=direction, heads=heads, **options)
    rnn._take(values, convention)
    return rnn


def _origin(values: Any, convention: str | None) -> dict[str, Any] | None:
    """The cell that the values say they are of; None if they do not. Refuses what is no mapping or no convention."""
    if convention is not None and convention not in CONVENTIONS:
        raise ValueError(f"convention: expected None, {one_of(CONVENTIONS)}, got {convention!r}")
    if not isinstance(values, Mapping):
        raise TypeError(f"state_dict: expected a mapping from names to arrays, got {describe(values)}")
    origin = values.cell if isinstance(values, StateDict) else None
    if isinstance(values, Parameters):
        origin = describe_cell(values.cell)
    if origin is not None and convention == "torch":
        raise ValueError(
            f"convention: expected None or 'rnncore' for the parameters of a Recurrent, which are of the cell "
            f"{origin['name']!r} with {origin['options']}, got 'torch'"
        )
    return origin


def read_options(who: str, cell: Definition, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Sizes and options of a network of a cell, from the shapes of its parameters; an error begins with `who`."""
    gates = {"weight_ih": len(cell.program.x_gates), "weight_hh": len(cell.program.h_gates)}
    matrices = [f"weight_{name}" for name in ("ih", "hh", *cell.projections)]
    known = {*matrices, "bias_ih", "bias_hh", *cell.units, *cell.scalars}
    numbered = [match.groups() for match in map(NUMBERED.fullmatch, shapes) if match and match[1] in known]
    names = {name for name, *_ in numbered}
    hidden = next((shapes[f"{name}_l0"][0] for name in cell.units if len(shapes.get(f"{name}_l0", ())) == 1), 0)
    # Where x holds the gates' parts of it, the first layer has neither input weights nor their biases.
    ready = gates["weight_ih"] > 0 and not {"weight_ih_l0", "bias_ih_l0"} & shapes.keys()
    for name in ("weight_ih_l1", "weight_ih_l0", "weight_hh_l0"):
        if (count := gates[name[:-3]]) and len(shapes.get(name, ())) == 2:
            hidden = shapes[name][0] // count
    needed = [f"{name}_l0" for name, count in gates.items() if count and not (ready and hidden and name == "weight_ih")]
    if not hidden or not all(len(shapes.get(name, ())) == 2 for name in needed):
        raise ValueError(
            f"{who}: expected the parameters of {cell.cell!r}, {', '.join(needed) or 'one for each unit'} among "
            f"them, whose shapes give the sizes, got {', '.join(f'{n} {s}' for n, s in shapes.items()) or 'none'}"
        )
    num_layers = len({"0"}.union(layer for _, layer, _ in numbered))
    # Without a place for biases, parameters do not tell whether there are any: the default then.
    may_have_biases = gates["weight_hh"] or (gates["weight_ih"] and (num_layers > 1 or not ready))
    return {
        "input_size": None if ready else shapes["weight_ih_l0"][1] if gates["weight_ih"] else 0,
        "hidden_size": hidden,
        "num_layers": num_layers,
        "bidirectional": any(reverse for *_, reverse in numbered),
        "bias": not names.isdisjoint(("bias_ih", "bias_hh")) or not may_have_biases,
        "learn_initial_state": any(f"{state}_0" in shapes for state in cell.states),
    }


def _check_gates(cell: Definition, shapes: Mapping[str, tuple[int, ...]], heads: int) -> None:
    """Refuse weights with the rows of another number of gates than the cell's."""
    rows, columns = shapes.get("weight_hh_l0", (0,) * 3)[:2] if len(shapes.get("weight_hh_l0", ())) == 2 else (0, 0)
    expected = len(cell.program.h_gates)
    columns *= heads
    # With a projection, columns are its width.
    if not columns or cell.projections or "weight_hr_l0" in shapes or rows == expected * columns or rows % columns:
        return
    gates = rows // columns
    raise ValueError(
        f"weight_hh_l0: expected ({expected}*hidden_size, hidden_size) for the cell {cell.cell!r}, got "
        f"{(rows, columns)}, of {gates} gate{'s' * (gates > 1)}{GATES.get(gates, '')}"
    )


def _cell_of(origin: dict[str, Any] | None, convention: str | None, shapes: Mapping[str, tuple[int, ...]]) -> Cell:
    if origin is not None:
        return find_cell("state_dict", origin, None)
    of_x, of_h, of_projection = (shapes.get(f"weight_{name}_l0", ()) for name in ("ih", "hh", "hr"))
    if len(of_x) != 2 or len(of_h) != 2 or not of_h[1]:
        raise ValueError(
            f"state_dict: expected weight_ih_l0 (gates*hidden_size, input_size) and weight_hh_l0 (gates*hidden_size, "
            f"hidden_size) among its arrays, got {', '.join(shapes) or 'none'}"
        )
    hidden = of_projection[1] if len(of_projection) == 2 and of_projection[1] else of_h[1]
    gates = of_h[0] // hidden
    if convention == "torch" and gates == 4:
        return LSTM(projection=of_projection[0] if of_projection else None)
    if convention == "torch" and gates == 3:
        return CARRY
    expected = "cell: expected the name of a cell or an instance of Cell, got None, and the values do not say it"
    if convention == "torch" and gates == 1:
        raise ValueError(
            f"{expected}: one gate is an Elman cell, whose activation they do not tell: write cell='rnn' for tanh, or "
            f"cell=Elman('relu')"
        )
    if convention == "rnncore":
        raise ValueError(f"{expected}: name the cell of the network that they are of")
    raise ValueError(
        f"{expected}: with convention='torch', for weights of PyTorch's, three gates are a GRU and four an LSTM; "
        f"state_dict of a Recurrent has its cell"
    )
