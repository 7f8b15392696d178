"""Plots of records: what each shows, in which files, and what it says when it cannot."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest
import records

from rnncore.bench import plots
from rnncore.bench.plots import panel, roofline, scaling, theme
from rnncore.bench.record import Record, to_json
from rnncore.bench.result import Result
from rnncore.cli import main

SVG = "{http://www.w3.org/2000/svg}"
GRID = records.grid()


def texts(svg: str) -> list[str]:
    """All text of an SVG, in its order."""
    found = ("".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text"))
    return [text for text in found if text]


def inline(kind: str, record: Record = GRID) -> list[str]:
    return [panel.to_inline_svg(one) for one in plots.panels(kind, record.results)]


def write(record: Record, path: Path) -> Path:
    path.write_text(json.dumps(to_json(record)))
    return path


def test_roofline_shows_each_mode_below_its_roofs() -> None:
    panels = plots.panels("roofline", GRID.results)
    assert [one.title for one in panels] == ["Roofline, inference", "Roofline, training"]
    assert panels[0].contenders == ("numba", "numpy", "torch", "onnxruntime")
    assert panels[1].contenders == ("numba", "numpy", "torch")
    shown = texts(panel.to_svg(panels))
    assert {"multiply-adds 150 GFLOP/s", "matrix product 100 GFLOP/s", "80 GB/s (64 KiB)", "FLOP per byte"} <= {*shown}


def test_roofline_of_a_gpu_is_its_own() -> None:
    work = records.workloads(cells=["lstm"], modes=["inference"])
    limits = dataclasses.replace(records.LIMITS, fma=None, gemm=50e12)
    rows = [
        *(records.result(one, "numba") for one in work),
        *(records.result(one, "cuda", limits=limits) for one in work),
    ]
    drawn = roofline.panels(rows)
    assert [one.title for one in drawn] == ["Roofline, inference", "Roofline, inference on the GPU"]
    assert "matrix product 50,000 GFLOP/s" in texts(panel.to_svg(drawn[1:]))


def test_scaling_has_a_panel_for_each_size_that_varies() -> None:
    panels = plots.panels("scaling", GRID.results)
    modes = [f"{cell} {mode}" for cell in ("lstm", "gru") for mode in ("inference", "training")]
    assert [one.title for one in panels] == [f"{mode} over {axis}" for mode in modes for axis in "TBH"]
    assert panels[0].detail == "B=32, H=256, float32, 2 threads, I = H; largest of 4"
    assert panels[2].detail == "T=100, B=32, float32, 2 threads, I = H; largest of 4"
    assert {"64", "256", "H, hidden size", "µs per step"} <= {*texts(panel.to_inline_svg(panels[2]))}
    assert {"1", "32", "sequences per second"} <= {*texts(panel.to_inline_svg(panels[1]))}


def test_scaling_with_a_fixed_input_size() -> None:
    sizes = [dataclasses.replace(one, input_size=40) for one in records.workloads(["lstm"], ["inference"], [10], [1])]
    (drawn,) = scaling.panels([records.result(one, "numba") for one in sizes])
    assert drawn.title == "lstm inference over H"
    assert "I=40" in drawn.detail


def test_heat_map_says_how_fast_each_backend_is() -> None:
    shown = [texts(svg) for svg in inline("heatmap")]
    assert {"numba: speed, best peer = 1", "float32, 2 threads, I = H"} <= {*shown[0]}
    assert "T=10 B=1 H=64" in shown[0]
    # 60 to 50 GFLOP/s in inference, 60 to 40 in training, for which ONNX Runtime is no peer.
    assert (shown[0].count("1.20"), shown[0].count("1.50")) == (16, 16)
    assert (shown[1].count("0.40"), shown[1].count("0.50")) == (16, 16)


def test_heat_map_without_peers() -> None:
    svg = inline("heatmap", records.grid(("numba",)))[0]
    assert "numba: share of the roof" in texts(svg)
    bare = [dataclasses.replace(row, limits=None) for row in records.grid(("numba",)).results]
    assert "numba: GFLOP/s" in texts(inline("heatmap", records.record(bare))[0])


def test_bars_start_at_the_best_peer() -> None:
    panels = plots.panels("bars", GRID.results)
    assert panels[0].title == "lstm inference: speed, best peer = 1"
    shown = texts(panel.to_inline_svg(panels[0]))
    assert [shown.count(ratio) for ratio in ("1.20", "0.40", "0.80", "1.00")] == [8, 8, 8, 0]


@pytest.mark.parametrize("kind", plots.KINDS)
def test_one_row(kind: str) -> None:
    """Every axis of a single point."""
    one = records.workloads(["rnn"], ["step"], [1], [1], [8])[0]
    rows = [records.result(one, name, samples=(1e-6,)) for name in ("numba", "torch")]
    if kind == "scaling":
        rows += [records.result(dataclasses.replace(one, batch=2), "numba", samples=(1e-6,))]
    for drawn in plots.panels(kind, rows):
        ET.fromstring(panel.to_inline_svg(drawn))


@pytest.mark.parametrize(
    ("kind", "results", "message"),
    [
        ("roofline", [dataclasses.replace(row, limits=None) for row in GRID.results], "limits"),
        ("scaling", [GRID.results[0]], "several values of T, B or H"),
        ("heatmap", records.grid(("torch",)).results, "a backend of rnncore's"),
        ("bars", records.grid(("numba",)).results, "--peer"),
        ("bars", [], "no row was measured"),
    ],
)
def test_what_a_kind_lacks(kind: str, results: list[Result], message: str) -> None:
    with pytest.raises(plots.PlotError, match=re.escape(message)):
        plots.panels(kind, results)


def test_the_same_record_makes_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    panels = plots.panels("roofline", GRID.results)
    first = panel.to_svg(panels), panel.to_png(panels)
    with monkeypatch.context() as changed:
        changed.setitem(mpl.rcParams, "font.size", 30)
        changed.setitem(mpl.rcParams, "lines.linewidth", 9)
        assert (panel.to_svg(panels), panel.to_png(panels)) == first
        assert mpl.rcParams["font.size"] == 30
    assert "<dc:date>" not in first[0]


def test_text_of_a_record_is_text() -> None:
    """Neither mathematics nor markup, wherever a name comes from."""
    rows = [dataclasses.replace(row, contender=r"<b>$\frac$&") for row in records.grid(("numba",)).results]
    for kind in ("roofline", "heatmap"):
        assert any(r"<b>$\frac$&" in text for text in texts(inline(kind, records.record(rows))[0]))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", theme.THEMES)
def test_contrast(name: str) -> None:
    """Text has a contrast of 4.5, shapes have one of 3 at least (WCAG 2.2, 1.4.3 and 1.4.11)."""
    colours = theme.THEMES[name]
    assert min(contrast(ink, colours.paper) for ink in (colours.ink, colours.faint)) >= 4.5
    assert min(contrast(colour, colours.paper) for colour in colours.contenders.values()) >= 3
    mild = [*colours.slower[:-1], colours.even, *colours.faster[:-1]]
    assert min(contrast(colours.ink, field) for field in mild) >= 4.5
    assert min(contrast(colours.strong_ink, side[-1]) for side in (colours.slower, colours.faster)) >= 4.5
    assert len(set(colours.colours())) == len(colours.colours())


def test_an_svg_has_its_dark_colours_with_it() -> None:
    panels = plots.panels("bars", GRID.results)
    automatic = panel.to_svg(panels)
    assert "prefers-color-scheme: dark" in automatic
    assert f'[style*="fill: {theme.LIGHT.ink}"]{{fill:{theme.DARK.ink} !important}}' in automatic
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", re.sub(r"<style>.*?</style>", "", automatic)))
    # Every colour has its dark one; matplotlib's own ticks are of length 0.
    assert used <= {*theme.LIGHT.colours()}
    dark = panel.to_svg(panels, "dark")
    assert "prefers-color-scheme" not in dark
    assert theme.DARK.paper in dark


@pytest.mark.parametrize(("chosen", "kinds"), [("auto", ["bars", "heatmap"]), ("light", ["bars"]), ("dark", ["bars"])])
def test_command(chosen: str, kinds: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row in GRID.results if (row.workload.cell, row.workload.steps) == ("lstm", 10)]
    run = write(records.record(rows), tmp_path / "run.json")
    assert main(["plot", str(run), "--kind", ",".join(kinds), "--theme", chosen, "--format", "svg,png"]) == 0
    written = [tmp_path / f"run-{kind}.{suffix}" for kind in kinds for suffix in ("svg", "png")]
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(path) for path in written]
    assert captured.err == ""
    for path in written:
        if path.suffix == ".svg":
            assert ET.fromstring(path.read_text()).tag == f"{SVG}svg"
        else:
            assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sorted(tmp_path.iterdir()) == sorted([run, *written])


def test_command_draws_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(records.record(records.grid(("numba",)).results[:1]), tmp_path / "run.json")
    assert main(["plot", str(run), "-o", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(tmp_path / f"run-{kind}.svg") for kind in ("roofline", "heatmap")]
    assert captured.err.count("\n") == 2
    assert "bars take a peer" in captured.err


def test_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write(records.grid(("numba",)), tmp_path / "run.json"))
    empty = str(write(records.record([]), tmp_path / "empty.json"))
    other = tmp_path / "other.json"
    other.write_text('{"schema_version": 99}')
    for arguments, message in (
        ([run, "--kind", "bars"], f"{run}: bars take a peer to compare with"),
        ([run, "-o", str(tmp_path / "a.svg")], "one file takes one --kind"),
        ([run, "--kind", "bars", "-o", str(tmp_path / "a.jpg")], "expected a folder or a file ending in .svg or .png"),
        ([run, "--kind", "bars", "--format", "png", "-o", str(tmp_path / "a.svg")], "--format: expected the format of"),
        ([run, "-o", str(tmp_path / "none")], "there is no folder"),
        ([empty], f"{empty}: no row was measured"),
        ([str(other)], "expected JSON from rnncore bench with schema_version 2, got 99"),
        ([str(tmp_path / "none.json")], "No such file or directory"),
    ):
        assert main(["plot", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.json", "other.json", "run.json"]


def test_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    (tmp_path / "full.svg").symlink_to(full)
    run = str(write(GRID, tmp_path / "run.json"))
    assert main(["plot", run, "--kind", "roofline", "-o", str(tmp_path / "full.svg")]) == 4
    assert capsys.readouterr().err == f"rnncore: {tmp_path / 'full.svg'}: No space left on device\n"


def test_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(write(GRID, tmp_path / "run.json"))
    monkeypatch.setattr(plots, "available", lambda: False)
    assert main(["plot", run]) == 2
    message = "rnncore: matplotlib, which draws the plots, is not installed: pip install matplotlib\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("results", 0, "workload", "steps"), "many", "steps: expected a whole number of at least 1, got 'many'"),
        (("results", 0, "workload", "cell"), "x", "cell: expected a cell as --cell names them, got 'x'"),
        (("results", 0, "samples"), [0], "samples: expected numbers above 0"),
        (("results", 0, "limits"), [], "expected the fields of a Limits, got []"),
        (("results", 0, "status"), "done", "status: expected measured, wrong, absent, failed, got 'done'"),
        (("results", 0), 3, "results: expected rows, got 3"),
        (("environment",), {}, "there is no 'versions'"),
        (("environment", "machine"), "fast", "environment: expected names and values in machine"),
    ],
)
def test_a_damaged_record(
    where: tuple[str | int, ...], value: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(json.dumps(to_json(GRID)))
    part = content
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    assert main(["plot", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rnncore: {path}: not what rnncore bench -o json writes: {message}")
    assert error.count("\n") == 1
