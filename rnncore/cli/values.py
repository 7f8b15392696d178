"""How the values of options are written: names, sizes, lists and ranges of them, times, shares."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from ..errors import did_you_mean

RANGE = re.compile(r"(\d+)-(\d+)(?:([*+])(\d+))?")
LONGEST = 10_000
"""Values of a list at most: more are a slip of the pen."""
UNITS = {"": 1.0, "s": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "min": 60.0}
"""Seconds of each unit of time."""


def choices(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Parser of a list of names."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in allowed:
                some = "" if len(allowed) == 1 else "some of "
                raise ArgumentTypeError(
                    f"expected {some}{', '.join(allowed)}, got {name!r}{did_you_mean(name, allowed)}"
                )
        return names

    return parse


def yes_no(text: str) -> list[bool]:
    """`no,yes` as [False, True]."""
    return [name == "yes" for name in choices(("yes", "no"))(text)]


def size(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def sizes(text: str) -> list[int]:
    """A list of sizes and ranges of them: `32,128`, `1-4`, `64-256+64`, `32-1024*2`; both ends count."""
    return [value for part in text.split(",") for value in _range(part)]


def _range(text: str) -> list[int]:
    match = RANGE.fullmatch(text)
    if match is None:
        if "-" in text:
            raise ArgumentTypeError(f"expected a range like 1-4, 64-256+64 or 32-1024*2, got {text!r}")
        return [size(text)]
    first, last = size(match[1]), size(match[2])
    operator, by = match[3] or "+", int(match[4] or 1)
    if by < (2 if operator == "*" else 1):
        raise ArgumentTypeError(f"expected a range that grows, by +1 or *2 at least, got {text!r}")
    if first > last:
        raise ArgumentTypeError(f"expected a range that is not empty, got {text!r}: {first} is more than {last}")
    values = [first]
    while (value := values[-1] * by if operator == "*" else values[-1] + by) <= last:
        values.append(value)
        if len(values) > LONGEST:
            raise ArgumentTypeError(f"expected a range of at most {LONGEST} values, got {text!r}")
    return values


def seconds(text: str) -> float:
    """A time of 0 or more: `2`, `2s`, `5ms`, `300us`, `1min`."""
    number, unit = re.fullmatch(r"(.*?)\s*(us|µs|ms|s|min|)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return _number(number, text, "a number of seconds, or a time as 5ms, 300us, 2min") * UNITS[unit]


def above_zero(text: str) -> float:
    """The same, but not 0."""
    if not (value := seconds(text)):
        raise ArgumentTypeError(f"expected a time above 0, got {text!r}")
    return value


def rates(text: str) -> list[float]:
    """A list of numbers above 0: `0.003,0.01`."""
    values = [_number(part, text, "numbers above 0, as 0.003,0.01") for part in text.split(",")]
    if not all(values):
        raise ArgumentTypeError(f"expected numbers above 0, got {text!r}")
    return values


def share(text: str) -> float:
    """`5%` or `0.05` as 0.05."""
    wanted = "a share such as 5%"
    value = _number(text.removesuffix("%"), text, wanted) / (100 if text.endswith("%") else 1)
    if value >= 1:
        raise ArgumentTypeError(f"expected {wanted}, below 100 %, got {text!r}")
    return value


def shares(text: str) -> list[float]:
    """A list of shares: `0,3%`."""
    return [share(part) for part in text.split(",")]


def _number(text: str, given: str, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"expected {wanted}, got {given!r}")
    return value


def without(argv: Sequence[str], *options: str) -> list[str]:
    """The arguments but these options, which take a value."""
    kept, skip = [], False
    for argument in argv:
        if skip:
            skip = False
        elif argument in options:
            skip = True
        elif not argument.startswith(tuple(option + "=" * option.startswith("--") for option in options)):
            kept.append(argument)
    return kept
