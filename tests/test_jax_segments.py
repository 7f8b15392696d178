"""Burn-in, truncated back-propagation and recomputation in JAX: the gradients of `rnncore.Recurrent`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp
from test_jax import close, draw, float64

import rnncore
import rnncore.jax as ours
from rnncore import spans

T, B, I, H = 40, 4, 3, 5  # noqa: E741
LENGTHS = np.array([40, 20, 0, 33])
RESETS = np.random.default_rng(0).random((T, B)) < 0.1


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments have as few steps as are worth a call: 16."""
    monkeypatch.setattr(spans, "PIECES", 0)


WAYS: list[dict[str, Any]] = [
    {"truncate": 9},
    {"burn_in": 7, "truncate": 10},
    {"burn_in": 20, "truncate": 20, "recompute": True},
    {"burn_in": 40, "recompute": True},
    {"recompute": True},
]
CALLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("lstm", {"num_layers": 2}, {}),
    ("lstm", {}, {"lengths": LENGTHS, "resets": RESETS, "states": "all"}),
    ("gru", {"num_layers": 2, "zoneout": 0.3, "input_dropout": 0.4, "dropout": 0.2}, {"lengths": LENGTHS}),
]
BACK: list[dict[str, Any]] = [{"num_layers": 2, "bidirectional": True}, {"direction": "reverse"}]


@pytest.mark.parametrize(
    ("how", "cell", "options", "call", "batch_first"),
    [
        *((how, *case, number == 1) for how in WAYS for number, case in enumerate(CALLS)),
        *(({"recompute": True}, "lstm", back, CALLS[1][2], False) for back in BACK),
    ],
    ids=[*(f"{how}-{case}" for how in WAYS for case in ("deep", "resets", "draws")), *map(str, BACK)],
)
def test_as_recurrent(how: Any, cell: str, options: dict[str, Any], call: dict[str, Any], batch_first: bool) -> None:
    """Outputs, final states, and gradients of parameters, x, the state, that of resets, and the flow."""
    with float64():
        rnn = rnncore.Recurrent(cell, I, H, seed=1, dtype="float64", batch_first=batch_first, **options)
        rnn._draw_key = lambda: 77  # type: ignore[method-assign]
        params = {name: jnp.asarray(value) for name, value in rnn.parameters.items()}
        depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
        x = draw(B, T, I, dtype="float64") if batch_first else draw(T, B, I, dtype="float64")
        state, begins = (
            [draw(depth, B, H, seed=seed + 2 * k, dtype="float64") for k in range(len(rnn.cell.states))]
            for seed in (1, 2)
        )
        call = dict(call)
        if "resets" in call:
            call["resets"] = RESETS.T if batch_first else RESETS
        others = {name: value for name, value in options.items() if name not in ("num_layers", "bidirectional")}
        flow = [jnp.zeros((depth, T))] * len(state)

        def as_given(states: Any) -> Any:
            return tuple(states) if len(states) > 1 else states[0]

        def function(params: Any, x: Any, state: Any, begins: Any, flow: Any) -> Any:
            given = {**call, "reset_state": as_given(begins)} if "resets" in call else call
            named = {**others, **how, "key": 77, "flow": as_given(flow), "batch_first": batch_first}
            return ours.recurrent(params, x, as_given(state), cell=cell, **given, **named)

        given: Any = {**call, "reset_state": as_given([*map(np.asarray, begins)])} if "resets" in call else call
        initial = as_given([*map(np.asarray, state)])
        expected = rnn.forward(np.asarray(x), initial, **given, **how, flow=True)
        results, pull = jax.vjp(jax.jit(function), params, x, state, begins, flow)
        close(results, expected[:2], 1e-9)
        cotangents = jax.tree.map(lambda r: draw(*r.shape, seed=9, dtype="float64"), results)
        of_params, of_x, of_state, of_begins, of_flow = pull(cotangents)
        grads = rnn.backward(expected[2], *jax.tree.map(np.asarray, cotangents))
        close(of_params, dict(grads.parameters), 1e-9)
        close(of_x, grads.x, 1e-9)
        close(as_given(of_state), grads.state, 1e-9)
        close(as_given(of_flow), grads.flow, 1e-9)
        if "resets" in call:
            close(as_given(of_begins), grads.reset_state, 1e-9)


