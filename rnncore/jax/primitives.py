"""The recurrence as a primitive of JAX: how it is differentiated, batched, and compiled.

`recurrence` has a derivative, and a rule for vmap: one call of a larger batch. Its derivative is made of three others:
`forward`, which also returns the tape, an array of bytes; `tangents`, a linear function that nothing computes, as JAX
only transposes it; and `backward`, to which it is transposed. Under vmap these go through the batch one by one, as each
has its own gradients of the weights, and so does `recurrence` where each has its own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla

from . import ffi
from .network import Signature, backward_text, compute, find_network, forward_text

TARGET = "rnncore"
"""The name by which XLA knows the engine."""

NO_SECOND_DERIVATIVE = (
    "rnncore.jax: expected the gradient of a network to be differentiated once, got a second time (grad of grad, "
    "hessian): its backward pass has no derivative"
)
NO_FORWARD_MODE = (
    "rnncore.jax: expected differentiation in reverse mode (grad, vjp, jacrev), got forward mode (jvp, jacfwd), which "
    "networks do not have"
)


def _define(name: str) -> Primitive:
    primitive = Primitive(f"rnncore_{name}")
    primitive.multiple_results = True
    primitive.def_impl(partial(xla.apply_primitive, primitive))
    return primitive


recurrence, forward, tangents, backward = map(_define, ("recurrence", "forward", "tangents", "backward"))
ffi.register(TARGET, compute)


# Shapes ----------------------------------------------------------------------------------------------------------


def _result_shapes(*arguments: Any, signature: Signature, **_: Any) -> list[Any]:
    """The shapes of the outputs and the final states."""
    network, shape = find_network(signature), arguments[0].shape
    architecture = network.architecture
    outputs = [(*shape[:2], width) for width in network.output_widths()]
    shapes = [*outputs, *architecture.state_shapes(network.size(shape)[1])]
    return [jax.core.ShapedArray(shape, architecture.dtype) for shape in shapes]


def _forward_shapes(*arguments: Any, signature: Signature) -> list[Any]:
    size = find_network(signature).tape_bytes(arguments[0].shape)
    tape = jax.core.ShapedArray((size,), np.dtype(np.uint8))
    return [*_result_shapes(*arguments, signature=signature), tape]


def _backward_shapes(*arguments: Any, wanted: Sequence[bool], **_: Any) -> list[Any]:
    return [
        jax.core.ShapedArray(a.shape, a.dtype) for a, is_wanted in zip(arguments, wanted, strict=False) if is_wanted
    ]


# Compilation -----------------------------------------------------------------------------------------------------


def _call(text: Callable[..., str], shapes: Callable[..., list[Any]], *arguments: Any, **how: Any) -> Sequence[Any]:
    results = [jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in shapes(*arguments, **how)]
    called: Sequence[Any] = jax.ffi.ffi_call(TARGET, results)(*arguments, call=text(**how))
    return called


def _refuse(message: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(message)

    return refuse


for _primitive, _text, _shapes in (
    (recurrence, forward_text, _result_shapes),
    (forward, forward_text, _forward_shapes),
    (backward, backward_text, _backward_shapes),
):
    _primitive.def_abstract_eval(_shapes)
    mlir.register_lowering(_primitive, mlir.lower_fun(partial(_call, _text, _shapes), multiple_results=True))
tangents.def_abstract_eval(_result_shapes)
mlir.register_lowering(tangents, _refuse(NO_FORWARD_MODE))


# Differentiation -------------------------------------------------------------------------------------------------


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero or getattr(tangent, "dtype", None) == jax.dtypes.float0


def _differentiate(primals: Sequence[Any], directions: Sequence[Any], *, signature: Signature) -> Any:
    *results, tape = forward.bind(*primals, signature=signature)
    wanted = tuple([not _is_zero(d) for d in directions])
    nonzero = [d for d, is_wanted in zip(directions, wanted, strict=True) if is_wanted]
    return results, tangents.bind(*primals, tape, *nonzero, signature=signature, wanted=wanted)


def _transpose(cotangents: Sequence[Any], *arguments: Any, signature: Signature, wanted: tuple[bool, ...]) -> list[Any]:
    given = tuple([not _is_zero(c) for c in cotangents])
    known = arguments[: len(wanted) + 1]
    if not any(given):
        return [None] * len(arguments)
    nonzero = [c for c, is_given in zip(cotangents, given, strict=True) if is_given]
    return [None] * len(known) + [*backward.bind(*known, *nonzero, signature=signature, wanted=wanted, given=given)]


ad.primitive_jvps[recurrence] = _differentiate
ad.primitive_transposes[tangents] = _transpose
for _primitive in (forward, tangents, backward):
    ad.primitive_jvps[_primitive] = _refuse(NO_SECOND_DERIVATIVE)


# Batches ---------------------------------------------------------------------------------------------------------


def _one_by_one(primitive: Primitive, arguments: Sequence[Any], axes: Sequence[int | None], **how: Any) -> Any:
    batched = [jnp.moveaxis(a, axis, 0) for a, axis in zip(arguments, axes, strict=True) if axis is not None]

    def call(some: Sequence[Any]) -> Any:
        left = iter(some)
        return primitive.bind(
            *[a if axis is None else next(left) for a, axis in zip(arguments, axes, strict=True)], **how
        )

    results = jax.lax.map(call, batched)
    return results, [0] * len(results)


def _together(arguments: Sequence[Any], axes: Sequence[int | None], *, signature: Signature) -> Any:
    """One call with a batch of all rows."""
    network = find_network(signature)
    apart = network.split(axes)
    if any(axis is not None for axis in (*apart.weights, *apart.flow, *apart.keys)):
        return _one_by_one(recurrence, arguments, axes, signature=signature)
    count = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    of_rows = 0 if signature.batch_first else 1
    parts, rows = network.split(arguments), [of_rows] * len(arguments)
    of_states, of_lengths, of_begins = [1] * len(parts.states), [0] * len(parts.lengths), [1] * len(parts.begins)
    places: list[int | None] = [of_rows, *of_states, *of_lengths, *rows[: len(parts.resets)], *of_begins]
    places += [*[None] * (len(parts.flow) + len(parts.keys)), *rows[: len(parts.inputs)]]
    merged = [_merge(*each, count) for each in zip(arguments, axes, places, strict=False)]
    results = recurrence.bind(*merged, *parts.weights, signature=signature)
    rows_of_one = [size for axis, size in enumerate(arguments[0].shape) if axis != axes[0]][of_rows]
    of_results = [*[of_rows] * network.outputs, *of_states]
    return [_divide(*each, count, rows_of_one) for each in zip(results, of_results, strict=True)], of_results


def _merge(array: Any, axis: int | None, rows: int | None, count: int) -> Any:
    """An array whose rows, an axis of it without the batched one, are those of all; as it is if it has none."""
    if rows is None:
        return array
    if axis is None:
        array = jnp.broadcast_to(jnp.expand_dims(array, rows), (*array.shape[:rows], count, *array.shape[rows:]))
    else:
        array = jnp.moveaxis(array, axis, rows)
    return array.reshape(*array.shape[:rows], count * array.shape[rows + 1], *array.shape[rows + 2 :])


def _divide(array: Any, rows: int, count: int, size: int) -> Any:
    return array.reshape(*array.shape[:rows], count, size, *array.shape[rows + 1 :])


batching.primitive_batchers[recurrence] = _together
for _primitive in (forward, tangents, backward):
    batching.primitive_batchers[_primitive] = partial(_one_by_one, _primitive)
