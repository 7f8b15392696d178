"""Exit statuses, the same for every command."""

OK = 0
FAILED_CHECK = 1
"""A regression, or a result that is wrong."""
USAGE = 2
UNAVAILABLE = 3
"""A backend or peer that was named cannot run here."""
FAILED = 4
"""Some of the work could not be done: a measurement, or writing it down."""
UNDECIDED = 5
"""The samples cannot tell whether there is a regression."""
INTERRUPTED = 130


class UsageError(Exception):
    """A wrong argument that shows only when the command runs; the message says the expectation."""
