"""From `make run` to the first page in the browser, on a home that does not exist yet."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser

from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.processes import ROOT, free_port, fresh_home, running, wait_for_port
from tests.bench.screen import chromium, new_page

EMPTY_APP = 'import streamlit as st\nst.title("Empty")\n'


def measure(*, is_quick: bool) -> list[Figure]:
    """Start the app, and an empty Streamlit app in turns with it."""
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    ours: list[float] = []
    empty: list[float] = []
    with chromium() as browser, tempfile.TemporaryDirectory() as name:
        script = Path(name) / "empty.py"
        script.write_text(EMPTY_APP)
        for _ in range(1 if is_quick else 5):
            port = free_port()
            ours.append(_seconds_to_title(browser, ["make", "run", f"PORT={port}"], port))
            port = free_port()
            options = ["--server.port", str(port)]
            command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
            empty.append(_seconds_to_title(browser, command, port))
    return [
        median_figure(
            "`make run` to the first page",
            ours,
            "s",
            "everything installed, new home: make, server, database, worker, until the h1 is in the DOM",
            ratio=median_ratio(ours, empty),
            against="an empty Streamlit app's time",
        )
    ]


def _seconds_to_title(browser: Browser, command: Sequence[str], port: int) -> float:
    with fresh_home():
        page = new_page(browser)
        started = time.perf_counter()
        with running(command, port) as app:
            wait_for_port(port, app.process)
            page.goto(app.url)
            page.locator("h1").first.wait_for()
            seconds = time.perf_counter() - started
            page.context.close()
        return seconds
