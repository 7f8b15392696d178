"""The backends: which there are, which can run here, and why not."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import Any, cast

from rnncore_kernels.contract import Engine, EngineModule, Probe
from rnncore_kernels.notices import warn_once

from .errors import BackendUnavailableError

MODULES = {
    "cuda": "rnncore_kernels.cuda",
    "numba": "rnncore_kernels.cpu",
    "numpy": "rnncore_kernels.numpy",
}
"""The module of each backend, a `contract.EngineModule`, in the order of `auto`."""


def backends() -> dict[str, Probe]:
    """Each backend by name, the preferred first, with `available`, `reason`, `fix` and `device`.

    >>> backends()["numpy"].available
    True
    """
    return {name: _probe(name) for name in MODULES}


def resolve(name: str) -> str:
    """The backend to use for the argument `backend`. A warning says why "auto" is "numpy", once in a process.

    Raises:
        ValueError: no such backend.
        BackendUnavailableError: a backend asked for by name cannot run here.
    """
    if name == "auto":
        return _first_of(MODULES)
    if not isinstance(name, str) or name not in MODULES:
        raise ValueError(f"backend: expected 'auto', {', '.join(map(repr, MODULES))}, got {name!r}")
    probe = _probe(name)
    if not probe.available:
        raise BackendUnavailableError(f"backend {name!r} is not available: {probe.reason}. {probe.fix}")
    return name


def check_products(argument: str, precision: str | None, backend: str) -> None:
    """Refuse a precision of products that a backend lacks.

    Raises:
        ValueError: the message names the argument.
    """
    if precision is not None and precision not in module(backend).precisions:
        able = [f"backend={name!r}" for name in MODULES if precision in module(name).precisions]
        raise ValueError(
            f"{argument}: expected no {precision!r} with backend={backend!r}, whose products have the precision of "
            f"dtype: take {' or '.join(able)}"
        )


def resolve_on_host() -> str:
    """The backend of the processor that "auto" would be without a GPU."""
    return _first_of([name for name in MODULES if name != "cuda"])


def _first_of(names: Iterable[str]) -> str:
    """The first that can run here."""
    first = next(name for name in names if _probe(name).available)
    if first == "numpy":
        numba = _probe("numba")
        warn_once(
            f"backend: 'auto' is 'numpy' here, which is slower, as 'numba' is not available: {numba.reason}. "
            f"{numba.fix} Or ask for backend='numpy'."
        )
    return first


def resolve_all(names: Iterable[str]) -> list[str]:
    """The backends that some names stand for, none twice: "all" is those that can run here, others as in `resolve`."""
    found: list[str] = []
    for name in names:
        found += [each for each in MODULES if _probe(each).available] if name == "all" else [resolve(name)]
    return list(dict.fromkeys(found))


def make_engine(name: str, num_threads: int | None) -> Engine[Any, Any]:
    """The engine of an available backend."""
    return module(name).make_engine(num_threads)


def available(on_gpu: bool | None = None) -> list[EngineModule]:
    """The modules of the backends that can run here: those on a GPU, those on the processor, or all."""
    found = [module(name) for name in MODULES if _probe(name).available]
    return found if on_gpu is None else [each for each in found if each.on_gpu == on_gpu]


def described() -> dict[str, str]:
    """Facts of this machine that the backends know, by name."""
    return {name: fact for each in available() for name, fact in each.describe().items()}


def module(name: str) -> EngineModule:
    """The module of a backend."""
    return cast(EngineModule, importlib.import_module(MODULES[name]))


@functools.cache
def _probe(name: str) -> Probe:
    return module(name).probe()
