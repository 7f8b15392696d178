"""The CPU engine: each cell compiled into SIMD tiles, and the whole recurrence in one call.

Importing it loads no compiler; its probe compiles a kernel where none is kept that these versions compiled.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..contract import Probe
from ..host import processor_name

if TYPE_CHECKING:
    from .engine import NumbaEngine


NUMBA = ((0, 63), (0, 69))
"""The versions of Numba that were tried, from and below; those of pyproject.toml."""


def probe() -> Probe:
    """Whether Numba and llvmlite, requirements of the package, compile a kernel here, or did and it is kept.

    Numba's inner parts are used, so a version that changes them has to show here, not at a first call.
    """
    least, below = (".".join(map(str, version)) for version in NUMBA)
    install = f"Install them again: pip install --force-reinstall 'numba>={least},<{below}'."
    try:
        importlib.import_module(f"{__name__}.engine")
    except (ImportError, OSError) as error:
        return Probe(False, f"llvmlite cannot be loaded: {error}", install)
    from .kernels import trial_kernel
    from .target import host_target

    try:
        target = host_target()
    except ValueError as error:
        return Probe(False, str(error), "Correct the variable, or unset it.")
    try:
        trial_kernel(target)
    except Warning:
        # Where warnings are errors: code that cannot be kept is no reason not to compute.
        raise
    except Exception as error:
        # Another version fails in its own ways, and a probe in none.
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        return Probe(False, f"Numba does not compile here: {reason}", install)
    return Probe(available=True, device=processor_name())


def make_engine(num_threads: int | None) -> NumbaEngine:
    """See `contract.EngineModule`."""
    from .engine import NumbaEngine

    return NumbaEngine(num_threads)


__all__ = ["make_engine", "probe"]
