"""A real browser, the real app, and a picture of the page where a test failed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from tests.browser import patience
from tests.browser.served import CHROMIUM, CHROMIUM_ARGS, App, running_app

expect.set_options(timeout=patience.MILLISECONDS)

OUR_ROUTES = re.compile(r"/(assets|img|file|truth|annotations)/")
FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one per file."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_ARGS, timeout=patience.MILLISECONDS
        )
        yield chromium
        chromium.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The app on an empty home."""
    with running_app(tmp_path / "home") as app:
        yield app


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A desktop page on which no script and no request may fail; its picture on failure is in tmp_path."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(patience.MILLISECONDS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.extend(_refused(answer)))
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=tmp_path / "failure.png", full_page=True)
    context.close()
    assert faults == []


def _refused(answer: Response) -> list[str]:
    # Only of our own routes: on a deep link Streamlit's client tries several addresses for its own.
    is_ours = OUR_ROUTES.search(answer.url) is not None
    return [f"{answer.status} {answer.url}"] if is_ours and answer.status >= 400 else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Tell the fixtures of a test that it failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
