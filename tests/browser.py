"""Chromium without a window, for tests of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """The browser, through Playwright; skips where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Any, address: str, **context: Any) -> Iterator[Any]:
    """A page of a browser. Fails at the end if it wrote to the console, failed, or loaded anything but itself."""
    page = browser.new_context(**context).new_page()
    troubles: list[str] = []
    loaded: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(address)
    yield page
    page.context.close()
    assert troubles == []
    assert loaded == [address]
