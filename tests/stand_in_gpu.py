"""A stand-in for a GPU, its arrays and its engine: what the library does with arrays that are not in NumPy's memory.

It is the array namespace and the backend's module in one. Arrays behave as CuPy's where these differ from NumPy's: they
refuse to become NumPy's or to be computed with them, a single element is a view, and their flags are few. The
engine is NumPy's, on the same memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from rnncore_kernels.contract import (
    BackwardRun,
    Compilation,
    Engine,
    LayerGradients,
    LayerWeights,
    Limits,
    Probe,
    Run,
    Sizes,
)
from rnncore_kernels.numpy import NumpyEngine
from rnncore_kernels.program.program import Program

synchronized: list[int] = []
current = SimpleNamespace(device=0)
taken: list[str] = []


class ndarray:  # noqa: N801
    """An array on the GPU; `host` is its memory."""

    __slots__ = ("device", "host")

    def __init__(self, host: Any, device: int = 0) -> None:
        assert type(host) is np.ndarray, type(host)
        self.host = host
        self.device = SimpleNamespace(id=device)

    @property
    def flags(self) -> Any:
        host = self.host.flags
        return SimpleNamespace(c_contiguous=host.c_contiguous, f_contiguous=host.f_contiguous, owndata=host.owndata)

    @property
    def T(self) -> ndarray:  # noqa: N802
        return ndarray(self.host.T)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        assert method == "__call__"
        if "out" in options:
            options["out"] = tuple(map(_host, options["out"]))
        return _wrapped(ufunc(*map(_host, inputs), **options))

    def get(self) -> Any:
        return self.host.copy()

    def __len__(self) -> int:
        return len(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __bool__(self) -> bool:
        return bool(self.host)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and all(isinstance(part, (int, np.integer)) for part in key):
            key = (*key, ...)
        return _wrapped(self.host[_host_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.host[_host_key(key)] = _host(value)

    def view(self, kind: type) -> ndarray:
        assert kind is ndarray
        return ndarray(self.host.view())

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "itemsize", "strides", "nbytes"):
            return getattr(self.host, name)
        if name not in ("reshape", "swapaxes", "copy", "astype", "fill", "max", "min", "sum", "mean", "any", "all"):
            raise AttributeError(f"a stand-in's array has no {name}")
        return lambda *arguments, **options: _wrapped(getattr(self.host, name)(*arguments, **options))


def _operator(name: str, in_place: bool) -> Any:
    def operate(self: ndarray, *others: Any) -> Any:
        result = getattr(self.host, name)(*(_host(other) for other in others))
        return self if in_place else _wrapped(result)

    return operate


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow", "and", "xor", "rshift"):
    for _kind in ("", "r", "i"):
        setattr(ndarray, f"__{_kind}{_name}__", _operator(f"__{_kind}{_name}__", _kind == "i"))
for _name in ("abs", "neg", "invert", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__", False))
ndarray.__hash__ = None  # type: ignore[assignment]


def _host(value: Any) -> Any:
    """The memory of an array; NumPy's own arrays are refused, as CuPy does."""
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return value.host if isinstance(value, ndarray) else value


def _host_key(key: Any) -> Any:
    return tuple(map(_host, key)) if isinstance(key, tuple) else _host(key)


def _wrapped(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return ndarray(value) if isinstance(value, np.ndarray) else value


# The array namespace -------------------------------------------------------------------------------------------------


def asarray(value: Any, dtype: Any = None) -> Any:
    if hasattr(value, "__cuda_array_interface__"):
        taken.append("interface")
        return value.share()
    return value if isinstance(value, ndarray) else ndarray(np.array(value, dtype))


def from_dlpack(value: Any) -> Any:
    taken.append("dlpack")
    return value.__dlpack__()


def array(value: ndarray, order: str) -> ndarray:
    return ndarray(np.array(value.host, order=order))  # type: ignore[call-overload]


def empty(shape: Any, dtype: Any) -> ndarray:
    return ndarray(np.full(shape, np.nan, dtype))


def zeros(shape: Any, dtype: Any) -> ndarray:
    return ndarray(np.zeros(shape, dtype))


def broadcast_to(value: ndarray, shape: Any) -> ndarray:
    return ndarray(np.broadcast_to(value.host, shape))


def arange(*bounds: int) -> ndarray:
    return ndarray(np.arange(*bounds))


def sqrt(value: ndarray) -> ndarray:
    return ndarray(np.sqrt(value.host))


def concatenate(parts: Any, axis: int) -> ndarray:
    return ndarray(np.concatenate([part.host for part in parts], axis))


def copyto(target: ndarray, value: float, where: ndarray) -> None:
    np.copyto(target.host, value, where=where.host)


cuda = SimpleNamespace(
    runtime=SimpleNamespace(getDevice=lambda: current.device),
    get_current_stream=lambda: SimpleNamespace(synchronize=lambda: synchronized.append(1)),
)


# The backend ---------------------------------------------------------------------------------------------------------


def probe() -> Probe:
    return Probe(available=True, device="a stand-in")


def make_engine(num_threads: int | None) -> StandInEngine:
    return StandInEngine()


on_gpu = True


def describe() -> dict[str, str]:
    return {"gpu": "a stand-in"}


def limits(*_: object) -> Limits:
    return Limits(gemm=1e9, bandwidth=1e9)


def warm_up(*_: object) -> Iterator[Compilation]:
    return iter(())


def _down(value: Any) -> Any:
    """Arrays in (named) tuples as NumPy's."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, tuple):
        parts = [_down(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _up(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ndarray(value)
    if isinstance(value, tuple):
        parts = [_up(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


class StandInEngine(Engine[Any, Any]):
    xp = sys.modules[__name__]
    min_block_steps = 2

    def __init__(self) -> None:
        self._engine = NumpyEngine()

    def pack(self, program: Program, sizes: Sizes, weights: LayerWeights, *, copy: bool, backward: bool) -> Any:
        return self._engine.pack(program, sizes, _down(weights), copy=copy, backward=backward)

    def impl(self, program: Program, sizes: Sizes, steps: int, batch: int, *, training: bool) -> str:
        return self._engine.impl(program, sizes, steps, batch, training=training)

    def infer(self, runs: Sequence[Run[Any]]) -> None:
        self._engine.infer([self._run(run) for run in runs])

    def forward(self, runs: Sequence[Run[Any]]) -> list[Any]:
        return self._engine.forward([self._run(run) for run in runs])

    def states(self, packed: Any, residuals: Any) -> Any:
        return _up(self._engine.states(packed, residuals))

    def backward(self, runs: Sequence[BackwardRun[Any, Any]]) -> list[LayerGradients]:
        names = ("grad_output", "grad_state", "inputs")
        lowered = [run._replace(**{name: _down(getattr(run, name)) for name in names}) for run in runs]
        return [_up(gradients) for gradients in self._engine.backward(lowered)]

    @staticmethod
    def _run(run: Run[Any]) -> Run[Any]:
        names = ("x", "state", "output", "last", "inputs")
        return run._replace(**{name: _down(getattr(run, name)) for name in names})
