"""rnncore.jax: the same values as rnncore.Recurrent."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp
from own_cells import driven, irregular, partial_gates, projected

import rnncore
import rnncore.jax as ours
from rnncore.cells import cell, tanh
from rnncore.jax import ffi, network
from rnncore.registry import make_engine

T, B, I, H = 6, 4, 3, 5  # noqa: E741
LENGTHS = np.array([6, 0, 3, 5])
PARAMS = ours.init(jax.random.key(0), "gru", I, H)
EAGER_AND_JIT: list[Any] = [lambda f: f, jax.jit]


@contextmanager
def float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def weighted(results: Any, seed: int = 3) -> Any:
    """A number that depends on all results."""
    rng = np.random.default_rng(seed)
    return sum((jnp.asarray(rng.standard_normal(r.shape), r.dtype) * r).sum() for r in jax.tree.leaves(results))


def close(one: Any, other: Any, tolerance: float = 2e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), one, other)


def draw(*shape: int, seed: int = 0, dtype: Any = "float32") -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


CASES: list[tuple[Any, ...]] = [
    ("numba", "lstm", {"num_layers": 2, "bidirectional": True}, False, False, "float32", ""),
    ("numba", "lstm", {}, True, True, "float32", "given"),
    ("numba", irregular, {"bidirectional": True}, True, True, "float32", ""),
    ("numba", "gru", {"bias": False}, False, True, "float64", ""),
    ("numpy", "gru", {"num_layers": 2, "bidirectional": True}, False, False, "float64", "given"),
    ("numpy", "rnn", {"num_layers": 3, "direction": "reverse"}, True, True, "float32", ""),
    ("numpy", driven, {}, True, True, "float64", "given"),
    ("numpy", projected, {"num_layers": 2}, False, False, "float64", "zeros"),
    ("numpy", partial_gates, {}, False, True, "float64", ""),
]
"""Engine, cell, options, batch_first, whether rows differ in length, dtype, and the state of rows that begin anew."""


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which engine computes."""
    caches = jax.clear_caches, network.find_network.cache_clear, network._parse.cache_clear
    for clear in caches:
        clear()
    with monkeypatch.context() as patch:
        patch.setattr(network, "host_engine", lambda: make_engine(request.param, None))
        yield request.param
    for clear in caches:
        clear()


@pytest.mark.parametrize(
    ("engine", "cell_", "options", "batch_first", "ragged", "dtype", "resets"),
    CASES,
    ids=["-".join([case[0], str(getattr(case[1], "name", case[1])), *map(str, case[3:])]) for case in CASES],
    indirect=["engine"],
)
def test_same_as_recurrent(
    engine: str, cell_: Any, options: dict[str, Any], batch_first: bool, ragged: bool, dtype: str, resets: str
) -> None:
    with float64():
        rnn = rnncore.Recurrent(cell_, I, H, batch_first=batch_first, dtype=dtype, seed=1, backend=engine, **options)
        params = {name: jnp.asarray(value) for name, value in rnn.parameters.items()}
        order = (B, T) if batch_first else (T, B)
        x, lengths = draw(*order, I, dtype=dtype), LENGTHS if ragged else None
        shapes = {"dt": order, "gain": (B, H)}
        inputs = {n: draw(*shapes[n], seed=5, dtype=dtype) for n in rnn._architecture.definition.inputs}
        widths = [rnn._architecture.units(width) for width in rnn._architecture.program.states]
        depth = rnn.num_layers * (2 if rnn.bidirectional else 1)
        state: Any = tuple(draw(depth, B, width, seed=8 + width, dtype=dtype) for width in widths)
        state = state if len(state) > 1 else state[0]

        flags = np.random.default_rng(7).random(order) < 0.3 if resets else None
        begins = jax.tree.map(lambda s: 1 + s, state) if resets == "given" else None

        def call(params: Any, x: Any, state: Any, inputs: Any, begins: Any) -> Any:
            named = {"lengths": lengths, "inputs": inputs, "resets": flags, "reset_state": begins}
            way = options.get("direction", "forward")
            return ours.recurrent(params, x, state, cell=cell_, batch_first=batch_first, direction=way, **named)

        arguments = params, x, state, inputs, begins
        host = jax.tree.map(np.asarray, (x, state, inputs, begins))
        expected = rnn.forward(host[0], host[1], lengths, inputs=host[2], resets=flags, reset_state=host[3])
        for function in (call, jax.jit(call)):
            close(function(*arguments), expected[:2])
        _, pull = jax.vjp(call, *arguments)
        cotangents = jax.tree.map(lambda r: draw(*r.shape, seed=9, dtype=dtype), call(*arguments))
        of_params, of_x, of_state, of_inputs, of_begins = pull(cotangents)
        gradients = rnn.backward(expected[2], *jax.tree.map(np.asarray, cotangents))
        close(of_params, gradients.parameters)
        close(of_x, gradients.x)
        close(of_state, gradients.state)
        close(of_inputs, gradients.inputs)
        close(of_begins, gradients.reset_state)


