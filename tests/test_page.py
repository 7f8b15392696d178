"""The HTML report: one file that loads nothing, whatever is in the record, and how it behaves in a browser."""

from __future__ import annotations

import dataclasses
import functools
import html.parser
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import records
from browser import open_browser, open_page

from rnncore.bench import plots
from rnncore.bench.page import page
from rnncore.bench.record import load, to_json
from rnncore.bench.render import FORMATS
from rnncore.bench.table import narrowed, table
from rnncore.cli.outputs import Output, Outputs

GRID = records.grid()
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&$title"


grid_page = functools.cache(lambda: FORMATS["html"](GRID))


class Tags(html.parser.HTMLParser):
    """Names and attributes of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_order_and_content() -> None:
    text = grid_page()
    order = ['id="heatmap"', 'id="roofline"', 'id="scaling"', 'id="bars"', "<table>", 'class="warnings"', "<footer"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    foot = text[places[-1] :]
    for part in ("Made-up Processor", "0123456789abcdef", "1.2.3", f"<code>{GRID.command}</code>"):
        assert part in foot
    assert "something else uses this machine" in text


def test_nothing_is_loaded_and_no_name_is_used_twice() -> None:
    tags = Tags(grid_page()).found
    sources = [
        value for _, attributes in tags for name, value in attributes.items() if name in ("src", "srcset", "href")
    ]
    assert {value for value in sources if value and not value.startswith("#")} == {"data:,"}
    names = [attributes["id"] for tag, attributes in tags if "id" in attributes and tag not in ("path", "clippath")]
    assert len(names) == len(set(names))


def test_text_of_a_record_is_text() -> None:
    rows = [dataclasses.replace(row, impl=EVIL, contender=EVIL) for row in records.grid(("numba",)).results]
    evil = records.record(
        rows, command=EVIL, created=EVIL, warnings=(EVIL,), environment={"machine": {EVIL: EVIL}, EVIL: {"a": EVIL}}
    )
    text = page(evil)
    tags = Tags(text).found
    assert [attributes.get("type") for tag, attributes in tags if tag == "script"] == ["application/json", None]
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in tags)
    assert embedded(text) == json.loads(json.dumps(to_json(evil)))


def embedded(text: str) -> Any:
    match = re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def test_an_empty_and_an_interrupted_run() -> None:
    text = page(records.record([], complete=False))
    assert "Nothing was measured." in text
    assert "Interrupted: not all rows were measured." in text
    assert "<svg" not in text
    absent = records.record([records.missing(records.workloads()[0], "torch", "not offered")])
    assert "torch: not offered" in page(absent)


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    text = page(GRID)
    assert "<svg" not in text
    assert "pip install matplotlib" in text
    assert "<table>" in text


def test_what_was_measured_outlives_a_page_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such font")

    monkeypatch.setattr(plots, "panels", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report, samples = tmp_path / "report.html", tmp_path / "run.json"
    (failure,) = Outputs([Output("html", report), Output("json", samples)]).finish(GRID)
    assert re.fullmatch(rf"{re.escape(str(report))}: no such font; what was measured is in \S+\.json", failure)
    assert load(str(samples)) == load(failure.rpartition(" ")[2]) == GRID
    assert not report.exists()
    (failure,) = Outputs([Output("html", None)]).finish(GRID)
    assert failure.startswith("-o html: no such font; what was measured is in ")
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    with open_browser(request) as opened:
        yield opened


@pytest.fixture
def address(tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    path.write_text(grid_page(), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(browser: Any, address: str, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    with open_page(browser, address, viewport=size, color_scheme=scheme) as opened:
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        assert opened.evaluate("[...document.images].length") == 0
        boxes = opened.evaluate(
            "[...document.querySelectorAll('svg')].map(s => [s, ...s.querySelectorAll('text')].map("
            "e => { const box = e.getBoundingClientRect(); return [box.left, box.right, box.height]; }))"
        )
        assert len(boxes) == 20
        for (left, right, _), *inside in boxes:
            assert all(left - 1 <= start and end <= right + 1 for start, end, _ in inside), "text beyond the picture"
        sizes = opened.evaluate(
            "[...document.querySelectorAll('svg text')].filter(t => t.textContent.trim()).map("
            "t => { const m = t.getScreenCTM(); return parseFloat(getComputedStyle(t).fontSize) * Math.hypot(m.a, m.b); })"
        )
        assert min(sizes) > 9
        ends = opened.evaluate(
            "[...document.querySelectorAll('th:not(:last-child), td:not([data-name=impl])')].map(cell => cell.getBoundingClientRect().right)"
        )
        assert max(ends) <= width, "figures beyond the screen"
        first = opened.locator("tbody tr").first
        assert first.locator("td:visible").count() == len(narrowed(table(GRID.results))[0])
        opened.get_by_label("All columns").check()
        assert first.locator("td:visible").count() == len(table(GRID.results)[0])
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        ink = opened.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
        brightness = sum(map(int, re.findall(r"\d+", ink)[:3]))
        assert (brightness > 384) == (scheme == "dark")


def test_figures_have_their_names_on_a_phone(browser: Any, address: str) -> None:
    rows = table(GRID.results)
    with open_page(browser, address, viewport={"width": 390, "height": 844}) as opened:
        names = "cell => getComputedStyle(cell, '::before').content"
        cells = opened.locator("tbody tr").first.locator("td")
        shown = [opened.evaluate(names, cell) for cell in cells.element_handles()]
        assert shown[-10:] == [f'"{name}"' for name in list(rows[0])[-10:]]
        assert shown[0] == "none"
        opened.locator("th button", has_text="µs/step").click()
        first = opened.locator("tbody tr").first.locator("[data-name='µs/step']").inner_text()
        assert first == min((row["µs/step"] for row in rows if row["µs/step"] != "absent"), key=float)


def test_the_table_sorts(browser: Any, address: str) -> None:
    rows = table(GRID.results)
    with open_page(browser, address) as opened:

        def column(name: str) -> list[str]:
            at = list(rows[0]).index(name) + 1
            cells: list[str] = opened.locator(f"tbody td:nth-child({at})").all_inner_texts()
            return cells

        assert column("µs/step") == [row["µs/step"] for row in rows]
        header = opened.get_by_role("columnheader", name="µs/step")
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == "ascending"
        numbers = [row["µs/step"] for row in rows if row["µs/step"] != "absent"]
        ascending = sorted(numbers, key=float)
        absent = ["absent"] * (len(rows) - len(numbers))
        assert column("µs/step") == [*ascending, *absent]
        opened.keyboard.press("Enter")
        assert header.get_attribute("aria-sort") == "descending"
        assert column("µs/step") == [*reversed(ascending), *absent]
        opened.get_by_role("columnheader", name="backend").get_by_role("button").press("Space")
        assert column("backend") == sorted(row["backend"] for row in rows)
        assert opened.locator("[aria-sort]").count() == 1


def test_the_samples_can_be_saved(browser: Any, address: str) -> None:
    with open_page(browser, address, accept_downloads=True) as opened:
        with opened.expect_download() as download:
            opened.get_by_text("All samples as JSON").click()
        assert json.loads(Path(download.value.path()).read_text()) == json.loads(json.dumps(to_json(GRID)))


def test_a_record_runs_no_script(browser: Any, tmp_path: Path) -> None:
    """Even if a mark-up got through, the page's policy lets no script run but its own."""
    text = page(records.record([], command="COMMAND")).replace("COMMAND", "<script>document.title = 'run'</script>")
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    opened = browser.new_page()
    opened.goto(path.as_uri())
    assert opened.title() == "rnncore bench, 2030-01-02"
    opened.close()
