"""`accelerate` swaps classes in place, says what it did, and can be undone; `Recurrent` is a module of any cell."""

from __future__ import annotations

import copy
import io
import pickle
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import processes
import torch

import rnncore
import rnncore.torch as ours
from rnncore.cells import cell, exp, sigmoid, tanh
from rnncore.torch import networks


class Tagger(torch.nn.Module):
    """A model as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 5)
        self.lstm = torch.nn.LSTM(5, 7, bidirectional=True)
        self.linear = torch.nn.Linear(14, 3)

    def forward(self, words: Any, lengths: Any) -> Any:
        """Scores of each word."""
        packed = torch.nn.utils.rnn.pack_padded_sequence(self.embedding(words), lengths, enforce_sorted=False)
        return self.linear(torch.nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0])[0])


def train(model: Any, optimizer: Any, seed: int) -> float:
    torch.manual_seed(seed)
    words, lengths = torch.randint(0, 11, (6, 4)), torch.tensor([2, 6, 3, 1])
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(words, lengths).reshape(-1, 3), torch.randint(0, 3, (24,)))
    loss.backward()
    optimizer.step()
    return float(loss.item())


def test_training_goes_on_with_the_same_parameters() -> None:
    theirs = Tagger()
    mine = copy.deepcopy(theirs)
    before, losses = list(mine.parameters()), []
    optimizers = [torch.optim.Adam(model.parameters()) for model in (theirs, mine)]
    report = ours.accelerate(mine)
    assert report.replaced == {"lstm": "rnncore.torch.LSTM(5, 7, bidirectional=True)"}
    assert not report.left
    for seed in range(8):
        if seed == 4:
            ours.accelerate(mine, undo=True)
        losses.append([train(m, o, seed) for m, o in zip((theirs, mine), optimizers, strict=True)])
    assert type(mine.lstm) is torch.nn.LSTM
    assert all(a is b for a, b in zip(before, mine.parameters(), strict=True))
    first, second = np.transpose(losses)
    np.testing.assert_allclose(first, second, rtol=1e-4)


class Mine(torch.nn.LSTM):
    """A user's own class."""


def test_the_report_says_why_modules_stay() -> None:
    model = torch.nn.ModuleDict(
        {
            "own": Mine(3, 4),
            "narrow": torch.nn.GRU(3, 4, dtype=torch.bfloat16),
            "meta": torch.nn.GRU(3, 4, device="meta"),
            "cell": torch.nn.LSTMCell(3, 4),
            "patched": torch.nn.RNN(3, 4),
            "done": ours.GRU(3, 4),
            "linear": torch.nn.Linear(3, 4),
        }
    )
    model["patched"].forward = lambda x: x
    report = ours.accelerate(model)
    assert not report.replaced
    assert report.left == {
        "own": "Mine is a subclass, which may compute something else",
        "narrow": "weight_ih_l0 is torch.bfloat16, and rnncore computes in float32 and float64",
        "meta": "weight_ih_l0 is on meta, where PyTorch computes with libraries of its own",
        "cell": "LSTMCell computes one step a call, for which rnncore would pack the weights: PyTorch is faster",
        "patched": "its forward has been replaced",
    }
    assert str(report).startswith("own: left as it is: Mine is a subclass")
    assert str(ours.accelerate(torch.nn.Linear(2, 2))) == "no recurrent modules"


def test_a_model_that_is_recurrent_and_the_with_form() -> None:
    model, x = torch.nn.GRU(3, 4), torch.randn(2, 5, 3)
    expected = model(x)[0]

    def use() -> None:
        with ours.accelerate(model) as same:
            assert same is model
            assert type(model) is ours.GRU
            torch.testing.assert_close(model(x)[0], expected)
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert type(model) is torch.nn.GRU
    assert not [name for name in model.__dict__ if "rnncore" in name]
    assert str(ours.accelerate(model)) == "the model: rnncore.torch.GRU(3, 4)"


def test_the_report_says_what_was_so_before() -> None:
    model = torch.nn.Sequential(torch.nn.LSTM(8, 16), ours.Recurrent("mgu", 3, 4))
    ours.accelerate(model)
    again = ours.accelerate(model)
    assert again.already["0"] == "rnncore.torch.LSTM(8, 16)"
    assert str(again).startswith("0: rnncore.torch.LSTM(8, 16) already\n1: rnncore.torch.Recurrent(MGU(")
    ours.accelerate(model, undo=True)
    assert str(ours.accelerate(model, undo=True)).endswith("0: torch.nn.LSTM(8, 16) already")