@pytest.mark.parametrize(
    ("cell_", "options"), [("lstm", {"num_layers": 2, "bidirectional": True}), ("gru", {"heads": 2})]
)
def test_all_states_flow_and_what_is_observed(cell_: str, options: dict[str, Any]) -> None:
    """Flow is the gradient of zeros that nothing reads; a learnt initial state is among the parameters."""
    options = {**options, "learn_initial_state": True}
    params = ours.init(jax.random.key(0), cell_, I, 4, **options)
    params |= {name: params[name] + 0.3 for name in params if name.endswith("_0")}
    rnn = rnncore.Recurrent(cell_, I, 4, **options)
    rnn.load_state_dict({name: np.array(value) for name, value in params.items()}, "rnncore")
    x, resets = draw(T, B, I), draw(T, B) > 0.5
    others: dict[str, Any] = {name: options[name] for name in options if name == "heads"}
    count, depth = len(rnn.cell.states), 4 if rnn.bidirectional else 1
    probes = tuple(jnp.zeros((depth, T)) for _ in range(count))

    def loss(params: Any, x: Any, flow: Any) -> Any:
        flow = flow if count > 1 else flow[0]
        every, _ = ours.recurrent(params, x, cell=cell_, resets=resets, states="all", flow=flow, **others)
        return sum((k + 1) * e.sum() for k, e in enumerate(every if count > 1 else [every]))

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, x, probes)
    every, _, tape = rnn.forward(np.array(x), resets=np.array(resets), states="all", flow=True)
    given = tuple(np.full_like(e, k + 1) for k, e in enumerate(every if count > 1 else [every]))
    grads = rnn.backward(tape, given if count > 1 else given[0])
    close(gradients, (grads.parameters, grads.x, grads.flow if count > 1 else (grads.flow,)))
    both = jax.vmap(lambda x: ours.recurrent(params, x, cell=cell_, states="all", **others)[0])(jnp.stack([x, x]))
    close(jax.tree.map(lambda e: e[1], both), ours.recurrent(params, x, cell=cell_, states="all", **others)[0])
    close(
        ours.observe(params, x, cell=cell_, resets=resets, **others), rnn.observe(np.array(x), resets=np.array(resets))
    )
    with pytest.raises(TypeError, match="observe: expected arrays with values"):
        jax.jit(lambda x: ours.observe(params, x, cell=cell_))(x)


@pytest.mark.parametrize("width", [2, 3])
def test_a_projection(width: int) -> None:
    params = ours.init(jax.random.key(0), "lstm", I, 6, proj_size=width)
    rnn = rnncore.Recurrent("lstm", I, 6, proj_size=width)
    rnn.load_state_dict({name: np.asarray(value) for name, value in params.items()}, "rnncore")
    x = draw(T, B, I)
    close(ours.recurrent(params, x, proj_size=width), rnn(np.asarray(x)))


def test_without_a_batch() -> None:
    params = ours.init(jax.random.key(0), "lstm", I, H)
    x, state = draw(B, T, I), (draw(1, B, H, seed=2), draw(1, B, H, seed=3))
    whole = ours.recurrent(params, x, state, lengths=LENGTHS, batch_first=True)
    one = ours.recurrent(params, x[2], (state[0][:, 2], state[1][:, 2]), lengths=LENGTHS[2])
    close(one, (whole[0][2], (whole[1][0][:, 2], whole[1][1][:, 2])))


def loss(params: Any, x: Any, state: Any = None, lengths: Any = None) -> Any:
    return weighted(ours.recurrent(params, x, state, cell="gru", lengths=lengths))


