"""`rnncore bench`: resets, every state, heads, and networks at the sizes of other projects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnncore.bench import peers, record
from rnncore.bench.plots import labels
from rnncore.bench.result import Result
from rnncore.bench.shapes import SHAPES, of_shapes
from rnncore.bench.table import table
from rnncore.bench.workload import Workload, arrays_of
from rnncore.cli import main

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_workload_on_two_backends(mode: str) -> None:
    """Both have the same resets; every state is a result."""
    workload = Workload("lstm", mode, 12, 5, 3, 4, "float64", resets=0.2, states=True, heads=2, zoneout=0.2)
    begins = workload.begins()
    assert begins is not None
    assert 0 < begins.mean() < 0.5
    first, second = (arrays_of(workload.task(workload.network(backend))()) for backend in ("numpy", "numba"))
    assert [array.shape for array in first[:2]] == [(12, 5, 4)] * 2
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert workload.weight_bytes() == 8 * 4 * 4 * 4 // 2


def test_rows_say_what_they_have(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sizes = ["-T", "3", "-B", "2", "-H", "8", "--min-time", "0", "-r", "2", "--passes", "1"]
    options = ["--resets", "0,10%", "--states", "output,all", "--heads", "2", "--mode", "inference,step"]
    options += ["--backend", "numpy", "--cell", "gru"]
    assert main(["bench", *sizes, *options, "-o", f"json={tmp_path / 'run.json'}", "-o", "md"]) == 0
    printed = capsys.readouterr().out
    assert "resets=0.1, every state, 2 heads" in printed
    results = record.load(str(tmp_path / "run.json")).results
    assert [(r.workload.mode, r.workload.resets, r.workload.states) for r in results] == [
        *(("inference", resets, states) for resets in (0.0, 0.1) for states in (False, True)),
        ("step", 0.0, False),
    ]


def test_shapes_have_their_own_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--shapes", "nam,sb3", "--dry-run", "--threads", "1,2", "--backend", "numpy"]) == 0
    assert "4 workloads on numpy: about " in capsys.readouterr().out
    assert main(["bench", "--shapes", "all", "--dry-run", "--backend", "numpy"]) == 0
    assert f"{len(SHAPES)} workloads on numpy" in capsys.readouterr().out
    assert main(["bench", "--shapes", "nam", "-H8", "--zoneout=10%", "--dry-run"]) == 2
    assert capsys.readouterr().err == "rnncore: --shapes: expected no -H, --zoneout beside it, as a shape has its own\n"


def test_peers_have_none_of_it() -> None:
    workload = Workload("lstm", "inference", 3, 2, 4, 4, "float32", resets=0.1)
    with pytest.raises(peers.NotOfferedError, match=re.escape("not offered, with resets=0.1")):
        peers.make_task("torch", workload, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    workload = SHAPES[name].workload("float32", 2, 0)
    assert workload.flops() > 0
    assert workload.architecture.hidden_size == SHAPES[name].size[3]
    page = (DOCS / "benchmarking.md").read_text()
    assert f"| {name} | {workload.cell} | {workload.mode} | {workload.steps:,} | {workload.batch} |" in page
    assert SHAPES[name].source in page
    assert SHAPES[name].estimates in page


def test_shapes_are_listed_and_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    assert "silero: lstm inference at (125000,1,128,128), https://github.com/snakers4" in capsys.readouterr().out
    assert main(["bench", "--shapes", "flair,nam", "--mode", "inference", "--backend", "numpy", "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "2 workloads on numpy" in plan
    assert [name for name in ("shape", "flair", "nam", "sb3") if name in plan.split()] == ["shape", "flair", "nam"]


def test_rows_have_the_names_of_shapes() -> None:
    shape, plain = of_shapes(["nam"], None, ["float32"], [1], 0)[0], SHAPES["nam"].workload("float32", 1, 0)
    results = [Result(workload, "numpy", "absent") for workload in (shape, replace(plain, seed=1))]
    assert [row["shape"] for row in table(results)] == ["nam", "-"]
    assert "shape" not in table(results[1:])[0]
    # Another run may have asked for the same work by its sizes.
    assert shape == plain
    assert labels.words(shape, labels.varying([shape, plain])) == "nam"
