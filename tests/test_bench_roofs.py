"""The roof: the best that was seen of a machine, in every place where a share of it is shown."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import records
from matplotlib.figure import Figure
from records import LIMITS, SMALL, made_up, made_up_record

from rnncore.bench import limits, noise, plots, render, roofs
from rnncore.bench.limits import Limits
from rnncore.bench.plots import panel, theme
from rnncore.bench.result import Result
from rnncore.bench.table import caption, table

SECONDS = SMALL.flops() / 100e9
"""Seconds of a row that reaches two thirds of LIMITS, by its multiply-adds."""
COMPUTING = Limits(LIMITS.gemm, LIMITS.fma, 1e30)


def row(share: float, contender: str = "numba") -> Result:
    """One that takes the given share of a roof of multiply-adds."""
    assert COMPUTING.fma is not None
    return made_up(contender, [SMALL.flops() / COMPUTING.fma / share], limits=COMPUTING)


def test_the_best_that_was_seen_in_a_run_is_the_roof_of_all_its_rows() -> None:
    wider = replace(SMALL, hidden_size=6)
    slow, fast = Limits(50e9, 60e9, 90e9), Limits(90e9, 140e9, 40e9)
    rows = [
        made_up("numba", [1.0], limits=slow),
        made_up("numpy", [1.0], limits=fast),
        made_up("numba", [1.0], limits=replace(fast, fma=None), workload=wider),
        made_up("numba", [1.0], limits=fast, workload=replace(SMALL, dtype="float64", threads=7)),
        made_up("torch", [], "failed", "it broke"),
    ]
    one, other, third, apart, failed = (result.limits for result in roofs.raised(rows))
    assert one == other == Limits(90e9, 140e9, 90e9)
    # Weights of another size are read at another rate, and what was not measured is not made up.
    assert third == Limits(90e9, None, 40e9)
    assert apart == fast
    assert failed is None


def test_earlier_runs_on_the_machine_count(no_earlier_runs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    good = Limits(90e9, 140e9, 90e9)
    roofs.raised([made_up("numba", [1.0], limits=good)])
    assert len(no_earlier_runs) == 1
    bad = Limits(9e9, 14e9, 9e9)
    assert roofs.raised([made_up("numba", [1.0], limits=bad)])[0].limits == good
    assert roofs.raised([made_up("numba", [1.0], limits=bad, workload=replace(SMALL, threads=9))])[0].limits == bad
    monkeypatch.setattr(roofs, "processor_name", lambda: "another")
    assert roofs.raised([made_up("numba", [1.0], limits=bad)])[0].limits == bad
    assert len(no_earlier_runs) == 2


@pytest.mark.parametrize("content", [b"no JSON", b"[]", b'{"gemm float32 2 threads": "much"}', b"\xff"])
def test_a_file_that_is_none_of_ours_is_ignored(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofs, "read", lambda _: content)
    rows = [made_up("numba", [1.0])]
    assert roofs.raised(rows) == tuple(rows)


def test_limits_are_the_best_of_several() -> None:
    assert limits.best(Limits(1e9, None, 3e9), Limits(2e9, 5e9, 1e9)) == Limits(2e9, 5e9, 3e9)
    assert limits.best(Limits(2e9), Limits(1e9)) == Limits(2e9)


def test_more_than_the_roof_is_no_share_anywhere() -> None:
    rows = [row(0.5), row(1.0), row(1.12)]
    record = made_up_record(*rows)
    assert [result.of_roof for result in rows] == [pytest.approx(0.5), pytest.approx(1), None]
    assert [result.has_noisy_roof for result in rows] == [False, False, True]
    assert [cells["of roof"] for cells in table(rows)] == ["50 %", "100 %", "noisy"]
    assert "noisy: more than the limits" in caption(rows)
    assert "noisy: more than the limits" not in caption(rows[:2])
    figures = [one["figures"] for one in json.loads(render.to_json_text(record))["results"]]
    assert [(one["of_roof"] is None, one["noisy_roof"]) for one in figures] == [(False, False)] * 2 + [(True, True)]
    *_, last = csv.DictReader(io.StringIO(render.to_csv(record)))
    assert (last["of_roof"], last["noisy_roof"]) == ("", "True")
    assert [
        line
        for line in noise.after(rows, 0.0)
        if "1 of 3 rows did more than the machine was seen to do at most" in line
    ]
    for text in (render.to_markdown(record), render.to_json_text(record), render.to_csv(record)):
        assert "112 %" not in text


def test_tile_registers_do_more_than_the_roof_of_vector_registers() -> None:
    tiles = replace(row(1.5), impl="AMX 1x2")
    assert tiles.of_roof is None
    assert not tiles.has_noisy_roof
    assert table([tiles])[0]["of roof"] == "-"


def test_plots_and_the_page_show_no_share_of_a_noisy_roof() -> None:
    works = records.workloads(cells=["lstm"], modes=["inference"])
    rows = [records.result(work, "numba") for work in works]
    assert "numba: share of the roof" in panel.to_svg(plots.panels("heatmap", rows))
    rows[0] = replace(rows[0], samples=tuple(sample / 100 for sample in rows[0].samples))
    assert rows[0].has_noisy_roof
    assert "share of the roof" not in panel.to_svg(plots.panels("heatmap", rows))
    axes = Figure().add_subplot()
    plots.panels("roofline", rows)[0].draw(axes, theme.LIGHT)
    # Colours with an opacity of 0 are none.
    alpha = np.asarray(axes.collections[0].get_facecolor())[:, 3]
    assert (alpha > 0).tolist() == [False] + [True] * (len(rows) - 1)
    page = render.to_html(made_up_record(row(1.12)))
    assert ">noisy</td>" in page
    assert "hollow point" in page
