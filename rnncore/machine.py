"""What this installation and this machine have."""

from __future__ import annotations

import dataclasses
import os
import platform
from pathlib import Path
from typing import Any

from rnncore_kernels.contract import Probe
from rnncore_kernels.cores import usable_cores
from rnncore_kernels.host import memory_bytes, processor_name

from .registry import backends, described
from .version import __version__

PACKAGES = ("numpy", "numba", "llvmlite", "numba-cuda", "cupy", "cupy-cuda12x", "cupy-cuda13x")
PEERS = ("torch", "onnxruntime", "openvino")
THREAD_VARIABLES = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_", "BLIS_", "VECLIB_")


def configuration() -> dict[str, dict[str, Any]]:
    """Versions, source, machine, backends, and the environment variables that change speed; by section and name.

    Everything that says how fast a run was, and no path. A backend is a dictionary with the fields of `Probe`; all else
    is text.
    """
    environment = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(THREAD_VARIABLES) and os.sep not in value
    }
    return {
        "versions": {"rnncore": __version__, "python": platform.python_version(), **_installed()},
        "source": source(),
        "machine": {
            "processor": processor_name(),
            "instruction_set": platform.machine(),
            "cores": f"{usable_cores()} usable of {os.cpu_count()}",
            "memory": "unknown" if (memory := memory_bytes()) is None else f"{memory / 2**30:.0f} GiB",
            "system": f"{platform.system()} {platform.machine()}",
            "gpu": "none that a backend can use",
            **described(),
        },
        "backends": {name: dataclasses.asdict(probe) for name, probe in backends().items()},
        **({"environment": environment} if environment else {}),
    }


def cache_configuration() -> dict[str, str]:
    """Where compiled code is kept, and why it is not; `rnncore cache` says what is there."""
    from rnncore_kernels.cache import cache_folder, refusal

    folder = cache_folder()
    if folder is None:
        return {"folder": "none, as the user has no home: name one in RNNCORE_CACHE_DIR"}
    found = {"folder": str(folder)}
    if reason := refusal(folder):
        found["problem"] = f"nothing can be kept there: {reason}; name another in RNNCORE_CACHE_DIR"
    return found


def show_config() -> None:
    """Print versions, source, machine, backends and the folder of compiled code, one line each."""
    sections = configuration() | {"cache": cache_configuration()}
    sections["backends"] = {name: format_probe(probe) for name, probe in backends().items()}
    for section, values in sections.items():
        print(f"{section}:")
        for name, value in values.items():
            print(f"  {name}: {value}")


def format_probe(probe: Probe) -> str:
    """Whether a backend can run, on what, and if not why not."""
    return f"available on {probe.device}" if probe.available else f"not available: {probe.reason}. {probe.fix}"


def source() -> dict[str, str]:
    """The commit that this runs from, and whether files differ from it; nothing where it is installed elsewhere."""
    import subprocess

    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return {"commit": "unknown: not run from a checkout"}
    try:
        commit, changes = (
            subprocess.run(["git", "-C", checkout, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown: git does not say"}
    return {"commit": commit, "dirty": "yes" if changes else "no"}


def _installed() -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in (*PACKAGES, *PEERS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
