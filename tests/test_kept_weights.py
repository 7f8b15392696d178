"""Packed weights are kept between calls, and no call computes with parameters as they were before."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import numpy as np
import pytest
from conftest import Array
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnncore import Recurrent

X = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)


RESETS = np.arange(10).reshape(5, 2) == 6


def make(backend: str, **options: Any) -> Recurrent:
    return Recurrent("lstm", 3, 4, backend=backend, seed=0, **options)


def count_packs(rnn: Recurrent) -> list[bool]:
    """A list that grows by an item with each layer and direction that is packed."""
    packs: list[bool] = []
    pack = rnn._engine.pack

    def counted(*arguments: Any, copy: bool, **options: Any) -> Any:
        packs.append(copy)
        return pack(*arguments, copy=copy, **options)

    cast(Any, rnn._engine).pack = counted
    return packs


def assert_current(rnn: Recurrent) -> None:
    """Everything that computes without `freeze` computes what a network frozen now does."""
    frozen, x_t = rnn.freeze(), np.ones((2, rnn.input_size or 0), np.float32)
    np.testing.assert_array_equal(rnn.step(x_t)[0], frozen.step(x_t)[0])
    np.testing.assert_array_equal(rnn(X)[0], frozen(X)[0])
    feedback: Callable[[Array], Array] = lambda y: y[:, :3].copy()  # noqa: E731
    np.testing.assert_array_equal(rnn.generate(x_t, 2, None, feedback)[0], frozen.generate(x_t, 2, None, feedback)[0])


def call_all(rnn: Recurrent) -> None:
    rnn(X)
    rnn.step(X[0])
    rnn.generate(X[0], 2, feedback=lambda y: y[:, :3].copy())


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bias": False}])
def test_weights_are_packed_once_until_a_parameter_is_handed_out(backend: str, options: dict[str, Any]) -> None:
    rnn = make(backend, **options)
    layers = rnn.num_layers
    packs = count_packs(rnn)
    for _ in range(3):
        call_all(rnn)
        rnn.state_dict()
        rnn.impl(5, 2)
    assert len(packs) == layers
    for name in rnn.parameters:
        rnn.parameters[name] *= 2
    for _ in range(3):
        call_all(rnn)
    assert len(packs) == 2 * layers


@pytest.mark.parametrize("kept", [False, True])
def test_calls_with_resets_pack_for_them_alone(backend: str, kept: bool) -> None:
    rnn = make(backend)
    held = [] if kept else list(rnn.parameters.values())
    cast(Any, rnn._engine).compared_bytes = 0
    packs = count_packs(rnn)
    for _ in range(3):
        rnn(X, resets=RESETS)
    assert len(packs) == (1 if kept else 3)
    assert kept != bool(held)


def test_networks_that_were_called_are_no_garbage_in_cycles(backend: str) -> None:
    gc.collect()
    gc.disable()
    try:
        rnn = make(backend)
        call_all(rnn)
        rnn(X, resets=RESETS)
        rnn.forward(X)
        frozen, gone = rnn.freeze(), weakref.ref(rnn)
        expected = frozen(X)[0]
        del rnn
        assert gone() is None
        np.testing.assert_array_equal(frozen(X)[0], expected)
        stack = weakref.ref(frozen._stack())
        del frozen
        assert stack() is None
    finally:
        gc.enable()


def out_of_band(rnn: Recurrent) -> Recurrent:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(rnn, 5, buffer_callback=buffers.append)
    return cast(Recurrent, pickle.loads(data, buffers=[bytearray(b.raw()) for b in buffers]))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda rnn: pickle.loads(pickle.dumps(rnn)), out_of_band])
def test_copies_share_nothing_that_is_kept(backend: str, duplicate: Any) -> None:
    rnn = make(backend)
    rnn(X)
    other = duplicate(rnn)
    assert other._kept is None
    packs = count_packs(other)
    call_all(other)
    call_all(other)
    assert len(packs) == 1
    assert not cast(Any, other)._kept.copies
    assert list(dict.fromkeys(values.flags.owndata for values in other.parameters.values())) == [True]
    other.parameters["weight_hh_l0"] += 1
    assert not np.array_equal(other(X)[0], rnn(X)[0])
    assert_current(other)
    assert_current(rnn)


def test_a_generation_keeps_what_it_began_with(backend: str) -> None:
    rnn = make(backend)
    held, frozen = dict(rnn.parameters), rnn.freeze()
    rnn(X)

    def feedback(y: Array) -> Array:
        for values in held.values():
            values += 1
        rnn(X)
        return y[:, :3].copy()

    outputs, _ = rnn.generate(X[0], 4, feedback=feedback)
    np.testing.assert_array_equal(outputs, frozen.generate(X[0], 4, feedback=lambda y: y[:, :3].copy())[0])


class Interruption(BaseException):
    pass


def at_line(number: int, call: Callable[[], object], meanwhile: Callable[[], object]) -> bool:
    """Do something just before a line that `call` executes in rnncore, counted from 1; False if there are fewer."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(
            ("live.py", "parameters.py", "network.py", "recurrent.py", "frozen.py")
        ):
            return None
        if event == "line":
            seen += 1
            if seen == number:
                meanwhile()
        return trace

    before = sys.gettrace()  # that of a measurement of coverage, say
    sys.settrace(trace)
    try:
        call()
    except Interruption:
        pass
    finally:
        sys.settrace(before)
    return seen >= number


