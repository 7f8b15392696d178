"""The parent's side of the processes that measure: one for each contender, started once, never left behind."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

START = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from rnncore.bench import worker; worker.main()"


class MeasurementError(RuntimeError):
    """A process that measures failed or died; the message says which, where, and why."""


class Child:
    """A process that runs `worker.main`; another takes its place where it has died."""

    def __init__(self, contender: str) -> None:
        self._contender = contender
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # A process of its own interpreter, not a fork or multiprocessing's: the parent has threads, and may be a script
        # without a guard of its main part.
        return subprocess.Popen(
            [sys.executable, "-P", "-c", START, self._contender],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )

    def ask(self, method: str, *arguments: Any) -> Any:
        """The result of a method of `worker.Worker` there.

        Raises:
            MeasurementError: it raised an exception, or the process died.
        """
        self._send(method, *arguments)
        assert self.process.stdout is not None
        try:
            done, value = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise MeasurementError(self._death()) from None
        if not done:
            raise MeasurementError(f"{self._contender}: {value}")
        return value

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _send(self, *request: Any) -> None:
        assert self.process.stdin is not None
        try:
            pickle.dump(request, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(self._death()) from None

    def _death(self) -> str:
        """Why the process has closed its output; another is started, which has prepared nothing."""
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            status = 0
        self.kill()
        self.process = self._start()
        how = f"exited with status {status}"
        if status < 0:
            how = f"was ended by signal {-status} ({signal.strsignal(-status)})"
            # Windows has no SIGKILL, and no status below 0.
            if status == -signal.SIGKILL:
                how += ", for want of memory perhaps: try a smaller workload"
        return f"{self._contender}: the process that measured it {how}"


@contextlib.contextmanager
def started(contenders: Sequence[str]) -> Iterator[dict[str, Child]]:
    """A child for each contender; none is left on the way out."""
    with contextlib.ExitStack() as stack:
        children: dict[str, Child] = {}
        for contender in contenders:
            children[contender] = child = Child(contender)
            stack.callback(child.kill)
        yield children
