"""What this installation and this machine have."""

from __future__ import annotations

import os
import platform

from rnncore_kernels.host import memory_bytes, processor_name, usable_cores

from .registry import backends
from .version import __version__

PACKAGES = ("numpy", "numba", "numba-cuda", "cupy", "cupy-cuda12x", "cupy-cuda13x", "torch", "onnxruntime", "openvino")
THREAD_VARIABLES = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_", "BLIS_", "VECLIB_")


def configuration() -> dict[str, dict[str, str]]:
    """Versions, machine, backends, and the environment variables that change speed; by section and name."""
    environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(THREAD_VARIABLES)}
    return {
        "versions": {"rnncore": __version__, "python": platform.python_version(), **_installed()},
        "machine": {
            "processor": processor_name(),
            "cores": f"{usable_cores()} usable of {os.cpu_count()}",
            "memory": "unknown" if (memory := memory_bytes()) is None else f"{memory / 2**30:.0f} GiB",
            "system": f"{platform.system()} {platform.machine()}",
            "blas": blas_name(),
        },
        "backends": {
            name: f"available on {probe.device}" if probe.available else f"not available: {probe.reason}. {probe.fix}"
            for name, probe in backends().items()
        },
        **({"environment": environment} if environment else {}),
    }


def show_config() -> None:
    """Print versions, machine and backends, one line each."""
    for section, values in configuration().items():
        print(f"{section}:")
        for name, value in values.items():
            print(f"  {name}: {value}")


def blas_name() -> str:
    """The BLAS that NumPy calls, with its kernel and threads."""
    import threadpoolctl

    names = []
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            kernel = library.get("architecture", "unknown kernel")
            names.append(f"{library['internal_api']} {library['version']} ({kernel}, {library['num_threads']} threads)")
    return "; ".join(names) or "unknown"


def _installed() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
