"""A headless Chromium for tests of pages; they are skipped where there is none."""

import os
import shutil
import time

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WITHIN_S = 300.0
"""For everything that is waited for: a busy machine is slow, and nothing here measures time."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: `make browser`"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `make browser` says what to install")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=1000 * WITHIN_S
        )
        yield found
        found.close()


def until(page, condition):
    """Poll: the page's policy forbids scripts that Playwright would wait with."""
    end_s = time.monotonic() + WITHIN_S
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end_s, f"never: {condition}"
        time.sleep(0.03)
