"""A static file server and a headless browser for the page."""

import functools
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")
"""Debian's; Playwright's own cannot be fetched everywhere."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Python's static file server, without a line a request."""

    def log_message(self, format, *args):
        """Say nothing."""


@contextmanager
def served(folder):
    """The address at which a folder is served."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser():
    """Headless Chromium, through Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield launched
        finally:
            launched.close()


def open_page(launched, address, *, backend="wasm", **context):
    """The page, when its first frame is shown (or a notice that it cannot be)."""
    page = launched.new_context(**context).new_page()
    page.set_default_timeout(300_000)
    page.goto(f"{address}?backend={backend}")
    page.wait_for_function(
        "document.documentElement.dataset.ready || !document.getElementById('notice').hidden"
    )
    return page
