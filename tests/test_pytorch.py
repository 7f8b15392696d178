"""PyTorch as an outside reference for outputs, states and gradients, and the exchange of parameters with it."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

import numpy as np
import pytest
from conftest import Close, require_peer

from rnncore import GRU, LSTM, Elman, Recurrent
from rnncore.cells import Cell
from rnncore.states import as_tuple, unwrap_state


@pytest.fixture(scope="module")
def torch(request: pytest.FixtureRequest) -> Any:
    return require_peer(request, "torch")


CONFIGURATIONS = 60


def configuration(seed: int) -> dict[str, Any]:
    """A random network and batch; every cell, both dtypes and both ways of padding come up evenly."""
    rng = np.random.default_rng(seed)
    cells: list[Cell | str] = ["lstm", GRU("carry"), Elman("tanh"), Elman("relu"), LSTM(projection=2)]
    return {
        "cell": cells[seed % 5],
        "dtype": ("float32", "float64")[seed // 5 % 2],
        "ragged": bool(seed // 10 % 2),
        "num_layers": int(rng.integers(1, 4)),
        "bidirectional": bool(rng.integers(2)),
        "bias": bool(rng.integers(4)),
        "batch_first": bool(rng.integers(2)),
        "sizes": [*(int(size) for size in rng.integers(1, 24, 3)), int(rng.integers(3, 24))],
    }


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_agrees(backend: str, torch: Any, seed: int, close: Close) -> None:
    chosen = configuration(seed)
    steps, batch, inputs, hidden = chosen.pop("sizes")
    cell, ragged = chosen.pop("cell"), chosen.pop("ragged")
    rnn = Recurrent(cell, inputs, hidden, backend=backend, seed=seed, **chosen)
    module = rnn.to_torch()
    rng = np.random.default_rng(seed)
    directions = 2 if rnn.bidirectional else 1

    def some(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(rnn.dtype)

    shape = (batch, steps) if rnn.batch_first else (steps, batch)
    widths = [hidden] * len(rnn.cell.states)
    if isinstance(rnn.cell, LSTM) and rnn.cell.projection:
        widths[0] = rnn.cell.projection
    x, grad_output = some(*shape, inputs), some(*shape, directions * widths[0])
    state, grad_state = (tuple(some(rnn.num_layers * directions, batch, w) for w in widths) for _ in range(2))
    lengths = rng.integers(1, steps + 1, batch) if ragged else None

    tensors = [torch.tensor(value, requires_grad=True) for value in (x, *state)]
    packed_state = unwrap_state(tuple(tensors[1:]))
    if ragged:
        utilities = torch.nn.utils.rnn
        given = utilities.pack_padded_sequence(tensors[0], lengths, rnn.batch_first, enforce_sorted=False)
        packed, final = module(given, packed_state)
        expected, _ = utilities.pad_packed_sequence(packed, rnn.batch_first, total_length=steps)
    else:
        expected, final = module(tensors[0], packed_state)
    finals: tuple[Any, ...] = as_tuple(final)
    torch.autograd.backward([expected, *finals], [torch.tensor(g) for g in (grad_output, *grad_state)])

    output, last, tape = rnn.forward(x, unwrap_state(state), lengths)
    grads = rnn.backward(tape, grad_output, unwrap_state(grad_state))
    inferred, inferred_last = rnn(x, unwrap_state(state), lengths)
    for ours in (output, inferred):
        close(ours, expected.detach().numpy(), "output")
    for ours_state in (last, inferred_last):
        for value, reference in zip(as_tuple(ours_state), finals, strict=True):
            close(value, reference.detach().numpy(), "state")
    close(grads.x, tensors[0].grad.numpy(), "gradient")
    for value, tensor in zip(as_tuple(grads.state), tensors[1:], strict=True):
        close(value, tensor.grad.numpy(), "gradient")
    for name, parameter in module.named_parameters():
        close(grads.parameters[name], parameter.grad.numpy(), "gradient")


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_go_there_and_back_to_the_bit(torch: Any, kind: str, dtype: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.25}
    module = getattr(torch.nn, kind)(3, 5, dtype=getattr(torch, dtype), **options)
    rnn = Recurrent.from_torch(module, backend="numpy", num_threads=1)
    back = rnn.to_torch()
    assert type(back) is type(module)
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(rnn.parameters[name], value.numpy())
        assert torch.equal(back.state_dict()[name], value)
    for name in ("num_layers", "bidirectional", "batch_first", "dropout", "input_size", "hidden_size", "bias"):
        assert getattr(back, name) == getattr(rnn, name) == getattr(module, name)
    assert (rnn.backend, rnn.dtype, rnn.num_threads) == ("numpy", np.dtype(dtype), 1)
    rnn.parameters["weight_ih_l0"][...] = 0
    assert module.weight_ih_l0.any()


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projections_go_there_and_back(torch: Any, close: Close) -> None:
    module = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    rnn = Recurrent.from_torch(module)
    assert rnn.cell == LSTM(projection=2)
    back = rnn.to_torch()
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(rnn.parameters[name], value.numpy())
        assert torch.equal(back.state_dict()[name], value)
    values = {name: value.numpy() for name, value in module.state_dict().items()}
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
    for ours in (rnn, Recurrent.from_state_dict(values, convention="torch")):
        close(ours(x)[0], module(torch.tensor(x))[0].detach().numpy(), "output")
    with pytest.raises(
        ValueError, match="to_torch: expected a projection narrower than hidden_size=2, as PyTorch's are, "
    ):
        Recurrent(LSTM(projection=2), 3, 2).to_torch()


def test_options_that_map(torch: Any) -> None:
    assert Recurrent.from_torch(torch.nn.RNN(3, 5, nonlinearity="relu", bias=False)).cell == Elman("relu")
    assert Recurrent.from_torch(torch.nn.GRU(3, 5)).cell == GRU("carry", "after")
    assert Recurrent(Elman("relu"), 3, 5).to_torch().nonlinearity == "relu"


def test_state_dict_of_a_module_loads(torch: Any) -> None:
    module = torch.nn.GRU(3, 5)
    rnn = Recurrent(GRU("carry"), 3, 5)
    rnn.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(rnn.parameters["weight_hh_l0"], module.weight_hh_l0.detach().numpy())


@pytest.mark.parametrize("as_given", [lambda tensor: tensor, lambda tensor: tensor.numpy()])
def test_a_gru_of_the_other_convention_computes_the_same(torch: Any, as_given: Any, close: Close) -> None:
    module = torch.nn.GRU(3, 5, num_layers=2, bidirectional=True)
    values = {name: as_given(value) for name, value in module.state_dict().items()}
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
    expected = module(torch.tensor(x))[0].detach().numpy()
    rnn = Recurrent("gru", 3, 5, num_layers=2, bidirectional=True)
    rnn.load_state_dict(values, convention="torch")
    for ours in (rnn, Recurrent.from_state_dict(values, convention="torch")):
        close(ours(x)[0], expected, "output")
    back = rnn.to_torch()
    for name, value in module.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)


def test_dropout_of_a_network_of_a_module_is_seeded(torch: Any) -> None:
    module = torch.nn.LSTM(3, 5, num_layers=2, dropout=0.5)
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
    first, same, other = (Recurrent.from_torch(module, seed=seed).forward(x)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_one_layer_with_dropout_goes_there_in_silence(torch: Any) -> None:
    assert Recurrent("lstm", 3, 5, dropout=0.5).to_torch().dropout == 0.5


def test_a_projection_goes_both_ways(backend: str, torch: Any, close: Close) -> None:
    module = torch.nn.LSTM(3, 7, 2, bidirectional=True, proj_size=2)
    rnn = Recurrent.from_torch(module, backend=backend)
    assert rnn.cell == LSTM(projection=2)
    x = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    output, state = rnn(x)
    expected, final = module(torch.from_numpy(x))
    for name, value, tensor in zip(("output", "state", "state"), (output, *state), (expected, *final), strict=True):
        close(value, tensor.detach().numpy(), name)
    back = rnn.to_torch().state_dict()
    assert all(torch.equal(values, back[name]) for name, values in module.state_dict().items())


def test_refusals(torch: Any) -> None:
    gru = torch.nn.GRU(3, 5).state_dict()
    mixed = {name: value.numpy() if "bias" in name else value for name, value in gru.items()}
    advice = "write convention='torch' for PyTorch's, convention='rnncore' for those of this cell"
    for call, error, message in (
        (lambda: Recurrent("gru", 3, 5).load_state_dict(gru), ValueError, advice),
        (lambda: Recurrent("gru", 3, 5).load_state_dict(mixed), ValueError, advice),
        (lambda: Recurrent(GRU("carry", "before"), 3, 5).load_state_dict(gru), ValueError, advice),
        (
            lambda: Recurrent(GRU("carry", "before"), 3, 5).to_torch(),
            ValueError,
            "to_torch: GRU(update='carry', reset='before') has no counterpart in PyTorch, which has RNN (tanh, relu), ",
        ),
        (lambda: Recurrent(type("Mine", (LSTM,), {})(), 3, 5).to_torch(), ValueError, "has no counterpart in PyTorch"),
        (
            lambda: Recurrent(Elman("sigmoid"), 3, 5).to_torch(),
            ValueError,
            "has no counterpart in PyTorch, which has RNN",
        ),
        (
            lambda: Recurrent.from_torch(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LSTM(3, 5))),
            TypeError,
            "it holds LSTM '1': pass model.get_submodule('1')",
        ),
        (
            lambda: Recurrent.from_torch(importlib.import_module("rnncore.torch").Recurrent("lstm", 3, 5)),
            TypeError,
            "read it with Recurrent.from_state_dict(module.state_dict())",
        ),
        (
            lambda: Recurrent.from_torch(torch.nn.Linear(3, 5)),
            TypeError,
            "expected a torch.nn.RNN, LSTM or GRU, got Line",
        ),
        (
            lambda: Recurrent(LSTM(projection=5), 3, 5).to_torch(),
            ValueError,
            "to_torch: expected a projection narrower than hidden_size=5, as PyTorch's are, got 5",
        ),
        (
            lambda: Recurrent(LSTM(peephole=True), 3, 5).to_torch(),
            ValueError,
            "has no counterpart in PyTorch, which has RNN (tanh, relu), LSTM with projection at most, and GRU with reset",
        ),
        (
            lambda: Recurrent.from_torch(torch.nn.LSTM(3, 5).half()),
            TypeError,
            "weight_ih_l0: expected float32 or float64, got float16: convert the module with .float()",
        ),
        (
            lambda: Recurrent("lstm", 3, 5)(torch.ones(2, 1, 3, requires_grad=True)),
            TypeError,
            "x: expected a numpy.ndarray (T, B, input_size=3)",
        ),
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="to_torch: expected PyTorch to be installed: pip install torch"):
        Recurrent("lstm", 3, 5).to_torch()
