"""torch.autocast with bfloat16: modules multiply as compute="bfloat16" does, and are near PyTorch's own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("torch")
import torch
from conftest import Close

import rnncore.torch as ours
from rnncore.cells import GRU, cell, exp, tanh


@cell(states="h", gates="a", row_inputs="dt")
def fading(h: Any, a: Any, dt: Any) -> Any:
    """A state that fades with time."""
    return exp(-dt * dt) * h + tanh(a)


LOW = torch.autocast("cpu", torch.bfloat16)
CELLS: dict[str, Any] = {"LSTM": "lstm", "GRU": GRU(update="carry"), "RNN": "rnn"}
DEEP = {"num_layers": 2, "bidirectional": True}


def copied(source: Any, target: Any) -> Any:
    """The target with the parameters of the source."""
    target.load_state_dict(dict(source.state_dict()))
    return target


def rounding(module: Any, cell: Any, **options: Any) -> Any:
    """A module whose products are of bfloat16 anyway."""
    return copied(module, ours.Recurrent(cell, 5, 7, compute="bfloat16", **options))


def training(module: Any, x: Any, *arguments: Any, **options: Any) -> list[Any]:
    """Results and gradients of a step, whose backward pass is outside of autocast, as PyTorch asks for."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    with LOW:
        output, final = module(x, *arguments, **options)
    results = [output, *(final if isinstance(final, tuple) else (final,))]
    results = [r.data if isinstance(r, torch.nn.utils.rnn.PackedSequence) else r for r in results]
    torch.autograd.backward(results, [torch.full_like(r, 0.5) for r in results])
    return [*results, x.grad, *[p.grad.clone() for p in module.parameters()]]


def assert_same(values: Sequence[Any], expected: Sequence[Any]) -> None:
    for value, reference in zip(values, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, DEEP], ids=["single", "deep"])
@pytest.mark.parametrize("kind", CELLS)
def test_products_are_of_bfloat16(kind: str, options: dict[str, Any]) -> None:
    module, x = getattr(ours, kind)(5, 7, **options), torch.randn(6, 3, 5)
    reference = rounding(module, CELLS[kind], **options)
    found = training(module, x)
    with torch.autocast("cpu", enabled=False):
        assert_same(found, training(reference, x))
    assert all(value.dtype is torch.float32 for value in found)
    with torch.no_grad(), LOW:
        assert torch.equal(module(x)[0], reference(x)[0])
        plain = module.eval()(x)[0]
        with torch.autocast("cpu", enabled=False):
            assert not torch.equal(module(x)[0], plain)
    assert not torch.equal(module(x)[0], plain)


def test_a_cell_of_ones_own() -> None:
    module, x, given = ours.Recurrent(fading, 5, 7, zoneout=0.3), torch.randn(6, 3, 5), {"dt": torch.rand(6, 3)}
    other, resets, results = rounding(module, fading, zoneout=0.3), torch.rand(6, 3) < 0.3, []
    for one in (module, other):
        torch.manual_seed(3)
        results.append(training(one, x, inputs=given, resets=resets, lengths=torch.tensor([6, 0, 4])))
    assert_same(*results)
    with LOW:
        assert torch.equal(module.observe(x, inputs=given)[0]["a"], other.observe(x, inputs=given)[0]["a"])
    assert not torch.equal(module.observe(x, inputs=given)[0]["a"], other.observe(x, inputs=given)[0]["a"])


@pytest.mark.parametrize("kind", CELLS)
def test_as_near_to_pytorchs_own_as_its_rounding_lets_it(kind: str, close: Close) -> None:
    torch.manual_seed(0)
    theirs, x = getattr(torch.nn, kind)(16, 32), torch.randn(12, 5, 16)
    module = copied(theirs, getattr(ours, kind)(16, 32))
    # Where oneDNN has no bfloat16 for the processor, it raises.
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        expected = training(theirs, x)
    for value, reference in zip(training(module, x), expected, strict=True):
        close(value.detach().numpy(), reference.detach().float().numpy(), "gradient", None, "autocast")
    assert [p.grad.dtype for p in module.parameters()] == [p.grad.dtype for p in theirs.parameters()]