def test_something_else_than_a_module() -> None:
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got dict"):
        ours.accelerate({})


@cell(states="h", gates="a", row_inputs="dt")
def decaying(h: Any, a: Any, dt: Any) -> Any:
    """A cell with a row input."""
    return exp(-dt) * h + tanh(a)


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
    for values, references in ((every, expected), (state, final), (flow, grads.flow)):
        for value, reference in zip(_listed(values), _listed(references), strict=True):
            np.testing.assert_allclose(value.detach().numpy(), reference, rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)
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
    for values, references in ((output, expected), (state, final), (flow, grads.flow)):
        for value, reference in zip(_listed(values), _listed(references), strict=True):
            np.testing.assert_allclose(value.detach().numpy(), reference, rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), grads.x, rtol=1e-12)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), grads.parameters[name], rtol=1e-12)
    with pytest.raises(ValueError, match="burn_in: expected 0 to T=9, got 10"):
        module(x, burn_in=10)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, tuple) else [values]


def test_what_only_others_take_is_refused() -> None:
    with pytest.raises(TypeError, match="nonsense: expected options of Recurrent, which are num_layers, "):
        ours.Recurrent("gru", 3, 4, nonsense=1)
    with pytest.raises(TypeError, match=r"got another: did you mean 'zoneout'\?"):
        ours.Recurrent("gru", 3, 4, zonout=0.1)
    module = ours.Recurrent("gru", 3, 4)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"flow: expected False in a graph of torch\.compile"):
        torch.compile(module, backend="eager", fullgraph=True)(torch.randn(2, 3, 3), flow=True)
    reverse = rnncore.Recurrent("gru", 3, 4, direction="reverse").state_dict()
    for network in (module, rnncore.Recurrent("gru", 3, 4)):
        with pytest.raises(ValueError, match=r"direction='forward', got those of one with direction='reverse'"):
            network.load_state_dict(reverse)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: (torch.randn(2, 3, 4),), r"x: expected \(T, B, input_size\) or \(T, input_size\) with input_size=5"),
        (
            lambda: (torch.randn(2, 3, 5), torch.randn(1, 3, 6)),
            r"state: expected \(num_layers=1, B=3, hidden_size=7\), got \(1, 3, 6\)",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, torch.tensor([1, 2, 3])),
            r"lengths: expected integers from 0 to T=2, got",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, torch.ones(3)),
            r"lengths: expected \(B=3,\) integers, got torch.float32",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, {"a": torch.ones(2)}),
            "inputs: expected None, as .* takes no inputs, got 'a'",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, None, torch.ones(3, 2, dtype=torch.bool)),
            r"resets: expected \(T=2, B=3\), got \(3, 2\): time and batch look swapped",
        ),
        (
            lambda: (torch.randn(2, 3, 5), None, None, None, None, torch.ones(1, 3, 7)),
            "reset_state: expected None without resets",
        ),
    ],
)
def test_refusals(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.Recurrent("gru", 5, 7)(*arguments())


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        (lambda x: (x.numpy(),), {}, r"x: expected a torch\.Tensor .* got numpy\.ndarray .*torch\.as_tensor\(x\)"),
        (lambda x: (None,), {}, r"x: expected a torch\.Tensor .* got NoneType None$"),
        (lambda x: (x.double(),), {}, r"x: expected torch\.float32, which .* got torch\.float64: convert it"),
        (lambda x: (x, torch.zeros(1, 2, 4).double()), {}, r"state: expected torch\.float32, .* got torch\.float64"),
        (
            lambda x: (x, (torch.zeros(1, 2, 4),)),
            {},
            r"state: expected a torch\.Tensor .*hidden_size=4\), got a tuple of 1",
        ),
        (lambda x: (x, torch.zeros(1, 5, 4)), {}, r"state: .* got \(1, 5, 4\): x was read as .*write batch_first=True"),
        (lambda x: (x,), {"resets": torch.zeros(2, 5, dtype=torch.bool)}, "resets: .*: time and batch look swapped"),
        (lambda x: (x,), {"inputs": {"dt": torch.zeros(2, 5)}}, r"inputs\['dt'\]: .*: time and batch look swapped"),
        (lambda x: (x,), {"inputs": {"dt": torch.ones(2).double()}}, r"inputs\['dt'\]: expected torch\.float32"),
        (
            lambda x: (x,),
            {"inputs": {"dt": np.ones(2)}},
            r"inputs\['dt'\]: expected a torch\.Tensor .*got numpy\.ndarray",
        ),
    ],
)
def test_refusals_name_the_argument(arguments: Any, named: dict[str, Any], message: str) -> None:
    module = ours.Recurrent(decaying, 3, 4)
    with pytest.raises((TypeError, ValueError), match=message):
        module(*arguments(torch.randn(5, 2, 3)), **{"inputs": {"dt": 0.5}, **named})


