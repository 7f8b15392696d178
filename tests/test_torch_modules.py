"""rnncore.torch's LSTM, GRU and RNN behave as PyTorch's: results, states, errors, copies, what they leave to it."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

import rnncore.torch as ours
from rnncore.torch import fallback

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}), ("LSTM", {"proj_size": 3}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"}),
]  # fmt: skip
LAYOUTS = ("batch", "unbatched", "packed", "unsorted")


def pair(name: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """A module of PyTorch's and ours with the same parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(torch.nn, name)(*sizes, **options)
        mine = getattr(ours, name)(*sizes, **options)
    mine.load_state_dict(theirs.state_dict())
    return theirs, mine


def as_list(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple) else [state]


def step(module: Any, x: Any, state: Any, layout: str) -> list[Any]:
    """Results and gradients of a training step, and results without gradients."""
    x = x.clone().requires_grad_()
    states = [s.clone().requires_grad_() for s in as_list(state)] if state is not None else []
    given = None if state is None else tuple(states) if len(states) > 1 else states[0]
    lengths = {"packed": [6, 4, 4, 2], "unsorted": [2, 6, 1, 4]}.get(layout)
    sequence = x
    if lengths is not None:
        sequence = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first=module.batch_first, enforce_sorted=layout == "packed"
        )
    torch.manual_seed(5)
    output, final = module(sequence, given)
    values = [output.data if lengths else output, *as_list(final)]
    torch.manual_seed(6)
    torch.autograd.backward(values, [torch.randn(value.shape, dtype=value.dtype) for value in values])
    gradients = [x.grad, *(s.grad for s in states), *(p.grad for p in module.parameters())]
    module.eval()
    with torch.no_grad():
        output, final = module(sequence, given)
    inferred = [output.data if lengths else output, *as_list(final)]
    return [value.detach() for value in (*values, *gradients, *inferred)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "options"), KINDS)
def test_computes_what_pytorch_does(name: str, options: dict[str, Any], layout: str) -> None:
    """The same elements are dropped for a seed, too."""
    choices = list(itertools.product((1, 2), (False, True), (False, True), (False, True)))
    for layers, bidirectional, batch_first, with_state in choices[LAYOUTS.index(layout) % 2 :: 2]:
        dropout, bias = 0.5 if layers > 1 else 0.0, not with_state or layers > 1
        theirs, mine = pair(
            name,
            5,
            7,
            layers,
            bidirectional=bidirectional,
            batch_first=batch_first,
            dropout=dropout,
            bias=bias,
            **options,
        )
        theirs, mine = theirs.double(), mine.double()
        shape = (6, 5) if layout == "unbatched" else (4, 6, 5) if batch_first else (6, 4, 5)
        x = torch.randn(shape, dtype=torch.float64)
        depth = (layers * (1 + bidirectional),) + (() if layout == "unbatched" else (4,))
        widths = [options.get("proj_size", 7), 7][: 2 if name == "LSTM" else 1]
        states = tuple(torch.randn(*depth, width, dtype=torch.float64) for width in widths)
        state = None if not with_state else states if name == "LSTM" else states[0]
        expected, got = step(theirs, x, state, layout), step(mine, x, state, layout)
        assert len(expected) == len(got)
        for reference, value in zip(expected, got, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-9, atol=1e-10)


def test_float32() -> None:
    theirs, mine = pair("GRU", 33, 65)
    expected, got = (
        step(m, torch.randn(9, 4, 33, generator=torch.Generator().manual_seed(0)), None, "") for m in (theirs, mine)
    )
    for reference, value in zip(expected, got, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)


def test_a_packed_sequence_comes_back_as_one() -> None:
    theirs, mine = pair("LSTM", 3, 4)
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(n, 3) for n in (2, 5, 3)], enforce_sorted=False)
    expected, got = theirs(packed)[0], mine(packed)[0]
    assert type(got) is type(expected)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(got, field), getattr(expected, field))


WRONG: list[Callable[[Any], Any]] = [
    lambda m: m(torch.randn(2, 3, 4)),
    lambda m: m(torch.randn(2, 3, 4, 5)),
    lambda m: m(torch.randn(2, 3, 5).double()),
    lambda m: m(torch.zeros(0, 3, 5)),
    lambda m: m(torch.randn(2, 3, 5), (torch.randn(1, 4, 7), torch.randn(1, 3, 7))),
    lambda m: m(torch.randn(2, 3, 5), (torch.randn(1, 3, 7), torch.randn(1, 3, 6))),
    lambda m: m(torch.randn(2, 3, 5), (torch.randn(1, 7), torch.randn(1, 7))),
    lambda m: m(torch.randn(2, 5), (torch.randn(1, 3, 7), torch.randn(1, 3, 7))),
    lambda m: m(torch.randn(2, 3, 5), torch.randn(1, 3, 7)),
    lambda m: m(
        torch.nn.utils.rnn.pack_sequence([torch.randn(n, 5) for n in (3, 2, 1)]),
        (torch.randn(1, 2, 7), torch.randn(1, 2, 7)),
    ),
    lambda m: m("text"),
    lambda m: type(m)(5, 7, proj_size=7),
    lambda m: type(m)(0, 7),
    lambda m: type(m)(5, 7, dropout=2),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_are_pytorchs(number: int) -> None:
    theirs, mine = pair("LSTM", 5, 7)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        WRONG[number](theirs)
    with pytest.raises(type(expected.value)) as got:
        WRONG[number](mine)
    assert str(got.value) == str(expected.value)


def test_state_dicts_go_both_ways() -> None:
    theirs, mine = pair("LSTM", 5, 7, num_layers=2, bidirectional=True, proj_size=3)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.add_(1)
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 3, 5)
    torch.testing.assert_close(mine(x)[0], theirs(x)[0])


