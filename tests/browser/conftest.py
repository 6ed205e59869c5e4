"""A real browser, the real app, and a picture of the page where a test failed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, Response, expect, sync_playwright

from tests.browser import patience
from tests.browser.labeler_driver import Canvas
from tests.browser.served import CHROMIUM, CHROMIUM_ARGS, App, running_app, served

expect.set_options(timeout=patience.MILLISECONDS)

OUR_ROUTES = re.compile(r"/(assets|img|file|truth|annotations|labels|assist|suggest)/")
LABELER = Path(__file__).with_name("harness_labeler.py")
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The label canvas alone, on a page of Streamlit's; its address."""
    with served(LABELER, tmp_path_factory.mktemp("labeler") / "log.txt") as url:
        yield url


@pytest.fixture(scope="module")
def opened(browser: Browser, server: str) -> Iterator[Canvas]:
    """The canvas of that page, opened once per file."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(patience.MILLISECONDS)
    opened = Canvas(context.new_page(), server)
    opened.open()
    yield opened
    context.close()


@pytest.fixture
def canvas(opened: Canvas) -> Iterator[Canvas]:
    """The same without an object; no script may fail on it."""
    errors: list[Error] = []

    def note(error: Error) -> None:
        errors.append(error)

    opened.page.on("pageerror", note)
    opened.start_afresh()
    yield opened
    opened.page.remove_listener("pageerror", note)
    assert errors == []


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
