"""What can be wrong with a kernel, or with how it is launched."""

# Named for the mistakes that they are.
# ruff: noqa: N818

from __future__ import annotations


class UnsupportedInstruction(Exception):
    """The PTX has something that the executor does not know; nothing is guessed."""


class ExecutionError(Exception):
    """A kernel did what no kernel may do."""


class LaunchError(ExecutionError):
    """The numbers or the arguments of a launch are wrong."""


class OutOfBounds(ExecutionError):
    """An address outside all memory that the kernel was given."""


class Misaligned(ExecutionError):
    """An address that is no multiple of the size of the access."""


class ReadOnly(ExecutionError):
    """A write to an array that is not writeable, or to memory that is read by a non-coherent load."""


class Uninitialised(ExecutionError):
    """A read of what nobody wrote."""


class DataRace(ExecutionError):
    """Two accesses to the same memory, one of them a write, that nothing orders."""


class DivergentBarrier(ExecutionError):
    """A barrier or an exchange in a warp at which some of its threads do not arrive."""


class Deadlock(ExecutionError):
    """Every thread waits."""


class Livelock(Deadlock):
    """Every thread that does not wait polls what nobody changes, or the launch exceeds its budget of instructions."""


class DivisionByZero(ExecutionError):
    """An integer division by zero, whose result the hardware leaves open."""


class LimitExceeded(ExecutionError):
    """The launch is larger than the executor's tables."""
