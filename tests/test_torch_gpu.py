"""PyTorch's tensors on a GPU: which engine computes with them, here a stand-in on the host's memory, and why none does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
import stand_in_gpu as gpu
import torch

import rnncore.torch as ours
from rnncore import backends
from rnncore.torch import memory, networks

entered: list[str] = []


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All tensors are taken for a GPU's, whose arrays refuse whatever NumPy does with them."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        entered.append("in")
        yield
        entered.append("out")

    def array(tensor: Any) -> Any:
        return gpu.ndarray(tensor.numpy())

    def tensor(array: Any) -> Any:
        return torch.from_numpy(array.host)

    found = memory.Memory(gpu.StandInEngine(), array, tensor, context)
    monkeypatch.setattr(networks, "memory_of", lambda device: found)
    networks.find_network.cache_clear()
    entered.clear()
    yield
    networks.find_network.cache_clear()


CALLS: dict[str, Any] = {
    "layer": lambda: (ours.GRU(3, 4), {}),
    "layers": lambda: (ours.LSTM(3, 4, 2, batch_first=True, proj_size=2), {}),
    "resets": lambda: (
        ours.Recurrent("lstm", 3, 4, 2),
        {"resets": torch.rand(5, 6) < 0.3, "reset_state": (torch.randn(2, 6, 4),) * 2, "lengths": torch.arange(6)},
    ),
    "all states": lambda: (ours.Recurrent("lstm", 3, 4, learn_initial_state=True), {"states": "all", "flow": True}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_engine_of_a_gpu_computes(name: str, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    module, given = CALLS[name]()
    x = torch.randn(5, 6, 3, requires_grad=True)

    def results() -> list[Any]:
        found = torch.utils._pytree.tree_leaves(module(x, **given))
        leaves = [x, *module.parameters()]
        differentiable = [each for each in found if each.requires_grad]
        gradients = torch.autograd.grad(sum(each.square().sum() for each in differentiable), leaves)
        with torch.no_grad():
            inferred = torch.utils._pytree.tree_leaves(
                module(x, **{**given, "flow": False} if "flow" in given else given)
            )
        return [*found, *gradients, *inferred]

    expected = results()
    request.getfixturevalue("on_gpu")
    module.__dict__.pop("_rnncore_kept", None)
    for value, reference in zip(results(), expected, strict=True):
        torch.testing.assert_close(value, reference)
    assert entered == ["in", "out"] * 3  # forward, backward, inference
    if isinstance(module, ours.Recurrent):
        assert module.observe(x)[0]["h"].shape[:2] == (5, 6)


@pytest.mark.usefixtures("on_gpu")
def test_packed_sequences_and_graphs_on_a_gpu() -> None:
    torch.compiler.reset()
    module, x = ours.GRU(3, 4), torch.randn(5, 3, 3)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2, 4]), enforce_sorted=False)
    output, final = module(packed)
    again, last = module(torch.nn.utils.rnn.pad_packed_sequence(output)[0][:, :, :3])
    assert again.shape == (5, 3, 4)
    assert last.shape == final.shape
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    compiled(x)[0].sum().backward()
    torch.testing.assert_close(compiled(x)[0], module(x)[0])


def test_where_no_engine_computes() -> None:
    assert memory.reason_against_device(torch.device("cpu")) is None
    assert memory.reason_against_device(torch.device("meta")) == "a tensor on meta"
    probe = backends()["cuda"]
    if probe.available:
        pytest.skip("the CUDA backend can run here")
    assert memory.reason_against_device(torch.device("cuda:0")) == f"a tensor on cuda: {probe.reason}"
    with pytest.raises(ValueError, match="device: expected one where an engine computes, got a tensor on cuda: "):
        ours.Recurrent("gru", 3, 4, device="cuda")