@pytest.mark.parametrize("make", [lambda: ours.GRU(5, 7), lambda: ours.Recurrent(CELLS["GRU"], 5, 7)])
@pytest.mark.parametrize("packed", [False, True])
def test_bfloat16_comes_and_its_gradient_goes(make: Any, packed: bool) -> None:
    module, x = make(), torch.randn(6, 3, 5).bfloat16()
    states = torch.randn(1, 3, 7).bfloat16()
    sequences = [torch.nn.utils.rnn.pack_padded_sequence(each, torch.tensor([6, 4, 2])) for each in (x, x.float())]
    with LOW:
        _, final = module(sequences[0] if packed else x, states)
        assert final.dtype is torch.float32
        expected = module(sequences[1] if packed else x.float(), states.float())[1]
    assert torch.equal(final, expected)
    found = training(module, x, states)
    assert found[2].dtype is torch.bfloat16
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        module(x)


def test_packed_weights_are_of_one_precision_and_never_stale() -> None:
    module, x = ours.LSTM(5, 7), torch.randn(6, 3, 5)
    other = rounding(module, "lstm")

    def results() -> list[Any]:
        exact = module(x)[0]
        with LOW:
            return [exact, module(x)[0]]

    with torch.no_grad():
        before = results()
        assert_same(results(), before)
        for parameter in (*module.parameters(), *other.parameters()):
            parameter.mul_(2)
        after = results()
        assert torch.equal(after[1], other(x)[0])
        assert not torch.equal(after[0], before[0])
        for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(again(x)[0], after[0])
            with LOW:
                assert torch.equal(again(x)[0], after[1])


@pytest.mark.parametrize(("dtype", "low"), [(torch.float32, torch.float16), (torch.float64, torch.bfloat16)])
def test_other_precisions_are_the_modules_own(dtype: Any, low: Any) -> None:
    module, x = ours.LSTM(5, 7, dtype=dtype), torch.randn(6, 3, 5).to(low)
    with torch.autocast("cpu", low):
        output = module(x)[0]
    assert output.dtype is dtype
    assert torch.equal(output, module(x.to(dtype))[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_what_pytorch_does_not_cast_is_refused_as_elsewhere(dtype: Any) -> None:
    module, other, x = ours.Recurrent("gru", 5, 7), ours.GRU(5, 7), torch.ones(6, 3, 5)
    with LOW:
        with pytest.raises(TypeError, match=r"^x: expected torch.float32, which weight_ih_l0 has, got torch."):
            module(x.to(dtype))
        with pytest.raises(TypeError, match=r"^state: expected torch.float32"):
            module(x, torch.zeros(1, 3, 7, dtype=dtype))
        with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None), pytest.raises(RuntimeError, match="dtype"):
            other(x.to(dtype))


def test_observation_casts_and_refuses_as_a_call_does() -> None:
    module, x, state = ours.Recurrent("gru", 5, 7), torch.randn(6, 3, 5).bfloat16(), torch.zeros(1, 3, 7).bfloat16()
    with LOW:
        seen = module.observe(x, state)[0]["h"]
        assert torch.equal(seen, module(x, state)[0])
    for given, name in (((x,), "x"), ((x.float(), state), "state")):
        with pytest.raises(
            TypeError, match=rf"^{name}: expected torch.float32, .*, got torch.bfloat16: convert it with"
        ):
            module.observe(*given)


def test_the_innermost_autocast_counts() -> None:
    module, x = ours.LSTM(5, 7), torch.randn(6, 3, 5)
    rounded, exact = rounding(module, "lstm")(x)[0], module(x)[0]
    with LOW:
        for inner in (torch.autocast("cpu", enabled=False), torch.autocast("cpu", torch.float16)):
            with inner:
                assert torch.equal(module(x)[0], exact)
            assert torch.equal(module(x)[0], rounded)


def test_graphs_are_of_the_precision_that_they_are_called_with() -> None:
    model = ours.accelerate(torch.nn.Sequential(torch.nn.LSTM(5, 7))).model
    compiled, x = torch.compile(model, fullgraph=True, backend="aot_eager"), torch.randn(6, 3, 5)
    assert_same(training(compiled, x), training(model, x))
    assert torch.equal(compiled(x)[0], model(x)[0])
    with torch.no_grad():
        exact = compiled(x)[0]
        with LOW:
            assert not torch.equal(compiled(x)[0], exact)
