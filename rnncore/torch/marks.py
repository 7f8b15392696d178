"""A word in a `state_dict` of `Recurrent` that says of which cell it is: the GRU has the shapes of PyTorch's.

It is in the metadata that PyTorch keeps beside the values, which `torch.save` writes and a plain `dict` lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from rnncore_kernels.cells import GRU, Cell

from ..architecture import Architecture
from ..cells_by_name import describe_cell
from ..pytorch import CARRY
from ..state_dict import MARK, is_another, other_direction


def mark(destination: Any, prefix: str, architecture: Architecture) -> None:
    """Say in a state_dict whose the parameters with a prefix are, as `Recurrent.save` writes it."""
    metadata = getattr(destination, "_metadata", None)
    if metadata is not None:
        said = {
            "cell": describe_cell(architecture.cell),
            "direction": architecture.direction,
            "heads": architecture.heads,
            "zoneout": architecture.zoneout,
        }
        metadata.setdefault(prefix.removesuffix("."), {})[MARK] = json.dumps(said, default=repr)


def reason_to_refuse(cell: Cell, direction: str, metadata: Mapping[str, Any], prefix: str) -> str | None:
    """Why parameters with such metadata are not those of a cell and direction; None where they are, or do not say."""
    if (text := metadata.get(MARK)) is not None:
        said = json.loads(text)
        origin, came = said["cell"], said.get("direction", "forward")
        if not is_another(cell, origin):
            who = prefix or "state_dict"
            return None if came == direction else other_direction(who, direction, came, "dict(values)")
        whose = f"the cell {origin['name']!r} with {origin['options']} of a rnncore.torch.Recurrent"
    elif "version" not in metadata or not isinstance(cell, GRU) or cell == CARRY:
        return None
    else:
        whose = "a module of PyTorch's"
    return (
        f"{prefix or 'state_dict'}: expected the parameters of {cell!r}, got those of {whose}, whose update gate may "
        f"be the other way round: PyTorch's GRU is Recurrent(GRU(update='carry'), ...); load_state_dict(dict(values)) "
        f"reads them as this cell's all the same"
    )


class Marked(torch.nn.Module):
    """A module whose `state_dict` is loaded only where it is one of its cell."""

    direction = "forward"

    def _marked_cell(self) -> Cell:
        raise NotImplementedError

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        if reason := reason_to_refuse(self._marked_cell(), self.direction, metadata, prefix):
            errors.append(reason)
            return
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
