"""How a browser test waits: for the state it needs, however busy the machine is; a hang is still found."""

import time
from collections.abc import Callable
from typing import TypeVar

from playwright.sync_api import Locator, Page, WebSocket, expect

T = TypeVar("T")

SECONDS = 60.0  # what takes milliseconds on an idle machine
LONG_SECONDS = 600.0  # what takes half a minute there: imports, trainings
MILLISECONDS = 1000 * SECONDS
LONG_MILLISECONDS = 1000 * LONG_SECONDS
CALM_FRAMES = 3

# Layout, an observer of it and the frame drawn for it come one after another: one frame alike is not enough.
IS_AT_REST = """async (element, frames) => {
  const look = () => JSON.stringify([element.getBoundingClientRect(), element.dataset]);
  let [before, calm] = [look(), 0];
  for (let tries = 0; calm < frames && tries < 10 * frames; tries += 1) {
    await new Promise(requestAnimationFrame);
    const now = look();
    calm = now === before ? calm + 1 : 0;
    before = now;
  }
  return calm >= frames && element.isConnected;
}"""

IS_LOADED = "image => image.complete && image.naturalWidth > 0"


def eventually(read: Callable[[], T], is_so: Callable[[T], object], seconds: float = SECONDS) -> T:
    """Read again and again until what was read is so, and give it.

    Raises:
        AssertionError: it was never so; says what was read last.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if is_so(value):
            return value
        assert time.monotonic() < deadline, f"Still after {seconds:.0f} seconds: {str(value)[:600]}"
        time.sleep(0.02)


def wait_until_at_rest(element: Locator, frames: int = CALM_FRAMES) -> None:
    """Wait until what was asked of the page is drawn and an element lies still for some frames.

    Still are its place on the screen and its data attributes, in which our canvases tell their view.
    """
    eventually(lambda: element.evaluate(IS_AT_REST, frames), bool)


def wait_for_picture(image: Locator) -> None:
    """Wait until an img element shows its picture."""
    eventually(lambda: image.evaluate(IS_LOADED), bool)


def wait_until_idle(page: Page) -> None:
    """Wait until the page's script has come to its end; says nothing about a run still to be asked for."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def messages_to_script(page: Page) -> list[object]:
    """Give a list that grows with each message of the page to its script, from its next load on."""
    sent: list[object] = []

    def note(message: object) -> None:
        sent.append(message)

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", note)

    page.on("websocket", listen)
    return sent