def test_another_dtype_and_back() -> None:
    module, x = ours.Recurrent("lstm", 3, 4, zoneout=0.1), torch.randn(5, 2, 3)
    expected = module(x)[0]
    again = module.double()
    torch.testing.assert_close(again.eval()(x.double())[0], module.observe(x.double())[0]["h"])
    module.train()(x.double())[0].sum().backward()
    assert again.weight_ih_l0.grad.dtype is torch.float64
    assert module.float()(x)[0].dtype is expected.dtype
    rounding = ours.Recurrent("lstm", 3, 4, compute="bfloat16").double()
    with pytest.raises(ValueError, match="compute: expected 'float64' with dtype='float64', got 'bfloat16'"):
        rounding(x.double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"burn_in": -1}, "burn_in: expected an integer of at least 0, got -1"),
        ({"burn_in": 6}, "burn_in: expected 0 to T=5, got 6"),
        ({"truncate": 0}, "truncate: expected an integer of at least 1, got 0"),
        ({"recompute": "yes"}, "recompute: expected True or False, got str 'yes'"),
        ({"flow": "no"}, "flow: expected True or False, got str 'no'"),
    ],
)
def test_long_sequences_are_checked_without_gradients_too(options: dict[str, Any], message: str) -> None:
    module, x = ours.Recurrent("gru", 3, 4), torch.randn(5, 2, 3)
    for grad in (False, True):
        with torch.set_grad_enabled(grad), pytest.raises((TypeError, ValueError), match=message):
            module(x, **options)


@pytest.mark.parametrize("options", [{"burn_in": 2}, {"truncate": 2}, {"recompute": True}, {"states": "all"}])
def test_a_packed_sequence_takes_a_state_alone(options: dict[str, Any]) -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.randn(5, 3), torch.randn(3, 3)])
    with pytest.raises(ValueError, match="x: expected a padded batch where there is more than a state"):
        ours.Recurrent("gru", 3, 4)(packed, **options)


def test_precisions_that_a_gpu_lacks() -> None:
    text = ours.Recurrent("gru", 3, 4, compute="bfloat16").network_text()
    with pytest.raises(ValueError, match="compute: expected no 'bfloat16' with backend='cuda', whose products have"):
        networks.find_network(text, torch.float32, torch.device("cuda:0"))


def test_a_tuple_of_states_names_the_one_and_half_precision_its_remedy() -> None:
    states = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4).double()
    with pytest.raises(TypeError, match=r"reset_state\[1\]: expected torch\.float32"):
        ours.Recurrent("lstm", 3, 4)(torch.randn(5, 2, 3), resets=torch.ones(5, 2).bool(), reset_state=states)
    with pytest.raises(TypeError, match=r"weight_ih_l0: .* got torch\.float16: convert the module with \.float\(\)"):
        ours.Recurrent("lstm", 3, 4).half()(torch.randn(5, 2, 3).half())


def test_a_number_for_an_input() -> None:
    module, x = ours.Recurrent(decaying, 3, 4, batch_first=True), torch.randn(2, 5, 3)
    expected = module(x, inputs={"dt": torch.full((2, 5), 0.5)})[0]
    for value in (0.5, np.float32(0.5), torch.tensor(0.5)):
        assert torch.equal(module(x, inputs={"dt": value})[0], expected)
    torch.testing.assert_close(module(x[0], inputs={"dt": 0.5})[0], expected[0])


def test_a_trace_is_refused() -> None:
    with torch.no_grad(), pytest.raises(TypeError, match=r"torch\.jit\.trace: .*torch\.export\.export"):
        torch.jit.trace(ours.Recurrent("gru", 3, 4).eval(), (torch.randn(5, 2, 3),))
    with pytest.raises(TypeError, match=r"torch\.jit\.script: .* write torch\.compile\(model\)"):
        torch.jit.script(torch.nn.Sequential(ours.Recurrent("gru", 3, 4)))