def test_copies_and_pickles_compute_on_their_own() -> None:
    module = ours.GRU(5, 7)
    x = torch.randn(2, 3, 5)
    with torch.no_grad():
        expected = module(x)[0]
        buffer = io.BytesIO()
        torch.save(module, buffer)
        buffer.seek(0)
        copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(buffer, weights_only=False)]
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        buffer.seek(0)
        copies.append(ours.GRU(5, 7))
        copies[-1].load_state_dict(torch.load(buffer, weights_only=True))
        module.weight_hh_l0.zero_()
        for other in copies:
            assert isinstance(other, ours.GRU)
            assert torch.equal(other(x)[0], expected)
        assert not torch.equal(module(x)[0], expected)


@pytest.mark.parametrize("write", ["in place", "data", "numpy", "load"])
def test_no_call_computes_with_stale_weights(write: str) -> None:
    theirs, mine = pair("LSTM", 5, 7)
    x = torch.randn(2, 3, 5)
    with torch.no_grad():
        for _ in range(2):
            mine(x)
        values = torch.randn(28, 7)
        for module in (theirs, mine):
            weight = module.weight_hh_l0
            if write == "in place":
                weight.copy_(values)
            elif write == "data":
                weight.data.copy_(values)
            elif write == "numpy":
                weight.detach().numpy()[...] = values.numpy()
            else:
                module.load_state_dict({**module.state_dict(), "weight_hh_l0": values})
        torch.testing.assert_close(mine(x)[0], theirs(x)[0])


def test_parametrizations_and_tied_weights() -> None:
    theirs, mine = pair("LSTM", 7, 7, num_layers=2)
    for module in (theirs, mine):
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        torch.nn.utils.weight_norm(module, "weight_hh_l1")
        module.weight_ih_l1 = module.weight_ih_l0
    x = torch.randn(2, 3, 7)
    for module in (theirs, mine):
        module(x)[0].sum().backward()
    gradients = dict(theirs.named_parameters())
    assert gradients.keys() == dict(mine.named_parameters()).keys()
    for name, parameter in mine.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-4, atol=1e-5)


def test_flattened_parameters_are_the_same() -> None:
    module, x = ours.LSTM(3, 4), torch.randn(2, 1, 3)
    before, expected = [p.data_ptr() for p in module.parameters()], module(x)[0]
    module.flatten_parameters()
    assert [p.data_ptr() for p in module.parameters()] == before
    assert torch.equal(module(x)[0], expected)
    assert torch.equal(module.double().float()(x)[0], expected)


@pytest.fixture
def counted() -> Any:
    fallback.fallbacks.clear()
    yield fallback.fallbacks
    fallback.fallbacks.clear()


def test_what_the_engine_cannot_take_is_pytorchs(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore_kernels.notices._given", set())
    theirs, mine = pair("LSTM", 3, 4)
    x = torch.randn(2, 5, 3).bfloat16()
    with pytest.warns(RuntimeWarning, match=r"got a tensor of torch\.bfloat16: PyTorch computes these itself"):
        output = mine.bfloat16()(x)[0]
    assert torch.equal(output, theirs.bfloat16()(x)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine(x)
    assert counted == {"a tensor of torch.bfloat16": 2}


def test_sparse_tensors_and_subclasses_are_not_the_engines() -> None:
    class Tagged(torch.Tensor):
        """A tensor of one's own."""

    weight = torch.ones(2, 3)
    assert fallback.reason_against([weight, weight]) is None
    assert fallback.reason_against([weight, weight.to_sparse()]) == "a tensor with layout torch.sparse_coo"
    assert fallback.reason_against([weight, weight.as_subclass(Tagged)]) == "a tensor of type Tagged"
    assert fallback.reason_against([weight, weight.to("meta")]) == "a tensor on meta"


def test_transformations_of_torch_func(counted: Any) -> None:
    theirs, mine = pair("GRU", 3, 4)
    x = torch.randn(6, 2, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calls: list[Callable[[Any], Any]] = [
            lambda m: torch.func.functional_call(m, {"weight_hh_l0": torch.ones(12, 4)}, (x[0],))[0],
            lambda m: torch.func.grad(lambda x: m(x)[0].sum())(x[0]),
        ]
        for call in calls:
            torch.testing.assert_close(call(mine), call(theirs))
    assert counted


def test_torchscript_and_tracing_get_pytorchs_class() -> None:
    theirs, mine = pair("LSTM", 3, 4)
    x, model = torch.randn(2, 5, 3), Model(mine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for compiled in (torch.jit.trace(model, x), torch.jit.script(model)):
            torch.testing.assert_close(compiled(x), theirs(x)[0])


class Model(torch.nn.Module):
    """A model with an LSTM in it."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output."""
        output: torch.Tensor = self.rnn(x)[0]
        return output
