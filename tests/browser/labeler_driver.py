"""Drive the label canvas in image pixels, as a test sees it."""

import json
import time
from collections.abc import Callable
from typing import Any, Literal

from playwright.sync_api import Locator, Page, expect

from tests.browser import patience
from tests.browser.patience import eventually, messages_to_script, wait_until_at_rest, wait_until_idle

SQUARE = [(800, 800), (1600, 800), (1600, 1600), (800, 1600)]
RETRIES = 3  # a busy server closes a resting connection just when it is used again
DOUBLE_CLICK_SECONDS = 0.04  # between pressing and releasing, and between the clicks

TO_SCREEN = """(canvas, points) => {
  const box = canvas.getBoundingClientRect();
  const { scale, offsetX, offsetY } = canvas.dataset;
  const [left, top] = [box.left + Number(offsetX), box.top + Number(offsetY)];
  return points.map(([x, y]) => [left + x * scale, top + y * scale]);
}"""

TO_IMAGE = """(canvas, [left, top]) => {
  const box = canvas.getBoundingClientRect();
  const { scale, offsetX, offsetY } = canvas.dataset;
  return [(left - box.left - offsetX) / scale, (top - box.top - offsetY) / scale];
}"""

# Null while the layer below is only stretched to the view, not yet drawn for it.
ALPHA = """(canvas, [x, y]) => {
  const layer = canvas.previousElementSibling;
  if (layer.style.transform) return null;
  const { scale, offsetX, offsetY } = canvas.dataset;
  const ratio = canvas.width / canvas.getBoundingClientRect().width;
  const [left, top] = [Number(offsetX) + x * scale, Number(offsetY) + y * scale];
  return layer.getContext('2d').getImageData(left * ratio, top * ratio, 1, 1).data[3];
}"""

# A hint is gone after a few seconds: what it said is kept for a test that comes late.
KEEP_HINTS = """canvas => {
  const hint = canvas.getRootNode().querySelector('[data-testid=hint]');
  window.hintsKept?.disconnect();
  window.hints = [];
  window.hintsKept = new MutationObserver(() => window.hints.push(hint.textContent));
  window.hintsKept.observe(hint, { childList: true });
}"""


class Canvas:
    """A page with the label canvas, addressed in image pixels."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.messages = messages_to_script(page)

    @property
    def canvas(self) -> Locator:
        return self.page.get_by_test_id("labeler-canvas")

    def open(self, path: str = "/label") -> None:
        self.page.goto(self.base + path)
        self.wait_for_photo()

    def wait_for_photo(self, image: str | None = None) -> None:
        """Wait until a photo, or the one with this id, is there at full resolution and lies still."""
        if image:
            expect(self.canvas).to_have_attribute("data-image", image)
        expect(self.canvas).to_have_attribute("data-photo", "full")
        expect(self.canvas).to_be_visible()
        wait_until_idle(self.page)
        wait_until_at_rest(self.canvas)

    def start_afresh(self) -> None:
        """Give the server and the open page three images without labels."""
        generation = self.tell(do="reset")["generation"]
        self.page.get_by_role("button", name="Start afresh").click()
        self.wait_for_photo(f"one-{generation}")
        self.canvas.evaluate(KEEP_HINTS)
        self.canvas.focus()
        self.press("f", "p", "1")  # the zoom stays from photo to photo

    def tell(self, **wish: object) -> dict[str, Any]:
        url = f"{self.base}/control"
        answer = self.page.request.post(
            url, data=json.dumps(wish), timeout=patience.MILLISECONDS, max_retries=RETRIES
        )
        return answer.json()

    def saved(self, image: str = "one") -> dict[str, Any]:
        url = f"{self.base}/labels/{image}"
        return self.page.request.get(url, timeout=patience.MILLISECONDS, max_retries=RETRIES).json()

    def navigations(self) -> list[dict[str, Any]]:
        """Give what the page was asked for so far, once its script has run after all of it."""
        runs = self.tell(do="look")["script_runs"]
        self.page.get_by_role("button", name="Run again").click()
        seen = eventually(lambda: self.tell(do="look"), lambda seen: seen["script_runs"] > runs)
        self.canvas.focus()
        return seen["events"]

    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Where an image point is on the screen once the canvas lies still."""
        return self.places((x, y))[0]

    def places(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        """Where image points are on the screen once the canvas lies still."""
        wait_until_at_rest(self.canvas)
        return [(left, top) for left, top in self.canvas.evaluate(TO_SCREEN, points)]

    def image(self, left: float, top: float) -> tuple[float, float]:
        """Which image point is at a place on the screen once the canvas lies still."""
        wait_until_at_rest(self.canvas)
        x, y = self.canvas.evaluate(TO_IMAGE, [left, top])
        return x, y

    def scale(self) -> float:
        """Screen pixels per image pixel once the canvas lies still."""
        wait_until_at_rest(self.canvas)
        return float(self.canvas.get_attribute("data-scale") or "nan")

    def paint(self, x: float, y: float) -> int:
        """How strongly objects are painted at an image point, 0 to 255, once all is drawn."""
        wait_until_at_rest(self.canvas)
        alpha = eventually(lambda: self.canvas.evaluate(ALPHA, [x, y]), lambda alpha: alpha is not None)
        return int(alpha)

    def click(self, *points: tuple[float, float], modifier: str | None = None) -> None:
        places = self.places(*points)
        if modifier:
            self.page.keyboard.down(modifier)
        for place in places:
            self.page.mouse.click(*place)
        if modifier:
            self.page.keyboard.up(modifier)

    def double_click(self, x: float, y: float) -> None:
        """Click twice with the times of a quick hand, however slowly the machine passes the clicks on."""
        left, top = self.screen(x, y)
        self.page.mouse.move(left, top)
        session = self.page.context.new_cdp_session(self.page)
        began = time.time() - 4 * DOUBLE_CLICK_SECONDS
        for number, kind in enumerate(["mousePressed", "mouseReleased"] * 2):
            event = {"type": kind, "x": left, "y": top, "button": "left", "clickCount": 1 + number // 2}
            moment = began + number * DOUBLE_CLICK_SECONDS
            session.send("Input.dispatchMouseEvent", {**event, "timestamp": moment})
        session.detach()

    def drag(
        self,
        *points: tuple[float, float],
        steps: int = 6,
        button: Literal["left", "middle", "right"] = "left",
    ) -> None:
        start, *others = self.places(*points)
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        for place in others:
            self.page.mouse.move(*place, steps=steps)
        self.page.mouse.up(button=button)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def draw_square(self) -> None:
        self.press("p")
        self.click(*SQUARE)
        self.press("Enter")

    def until(self, is_so: Callable[[dict[str, Any]], bool], image: str = "one") -> dict[str, Any]:
        """Wait until the server holds labels of a kind, and give them."""
        return eventually(lambda: self.saved(image), is_so)

    def expect_state(self, text: str) -> None:
        """Wait until the saving is told to be in a state, after what was asked of the canvas before."""
        wait_until_at_rest(self.canvas)
        expect(self.page.get_by_test_id("save-state")).to_contain_text(text)

    def expect_hint(self, text: str) -> None:
        """Wait until a hint has said something since the canvas started afresh; it may be gone by now."""
        eventually(
            lambda: self.page.evaluate("window.hints"), lambda hints: any(text in hint for hint in hints)
        )


def objects(saved: dict[str, Any]) -> list[dict[str, Any]]:
    return saved["annotations"]


def near(point: list[float], x: float, y: float, reach: float = 8) -> bool:
    return abs(point[0] - x) <= reach and abs(point[1] - y) <= reach
