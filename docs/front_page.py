"""The table of factors in the README and on the site's first page, and the README's picture of bars.

`python docs/front_page.py` writes them anew from the run in `docs/performance/full.json`, and `tests/test_docs.py`
checks the table. The run is made anew by
`rnncore bench --preset full --peer torch,onnxruntime,openvino -o json=docs/performance/full.json`.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnncore.bench import plots
from rnncore.bench.record import Record, load
from rnncore.bench.result import Result
from rnncore.bench.workload import Workload

if TYPE_CHECKING:
    from rnncore.bench.plots.panel import Panel

ROOT = Path(__file__).parent.parent
RUN, PAGES = ROOT / "docs/performance/full.json", (ROOT / "README.md", ROOT / "docs/index.md")
OURS = "numba"
NAMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
MODES = ("inference", "training")
SIZES = ((1, 64), (1, 512), (32, 256), (64, 512), (128, 128))
"""B and H of the columns, one layer with I = H and T = 100; the last column is over all sizes of the run."""
DRAWN = SIZES[1:4]
REGION = re.compile(r"(<!-- factors: python docs/front_page.py -->\n).*?(<!-- end of factors -->)", re.DOTALL)


def factors(record: Record) -> str:
    """The table: time of a library over that of the Numba engine, and where and when it was measured."""
    ours = {row.workload: row.seconds for row in record.results if row.contender == OURS and row.samples}
    ratios: dict[tuple[str, str, str], dict[Workload, float]] = {}
    for row in (row for row in record.results if row.contender in NAMES and row.samples and row.workload in ours):
        if row.workload.mode in MODES and is_plain(row.workload):
            key = row.workload.cell, row.workload.mode, row.contender
            ratios.setdefault(key, {})[row.workload] = row.seconds / ours[row.workload]
    order = sorted(ratios, key=lambda key: MODES.index(key[1]))
    count = max(len(of) for of in ratios.values())
    header = ["", "against", *(f"B={batch}, H={hidden}" for batch, hidden in SIZES), f"all {count} sizes"]
    lines = [header, ["---", "---", *["--:"] * (len(SIZES) + 1)]]
    for key in order:
        at = {(w.batch, w.hidden_size): ratio for w, ratio in ratios[key].items() if _is_column(w)}
        mean = statistics.geometric_mean(ratios[key].values())
        cells = [f"{at[size]:.2f}" if size in at else "" for size in SIZES]
        lines.append([f"{key[0]} {key[1]}", NAMES[key[2]], *cells, f"**{mean:.2f}**"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{_where(record)}\n"


def bars(record: Record) -> list[Panel]:
    """The picture: inference of each cell at some sizes, beside all libraries of the run."""
    return plots.panels("bars", [row for row in record.results if _is_drawn(row)])


def write(record: Record) -> None:
    """Write the pictures, light and dark, and the table between its two marks on each page."""
    # Here, as it loads matplotlib.
    from rnncore.bench.plots.panel import to_svg

    panels = bars(record)
    RUN.with_name("bars-light.svg").write_text(to_svg(panels, "light"), encoding="utf-8")
    RUN.with_name("bars-dark.svg").write_text(to_svg(panels, "dark"), encoding="utf-8")
    for page in PAGES:
        page.write_text(filled(page, record), encoding="utf-8")


def filled(page: Path, record: Record) -> str:
    """The page with the table of the record."""
    content = page.read_text(encoding="utf-8")
    text, count = REGION.subn(lambda found: f"{found[1]}\n{factors(record)}\n{found[2]}", content)
    if count != 1:
        raise ValueError(f"{page.name}: expected one place for the table, {REGION.pattern}, got {count}")
    return text


def _where(record: Record) -> str:
    machine, versions = record.environment["machine"], record.environment["versions"]
    libraries = ", ".join(f"{NAMES[name]} {versions[name]}" for name in NAMES if _has(record.results, name))
    return (
        f"T=100, I=H, float32; {machine['processor']}, {machine['instruction_set'].partition(':')[0]}, "
        f"{machine['cores']} cores; {libraries}; {record.created[:10]}. "
        "The last column is the geometric mean over all sizes of the run, with other T and I, too."
    )


def _has(results: Sequence[Result], contender: str) -> bool:
    return any(row.contender == contender for row in results)


def is_plain(w: Workload) -> bool:
    """Whether it is of one layer in one direction over whole rows."""
    return (w.num_layers, w.bidirectional, w.ragged) == (1, False, False)


def _is_column(w: Workload) -> bool:
    return w.steps == 100 and w.input_size == w.hidden_size


def _is_drawn(row: Result) -> bool:
    w = row.workload
    shown = is_plain(w) and _is_column(w) and (w.batch, w.hidden_size) in DRAWN and w.mode == "inference"
    return shown and bool(row.samples) and row.contender in (OURS, *NAMES)


if __name__ == "__main__":
    write(load(str(RUN)))
