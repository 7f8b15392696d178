"""A word in a `state_dict` of `Recurrent` that says of which cell it is: the GRU has the shapes of PyTorch's.

It is in the metadata that PyTorch keeps beside the values, which `torch.save` writes and a plain `dict` lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rnncore_kernels.cells import GRU, Cell

from ..architecture import Architecture
from ..cells_by_name import describe_cell
from ..pytorch import CARRY
from ..state_dict import MARK, is_another


def mark(destination: Any, prefix: str, architecture: Architecture) -> None:
    """Say in a state_dict whose the parameters with a prefix are, as `Recurrent.save` writes it."""
    metadata = getattr(destination, "_metadata", None)
    if metadata is not None:
        said = {"cell": describe_cell(architecture.cell), "direction": architecture.direction}
        metadata.setdefault(prefix.removesuffix("."), {})[MARK] = json.dumps(said, default=repr)


def reason_to_refuse(cell: Cell, metadata: Mapping[str, Any], prefix: str) -> str | None:
    """Why parameters with such metadata are not those of a cell; None where they are, or do not say."""
    if (text := metadata.get(MARK)) is not None:
        origin = json.loads(text)["cell"]
        if not is_another(cell, origin):
            return None
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
