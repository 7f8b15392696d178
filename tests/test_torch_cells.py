"""`rnncore.torch.Recurrent` is a module of any cell, with all that `rnncore.Recurrent` takes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from own_cells import decaying

import rnncore
import rnncore.torch as ours
from rnncore.cells import cell, exp, sigmoid, tanh


@cell(states="h c", gates="i f g o", units="p", row_inputs="dt", unit_inputs="u", initial={"p": 0.5})
def own(h: Any, c: Any, i: Any, f: Any, g: Any, o: Any, p: Any, dt: Any, u: Any) -> Any:
    """A cell with everything."""
    c = exp(-dt) * c * sigmoid(f) + sigmoid(i + p * c) * tanh(g) + 0.1 * u
    return sigmoid(o) * tanh(c), c


def test_a_module_of_ones_own_cell() -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    module = ours.Recurrent(own, 5, 7, dtype=torch.float64, **options)
    assert module.p_l0.tolist() == [0.5] * 7
    rnn = rnncore.Recurrent(own, 5, 7, dtype="float64", backend=_backend(), **options)
    rnn.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
    x, dt, u = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3, 5), (4, 3), (3, 7)))
    lengths = torch.tensor([2, 4, 0])
    output, states = module(x, None, lengths, {"dt": dt, "u": u})
    given = {"dt": dt.detach().numpy(), "u": u.detach().numpy()}
    expected, final, tape = rnn.forward(x.detach().numpy(), lengths=lengths.numpy(), inputs=given)
    for value, reference in zip((output, *states), (expected, *final), strict=True):
        np.testing.assert_array_equal(value.detach().numpy(), reference)
    torch.autograd.backward([output, *states], [torch.ones_like(t) for t in (output, *states)])
    grads = rnn.backward(tape, np.ones_like(expected), tuple(np.ones_like(s) for s in final))
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, value in (("dt", dt), ("u", u)):
        np.testing.assert_allclose(value.grad.numpy(), grads.inputs[name], rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)


@pytest.mark.parametrize("changed", ["x", "dt", "u"])
def test_what_is_changed_before_the_backward_pass_is_refused(changed: str) -> None:
    given = {"x": torch.randn(4, 3, 5), "dt": torch.rand(4, 3), "u": torch.randn(3, 7)}
    output = ours.Recurrent(own, 5, 7)(given["x"], inputs={"dt": given["dt"], "u": given["u"]})[0]
    given[changed].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_parameters_that_are_given_with_a_call() -> None:
    module, x = ours.Recurrent("gru", 3, 4), torch.randn(2, 5, 3)
    given = {name: torch.randn_like(p, requires_grad=True) for name, p in module.named_parameters()}
    torch.func.functional_call(module, given, (x,))[0].sum().backward()
    other = ours.Recurrent("gru", 3, 4)
    other.load_state_dict(given)
    other(x)[0].sum().backward()
    for name, parameter in other.named_parameters():
        assert torch.equal(given[name].grad, parameter.grad)
    few = {"bias_hh_l0": given["bias_hh_l0"].detach()}
    other.load_state_dict({**module.state_dict(), **few})
    with torch.no_grad():
        assert torch.equal(torch.func.functional_call(module, few, (x,))[0], other(x)[0])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "options", [{"direction": "reverse"}, {"num_layers": 2, "bidirectional": True, "batch_first": True}]
)
def test_resets_of_a_module_of_any_cell(options: dict[str, Any], given: bool) -> None:
    module = ours.Recurrent("lstm", 3, 4, dtype=torch.float64, **options)
    rnn = rnncore.Recurrent("lstm", 3, 4, dtype="float64", backend=_backend(), **options)
    rnn.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()}, "rnncore")
    shape = (5, 6) if module.batch_first else (6, 5)
    x = torch.randn(*shape, 3, dtype=torch.float64, requires_grad=True)
    begun = tuple(
        torch.randn(4 if module.bidirectional else 1, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    resets, lengths = torch.rand(shape) < 0.4, torch.tensor([6, 2, 0, 6, 5])
    output, states = module(x, None, lengths, None, resets, begun if given else None)
    known = {"resets": resets.numpy(), "reset_state": tuple(b.detach().numpy() for b in begun) if given else None}
    expected, final, tape = rnn.forward(x.detach().numpy(), lengths=lengths.numpy(), **known)
    for value, reference in zip((output, *states), (expected, *final), strict=True):
        np.testing.assert_array_equal(value.detach().numpy(), reference)
    with torch.no_grad():
        inferred = module(x, None, lengths, None, resets, begun if given else None)[0]
    np.testing.assert_allclose(inferred.numpy(), expected, rtol=1e-12)
    torch.autograd.backward([output, *states], [torch.ones_like(t) for t in (output, *states)])
    grads = rnn.backward(tape, np.ones_like(expected), tuple(np.ones_like(s) for s in final))
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)
    for tensor, reference in zip(begun if given else (), grads.reset_state or (), strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), reference, rtol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_all_states_of_a_module_of_any_cell(cell: str, options: dict[str, Any]) -> None:
    module = ours.Recurrent(cell, 3, 4, dtype=torch.float64, **options)
    rnn = rnncore.Recurrent(cell, 3, 4, dtype="float64", backend=_backend(), **options)
    rnn.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()}, "rnncore")
    x, resets = torch.randn(6, 5, 3, dtype=torch.float64, requires_grad=True), torch.rand(6, 5) < 0.3
    every, _ = module(x, resets=resets, states="all")
    expected, _, tape = rnn.forward(x.detach().numpy(), resets=resets.numpy(), states="all")
    every, expected = ([each] if cell == "gru" else list(each) for each in (every, expected))
    for value, reference in zip(every, expected, strict=True):
        np.testing.assert_array_equal(value.detach().numpy(), reference)
    cotangents = [torch.randn(each.shape, dtype=torch.float64) for each in every]
    given = [c.numpy() for c in cotangents]
    grads = rnn.backward(tape, given[0] if cell == "gru" else tuple(given))
    torch.autograd.backward(every, cotangents)
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)
    with torch.no_grad():
        again = module(x, resets=resets, states="all")[0]
    torch.testing.assert_close(again if cell == "gru" else again[0], every[0])
    final = module(x, resets=resets, states="all")[1]
    torch.autograd.backward(final if cell == "gru" else final[0], torch.ones_like(final if cell == "gru" else final[0]))


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {"num_layers": 2, "bidirectional": True, "batch_first": True, "learn_initial_state": True}),
        ("gru", {"direction": "reverse", "heads": 2}),
        ("lstm", {"proj_size": 2, "learn_initial_state": True}),
        ("lstm", {"input_size": None}),
    ],
)
def test_a_module_takes_what_recurrent_takes(cell: str, options: dict[str, Any]) -> None:
    """Options, states="all" with flow, observe, and resets without a state of their own; also in a graph."""
    torch.compiler.reset()
    sizes = {"input_size": 3, "hidden_size": 4, **options}
    module = ours.Recurrent(cell, **sizes, dtype=torch.float64)
    for name, parameter in module.named_parameters():
        if name.endswith("_0"):
            torch.nn.init.normal_(parameter)
    rnn = rnncore.Recurrent(cell, **sizes, dtype="float64", backend=_backend())
    rnn.load_state_dict(module.state_dict())
    x = torch.randn(6, 5, sizes["input_size"] or 16, dtype=torch.float64, requires_grad=True)
    resets = torch.rand(6, 5) < 0.3
    every, state, flow = module(x, resets=resets, states="all", flow=True)
    expected, final, tape = rnn.forward(x.detach(), resets=resets.numpy(), states="all", flow=True)
    assert all(each.isnan().all() for each in _listed(flow))
    total: Any = sum(each.sum() for each in _listed(every))
    total.backward()
    ones = [np.ones_like(each) for each in _listed(expected)]
    grads = rnn.backward(tape, tuple(ones) if len(ones) > 1 else ones[0])
    _assert_same([(every, expected), (state, final), (flow, grads.flow)], x, module, grads)
    seen, observed = module.observe(x, resets=resets), rnn.observe(x.detach(), resets=resets.numpy())
    for values, references in zip(seen, observed, strict=True):
        for name, reference in references.items():
            np.testing.assert_allclose(values[name].numpy(), reference, rtol=1e-12)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for value, reference in zip(_listed(compiled(x, resets=resets, states="all")[0]), _listed(every), strict=True):
        torch.testing.assert_close(value, reference)
    other = ours.Recurrent(cell, **sizes, dtype=torch.float64)
    other.load_state_dict(rnn.state_dict())
    assert all(torch.equal(*each) for each in zip(other.parameters(), module.parameters(), strict=True))


@pytest.mark.parametrize(
    "how", [{"burn_in": 2, "truncate": 3}, {"recompute": True}, {"truncate": 2, "recompute": True}]
)
def test_long_sequences_of_a_module(how: dict[str, Any]) -> None:
    module = ours.Recurrent("lstm", 3, 4, num_layers=2, dtype=torch.float64)
    rnn = rnncore.Recurrent("lstm", 3, 4, num_layers=2, dtype="float64", backend=_backend())
    rnn.load_state_dict(module.state_dict())
    x, lengths = torch.randn(9, 5, 3, dtype=torch.float64, requires_grad=True), torch.tensor([9, 4, 0, 7, 9])
    output, state, flow = module(x, lengths=lengths, flow=True, **how)
    expected, final, tape = rnn.forward(x.detach(), lengths=lengths.numpy(), flow=True, **how)
    output.sum().backward()
    grads = rnn.backward(tape, np.ones_like(expected))
    _assert_same([(output, expected), (state, final), (flow, grads.flow)], x, module, grads)
    with pytest.raises(ValueError, match="burn_in: expected 0 to T=9, got 10"):
        module(x, burn_in=10)


def _assert_same(results: list[tuple[Any, Any]], x: Any, module: Any, grads: Any) -> None:
    """Results beside those of a network, and the gradients of x and of each parameter."""
    for values, references in results:
        for value, reference in zip(_listed(values), _listed(references), strict=True):
            np.testing.assert_allclose(value.detach().numpy(), reference, rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, tuple) else [values]


def _backend() -> str:
    return "numba" if rnncore.backends()["numba"].available else "numpy"


def test_layers_that_run_in_reverse() -> None:
    module = ours.Recurrent("gru", 3, 4, num_layers=2, direction="reverse")
    turned = ours.Recurrent("gru", 3, 4, num_layers=2)
    turned.load_state_dict(dict(module.state_dict()))
    x = torch.randn(5, 2, 3)
    for each in (module, ours.Recurrent("mgu", 3, 4, direction="reverse")):
        other = turned if each is module else ours.Recurrent("mgu", 3, 4)
        other.load_state_dict(dict(each.state_dict()))
        torch.testing.assert_close(each(x)[0], other(x.flip(0))[0].flip(0))
        with torch.no_grad():
            torch.testing.assert_close(each(x)[0], other(x.flip(0))[0].flip(0))


@pytest.mark.parametrize("batch_first", [False, True])
def test_layouts_of_a_module_of_any_cell(batch_first: bool) -> None:
    module = ours.Recurrent("mgu", 3, 4, num_layers=2, batch_first=batch_first)
    x, h = torch.randn(5, 2, 3), torch.randn(2, 2, 4)
    lengths = torch.tensor([5, 3])
    given = x.transpose(0, 1) if batch_first else x
    output, final = module(given, h, lengths)
    output = output.transpose(0, 1) if batch_first else output
    assert not output[3:, 1].any()
    packed = torch.nn.utils.rnn.pack_padded_sequence(given, lengths, batch_first=batch_first)
    torch.testing.assert_close(module(packed, h)[1], final)
    torch.testing.assert_close(module(packed, h)[0].data[-1], output[4, 0])
    alone, alone_final = module(x[:3, 1], h[:, 1])
    torch.testing.assert_close(alone, output[:3, 1])
    torch.testing.assert_close(alone_final, final[:, 1])
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(given, h, lengths)[1], final)


def test_another_dtype_and_back() -> None:
    module, x = ours.Recurrent("lstm", 3, 4, zoneout=0.1), torch.randn(5, 2, 3)
    expected = module(x)[0]
    again = module.double()
    torch.testing.assert_close(again.eval()(x.double())[0], module.observe(x.double())[0]["h"])
    module.train()(x.double())[0].sum().backward()
    assert again.weight_ih_l0.grad.dtype is torch.float64
    assert module.float()(x)[0].dtype is expected.dtype


def test_a_number_for_an_input() -> None:
    module, x = ours.Recurrent(decaying, 3, 4, batch_first=True), torch.randn(2, 5, 3)
    expected = module(x, inputs={"dt": torch.full((2, 5), 0.5)})[0]
    for value in (0.5, np.float32(0.5), torch.tensor(0.5)):
        assert torch.equal(module(x, inputs={"dt": value})[0], expected)
    torch.testing.assert_close(module(x[0], inputs={"dt": 0.5})[0], expected[0])


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": 0.3},
        {"zoneout": {"c": 0.5}, "recurrent_dropout": 0.4, "input_dropout": 0.3, "dropout": 0.5, "num_layers": 2},
        {"dropout": 0.5, "variational": True, "num_layers": 2, "bidirectional": True},
    ],
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_numbers_that_training_draws(options: dict[str, Any], batch_first: bool) -> None:
    """PyTorch's generator gives the key, by which `rnncore.Recurrent` draws the same."""
    module = ours.Recurrent("lstm", 3, 5, batch_first=batch_first, **options)
    plain = rnncore.Recurrent("lstm", 3, 5, batch_first=batch_first, **options)
    plain.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()}, convention="rnncore")
    x = torch.randn(4, 6, 3, requires_grad=True)
    torch.manual_seed(7)
    key = int(torch.randint(1 << 62, (), dtype=torch.int64))
    plain._draw_key = lambda: key  # type: ignore[method-assign]
    torch.manual_seed(7)
    output, _ = module(x)
    output.sum().backward()
    expected, _, tape = plain.forward(x.detach().numpy())
    grads = plain.backward(tape, np.ones_like(expected))
    np.testing.assert_allclose(output.detach(), expected, atol=1e-6)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, grads.x, atol=1e-5)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad, grads.parameters[name], atol=1e-5)
    assert not torch.equal(module(x)[0], output)
    module.eval()
    np.testing.assert_allclose(module(x)[0].detach(), plain(x.detach().numpy())[0], atol=1e-6)
