"""torch.compile traces rnncore's modules whole, and the operators in its graphs are well-formed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

import rnncore.torch as ours
from rnncore.cells import cell, exp, tanh
from rnncore.keyed import How
from rnncore.torch.operators import written

PLAIN = written(How())


class Model(torch.nn.Module):
    """A layer below, the network and a layer above."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.below, self.rnn = torch.nn.Linear(3, 5), rnn
        self.above = torch.nn.LazyLinear(2)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """Output and state."""
        output, state = self.rnn(self.below(x), state)
        return self.above(output), state


def results(model: Any, x: Any, state: Any) -> list[Any]:
    x = x.clone().requires_grad_()
    output, final = model(x, state)
    finals = final if isinstance(final, tuple) else (final,)
    model.zero_grad()
    (output.square().sum() + sum(f.square().sum() for f in finals)).backward()
    return [output, *finals, x.grad, *(p.grad.clone() for p in model.parameters())]


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ours.LSTM(5, 7),
        lambda: ours.GRU(5, 7, num_layers=2, bidirectional=True, batch_first=True),
        lambda: ours.RNN(5, 7, nonlinearity="relu"),
        lambda: ours.Recurrent("mgu", 5, 7, num_layers=2),
        lambda: ours.accelerate(torch.nn.LSTM(5, 7, proj_size=3)).model,
    ],
    ids=["lstm", "gru", "rnn", "mgu", "accelerated"],
)
def test_a_whole_graph(make: Any, with_state: bool) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    model, x = Model(make()), torch.randn(4, 6, 3)
    state = model(x)[1] if with_state else None
    if state is not None:
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for expected, value in zip(results(model, x, state), results(compiled, x, state), strict=True):
        torch.testing.assert_close(value, expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, state)[0], model(x, state)[0])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # the tracer asks for it
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("order", [None, "sorted", "unsorted"])
@pytest.mark.parametrize("make", [lambda: ours.LSTM(3, 4, 2, proj_size=2), lambda: ours.Recurrent("mgu", 3, 4)])
def test_packed_sequences_in_a_whole_graph(make: Any, order: str | None, with_state: bool) -> None:
    """Those of rows in order need a state: else a graph is broken for their number."""
    torch.manual_seed(0)
    torch.compiler.reset()
    rnn, x = make(), torch.randn(9, 3)
    sizes = torch.tensor([3, 3, 2, 1])
    lengths = torch.tensor([4, 3, 2]) if order == "sorted" else torch.tensor([2, 4, 3])
    padded = torch.randn(4, 3, 3, requires_grad=True)
    if order is None:
        packed = torch.nn.utils.rnn.PackedSequence(x.requires_grad_(), sizes)
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(padded, lengths, enforce_sorted=order == "sorted")
    state = None
    if with_state:
        state = rnn(packed)[1]
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
    compiled = torch.compile(rnn, fullgraph=with_state or order == "unsorted", backend="aot_eager")
    expected, got = rnn(packed, state), compiled(packed, state)
    leaf = padded if order else x
    for first, second in zip(gradients(expected, leaf, rnn), gradients(got, leaf, rnn), strict=True):
        torch.testing.assert_close(second, first)
    assert torch.equal(got[0].batch_sizes, packed.batch_sizes)


def gradients(results: Any, leaf: Any, rnn: Any) -> list[Any]:
    output, final = results
    finals = final if isinstance(final, tuple) else (final,)
    loss = output.data.square().sum() + sum(f.square().sum() for f in finals)
    return [output.data, *finals, *torch.autograd.grad(loss, [leaf, *rnn.parameters()], retain_graph=True)]


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_in_a_whole_graph(batch_first: bool) -> None:
    torch.compiler.reset()
    rnn = ours.Recurrent("lstm", 3, 4, direction="reverse", batch_first=batch_first)
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    x, lengths = torch.randn(3 if batch_first else 5, 5 if batch_first else 3, 3), torch.tensor([2, 5, 0])
    x.requires_grad_()
    got, expected = compiled(x, None, lengths), rnn(x, None, lengths)  # without an eager call before
    for first, second in zip(gradients(expected, x, rnn), gradients(got, x, rnn), strict=True):
        torch.testing.assert_close(second, first)
    with pytest.raises(ValueError, match="lengths: expected integers from 0 to T=5, got"):
        compiled(x, None, torch.tensor([2, 6, 0]))