def test_a_state_dict_says_whose_gru_it_is() -> None:
    """Also within a model, and read from a file."""
    carry = rnncore.GRU(update="carry")
    model = torch.nn.Sequential(ours.Recurrent("gru", 3, 4, direction="reverse"))
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    values = torch.load(buffer, weights_only=True)
    theirs = torch.nn.Sequential(torch.nn.GRU(3, 4)).state_dict()
    for module, refused in (
        (ours.GRU(3, 4), values),
        (ours.Recurrent(carry, 3, 4), values),
        (ours.Recurrent("gru", 3, 4), theirs),
        (ours.Recurrent("gru", 3, 4), torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).state_dict()),
    ):
        before = module.weight_hh_l0.clone()
        with pytest.raises(RuntimeError, match=r"0\.: expected the parameters of GRU\(update="):
            torch.nn.Sequential(module).load_state_dict(refused)
        assert torch.equal(module.weight_hh_l0, before)
        torch.nn.Sequential(module).load_state_dict(dict(refused))
    torch.nn.Sequential(ours.Recurrent("gru", 3, 4, direction="reverse")).load_state_dict(values)
    with pytest.raises(
        RuntimeError, match=r"direction='forward', got those of one with direction='reverse'.*dict\(values\)"
    ):
        torch.nn.Sequential(ours.Recurrent("gru", 3, 4)).load_state_dict(values)
    torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).load_state_dict(theirs)
    torch.nn.Sequential(ours.GRU(3, 4)).load_state_dict(torch.nn.Sequential(ours.Recurrent(carry, 3, 4)).state_dict())

    zoned = ours.Recurrent("lstm", 3, 4, zoneout={"c": 0.2}).state_dict()
    assert rnncore.Recurrent.from_state_dict(zoned).zoneout == {"c": 0.2}
    rnn = rnncore.Recurrent.from_state_dict(values, prefix="0.")
    assert (rnn.cell, rnn.direction) == (model[0].cell, "reverse")
    rnn.load_state_dict(model[0].state_dict())
    with pytest.raises(ValueError, match="state_dict: expected the parameters of GRU"):
        rnncore.Recurrent(carry, 3, 4).load_state_dict(model[0].state_dict())


def test_refused_dtypes_and_devices() -> None:
    with pytest.raises(ValueError, match=r"dtype: expected torch\.float32 or torch\.float64, got torch\.bfloat16"):
        ours.Recurrent("gru", 5, 7, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="device: expected one where an engine computes, got a tensor on meta"):
        ours.Recurrent("gru", 5, 7, device="meta")
    with pytest.raises(
        TypeError, match=r"x: expected dense torch\.float32 tensors where an engine computes, got a tensor on meta"
    ):
        ours.Recurrent("gru", 5, 7)(torch.randn(2, 3, 5, device="meta"))


WORKER = """
import os, sys
import torch, torch.distributed as dist
import rnncore.torch as ours

rank, size = int(sys.argv[1]), int(sys.argv[2])
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[3])
torch.manual_seed(0)
model = torch.nn.Sequential()
model.lstm, model.linear = ours.LSTM(3, 4), torch.nn.Linear(4, 2)

class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = model

    def forward(self, x):
        return self.inner.linear(self.inner.lstm(x)[0][-1])

network = Whole()
if size > 1:
    dist.init_process_group("gloo", rank=rank, world_size=size)
    network = torch.nn.parallel.DistributedDataParallel(network)
optimizer = torch.optim.SGD(network.parameters(), 0.1)
for step in range(3):
    torch.manual_seed(step)
    x, y = torch.randn(5, 8, 3), torch.randint(0, 2, (8,))
    mine = slice(rank * 8 // size, (rank + 1) * 8 // size)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(x[:, mine]), y[mine]).backward()
    optimizer.step()
if rank == 0:
    print(*[p.double().sum().item() for p in model.parameters()])
if size > 1:
    dist.destroy_process_group()
"""


def test_two_processes_train_as_one() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    alone = processes.run(WORKER, "0", "1", port)
    both = [processes.start(["-c", WORKER, str(rank), "2", port], {"OMP_NUM_THREADS": "1"}) for rank in range(2)]
    printed = [processes.finish(process) for process in both]
    values = [[float(word) for word in text.split()] for text in (alone, printed[0])]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-5)


def test_the_language_model_of_the_examples() -> None:
    script = str(Path(__file__).parent.parent / "examples" / "pytorch_language_model.py")
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
    losses = [
        re.findall(
            r"step \d+: ([\d.]+)", processes.finish(processes.start([*how, script, "--steps", "4", *option], {}))
        )
        for how, option in (([], []), (several, []), ([], ["--pytorch"]))
    ]
    first, *others = [[float(loss) for loss in each] for each in losses]
    assert len(first) == 1
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.002)
