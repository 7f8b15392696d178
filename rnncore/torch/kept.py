"""What a module keeps between calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from rnncore_kernels.contract import Array, LayerWeights
from rnncore_kernels.program.transform import NOTHING, Changes

from ..kept import KeptStacks
from ..stack import Stack
from .network import Network
from .networks import find_network


class _Views(NamedTuple):
    """Parameters as arrays.

    Attributes:
        places: address and strides of each.
        arrays: one after the other.
        layers: the same, by layer and direction.
    """

    places: list[tuple[int, Any]]
    arrays: list[Array]
    layers: list[LayerWeights]


class KeptNetwork:
    """A network of a module, the module's parameters as arrays, and packed weights."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._views: _Views | None = None

        def pack(arrays: Sequence[Array], changes: Changes, **how: bool) -> Stack:
            return network.pack(network.split(arrays), changes, **how)

        self._stacks = KeptStacks(pack, network.compared_bytes, most=1)

    def views(self, weights: Sequence[Tensor]) -> _Views:
        """The parameters as arrays of the same memory, made anew where one has other memory or axes."""
        # An array keeps its memory, so that nothing else gets the address.
        places, views = [(w.data_ptr(), w.stride()) for w in weights], self._views
        if views is None or views.places != places:
            arrays = [self.network.memory.array(w.detach()) for w in weights]
            views = self._views = _Views(places, arrays, self.network.split(arrays))
        return views

    def stack(self, weights: Sequence[Tensor], changes: Changes = NOTHING) -> Stack:
        """The weights, packed for inference."""
        return self._stacks.find(self.views(weights).arrays, changes)


class Kept:
    """The networks of a module by the precision that calls ask for; a copy or a pickle of it is empty."""

    def __init__(self) -> None:
        self._networks: dict[str | None, tuple[Any, KeptNetwork]] = {}

    def find(self, module: Any, like: Tensor, precision: str | None) -> KeptNetwork:
        """The network of a module, whose `network_key` may change, for tensors of a dtype and device."""
        key, known = (module.network_key(), like.dtype, like.device), self._networks.get(precision)
        if known is None or known[0] != key:
            network = find_network(module.network_text(precision), like.dtype, like.device, module.dropout)
            known = self._networks[precision] = key, KeptNetwork(network)
        return known[1]

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()

    def __reduce__(self) -> Any:
        return Kept, ()
