"""Parameters of Flax's cells, whose names `interchange.flax` has, as rnncore's, and back; Flax is not imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnncore_kernels.cells import GRU, LSTM, Cell, Elman

from ..definition import Definition, define
from ..interchange.flax import SIDES, dense_layers, parameters_of
from .parameters import check_tree, has_own_names, other_cell, read_architecture

CANDIDATE = 2
"""The place of n among a GRU's gates."""


def from_flax(params: Any, cell: str | Cell) -> dict[str, Any]:
    """Parameters of Flax's LSTMCell, OptimizedLSTMCell, GRUCell or SimpleCell by our names.

    The result computes what Flax's cell does. Its GRU is GRU(update="carry"); for GRU(update="candidate"), whose update
    gate is the other way round, the gate's rows are negated, which is exact.

    Args:
        params: a pytree of one cell, nnx.state(cell, nnx.Param) say; a list of them for layers; a tuple of two in the
            place of one for both directions.
        cell: the name of a cell or an instance: an LSTM, a GRU with reset="after", or Elman's.

    Raises:
        ValueError: Flax has no such cell, or the parameters are not of one.
    """
    definition = _check_cell(cell)
    layers = params if isinstance(params, list) else [params]
    trees = {
        f"l{number}{end}": _leaves(tree)[0]
        for number, layer in enumerate(layers)
        for tree, end in zip(*_directions("params", layer), strict=True)
    }
    bias = any(name == "bias" for leaves in trees.values() for _, name in leaves)
    result: dict[str, Any] = {}
    for suffix, leaves in trees.items():
        found = parameters_of(jnp, leaves, _gates(definition), bias=bias)
        for side, flax in SIDES.items():
            if f"weight_{side}" not in found:
                wanted = ", ".join(_modules(definition, flax))
                given = ", ".join(f"{module}.{name}" for module, name in leaves) or "none"
                raise ValueError(
                    f"params: expected a kernel of dense_{flax}, or of {wanted}, of a cell of Flax that computes "
                    f"{definition.cell!r}, or names as of rnncore.jax.init, got {given}"
                )
        if hint := other_cell(definition, {"weight_hh_l0": found["weight_hh"].shape}):
            raise ValueError(f"params: expected those of a cell of Flax that computes {definition.cell!r}, got {hint}")
        result |= {f"{name}_{suffix}": _signed(definition, values) for name, values in found.items()}
    return result


def to_flax(params: Mapping[str, Any], like: Any, cell: str | Cell) -> Any:
    """Parameters by our names in the place of those of Flax's cells, the inverse of `from_flax`.

    Args:
        params: of `from_flax` or `init`.
        like: pytrees of Flax's cells, as for `from_flax`, whose values do not matter.
        cell: the cell that `params` are for.

    Returns:
        What `like` is, with the values of `params`.

    Raises:
        ValueError: Flax has no such cell, this one has no place for one of its biases, or `params` are of another cell
            or other sizes than `like`.
    """
    definition = _check_cell(cell)
    if not has_own_names(params):
        check_tree(params)
    suffixes = read_architecture(definition, params).parameter_suffixes()
    layers = [_directions("like", layer) for layer in (like if isinstance(like, list) else [like])]
    places = [f"l{number}{end}" for number, (_, ends) in enumerate(layers) for end in ends]
    if places != suffixes:
        raise ValueError(
            f"params: expected layers and directions as `like` has, {', '.join(places)}, got {', '.join(suffixes)}"
        )
    filled = [
        [_fill(definition, params, tree, f"l{number}{end}") for tree, end in zip(trees, ends, strict=True)]
        for number, (trees, ends) in enumerate(layers)
    ]
    result = [tuple(trees) if len(trees) > 1 else trees[0] for trees in filled]
    return result if isinstance(like, list) else result[0]


def _directions(who: str, layer: Any) -> tuple[Sequence[Any], Sequence[str]]:
    """The trees of a layer, one for each direction, and how names of their parameters end."""
    if not isinstance(layer, tuple):
        return (layer,), ("",)
    if len(layer) != 2:
        raise ValueError(f"{who}: expected a tuple of two, forward and reverse, for both directions, got {len(layer)}")
    return layer, ("", "_reverse")


