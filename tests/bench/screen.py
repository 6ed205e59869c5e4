"""A real browser on the real app, and the moments at which something is on its screen."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.served import CHROMIUM, CHROMIUM_ARGS

PATIENCE_MS = 60_000

# The script has run to its end, its title stands, and each thumbnail in the window is decoded.
SETTLED = """title => {
  const app = document.querySelector('[data-testid=stApp]');
  const heading = document.querySelector('h1');
  if (app?.dataset.testScriptState !== 'notRunning' || heading?.textContent.trim() !== title) return false;
  if (document.querySelector('[data-testid=stSkeleton], [data-stale=true]')) return false;
  const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated] *')];
  const pictures = hosts.flatMap((host) => [...(host.shadowRoot?.querySelectorAll('img') ?? [])]);
  return pictures.every((img) => img.getBoundingClientRect().top > innerHeight || img.complete);
}"""


@contextmanager
def chromium() -> Generator[Browser]:
    """Have a browser while the block runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, width: int = 1440, height: int = 900, theme: str = "light") -> Page:
    """Open an empty page of a profile of its own."""
    dark = theme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    return page


def wait_until_settled(page: Page, title: str, mark: str = "h1") -> None:
    """Wait until a page with this title, and what ``mark`` selects, has been drawn to its end."""
    page.locator(mark).first.wait_for()
    page.wait_for_function(SETTLED, arg=title)


def go_to(page: Page, link: str, title: str, mark: str = "h1") -> None:
    """Click a page's name in the sidebar and wait until it is drawn."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=re.compile(f"{link}$")).click()
    wait_until_settled(page, title, mark)