def interrupt(rnn: Recurrent, held: dict[str, Array]) -> None:
    raise Interruption


def compute(rnn: Recurrent, held: dict[str, Array]) -> None:
    call_all(rnn)


def write(rnn: Recurrent, held: dict[str, Array]) -> None:
    rnn.parameters["bias_hh_l0"] += 1
    rnn.parameters.update({name: np.full_like(rnn.parameters[name], 0.5) for name in ("weight_hh_l0", "bias_ih_l0")})


def write_and_let_go(rnn: Recurrent, held: dict[str, Array]) -> None:
    for values in held.values():
        values += 1
    held.clear()


Meanwhile = Callable[[Recurrent, dict[str, Array]], None]

HELD = {
    "one": ["weight_hh_l0"],
    "none": [],
    "all": ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"],
}
"""Parameters that somebody holds."""

MEANWHILE: list[Meanwhile] = [interrupt, compute, write, write_and_let_go]


@pytest.mark.parametrize(
    ("which", "call", "meanwhile", "changed"),
    [
        pytest.param(
            *(which, call, meanwhile, (a + b + c) % 2 == 0),
            marks=[] if which == "one" and (b + c) % 2 else [pytest.mark.slow],
        )
        for (a, which), (b, call), (c, meanwhile) in itertools.product(
            enumerate(HELD), enumerate([write, compute]), enumerate(MEANWHILE)
        )
    ],
)
def test_between_any_two_lines(which: str, call: Meanwhile, meanwhile: Meanwhile, changed: bool) -> None:
    """An interruption, or another thread, in a write or a call leaves nothing that later calls do not see."""
    for number in itertools.count(1):
        rnn = make("numpy")
        held = {name: rnn.parameters[name] for name in HELD[which]}
        rnn(X)
        if changed:
            rnn.parameters["bias_ih_l0"].fill(0.25)
        if not at_line(number, lambda: call(rnn, held), lambda: meanwhile(rnn, held)):  # noqa: B023
            assert number > 9
            break
        assert_current(rnn)
        write_and_let_go(rnn, held)
        assert_current(rnn)


@pytest.mark.parametrize("options", [{}, {"resets": RESETS}], ids=["plain", "resets"])
def test_a_write_during_a_call_that_is_taken_back(options: dict[str, Any]) -> None:
    expected = make("numpy")(X, **options)[0]
    for number in itertools.count(1):
        rnn = make("numpy")
        held = rnn.parameters["weight_hh_l0"]
        before = held.copy()
        if not at_line(number, lambda: rnn(X, **options), lambda: held.fill(1)):  # noqa: B023
            break
        held[...] = before
        assert_current(rnn)
        np.testing.assert_array_equal(rnn(X, **options)[0], expected)


def test_threads_that_compute_while_another_writes(backend: str) -> None:
    rnn = make(backend)
    rounds, errors = 200, []
    done = threading.Event()

    def compute_on() -> None:
        try:
            while not done.is_set():
                rnn.step(X[0])
                rnn(X)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=compute_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        held = None
        for value in range(rounds):
            if value % 3 == 0:
                held = rnn.parameters["weight_hh_l0"]
            if held is not None:
                held[...] = value / rounds
            if value % 3 == 1:
                held = None
                rnn.parameters["bias_hh_l0"][...] = value / rounds
            x_t = X[0]
            np.testing.assert_array_equal(rnn.step(x_t)[0], rnn.freeze().step(x_t)[0])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not errors


names = st.sampled_from(["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["take", "view", "drop", "write", "put", "call"]), names), max_size=25))
def test_any_order_of_taking_writing_and_letting_go(backend: str, steps: list[tuple[str, str]]) -> None:
    rnn, held = make(backend), {}
    for number, (what, name) in enumerate(steps):
        if what == "take":
            held[name] = rnn.parameters[name]
        elif what == "view":
            held[name] = rnn.parameters[name][2:]
        elif what == "drop":
            held.pop(name, None)
        elif what == "write" and name in held:
            held[name].reshape(-1)[-1] = number
        elif what == "put":
            rnn.parameters[name].reshape(-1)[0] = number
        elif what == "call":
            np.testing.assert_array_equal(rnn.step(X[0])[0], rnn.freeze().step(X[0])[0])
    assert_current(rnn)
