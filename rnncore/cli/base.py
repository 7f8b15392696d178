"""The same measurement by another revision of this checkout: in a worktree of it, once, as the run is kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rnncore_kernels.cache import RUNS, key, read, write

from ..bench.children import MeasurementError
from ..bench.record import Record, load
from ..machine import configuration
from .status import USAGE, UsageError

ROOT = Path(__file__).parents[2]
"""The checkout, if this is one."""
DRY_RUN = "--dry-run"
"""The option that prints a plan."""


def find(revision: str) -> str:
    """The commit of a revision.

    Raises:
        UsageError: this is no checkout, or has no such revision.
    """
    try:
        return _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise UsageError(
            f"--base: expected a revision of a checkout with git, got {revision!r}: {reason.strip()}"
        ) from None


def measured(revision: str, arguments: Sequence[str]) -> Record:
    """The run of `rnncore bench ARGUMENTS` by a revision, from disk if it has been measured on this machine before.

    Raises:
        UsageError: as of `find`, or the revision does not know the arguments.
        MeasurementError: the revision cannot do it.
    """
    commit = find(revision)
    facts = configuration()
    name = key("base", commit, *arguments, repr(facts["machine"]), repr(facts["versions"])) + RUNS
    with tempfile.TemporaryDirectory(prefix="rnncore-base-") as folder:
        file, tree = Path(folder) / "run.json", Path(folder) / "tree"
        kept = read(name)
        if kept is not None:
            file.write_bytes(kept)
            return load(str(file))
        print(f"rnncore: measuring {revision} ({commit[:10]}) first; the result is kept", file=sys.stderr)
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            command = [sys.executable, "-P", "-m", "rnncore", "bench", *arguments]
            paths = os.pathsep.join([str(tree), str(tree / "kernels"), os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": paths}
            # A plan first, whose message is kept: the run's own goes to the terminal, with its progress.
            plan = subprocess.run([*command, DRY_RUN], env=environment, capture_output=True, text=True)
            if plan.returncode == USAGE and (reason := _reason(plan.stderr, arguments)):
                raise UsageError(f"--base: {revision} {reason}")
            status = subprocess.run([*command, "-o", f"json={file}"], env=environment).returncode
        finally:
            _git("worktree", "remove", "--force", str(tree))
        if status or not file.exists():
            raise MeasurementError(f"--base: {revision} ended with status {status}; its message is above")
        write(name, file.read_bytes())
        return load(str(file))


def _reason(message: str, arguments: Sequence[str]) -> str:
    """Why a revision refuses arguments, from the message of its parser; empty where it lacks the plan alone."""
    line = message.strip().rpartition("\n")[2]
    _, unknown, rest = line.partition("unrecognized arguments: ")
    if not unknown:
        return f"refuses these arguments: {line}"
    names = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    lacking = dict.fromkeys(name for word in rest.split() if (name := word.partition("=")[0]) in names)
    return f"has no option {', '.join(lacking)}: leave it out, or name a later revision" if lacking else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
