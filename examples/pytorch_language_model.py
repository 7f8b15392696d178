"""A character language model in PyTorch, on rnncore's engine by one line, on one process or several.

    python examples/pytorch_language_model.py                              # one process
    torchrun --nproc-per-node 2 examples/pytorch_language_model.py         # two, which share each batch

With several processes each computes its part of every batch, and DistributedDataParallel averages the gradients over
gloo, as on several machines; the losses are those of one process. `--pytorch` leaves out `accelerate`, the one line:
the losses are the same then, too.

Data: the documentation topics of Python (`pydoc_data.topics`, in the standard library; PSF licence).
"""

from __future__ import annotations

import argparse
import os
import time
from pydoc_data.topics import topics

import torch
import torch.distributed as dist

import rnncore.torch

HIDDEN, BATCH, WINDOW = 256, 32, 50


class Model(torch.nn.Module):
    """Logits of each next character."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(characters, 64)
        self.lstm = torch.nn.LSTM(64, HIDDEN, batch_first=True)
        self.linear = torch.nn.Linear(HIDDEN, characters)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(B, T) codes to (B, T, characters)."""
        logits: torch.Tensor = self.linear(self.lstm(self.embedding(codes))[0])
        return logits


def main() -> None:
    """Train, and print the loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pytorch", action="store_true", help="leave the LSTM to PyTorch")
    arguments = parser.parse_args()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    codes = torch.tensor([characters.index(c) for c in text])

    torch.manual_seed(0)
    model: torch.nn.Module = Model(len(characters))
    if not arguments.pytorch:
        report = rnncore.torch.accelerate(model)
        if rank == 0:
            print(report)
    if size > 1:
        dist.init_process_group("gloo")
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    start = time.perf_counter()
    for step in range(1, arguments.steps + 1):
        # Every process draws the whole batch, and computes its part.
        places = torch.randint(0, len(codes) - WINDOW - 1, (BATCH,))
        windows = torch.stack([codes[place : place + WINDOW + 1] for place in places.tolist()])
        mine = windows[rank * BATCH // size : (rank + 1) * BATCH // size]
        logits = model(mine[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), mine[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.detach()
        if size > 1:
            dist.all_reduce(mean)
        if rank == 0 and (step % 20 == 0 or step == arguments.steps):
            seconds = (time.perf_counter() - start) / step
            print(f"step {step}: {mean.item() / size:.3f} nats a character, {seconds * 1e3:.0f} ms a step")
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