def test_resets_in_a_whole_graph() -> None:
    torch.compiler.reset()
    rnn, x, h = ours.Recurrent("gru", 3, 4), torch.randn(5, 3, 3, requires_grad=True), torch.randn(1, 3, 4)
    arguments = None, torch.tensor([2, 5, 0]), None, torch.rand(5, 3) < 0.4, h.requires_grad_()
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    expected, got = rnn(x, *arguments), compiled(x, *arguments)
    for leaf in (x, h):
        for first, second in zip(gradients(expected, leaf, rnn), gradients(got, leaf, rnn), strict=True):
            torch.testing.assert_close(second, first)


@pytest.mark.parametrize("batch_first", [False, True])
def test_all_states_in_a_whole_graph(batch_first: bool) -> None:
    torch.compiler.reset()
    rnn = ours.Recurrent("lstm", 3, 4, bidirectional=True, batch_first=batch_first)
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 2, 3)
    found = []
    for (h, c), _ in (rnn(x, states="all"), compiled(x, states="all")):
        rnn.zero_grad()
        (h.sum() + c.square().sum()).backward()
        found.append([h.detach(), c.detach(), *[p.grad.clone() for p in rnn.parameters()]])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(second, first)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # the tracer asks for it
@pytest.mark.parametrize("kind", ["states", "state of resets", "weights"])
def test_a_tensor_may_be_given_twice(kind: str) -> None:
    torch.compiler.reset()
    rnn: Any = ours.LSTM(4, 4) if kind == "states" else ours.Recurrent("gru", 4, 4)
    x, h = torch.randn(5, 2, 4, requires_grad=True), torch.randn(1, 2, 4, requires_grad=True)
    arguments: tuple[Any, ...] = (x, h, None, None, torch.rand(5, 2) < 0.4, h)
    if kind == "states":
        arguments = x, (h, h)
    if kind == "weights":
        rnn.weight_hh_l0 = rnn.weight_ih_l0
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    expected, got = rnn(*arguments), compiled(*arguments)
    for first, second in zip(gradients(expected, h, rnn), gradients(got, h, rnn), strict=True):
        torch.testing.assert_close(second, first)


def test_a_graph_of_a_cell_that_this_process_has_not() -> None:
    x, key = torch.randn(2, 1, 3), "mine h 0123456789abcdef|{}"
    with pytest.raises(ValueError, match=r"expected a graph of a cell .* got one of 'mine h 0.*a network of that cell"):
        torch.ops.rnncore.forward(x, None, None, [], [], [], [], [], key, PLAIN, False, False, False)


def test_dropout_in_a_graph() -> None:
    torch.compiler.reset()
    rnn = ours.GRU(5, 7, num_layers=2, dropout=1.0)
    compiled = torch.compile(rnn, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 6, 5)
    torch.testing.assert_close(compiled(x)[0], rnn(x)[0])
    rnn.dropout = 0.5
    torch.compiler.reset()
    assert not torch.equal(compiled(x)[0], compiled(x)[0])


def test_pytorchs_own_modules_are_refused_as_before() -> None:
    torch.compiler.reset()
    with pytest.raises(Exception, match="RNN, GRU, or LSTM"):
        torch.compile(torch.nn.Sequential(torch.nn.LSTM(5, 7)), fullgraph=True, backend="eager")(torch.randn(2, 3, 5))
    compiled = torch.compile(torch.nn.Sequential(ours.LSTM(5, 7)), fullgraph=True, backend="eager")
    assert compiled(torch.randn(2, 3, 5))[0].shape == (2, 3, 7)
    assert not torch._dynamo.config.allow_rnn


def test_the_tracer_may_be_loaded_first() -> None:
    script = (
        "import torch, torch._dynamo.variables.builder; import rnncore.torch as ours;"
        "print(torch.compile(ours.GRU(2, 3), fullgraph=True, backend='eager')(torch.ones(2, 1, 2))[0].shape)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "torch.Size([2, 1, 3])", run.stderr


@pytest.mark.parametrize("batch_first", [False, True])
def test_operators_are_well_formed(batch_first: bool) -> None:
    rnn = ours.GRU(3, 4, num_layers=2, dtype=torch.float64)
    weights = [p.detach() for p in rnn.parameters()]
    x, h = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 2 if batch_first else 5, 4, dtype=torch.float64)
    masks = [torch.ones(2, 5, 4, dtype=torch.float64)]
    network = rnn.network_text()
    arguments: Any = (x, None, None, [h], [], [], weights, masks, network, PLAIN, batch_first, False)
    torch.library.opcheck(torch.ops.rnncore.forward.default, (*arguments, True))
    torch.library.opcheck(torch.ops.rnncore.forward.default, (*arguments, False))
    output, final, token = torch.ops.rnncore.forward(*arguments, True)
    gradients = [torch.ones_like(output)], [torch.ones_like(final)]
    expected = torch.ops.rnncore.backward(token, *gradients, *arguments)
    # A copy of the token has no tape.
    for reference, value in zip(
        expected, torch.ops.rnncore.backward(token.clone(), *gradients, *arguments), strict=True
    ):
        assert torch.equal(value, reference)
    torch.library.opcheck(torch.ops.rnncore.backward.default, (token, *gradients, *arguments))