def test_calls_in_flight_at_once() -> None:
    params = [ours.init(jax.random.key(k), "lstm", 16, 32) for k in range(6)]
    x = draw(40, 8, 16)
    one: Any = lambda p, x: jax.grad(lambda p: weighted(ours.recurrent(p, x)))(p)  # noqa: E731
    together: Any = jax.jit(lambda ps, x: [one(p, x) for p in ps])
    expected = [one(p, x) for p in params]
    for got in [together(params, x + 0 * k) for k in range(10)]:
        jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_memory_that_does_not_begin_at_a_cache_line() -> None:
    memory = np.arange(200, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    assert network._at_line(memory[start : start + 64]) is not None
    odd = memory[start + 1 : start + 65]
    copy = network._at_line(odd, copy=True)
    assert copy.ctypes.data % 64 == 0
    np.testing.assert_array_equal(copy, odd)


def test_initial_parameters() -> None:
    @cell(states="h", gates="a", units="gain", initial={"gain": 2.0})
    def scaled(h: Any, a: Any, gain: Any) -> Any:
        return gain * tanh(a)

    params = ours.init(jax.random.key(0), scaled, I, 100, num_layers=2)
    expected = rnncore.Recurrent(scaled, I, 100, num_layers=2).parameters
    assert {n: p.shape for n, p in params.items()} == {n: p.shape for n, p in expected.items()}
    assert np.all(params["gain_l1"] == 2)
    assert 0.09 < np.abs(params["weight_hh_l0"]).max() <= 0.1
    with pytest.raises(ValueError, match="jax_enable_x64"):
        ours.init(jax.random.key(0), "gru", I, H, dtype="float64")


def test_a_number_as_an_input() -> None:
    params, gain = ours.init(jax.random.key(0), driven, I, H), jnp.ones((B, H))
    results = [
        ours.recurrent(params, draw(T, B, I), cell=driven, inputs={"dt": dt, "gain": gain})
        for dt in (0.5, jnp.float32(0.5), jnp.full((T, B), 0.5))
    ]
    close(results[0], results[2])
    close(results[1], results[2])


@pytest.mark.parametrize(("steps", "batch"), [(0, 4), (6, 0), (1, 1)])
def test_empty(steps: int, batch: int) -> None:
    params, state = ours.init(jax.random.key(0), "gru", I, H), draw(1, batch, H)
    output, final = ours.recurrent(params, jnp.zeros((steps, batch, I)), state, cell="gru")
    assert output.shape == (steps, batch, H)
    gradients = jax.grad(loss)(params, jnp.zeros((steps, batch, I)), state)
    if not steps:
        close(final, state)
        close(gradients, jax.tree.map(jnp.zeros_like, params))


@pytest.mark.parametrize(("theirs", "reported"), [((0, 1), (0, 1)), ((0, 9), ffi.VERSION), ((1, 0), ffi.VERSION)])
def test_the_version_of_the_c_interface(
    theirs: tuple[int, int], reported: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLA learns which version the handler is made for, and decides."""
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)
    monkeypatch.setattr(ffi, "_handlers", [])
    ffi.register("test", lambda *_: None)
    metadata, api = ffi._Metadata(), ffi._Api()
    api.version.major, api.version.minor = theirs
    extension = ffi._MetadataExtension(type=ffi.METADATA, metadata=ctypes.pointer(metadata))
    frame = ffi._Frame(extension=ctypes.addressof(extension), api=ctypes.pointer(api))
    assert ffi._handlers[0](ctypes.pointer(frame)) is None
    assert (metadata.version.major, metadata.version.minor) == reported


def test_no_call_computes_with_other_weights() -> None:
    x = draw(T, B, I)
    params = [ours.init(jax.random.key(k), "gru", I, H) for k in range(7)]
    results = [ours.recurrent(p, x, cell="gru") for p in params]
    jax.tree.map(np.testing.assert_array_equal, [ours.recurrent(p, x, cell="gru") for p in params], results)
    gradients = [jax.grad(loss)(p, x) for p in params]
    for k in (6, 0, 3):
        changed = params[k] | {"bias_hh_l0": params[k]["bias_hh_l0"] + 1}
        assert not np.array_equal(ours.recurrent(changed, x, cell="gru")[0], results[k][0])
        jax.tree.map(np.testing.assert_array_equal, jax.grad(loss)(params[k], x), gradients[k])


@pytest.mark.parametrize(
    "options",
    [{"zoneout": {"c": 0.5}, "recurrent_dropout": 0.4, "input_dropout": 0.3, "dropout": 0.5}, {"zoneout": 0.3}],
)
def test_numbers_that_training_draws(options: dict[str, Any]) -> None:
    """Those of `rnncore.Recurrent` with the same key; none without a key."""
    rnn = rnncore.Recurrent("lstm", 3, 5, num_layers=2, bidirectional=True, seed=0, **options)
    params = {name: jnp.asarray(values) for name, values in rnn.parameters.items()}
    x = np.random.default_rng(0).standard_normal((4, 6, 3)).astype(np.float32)
    number = 2**40 + 7
    rnn._draw_key = lambda: number  # type: ignore[method-assign]
    expected, _, tape = rnn.forward(x)
    grads = rnn.backward(tape, np.ones_like(expected))

    def loss(params: Any, x: Any) -> Any:
        return ours.recurrent(params, x, key=number, **options)[0].sum()

    of_params, of_x = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    np.testing.assert_allclose(of_x, grads.x, atol=1e-5)
    for name, gradient in of_params.items():
        np.testing.assert_allclose(gradient, grads.parameters[name], atol=1e-5)
    np.testing.assert_allclose(ours.recurrent(params, x, **options)[0], rnn(x)[0], atol=1e-6)
    keys = jax.random.split(jax.random.key(0))
    one, other = (ours.recurrent(params, x, key=key, **options)[0] for key in keys)
    assert not np.array_equal(one, other)
    both = jax.vmap(lambda key: ours.recurrent(params, x, key=key, **options)[0])(keys)
    np.testing.assert_array_equal(both, np.stack([one, other]))
