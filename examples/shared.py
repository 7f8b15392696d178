"""The options that all examples take, and data out of packages on PyPI."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from rnncore import insight


def options(description: str | None) -> argparse.Namespace:
    """The command line: --quick, --plot, --backend and --seed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds, enough to see that it runs")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of the result: .svg or .png")
    parser.add_argument("--backend", default="numba", help="one with NumPy's arrays (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def draw_words(rows: list[list[tuple[str, float]]], file: str) -> None:
    """Rows of words on a ground of green for values above 0, red below, the fuller the nearer to 1."""
    with insight.figure(file, width=7, height=0.32 * len(rows)) as axes:
        for number, row in enumerate(rows):
            x = 0
            for word, value in row:
                ground = ("#2a9d5c" if value > 0 else "#d1495b") + f"{int(160 * min(abs(value), 1)):02x}"
                box = {"facecolor": ground, "edgecolor": "none", "pad": 1.5}
                axes.text(x, -number, word, family="monospace", fontsize=7, bbox=box)
                x += len(word)
        axes.set(xlim=(0, 100), ylim=(0.3 - len(rows), 0.9))
        axes.axis("off")


def from_pypi(requirement: str, source: bool = False) -> Path:
    """The archive of a package, which pip downloads once into a folder for temporary files; nothing is installed.

    Args:
        requirement: name==version.
        source: whether the source distribution is wanted, and not the wheel.
    """
    folder = Path(tempfile.gettempdir()) / "rnncore-examples" / requirement
    if not folder.exists():
        print(f"downloading {requirement} from PyPI into {folder}", flush=True)
        kind = ["--no-binary", ":all:"] if source else ["--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "--dest"]
        with tempfile.TemporaryDirectory() as fresh:
            subprocess.run([*command, fresh, requirement], check=True)
            (archive,) = Path(fresh).iterdir()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / archive.name).write_bytes(archive.read_bytes())
    (archive,) = folder.iterdir()
    return archive
