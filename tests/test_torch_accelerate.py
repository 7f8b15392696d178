"""`rnncore.torch.accelerate` swaps classes in place, says what it did, and can be undone; models train with it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import processes
import torch

import rnncore.torch as ours


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


WORKER = """
import sys
import torch, torch.distributed as dist
import rnncore.torch as ours

rank, size = int(sys.argv[1]), int(sys.argv[2])
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
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=size)
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


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    # Not a port that is free now: another process may have it by then.
    meeting = str(tmp_path / "meeting")
    alone = processes.run(WORKER, "0", "1", meeting)
    both = [processes.start(["-c", WORKER, str(rank), "2", meeting], {"OMP_NUM_THREADS": "1"}) for rank in range(2)]
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
