"""PyTorch's autograd through rnncore's modules: hooks, graphs, what needs no gradient, and where tensors are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from test_torch_modules import pair

import rnncore.torch as ours
from rnncore import Recurrent
from rnncore.torch import calls


def test_hooks_are_called() -> None:
    module, seen = ours.RNN(3, 4), []
    module.register_forward_hook(lambda *_: seen.append("forward"))
    module.register_full_backward_hook(lambda *_: seen.append("backward"))
    module.weight_hh_l0.register_hook(lambda grad: seen.append("parameter"))
    module(torch.randn(2, 1, 3, requires_grad=True))[0].sum().backward()
    assert sorted(seen) == ["backward", "forward", "parameter"]


@pytest.mark.parametrize("frozen", [["bias_hh_l0"], ["weight_ih_l0", "weight_hh_l0"], ["weight_hh_l0", "bias_ih_l0"]])
def test_frozen_parameters_get_no_gradient(frozen: list[str]) -> None:
    theirs, mine = pair("GRU", 3, 4)
    x = torch.randn(5, 2, 3)
    for module in (theirs, mine):
        for name in frozen:
            getattr(module, name).requires_grad_(False)
        module(x)[0].sum().backward()
    for name, parameter in mine.named_parameters():
        if name in frozen:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, getattr(theirs, name).grad)


def watch(module: Any, method: str, see: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """See the runs of the engine's calls."""
    engine = type(module.__dict__[calls.KEPT].find(module, torch.zeros(0), None).network.engine)
    compute = getattr(engine, method)

    def call(self: Any, runs: Any) -> Any:
        see(runs)
        return compute(self, runs)

    monkeypatch.setattr(engine, method, call)


@pytest.mark.parametrize(
    ("of_x", "frozen", "expected"),
    [
        (True, ["l0", "l1"], [(True, False), (True, False)]),
        (False, ["l0"], [(False, False), (True, True)]),
        (False, ["l1"], [(False, True), (True, False)]),
    ],
)
def test_the_work_of_what_needs_no_gradient_is_skipped(
    of_x: bool, frozen: list[str], expected: list[tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ours.LSTM(3, 4, 2)
    seen: list[Any] = []
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name[-2:] not in frozen)
    output = module(torch.randn(5, 2, 3, requires_grad=of_x), (torch.ones(2, 2, 4, requires_grad=True),) * 2)[0]
    watch(module, "backward", lambda runs: seen.append(runs[0].needs), monkeypatch)
    output.sum().backward()
    assert seen[::-1] == expected


def test_tensors_are_read_and_written_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a batch that comes first, and parts of larger ones."""
    module = ours.GRU(3, 4, batch_first=True)
    seen: list[Any] = []
    module(torch.randn(1, 1, 3))
    watch(module, "forward", seen.extend, monkeypatch)
    x = torch.randn(5, 7, 6)[:, 1:, 2:5]
    output = module(x)[0]
    (run,) = seen
    assert run.x.ctypes.data == x.data_ptr()
    assert run.output.ctypes.data == output.data_ptr()


def test_there_is_no_graph_without_gradients() -> None:
    module, x = ours.LSTM(3, 4), torch.randn(2, 1, 3)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            output, (h, c) = module(x)
            assert output.grad_fn is h.grad_fn is c.grad_fn is None
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert not module(x)[0].requires_grad


def test_the_second_derivative_is_refused() -> None:
    module, x = ours.LSTM(3, 4), torch.randn(2, 1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"differentiated once.*accelerate\(model, undo=True\)"):
        gradient.square().sum().backward()


def test_a_graph_is_freed_as_pytorchs_is() -> None:
    module, x = ours.GRU(3, 4), torch.randn(2, 1, 3)
    output = module(x)[0].sum()
    output.backward(retain_graph=True)
    output.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        output.backward()
    x = torch.randn(2, 1, 3)
    output = module(x)[0].sum()
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward()


def test_checkpoints_compute_again() -> None:
    module, x = ours.LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    expected = torch.autograd.grad(module(x)[0].sum(), [x, *module.parameters()])
    for reentrant in (False, True):
        output = torch.utils.checkpoint.checkpoint(lambda x: module(x)[0].sum(), x, use_reentrant=reentrant)
        x.grad = None
        module.zero_grad()
        output.backward()
        for reference, value in zip(expected, [x.grad, *(p.grad for p in module.parameters())], strict=True):
            assert torch.equal(value, reference)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_gradcheck() -> None:
    module = ours.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    h, c = (torch.randn(4, 2, n, dtype=torch.float64, requires_grad=True) for n in (2, 3))
    assert torch.autograd.gradcheck(
        lambda x, h, c, *_: [(r := module(x, (h, c)))[0], *r[1]], (x, h, c, *module.parameters())
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_without_parameters(dtype: torch.dtype, compiled: bool) -> None:
    """x, which holds all that gates read, says the dtype."""
    torch.compiler.reset()
    module = ours.Recurrent("mingru", None, 4)
    call: Any = torch.compile(module, fullgraph=True, backend="aot_eager") if compiled else module
    assert not [*module.parameters()]
    for hidden in (4, 7):
        # No shape of a parameter follows from it.
        module.hidden_size = hidden
        x = torch.randn(5, 2, 2 * hidden, dtype=dtype, requires_grad=True)
        output, state = call(x)
        plain = Recurrent("mingru", None, hidden, dtype=str(dtype).removeprefix("torch."))
        expected, _, tape = plain.forward(x.detach().numpy())
        torch.testing.assert_close(output.detach(), torch.from_numpy(expected))
        (gradient,) = torch.autograd.grad(output.sum(), x)
        torch.testing.assert_close(gradient, torch.from_numpy(plain.backward(tape, np.ones_like(expected)).x))
        assert (module.output_size, module.state_widths) == (output.shape[-1], [state.shape[-1]]) == (hidden, [hidden])
    with pytest.raises(
        TypeError, match=r"x: expected torch\.float32 or .*, got torch\.float16: convert it with \.float"
    ):
        module(torch.zeros(5, 2, 14, dtype=torch.float16))
