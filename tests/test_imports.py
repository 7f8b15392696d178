"""Modules are imported where the system lacks what only POSIX has, as Windows does."""

from __future__ import annotations

import processes
import pytest

WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys
import rnncore, rnncore_kernels

LACKING = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses"}
names = [
    module.name
    for package in (rnncore, rnncore_kernels)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None)
    if not module.name.endswith("__main__")
]

def imported():
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Another module that is missing is a peer's, which is not installed.
            if error.name in LACKING:
                raise
        else:
            yield name

before = list(imported())  # so that the packages that these need are loaded while they find all
for name in [name for name in sys.modules if name.startswith("rnncore")]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys(LACKING))
for module, lacking in (
    (os, "fork register_at_fork sched_getaffinity sched_setaffinity sched_yield getuid geteuid sysconf uname setsid"),
    (signal, "SIGKILL SIGALRM SIGHUP SIGUSR1 setitimer pthread_kill pthread_sigmask alarm"),
):
    for name in lacking.split():
        if hasattr(module, name):
            delattr(module, name)
after = list(imported())
assert after == before, set(before) ^ set(after)
print(len(after))
"""


@pytest.mark.slow
def test_no_module_takes_what_only_posix_has() -> None:
    assert int(processes.run(WITHOUT_POSIX)) > 200
