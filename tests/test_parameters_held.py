"""Parameters that somebody holds, and may write to: kept weights are compared with them, and with no others."""

from __future__ import annotations

import copy
import ctypes
import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from conftest import require_peer
from test_kept_weights import X, assert_current, call_all, count_packs, make

from rnncore import Recurrent, live


def test_a_loop_over_the_parameters_leaves_one_of_them_held(backend: str) -> None:
    rnn = make(backend)
    packs = count_packs(rnn)
    values = None
    for values in rnn.parameters.values():
        values += 0.5
    for _ in range(3):
        call_all(rnn)
    assert len(packs) == 1
    assert values is not None
    values -= 0.25
    assert_current(rnn)


def test_all_are_held_and_none_is_written(backend: str) -> None:
    rnn = make(backend)
    held = dict(rnn.parameters)
    packs = count_packs(rnn)
    for _ in range(3):
        call_all(rnn)
    assert len(packs) == 1
    for values in held.values():
        values[..., -1] += 1
        assert_current(rnn)


def test_copies_of_what_nobody_has_any_more_are_dropped() -> None:
    rnn = make("numpy")
    held = list(rnn.parameters.values())
    rnn(X)
    assert len(rnn._kept.copies) == 4  # type: ignore[union-attr]
    del held[1:]
    rnn(X)
    assert list(rnn._kept.copies) == ["weight_ih_l0"]  # type: ignore[union-attr]
    held[0][0, 0] += 1
    assert_current(rnn)


def write_to_ctypes(values: Any) -> Callable[[], object]:
    memory = np.ctypeslib.as_ctypes(values)
    return lambda: ctypes.memset(memory, 1, 4)


def write_to_pointer(values: Any) -> Callable[[], object]:
    pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return lambda: pointer.__setitem__(0, 3.0)


def write_to_weak_reference(values: Any) -> Callable[[], object]:
    reference = weakref.ref(values)
    return lambda: cast(Any, reference()).__setitem__(..., 3.0)


def write_to_iterator(values: Any) -> Callable[[], object]:
    iterator = np.nditer(values, op_flags=[["readwrite"]])
    return lambda: iterator[0].__setitem__(..., 3.0)


def write_with_torch(values: Any) -> Callable[[], object]:
    import torch  # pyright: ignore[reportMissingImports]

    tensor = torch.from_numpy(values)[1:]
    return lambda: tensor.fill_(3.0)


def write_with_dlpack(values: Any) -> Callable[[], object]:
    other = np.from_dlpack(values)
    if not other.flags.writeable:
        pytest.skip("this NumPy reads through DLPack only")
    return lambda: other.fill(3.0)


def writer(view: Callable[[Any], Any]) -> Callable[[Any], Callable[[], object]]:
    """What keeps a view, and writes to it later."""

    def hold(values: Any) -> Callable[[], object]:
        held = view(values)
        return lambda: held.__setitem__(0, 3.0)

    return hold


HOLDERS: dict[str, Callable[[Any], Callable[[], object]]] = {
    "itself": writer(lambda values: values),
    "asarray": writer(np.asarray),
    "view of a view": writer(lambda values: values[1:][1:].T),
    "subclass": writer(lambda values: values.view(np.recarray)[2:]),
    "as_strided": writer(lambda values: np.lib.stride_tricks.as_strided(values[2:], (2, 2), (4, 4))),
    "flat": writer(lambda values: values.flat),
    "memoryview": writer(lambda values: memoryview(values).cast("B").cast("f")),
    "frombuffer": writer(lambda values: np.frombuffer(memoryview(values).cast("B")[8:], np.float32)),
    "of its buffer": writer(lambda values: np.ndarray((3,), np.float32, buffer=values.data)),
    "ctypes": write_to_ctypes,
    "pointer": write_to_pointer,
    "weak reference": write_to_weak_reference,
    "iterator": write_to_iterator,
    "dlpack": write_with_dlpack,
    "torch": write_with_torch,
}


@pytest.mark.parametrize("way", HOLDERS)
@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_hh_l0"])
def test_who_has_a_parameter_from_long_ago(backend: str, way: str, name: str, request: pytest.FixtureRequest) -> None:
    if way == "torch":
        require_peer(request, "torch")
    rnn = make(backend)
    call_all(rnn)
    write = HOLDERS[way](rnn.parameters[name])
    rnn(X)
    rnn(X)
    before, _ = rnn(X)
    write()
    assert not np.array_equal(rnn(X)[0], before)
    assert_current(rnn)
    del write
    assert_current(rnn)


def test_what_was_written_and_let_go_between_two_calls(backend: str) -> None:
    rnn = make(backend)
    for write in (
        lambda: rnn.parameters["weight_hh_l0"].fill(0.5),
        lambda: rnn.parameters.update({"weight_hh_l0": np.ones((16, 4), np.float32)}),
        lambda: rnn.parameters.layers()[0].weight_hh.fill(0.25),  # type: ignore[union-attr]
        lambda: rnn.load_state_dict(Recurrent("lstm", 3, 4, seed=1).state_dict()),
        lambda: copy.copy(rnn.parameters)["weight_hh_l0"].fill(0.75),
        lambda: copy.copy(rnn).parameters["weight_hh_l0"].fill(0.125),
    ):
        before, _ = rnn(X)
        write()  # type: ignore[no-untyped-call]
        assert not np.array_equal(rnn(X)[0], before)
        assert_current(rnn)


def test_bits_are_compared() -> None:
    rnn = make("numpy")
    bias = rnn.parameters["bias_ih_l0"]
    bias[0] = np.nan
    packs = count_packs(rnn)
    rnn(X)
    rnn(X)
    assert len(packs) == 1
    bias.view(np.uint32)[0] ^= 1
    assert np.isnan(bias[0])
    rnn(X)
    assert len(packs) == 2
    bias[0] = 0.0
    rnn(X)
    bias[0] = -0.0
    rnn(X)
    assert len(packs) == 4


def test_many_bytes_that_are_held_are_not_compared(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rnn = make(backend)
    monkeypatch.setattr(rnn._engine, "compared_bytes", 100)
    held = dict(rnn.parameters)
    packs = count_packs(rnn)
    rnn(X)
    before, _ = rnn(X)
    assert packs == [False, False]
    held["weight_hh_l0"] += 1
    assert not np.array_equal(rnn(X)[0], before)
    assert_current(rnn)
    for name in list(held)[1:]:
        del held[name]
    packs.clear()
    rnn(X)
    rnn(X)
    assert packs == [False, False]
    held.clear()
    rnn(X)
    rnn(X)
    assert packs == [False, False, True]


def test_where_references_are_not_counted_all_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "COUNTED", False)
    rnn = make("numpy")
    packs = count_packs(rnn)
    rnn(X)
    rnn(X)
    assert len(packs) == 1
    assert len(rnn._kept.copies) == 4  # type: ignore[union-attr]
    rnn._live.arrays["weight_hh_l0"][...] = 1
    assert_current(rnn)
