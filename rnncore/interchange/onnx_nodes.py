"""The recurrent nodes of an ONNX model: which there are, their attributes, and what they read of constants."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore_kernels.contract import Array

from ..errors import describe
from .layers import as_float
from .onnx_operators import INPUTS


@dataclass(frozen=True)
class Scope:
    """What the nodes of a graph may read.

    Attributes:
        constants: tensors by name, of the graph and of those around it.
        makers: the operator that computes a value, by its name.
        given: names of the inputs of graphs.
    """

    constants: Mapping[str, Any]
    makers: Mapping[str, Any]
    given: frozenset[str]


@dataclass(frozen=True)
class Node:
    """A recurrent node.

    Attributes:
        index: its place among the recurrent nodes of the model.
        proto: the node of the package onnx.
        attributes: by name.
        scope: what it may read.
    """

    index: int
    proto: Any
    attributes: Mapping[str, Any]
    scope: Scope

    @property
    def operator(self) -> str:
        """RNN, GRU or LSTM."""
        operator: str = self.proto.op_type
        return operator

    @property
    def name(self) -> str:
        """The node's name; that of its first output where it has none."""
        name: str = self.proto.name or next(filter(None, self.proto.output), "")
        return name

    @property
    def where(self) -> str:
        """The node, for messages."""
        return f"node {self.index}, {self.operator} {self.name!r}"

    def read_name(self, which: str) -> str:
        """The name of what the node reads as one of INPUTS; empty where it reads none."""
        read: dict[str, str] = dict(zip(INPUTS[self.operator], self.proto.input, strict=False))
        return read.get(which, "")

    def constant(self, which: str) -> Array | None:
        """What it reads, where that is a constant of the model's; None where it is not, or nothing is read."""
        name, scope = self.read_name(which), self.scope
        while name and name not in scope.constants and (maker := scope.makers.get(name)) is not None:
            if maker.op_type != "Identity":
                return None
            name = maker.input[0]
        tensor = scope.constants.get(name)
        return None if tensor is None else _to_array(tensor)

    def weights(self, which: str, shape: Sequence[int | None]) -> Array:
        """What it reads, which must be a constant of this shape; None is an axis of any length."""
        values, expected = self.constant(which), f"{self.where}: {which}: expected"
        if values is None:
            raise ValueError(
                f"{expected} weights that are an initializer or a Constant, got {self._origin(which)}: fold the "
                f"model's constants first, or make them initializers"
            )
        if len(values.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, values.shape, strict=True)):
            axes = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{expected} ({axes}), got {values.shape}")
        if values.dtype.kind in "iub":
            raise TypeError(f"{expected} floating-point numbers, got {values.dtype}")
        return as_float(values)

    def _origin(self, which: str) -> str:
        name = self.read_name(which)
        if not name:
            return "none"
        if name in self.scope.given:
            return f"the graph's input {name!r}"
        maker = self.scope.makers.get(name)
        return f"{name!r}, an output of {'no node' if maker is None else maker.op_type}"


def load_model(model: Any) -> Any:
    """The model of a path, or the model itself."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"from_onnx: expected the package onnx: pip install '.[onnx]' ({error})") from error
    if isinstance(model, onnx.ModelProto):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: expected a path or an onnx.ModelProto, got {describe(model)}")
    if not os.path.isfile(model):
        raise FileNotFoundError(f"{os.fspath(model)}: expected an ONNX model, found no file")
    try:
        return onnx.load(model)
    except Exception as error:
        # Whatever the package raises for a file that is none.
        raise ValueError(f"{os.fspath(model)}: expected an ONNX model, got: {error}") from error


def recurrent_nodes(model: Any) -> list[Node]:
    """The recurrent nodes of a model, those in branches and loops among them, in the order of the graph."""
    found: list[Node] = []
    for proto, scope in _nodes(model.graph, Scope({}, {}, frozenset())):
        if proto.op_type in INPUTS and proto.domain in ("", "ai.onnx"):
            found.append(Node(len(found), proto, _attributes(proto), scope))
    return found


def find_nodes(nodes: Sequence[Node], wanted: Any) -> list[Node]:
    """The nodes of a name or index, or a list of these; of None the only one there is."""
    known = "; ".join(
        f"{node.index}: {node.operator} {node.name!r}, hidden_size={node.attributes.get('hidden_size')}"
        for node in nodes
    )
    there_are = f"there are {known}" if nodes else "the model has none"
    if wanted is None:
        if len(nodes) == 1:
            return list(nodes)
        of_several = ", or a list of these for several layers" if nodes else ""
        raise ValueError(f"node: expected the name or index of an RNN, GRU or LSTM node{of_several}: {there_are}")
    if isinstance(wanted, (list, tuple)) and wanted:
        return [node for each in wanted for node in find_nodes(nodes, each)]
    for node in nodes:
        if (node.name if isinstance(wanted, str) else node.index) == wanted and not isinstance(wanted, bool):
            return [node]
    raise ValueError(f"node: expected the name or index of an RNN, GRU or LSTM node, got {wanted!r:.60}: {there_are}")


def _nodes(graph: Any, around: Scope) -> Iterator[tuple[Any, Scope]]:
    constants = {**around.constants, **{tensor.name: tensor for tensor in graph.initializer}}
    constants |= {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    makers = {**around.makers, **{name: node for node in graph.node for name in node.output}}
    given = around.given | {value.name for value in graph.input}
    scope = Scope(constants, makers, given)
    for node in graph.node:
        yield node, scope
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _nodes(inner, scope)


def _attributes(proto: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in proto.attribute}


def _to_array(tensor: Any) -> Array:
    from onnx import numpy_helper

    if tensor.DESCRIPTOR.name == "NodeProto":
        attributes = _attributes(tensor)
        (kind, value), *_ = attributes.items()
        if kind != "value":
            return np.asarray(value, np.float32 if kind.startswith("value_float") else np.int64)
        tensor = value
    array: Array = numpy_helper.to_array(tensor)
    return array
