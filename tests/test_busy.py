"""The benchmark of a machine that is not idle runs, and says how default threads compare."""

from __future__ import annotations

import os
import re

import processes
import pytest

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "benchmarks", "busy.py")
SMALL = "--rounds 1 --seconds 0.02 -B 1 -H 32 --modes inference --contenders default one"


@pytest.mark.slow
def test_it_measures_beside_processes_of_its_own() -> None:
    printed = processes.finish(processes.start([SCRIPT, "--busy", "0", "1", *SMALL.split()], {}))
    assert re.findall(r"### (\d) busy processes", printed) == ["0", "1"]
    assert len(re.findall(r"^\| inference +\| +1 \| +32 \|", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"default / best: largest [\d.]+, geometric mean [\d.]+", printed)) == 2
