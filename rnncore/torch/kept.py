"""Packed weights of a module, kept for the next call without gradients while the parameters are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnncore_kernels.contract import Array, LayerWeights

from ..stack import Stack
from .network import Network, Options, make_network


class _Views(NamedTuple):
    """Parameters as arrays.

    Attributes:
        places: address and strides of each.
        network: whose they are.
        arrays: one after the other.
        layers: the same, by layer and direction.
    """

    places: list[tuple[int, Any]]
    network: Network
    arrays: list[Array]
    layers: list[LayerWeights]


class Kept:
    """What a module keeps between calls; a copy or a pickle of it is empty.

    Whoever writes to a parameter may do so through `.data` or NumPy, of which PyTorch's version counter knows nothing,
    so that bytes are compared.
    """

    def __init__(self) -> None:
        self._packed: tuple[Network, list[bytearray], Stack] | None = None
        self._views: _Views | None = None
        self._network: tuple[Any, torch.dtype, Network] | None = None

    def network(self, arguments: tuple[str, tuple[Any, ...]], dtype: torch.dtype) -> Network:
        """The network of a module, whose `network_arguments` may change."""
        known = self._network
        if known is None or known[0] != arguments or known[1] is not dtype:
            known = self._network = arguments, dtype, make_network(arguments[0], Options(*arguments[1]), dtype)
        return known[2]

    def views(self, network: Network, weights: Sequence[Tensor]) -> _Views:
        """The parameters as NumPy's arrays of the same memory, made anew where one has other memory or axes."""
        # An array keeps its memory, so that nothing else gets the address.
        places, views = [(w.data_ptr(), w.stride()) for w in weights], self._views
        if views is None or views.places != places or views.network is not network:
            arrays = [w.detach().numpy() for w in weights]
            views = self._views = _Views(places, network, arrays, network.split(arrays))
        return views

    def stack(self, network: Network, weights: Sequence[Tensor]) -> Stack:
        """The weights, packed for inference."""
        arrays = self.views(network, weights).arrays
        packed = self._packed
        if packed is not None and packed[0] is network and _same(packed[1], arrays):
            return packed[2]
        self._packed = None
        architecture, engine = network.architecture, network.engine
        small = sum([array.nbytes for array in arrays]) <= engine.compared_bytes
        if not small or not all(array.flags.c_contiguous for array in arrays):
            return Stack.pack(architecture, engine, network.split(arrays), copy=False, backward=False)
        copies = [bytearray(array) for array in arrays]
        # Packed from the copies: what another thread writes meanwhile is in both, or in none.
        arrays = [np.ndarray(a.shape, a.dtype, copy) for a, copy in zip(arrays, copies, strict=True)]
        stack = Stack.pack(architecture, engine, network.split(arrays), copy=True, backward=False)
        self._packed = network, copies, stack
        return stack

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()

    def __reduce__(self) -> Any:
        return Kept, ()


def _same(copies: Sequence[bytearray], arrays: Sequence[Array]) -> bool:
    # By bits, as NaN has to be: a bytearray compares itself with any memory.
    return all([copy.__eq__(array) is True for copy, array in zip(copies, arrays, strict=True)])  # noqa: C419
