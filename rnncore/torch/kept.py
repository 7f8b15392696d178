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


class Kept:
    """The network of a module, its parameters as arrays, and packed weights; a copy or a pickle of it is empty."""

    def __init__(self) -> None:
        self._network: tuple[Any, Any, Any, Network] | None = None
        self._views: _Views | None = None
        self._stacks: KeptStacks | None = None

    def network(self, module: Any, like: Tensor) -> Network:
        """The network of a module, whose `network_key` may change, for tensors of a dtype and device."""
        key, dtype, device, known = module.network_key(), like.dtype, like.device, self._network
        if known is None or known[0] != key or known[1] is not dtype or known[2] != device:
            found = find_network(module.network_text(), dtype, device, module.dropout)
            known = self._network = key, dtype, device, found
            self._views = None

            def pack(arrays: Sequence[Array], changes: Changes, **how: bool) -> Stack:
                return found.pack(found.split(arrays), changes, **how)

            self._stacks = KeptStacks(pack, found.compared_bytes, most=1)
        return known[3]

    def views(self, network: Network, weights: Sequence[Tensor]) -> _Views:
        """The parameters as arrays of the same memory, made anew where one has other memory or axes."""
        # An array keeps its memory, so that nothing else gets the address.
        places, views = [(w.data_ptr(), w.stride()) for w in weights], self._views
        if views is None or views.places != places:
            arrays = [network.memory.array(w.detach()) for w in weights]
            views = self._views = _Views(places, arrays, network.split(arrays))
        return views

    def stack(self, network: Network, weights: Sequence[Tensor], changes: Changes = NOTHING) -> Stack:
        """The weights, packed for inference."""
        assert self._stacks is not None
        return self._stacks.find(self.views(network, weights).arrays, changes)

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()

    def __reduce__(self) -> Any:
        return Kept, ()
