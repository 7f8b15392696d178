"""`accelerate`: the LSTM, GRU and RNN modules of a model become rnncore's, in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch

from .calls import KEPT
from .memory import reason_against_device
from .modules import GRU, LSTM, RNN
from .network import DTYPES
from .recurrent import Recurrent

CLASSES: dict[type, type] = {torch.nn.LSTM: LSTM, torch.nn.GRU: GRU, torch.nn.RNN: RNN}
"""rnncore's class for each of PyTorch's."""

KINDS: Any = (torch.nn.modules.rnn.RNNBase, torch.nn.modules.rnn.RNNCellBase)
CELLS = (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell)


@dataclass
class Report:
    """What `accelerate` did; as a context manager it is undone at the end.

    Attributes:
        model: the model.
        replaced: the modules that changed, by name ("" is the model itself), as they describe themselves.
        left: why others that are recurrent did not change, by name.
        already: those that were as asked for, as they describe themselves, by name.
    """

    model: torch.nn.Module
    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    already: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{_spoken(name)}: {what}" for name, what in self.replaced.items()]
        lines += [f"{_spoken(name)}: left as it is: {why}" for name, why in self.left.items()]
        lines += [f"{_spoken(name)}: {what} already" for name, what in self.already.items()]
        return "\n".join(lines) or "no recurrent modules"

    def __enter__(self) -> torch.nn.Module:
        return self.model

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        modules = dict(self.model.named_modules())
        for name in self.replaced:
            _restore(modules[name])


def accelerate(model: torch.nn.Module, *, undo: bool = False) -> Report:
    """Let rnncore compute the `torch.nn.LSTM`, `GRU` and `RNN` modules of a model, the model itself included.

    Modules change their class and nothing else: parameters, hooks and options are the same objects, so that optimisers,
    checkpoints and whatever else refers to them go on. Nothing outside the model changes.

    Args:
        model: the model, changed in place.
        undo: give the modules back their classes instead.

    Returns:
        A report: print it, or write `with accelerate(model): ...` to undo it at the end.

    Raises:
        TypeError: `model` is not a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    report = Report(model)
    for name, module in model.named_modules():
        if undo:
            if type(module) in CLASSES.values():
                _restore(module)
                report.replaced[name] = repr(module)
            elif type(module) in CLASSES:
                report.already[name] = f"torch.nn.{module!r}"
            elif isinstance(module, Recurrent):
                report.left[name] = "rnncore.torch.Recurrent has no class of PyTorch's to go back to"
        elif type(module) in CLASSES.values() or isinstance(module, Recurrent):
            report.already[name] = f"rnncore.torch.{module!r}"
        elif reason := _reason_against(module):
            report.left[name] = reason
        elif type(module) in CLASSES:
            module.__class__ = CLASSES[type(module)]
            report.replaced[name] = f"rnncore.torch.{module!r}"
    return report


def _reason_against(module: Any) -> str:
    """Why a recurrent module stays as it is; empty for those that change, and for others."""
    kind: Any = type(module)
    if kind in CELLS:
        return f"{kind.__name__} computes one step a call, for which rnncore would pack the weights: PyTorch is faster"
    if not isinstance(module, KINDS):
        return ""
    if kind not in CLASSES:
        return f"{kind.__name__} is a subclass, which may compute something else"
    if "forward" in module.__dict__:
        return "its forward has been replaced"
    for name, parameter in module.named_parameters():
        if parameter.dtype not in DTYPES:
            return f"{name} is {parameter.dtype}, and rnncore computes in float32 and float64"
        if reason_against_device(parameter.device):
            return f"{name} is on {parameter.device}, where PyTorch computes with libraries of its own"
    return ""


def _restore(module: Any) -> None:
    for own, other in CLASSES.items():
        if type(module) is other:
            module.__class__ = own
            module.__dict__.pop(KEPT, None)


def _spoken(name: str) -> str:
    return name or "the model"
