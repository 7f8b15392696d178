"""A page in headless Chromium, for tests of what is looked at in a browser."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import require_peer, required


@contextlib.contextmanager
def opened(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A playwright `Page`. On the way out, all that it loaded was there, on this machine, and its scripts ran.

    Skips where playwright or Chromium is missing, or fails under --require-peer playwright.
    """
    require_peer(request, "playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        missing = pytest.fail if "playwright" in required(request, "--require-peer") else pytest.skip
        missing("chromium is not installed")
    failures: list[str] = []

    def check(response: Any) -> None:
        if response.status >= 400:
            failures.append(f"{response.status} {response.url}")

    def check_origin(request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme.startswith("http") and address.hostname != "127.0.0.1":
            failures.append(f"not of this machine: {request.url}")

    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        # Chromium's sandbox needs more rights than a container gives.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.on("request", check_origin)
        page.on("response", check)
        page.on("requestfailed", lambda request: failures.append(f"{request.failure} {request.url}"))
        page.on("pageerror", lambda error: failures.append(f"script: {error}"))
        yield page
        browser.close()
    assert not failures
