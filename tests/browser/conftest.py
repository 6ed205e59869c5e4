"""A real browser, the real app, and a picture of the page where a test failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.served import CHROMIUM, CHROMIUM_ARGS, App, running_app

FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one per file."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The app on an empty home."""
    with running_app(tmp_path / "home") as app:
        yield app


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A desktop page on which no script may fail; on failure its picture lies in tmp_path."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=tmp_path / "failure.png", full_page=True)
    context.close()
    assert faults == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Tell the fixtures of a test that it failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
