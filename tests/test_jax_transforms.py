"""`rnncore.jax.recurrent` under transformations of JAX's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp
from test_jax import EAGER_AND_JIT, LENGTHS, B, H, I, T, close, draw, loss, weighted

import rnncore.jax as ours


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """How many calls of the engine a graph has; what is in a loop counts ten times."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return text.count("= rnncore_") * (10 if "scan[" in text else 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_vmap_makes_one_call(axis: int) -> None:
    params, x, state = ours.init(jax.random.key(0), "gru", I, H), draw(B, T, I), draw(1, B, H)
    moved = jnp.moveaxis(x, 0, axis)
    mapped = jax.vmap(loss, (None, axis, 1, 0))
    many: Any = lambda *arguments: mapped(*arguments).sum()  # noqa: E731
    expected = jax.value_and_grad(
        lambda *a: sum(loss(a[0], a[1][k], a[2][:, k], LENGTHS[k]) for k in range(B)), (0, 1, 2)
    )
    value, (of_params, of_x, of_state) = expected(params, x, state)
    for transform in EAGER_AND_JIT:
        got, gradients = transform(jax.value_and_grad(many, (0, 1, 2)))(params, moved, state, LENGTHS)
        close(got, value)
        close(gradients, (of_params, jnp.moveaxis(of_x, 0, axis), of_state))
    assert count(jax.grad(many), params, moved, state, LENGTHS) == 2


def test_vmap_over_nothing() -> None:
    params, x, state = ours.init(jax.random.key(0), "gru", I, H), draw(0, T, B, I), draw(0, 1, B, H)
    call: Any = lambda x, state: ours.recurrent(params, x, state, cell="gru")  # noqa: E731
    shapes = (0, T, B, H), (0, 1, B, H)
    assert tuple(r.shape for r in jax.vmap(call)(x, state)) == shapes
    assert tuple(r.shape for r in jax.vmap(call, (None, 0))(draw(T, B, I), state)) == shapes


def test_vmap_with_resets() -> None:
    params, x, state = ours.init(jax.random.key(0), "gru", I, H), draw(B, T, I), draw(1, H)
    flags = jnp.asarray(np.random.default_rng(7).random((B, T)) < 0.3)

    def one(x: Any, flags: Any, begin: Any) -> Any:
        return ours.recurrent(params, x, cell="gru", resets=flags, reset_state=begin)

    together = jax.vmap(one, (0, 0, None))
    close(
        together(x, flags, state),
        jax.tree.map(lambda *r: jnp.stack(r), *[one(x[k], flags[k], state) for k in range(B)]),
    )
    assert count(together, x, flags, state) == 1


def test_vmap_of_batches_and_of_batches_of_those() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(2, 3, T, B, I)
    call: Any = lambda x: ours.recurrent(params, x, cell="gru")  # noqa: E731
    mapped = jax.vmap(jax.vmap(jax.jit(call)))
    close(
        mapped(x),
        jax.tree.map(
            lambda *r: jnp.stack(r).reshape(2, 3, *r[0].shape), *[call(x[a, b]) for a in range(2) for b in range(3)]
        ),
    )
    assert count(mapped, x) == 1


def test_gradients_of_each_row() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(B, T, I)
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, x)
    close(each, jax.tree.map(lambda *g: jnp.stack(g), *[jax.grad(loss)(params, x[k]) for k in range(B)]))


def test_weights_of_each_row() -> None:
    params = jax.vmap(lambda key: ours.init(key, "gru", I, H))(jax.random.split(jax.random.key(0), 3))
    x = draw(T, B, I)
    members = [jax.tree.map(lambda p, k=k: p[k], params) for k in range(3)]
    got = jax.vmap(jax.value_and_grad(loss), (0, None))(params, x)
    close(got, jax.tree.map(lambda *g: jnp.stack(g), *[jax.value_and_grad(loss)(p, x) for p in members]))
    summed = jax.grad(lambda params: jax.vmap(loss, (0, None))(params, x).sum())(params)
    close(summed, got[1])


def test_jacobian() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(T, I)
    last: Any = lambda x: ours.recurrent(params, x, cell="gru")[0][-1]  # noqa: E731
    close(jax.jacrev(last)(x)[2], jax.grad(lambda x: last(x)[2])(x))


def test_scan_and_checkpoint() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(12, B, I)

    def chunked(params: Any, x: Any, wrap: Callable[[Any], Any]) -> Any:
        def chunk(state: Any, part: Any) -> Any:
            output, state = ours.recurrent(params, part, state, cell="gru")
            return state, output

        state, outputs = jax.lax.scan(wrap(chunk), jnp.zeros((1, B, H)), x.reshape(4, 3, B, I))
        return weighted((outputs.reshape(12, B, H), state))

    expected = jax.value_and_grad(loss, (0, 1))(params, x)
    for wrap in (EAGER_AND_JIT[0], jax.checkpoint):
        close(jax.jit(jax.value_and_grad(chunked, (0, 1)), static_argnums=2)(params, x, wrap), expected)
    close(jax.value_and_grad(jax.checkpoint(loss), (0, 1))(params, x), expected)


def test_only_needed_gradients_are_computed() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H, num_layers=2), draw(T, B, I)
    everything = jax.grad(loss, (0, 1))(params, x)
    close(jax.grad(loss, 1)(params, x), everything[1])
    top = {name: value for name, value in params.items() if "_l1" in name}
    close(jax.grad(lambda top: loss(params | top, x))(top), {name: everything[0][name] for name in top})


def test_a_second_derivative_is_refused() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(T, B, I)
    with pytest.raises(NotImplementedError, match="differentiated once, got a second time"):
        jax.grad(lambda x: jax.grad(loss, 1)(params, x).sum())(x)
    for transform in EAGER_AND_JIT:
        with pytest.raises(NotImplementedError, match=r"reverse mode .* got forward mode"):
            transform(lambda x: jax.jvp(lambda x: loss(params, x), (x,), (x,)))(x)
