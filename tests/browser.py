"""Chromium without a window, for tests of what is looked at in a browser."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import processes
import pytest
from conftest import require_peer, required

TIMEOUT = 1000 * processes.TIMEOUT
"""Milliseconds after which the browser counts as stuck."""


@contextlib.contextmanager
def open_browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The browser, through Playwright. Skips where either is missing, or fails under --require-peer playwright."""
    require_peer(request, "playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        missing = pytest.fail if "playwright" in required(request, "--require-peer") else pytest.skip
        missing("chromium is not installed")
    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        # Chromium's sandbox needs more rights than a container gives.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=TIMEOUT)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Any, address: str, **context: Any) -> Iterator[Any]:
    """A page of a browser. Fails at the end if it wrote to the console, failed, or loaded anything but itself."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(TIMEOUT)
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


@contextlib.contextmanager
def open_site(browser: Any) -> Iterator[Any]:
    """A page for a site of this machine. On the way out, all that it loaded was there, and its scripts ran."""
    failures: list[str] = []

    def check(response: Any) -> None:
        if response.status >= 400:
            failures.append(f"{response.status} {response.url}")

    def check_origin(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme.startswith("http") and address.hostname != "127.0.0.1":
            failures.append(f"not of this machine: {request.url}")

    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(TIMEOUT)
    page.on("request", check_origin)
    page.on("response", check)
    page.on("requestfailed", lambda request: failures.append(f"{request.failure} {request.url}"))
    page.on("pageerror", lambda error: failures.append(f"script: {error}"))
    yield page
    assert not failures