@pytest.mark.parametrize("packed", [False, True])
def test_operators_of_rows_that_end_are_well_formed(packed: bool) -> None:
    rnn = ours.GRU(3, 4, dtype=torch.float64)
    weights = [p.detach() for p in rnn.parameters()]
    x = torch.randn((6, 3) if packed else (3, 3, 3), dtype=torch.float64)
    state, lengths = torch.randn(1, 3, 4, dtype=torch.float64), torch.tensor([3, 2, 1])
    arguments: Any = (x, lengths, None, [state], [], [], weights, [], rnn.network_text(), PLAIN, False, packed)
    torch.library.opcheck(torch.ops.rnncore.forward.default, (*arguments, True))
    output, final, token = torch.ops.rnncore.forward(*arguments, True)
    gradients = [torch.ones_like(output)], [torch.ones_like(final)]
    torch.library.opcheck(torch.ops.rnncore.backward.default, (token, *gradients, *arguments))


def test_a_whole_graph_is_the_first_call() -> None:
    """A definition that nothing has asked for anything yet will do; a number stands for an input."""
    torch.compiler.reset()

    @cell(states="h", gates="a", row_inputs="dt")
    def decaying(h: Any, a: Any, dt: Any) -> Any:
        return exp(-dt) * h + tanh(a)

    rnn, x = ours.Recurrent(decaying, 3, 4), torch.randn(5, 2, 3)
    compiled = torch.compile(rnn, fullgraph=True, backend="eager")
    first = compiled(x, inputs={"dt": 0.5})[0]
    torch.testing.assert_close(first, rnn(x, inputs={"dt": torch.full((5, 2), 0.5)})[0])


def test_other_dtypes_are_refused_in_graphs_too() -> None:
    """An engine would read the memory of one as that of another."""
    rnn, x = ours.Recurrent("gru", 3, 4), torch.randn(5, 2, 3)
    for arguments in ((x.double(),), (x, torch.zeros(1, 2, 4, dtype=torch.float64))):
        torch.compiler.reset()
        compiled = torch.compile(rnn, backend="eager")
        with pytest.raises(TypeError, match=r"expected torch\.float32, which weight_ih_l0 has, got torch\.float64"):
            compiled(*arguments)
        # Then `forward` is computed eagerly, and none of the engine's code is traced.
        torch._dynamo.utils.counters.clear()
        with torch.no_grad():
            assert torch.equal(compiled(x)[0], rnn(x)[0])
        assert not torch._dynamo.utils.counters["graph_break"]
    weights = [p.detach() for p in rnn.parameters()]
    for given in (x.double(), x.half()):
        with pytest.raises(TypeError, match=r"x: expected tensors of torch\.float32 or of torch\.float64, got"):
            torch.ops.rnncore.forward(
                given, None, None, [], [], [], weights, [], rnn.network_text(), PLAIN, *[False] * 3
            )


def test_training_that_draws_by_a_key() -> None:
    options: dict[str, Any] = {"zoneout": 0.3, "recurrent_dropout": 0.4, "input_dropout": 0.2, "dropout": 0.5}
    rnn, x = ours.Recurrent("lstm", 3, 5, num_layers=2, **options), torch.randn(4, 6, 3, requires_grad=True)
    outputs, gradients = [], []
    for call in (rnn, torch.compile(rnn, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(3)
        outputs.append(call(x)[0])
        gradients += torch.autograd.grad(outputs[-1].sum(), x)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


def test_options_that_change_are_the_graphs_too() -> None:
    torch.compiler.reset()
    rnn, x = ours.Recurrent("gru", 3, 5, num_layers=2, zoneout=0.3), torch.randn(4, 6, 3)
    compiled, outputs = torch.compile(rnn, fullgraph=True, backend="eager"), []
    for option, value in (("zoneout", 0.3), ("zoneout", 0.9), ("dropout", 0.5), ("direction", "reverse")):
        setattr(rnn, option, value)
        assert getattr(rnn, option) == value
        results = []
        for call in (rnn, compiled):
            torch.manual_seed(3)
            results.append(call(x)[0])
        torch.testing.assert_close(*results)
        outputs.append(results[0])
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(outputs))