def _fill(definition: Definition, params: Mapping[str, Any], tree: Any, suffix: str) -> Any:
    """A tree of Flax's with the parameters of a layer and direction."""
    leaves, structure = _leaves(tree)
    missing = [module for side in SIDES.values() for module in _lacking(definition, leaves, side)]
    if missing:
        found = ", ".join(f"{module}.{name}" for module, name in leaves) or "none"
        raise ValueError(f"like: expected a tree of a cell of Flax that computes {definition.cell!r}, got {found}")
    values: dict[tuple[str, str], Any] = {}
    for side, flax in SIDES.items():
        kernel = _signed(definition, params[f"weight_{side}_{suffix}"]).T
        biases = _biases(definition, params, leaves, suffix)[side]
        for name, array in (("kernel", kernel), ("bias", biases)):
            if array is not None:
                values[f"dense_{flax}", name] = array
                modules = _modules(definition, flax)
                pieces = jnp.split(array, len(modules), axis=-1)
                values |= {(module, name): piece for module, piece in zip(modules, pieces, strict=True)}
    for (module, name), leaf in leaves.items():
        shape = getattr(leaf, "shape", None)
        if (module, name) in values and shape not in (None, came := values[module, name].shape):
            raise ValueError(
                f"params: expected {definition.cell!r} of sizes as `like` has, {module}.{name} {shape}, got {came}"
            )
    return jax.tree_util.tree_unflatten(structure, [values.get(place, leaf) for place, leaf in leaves.items()])


def _lacking(definition: Definition, leaves: Mapping[tuple[str, str], Any], side: str) -> list[str]:
    """Dense layers of a side whose kernels a tree lacks."""
    if (f"dense_{side}", "kernel") in leaves:
        return []
    return [module for module in _modules(definition, side) if (module, "kernel") not in leaves]


def _biases(
    definition: Definition, params: Mapping[str, Any], leaves: Mapping[tuple[str, str], Any], suffix: str
) -> dict[str, Any]:
    """The biases of both sides; where Flax's cell has that of one side only, the other is added to it.

    Those of a network without biases are zeros.
    """
    gates = len(definition.gates)
    if f"bias_ih_{suffix}" not in params:
        weight = params[f"weight_hh_{suffix}"]
        return dict.fromkeys(SIDES, jnp.zeros(len(weight), weight.dtype))
    of_x, of_h = (jnp.split(_signed(definition, params[f"bias_{side}_{suffix}"]), gates) for side in SIDES)
    places = [[(module, "bias"), (f"dense_{side}", "bias")] for side in "ih" for module in _modules(definition, side)]
    has = [any(place in leaves for place in two) for two in places]
    for gate in range(gates):
        if has[gate] and has[gates + gate]:
            continue
        if not has[gate] and not has[gates + gate]:
            if _has_values(of_x[gate]) or _has_values(of_h[gate]):
                raise ValueError(
                    f"params: expected zeros in bias_ih_{suffix} and bias_hh_{suffix}, for which `like` has no place, "
                    f"got others: give it leaves named bias"
                )
        elif isinstance(definition.cell, GRU) and gate == CANDIDATE:
            # The reset gate stands before this one's bias of h.
            if _has_values(of_h[gate]):
                raise ValueError(
                    f"params: expected zeros in the last third of bias_hh_{suffix}, for which this cell of Flax has no "
                    f"place, got others: train the parameters as Flax has them, or make them those of linen.GRUCell"
                )
        elif has[gate]:
            of_x[gate] += of_h[gate]
        else:
            of_h[gate] += of_x[gate]
    return {"ih": jnp.concatenate(of_x), "hh": jnp.concatenate(of_h)}


def _has_values(array: Any) -> bool:
    """Whether an array has others than zeros; False for one that is not known yet."""
    return not isinstance(array, jax.core.Tracer) and bool(np.any(np.asarray(array)))


def _check_cell(cell: str | Cell) -> Definition:
    definition = define(cell)
    known = definition.cell
    plain = type(known) is LSTM and known == LSTM()
    if not (plain or (type(known) is GRU and known.reset == "after") or type(known) is Elman):
        raise ValueError(
            f"params: expected names as of rnncore.jax.init for {known!r}, as Flax has the LSTM, GRU(reset='after') "
            f"and Elman's cell, got others"
        )
    return definition


def _leaves(tree: Any) -> tuple[dict[tuple[str, str], Any], Any]:
    """Leaves by the names of their dense layer and array, and the structure of the tree."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(tree)
    leaves = {}
    for path, leaf in flat:
        names = [str(key.key) for key in path if isinstance(getattr(key, "key", None), str)]
        module, name = [*names, "", ""][:2] if len(names) < 2 else names[-2:]
        leaves[module.rstrip("_"), name] = leaf
    return leaves, treedef


def _gates(definition: Definition) -> Sequence[str]:
    """The gates by which Flax names dense layers; none of Elman's cell."""
    return () if isinstance(definition.cell, Elman) else definition.gates


def _modules(definition: Definition, side: str) -> list[str]:
    return dense_layers(_gates(definition), side)


def _signed(definition: Definition, values: Any) -> Any:
    """Rows of weights, or a bias, with the update gate of the other convention."""
    if not isinstance(definition.cell, GRU) or definition.cell.update == "carry":
        return values
    r, z, n = jnp.split(values, 3)
    return jnp.concatenate([r, -z, n])
