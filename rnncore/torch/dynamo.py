"""torch.compile may trace rnncore's modules: its tracer refuses all that derive from PyTorch's LSTM, GRU and RNN.

It does so as it would unroll their steps; ours are one operator. `torch._dynamo.config.allow_rnn` would allow it for
all modules of a process, PyTorch's own too, so it is set while the tracer looks at one of ours, and only then. The
tracer is large, and torch.compile imports it when it is first needed: that is waited for.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

BUILDER = "torch._dynamo.variables.builder"


def allow(kind: type) -> None:
    """Let instances of a class be traced, now or as soon as there is a tracer."""
    if BUILDER in sys.modules:
        _patch(sys.modules[BUILDER], kind)
    else:
        sys.meta_path.insert(0, _Finder(kind))


def _patch(builder: ModuleType, kind: type) -> None:
    wrap = getattr(getattr(builder, "VariableBuilder", None), "wrap_module", None)
    if wrap is None:
        return  # another version's tracer: it is left as it is

    @functools.wraps(wrap)
    def wrap_module(self: Any, value: Any) -> Any:
        if not isinstance(value, kind):
            return wrap(self, value)
        import torch._dynamo.config

        with torch._dynamo.config.patch(allow_rnn=True):
            return wrap(self, value)

    builder.VariableBuilder.wrap_module = wrap_module


class _Finder(MetaPathFinder):
    """Waits for the import of the tracer."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module as it is found otherwise, with another loader."""
        if name != BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._kind)
        return spec


class _Loader(Loader):
    """A loader that patches what it has loaded."""

    def __init__(self, loader: Loader, kind: type) -> None:
        self._loader, self._kind = loader, kind

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the loader does; then patch the module."""
        self._loader.exec_module(module)
        _patch(module, self._kind)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def leave(function: Any) -> None:
    """Let the tracer leave a function, and all that it calls, as they are.

    A module's `forward` is computed eagerly once a call of it was refused: the engine's code would be traced then.
    """
    frames: Any = torch._C._dynamo.eval_frame
    if hasattr(frames, "set_code_exec_strategy"):  # else another version's tracer
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))
