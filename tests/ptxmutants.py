"""Mutants of a kernel's PTX: its text with one instruction changed.

All mutants of a kernel are in one text, which is translated once: each launch chooses one by a further parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ptx.parse import parse
from ptx.syntax import Instruction

SYNCHRONISATION = {
    "barrier removed", "release made relaxed", "arrival removed", "acquire made relaxed", "wait removed",
}  # fmt: skip
"""Kinds of mutants."""

REMOVED = ""
ARRIVED = "0x40000000"
"""More arrivals than any launch waits for."""


@dataclass(frozen=True)
class Mutant:
    """An instruction, and what becomes of it.

    Attributes:
        number: that chooses it, from 1 on.
        site: which of the instructions that have mutants.
        kind: of change.
        line: of the kernel's text.
        before, after: the instruction, and the instructions that stand there instead.
    """

    number: int
    site: int
    kind: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.kind}: line {self.line}: {self.before} -> {self.after or 'nothing'}"


def mutants(text: str) -> list[Mutant]:
    """All mutants of a kernel."""
    found: list[Mutant] = []
    for site, instruction in enumerate(_sites(text)):
        before = _text(text, instruction)
        for kind, after in _changes(instruction, before):
            found.append(Mutant(len(found) + 1, site, kind, instruction.line, before, after))
    return found


def with_mutants(text: str) -> str:
    """The kernel with one parameter more, .u32: the number of the mutant that it is, or 0."""
    of_site: dict[int, list[Mutant]] = {}
    for mutant in mutants(text):
        of_site.setdefault(mutant.site, []).append(mutant)

    def choose(site: int, before: str) -> str:
        lines = [
            f"sub.u32 %distance, %mutant, {of_site[site][0].number};",
            f"setp.lt.u32 %chosen, %distance, {len(of_site[site])};",
            f"@!%chosen bra $original{site};",
        ]
        for place, mutant in enumerate(of_site[site]):
            after = [mutant.after, f"bra.uni $done{site};", f"$other{site}_{place}:"]
            lines += [f"setp.eq.u32 %chosen, %distance, {place};", f"@!%chosen bra $other{site}_{place};", *after]
        return "\n".join([*lines, f"$original{site}:", before, f"$done{site}:"])

    declared = ".reg .pred %chosen; .reg .b32 %distance, %mutant; ld.param.u32 %mutant, [mutant];"
    return _rewritten(text, ".param .u32 mutant", declared, choose)


def with_counts(text: str) -> str:
    """The kernel with one parameter more: address of as many .u32 as there are sites, to count executions in."""

    def count(site: int, before: str) -> str:
        return f"red.relaxed.gpu.global.add.u32 [%counts+{4 * site}], 1;\n{before}"

    return _rewritten(text, ".param .u64 counts", ".reg .b64 %counts; ld.param.u64 %counts, [counts];", count)


def _rewritten(text: str, parameter: str, declared: str, replace: Callable[[int, str], str]) -> str:
    """The text with a parameter, declarations before the kernel's first instruction, and other text at each site."""
    end_of_parameters = text.index(")", text.index(".entry"))
    start = text.index("{", end_of_parameters) + 1
    parts = [text[:end_of_parameters], f",\n{parameter}\n", text[end_of_parameters:start], f"\n{declared}\n"]
    for site, instruction in enumerate(_sites(text)):
        first, end = instruction.span
        parts += [text[start:first], replace(site, _text(text, instruction))]
        start = end
    return "".join([*parts, text[start:]])


def _text(text: str, instruction: Instruction) -> str:
    return " ".join(text[slice(*instruction.span)].split())


def _sites(text: str) -> list[Instruction]:
    """The instructions of a kernel that have mutants."""
    (kernel,) = (function for function in parse(text).functions.values() if function.entry)
    found = []
    for item in kernel.body:
        if isinstance(item, Instruction) and any(_changes(item, _text(text, item))):
            if item.predicate is not None:
                raise ValueError(f"line {item.line}: expected an instruction without a predicate, got {item.name}")
            found.append(item)
    return found


def _changes(instruction: Instruction, before: str) -> Iterator[tuple[str, str]]:
    """Kinds of changes of an instruction, and what they make of it."""
    name = instruction.name
    if name.startswith("bar"):
        yield "barrier removed", REMOVED
    elif name.startswith("red.release.gpu"):
        yield "release made relaxed", before.replace("release", "relaxed")
        yield "arrival removed", REMOVED
    elif name.startswith("ld.acquire.gpu"):
        yield "acquire made relaxed", before.replace("acquire", "relaxed")
        (register,) = re.findall(r"%\w+(?=, \[)", before)
        yield "wait removed", f"{before} mov.u32 {register}, {ARRIVED};"
    elif name.startswith("shfl.sync.bfly"):
        (lanes,) = re.findall(r", (\d+), 31,", before)
        yield "other lanes exchange", before.replace(f", {lanes}, 31,", f", {int(lanes) % 16 * 2 or 1}, 31,")
    elif match := re.match(r"(ld|st)\.(global|shared)\.(v4\.)?[fus](32|64) ", before):
        what, space, vector, bits = match.groups()
        size = int(bits) // 8 * (4 if vector else 1)
        if vector and bits == "64":
            raise ValueError(f"line {instruction.line}: expected a vector of 16 bytes, got {name}")
        yield f"{space} {'load' if what == 'ld' else 'store'} shifted", _shifted(before, size)
        if what == "st":
            # The element before, as the thread's next store often overwrites the one behind.
            yield f"{space} store doubled", f"{before} {_shifted(before, -size)}"
    elif (
        instruction.parts[0] in ("ld", "st", "red", "atom", "bar", "barrier", "shfl")
        and "param" not in instruction.parts
    ):
        raise ValueError(f"line {instruction.line}: no mutants are known of {name}")


def _shifted(before: str, bytes_: int) -> str:
    """A load or store so many bytes further."""
    return re.sub(r"\[(%\w+)\+?(-?\d+)?\]", lambda match: f"[{match[1]}+{int(match[2] or 0) + bytes_}]", before)