def total(params: Any, x: Any, lengths: Any = None, **how: Any) -> Any:
    output, state = ours.recurrent(params, x, cell="gru", lengths=lengths, **how)
    return (output**2).sum() + (state**2).sum()


HOW: dict[str, Any] = {"burn_in": 5, "truncate": 10, "recompute": True}


def test_vmap_makes_one_call_of_each_segment() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(B, T, I)

    def mapped(params: Any, x: Any) -> Any:
        return jax.vmap(lambda x, n: total(params, x, n, **HOW))(x, LENGTHS).sum()

    got = jax.grad(mapped, (0, 1))(params, x)
    close(got, jax.grad(total, (0, 1))(params, x, LENGTHS, batch_first=True, **HOW), 1e-4)
    # Burn-in, three segments in a loop, and the last.
    assert str(jax.make_jaxpr(mapped)(params, x)).count("= rnncore_recurrence") == 3


def test_a_gradient_of_each_row() -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(2, T, I)
    each = jax.vmap(jax.grad(lambda params, x: total(params, x, **HOW)), (None, 0))(params, x)
    close(each, jax.tree.map(lambda *g: jnp.stack(g), *[jax.grad(total)(params, x[k], **HOW) for k in range(2)]), 1e-4)


@pytest.mark.parametrize(("steps", "batch", "burn_in"), [(0, 2, 0), (6, 0, 2), (6, 2, 6)])
def test_nothing(steps: int, batch: int, burn_in: int) -> None:
    """No steps, no rows, or burn-in alone, through which no gradient passes."""
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(steps, batch, I)
    how = {**HOW, "burn_in": burn_in}
    output, state = ours.recurrent(params, x, cell="gru", **how)
    close((output, state), ours.recurrent(params, x, cell="gru"))
    if burn_in == steps:
        assert not any(g.any() for g in jax.tree.leaves(jax.grad(total, (0, 1))(params, x, **how)))


def test_memory_of_what_is_computed_again() -> None:
    """Between forward and backward are x and some states, not what 1,600 steps keep."""
    params, x = ours.init(jax.random.key(0), "gru", 1, 32), draw(1600, 1, 1)
    sizes = []
    for recompute in (False, True):
        _, pull = jax.vjp(lambda params, recompute=recompute: total(params, x, recompute=recompute), params)
        sizes.append(sum(leaf.nbytes for leaf in jax.tree.leaves(pull)))
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"burn_in": 41}, ValueError, "burn_in: expected 0 to T=40, got 41"),
        ({"truncate": 0}, ValueError, "truncate: expected an integer of at least 1, got 0"),
        ({"recompute": 1}, TypeError, "recompute: expected True or False, got int 1"),
        ({"truncate": 4, "direction": "reverse"}, ValueError, "truncate: expected None with direction='reverse', got 4"),
        ({"truncate": 4, "lengths": LENGTHS + 1}, ValueError, r"from 0 to T=40, got \[41, 21, 1, 34\]"),
    ],
)  # fmt: skip
def test_refusals(how: Any, error: type[Exception], message: str) -> None:
    params, x = ours.init(jax.random.key(0), "gru", I, H), draw(T, B, I)
    with pytest.raises(error, match=message):
        ours.recurrent(params, x, cell="gru", **how)
    if "lengths" in how:
        # Traced, they are refused where they are known.
        with pytest.raises(Exception, match=r"lengths: expected integers from 0 to T="):
            jax.block_until_ready(jax.jit(lambda lengths: total(params, x, lengths, truncate=4))(how["lengths"]))
