"""Drive the label canvas in image pixels, as a test sees it."""

import json
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

SQUARE = [(800, 800), (1600, 800), (1600, 1600), (800, 1600)]

TO_SCREEN = """(canvas, [x, y]) => {
  const box = canvas.getBoundingClientRect();
  const { scale, offsetX, offsetY } = canvas.dataset;
  return [box.left + Number(offsetX) + x * scale, box.top + Number(offsetY) + y * scale];
}"""

TO_IMAGE = """(canvas, [left, top]) => {
  const box = canvas.getBoundingClientRect();
  const { scale, offsetX, offsetY } = canvas.dataset;
  return [(left - box.left - offsetX) / scale, (top - box.top - offsetY) / scale];
}"""

ALPHA = """(canvas, [x, y]) => {
  const layer = canvas.previousElementSibling;
  const ratio = canvas.width / canvas.getBoundingClientRect().width;
  return layer.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data[3];
}"""


class Canvas:
    """A page with the label canvas, addressed in image pixels."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base

    @property
    def canvas(self) -> Locator:
        return self.page.get_by_test_id("labeler-canvas")

    def open(self, path: str = "/label") -> None:
        self.page.goto(self.base + path)
        self.wait_for_photo()

    def wait_for_photo(self) -> None:
        expect(self.canvas).to_have_attribute("data-photo", "full", timeout=15_000)

    def start_afresh(self) -> None:
        """Give the server and the open page three images without labels."""
        generation = self.tell(do="reset")["generation"]
        self.page.get_by_role("button", name="Start afresh").click()
        expect(self.canvas).to_have_attribute("data-image", f"one-{generation}")
        self.wait_for_photo()
        self.canvas.focus()
        self.press("p", "1")

    def tell(self, **wish: object) -> dict[str, Any]:
        return self.page.request.post(f"{self.base}/control", data=json.dumps(wish)).json()

    def saved(self, image: str = "one") -> dict[str, Any]:
        return self.page.request.get(f"{self.base}/labels/{image}").json()

    def screen(self, x: float, y: float) -> tuple[float, float]:
        left, top = self.canvas.evaluate(TO_SCREEN, [x, y])
        return left, top

    def image(self, left: float, top: float) -> tuple[float, float]:
        x, y = self.canvas.evaluate(TO_IMAGE, [left, top])
        return x, y

    def paint(self, x: float, y: float) -> int:
        """How strongly objects are painted at an image point, 0 to 255."""
        box = self.canvas.bounding_box()
        assert box
        left, top = self.screen(x, y)
        return int(self.canvas.evaluate(ALPHA, [left - box["x"], top - box["y"]]))

    def click(self, *points: tuple[float, float], modifier: str | None = None) -> None:
        if modifier:
            self.page.keyboard.down(modifier)
        for x, y in points:
            self.page.mouse.click(*self.screen(x, y))
        if modifier:
            self.page.keyboard.up(modifier)

    def drag(self, *points: tuple[float, float], steps: int = 6) -> None:
        self.page.mouse.move(*self.screen(*points[0]))
        self.page.mouse.down()
        for x, y in points[1:]:
            self.page.mouse.move(*self.screen(x, y), steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def draw_square(self) -> None:
        self.press("p")
        self.click(*SQUARE)
        self.press("Enter")

    def until(self, is_so: Callable[[dict[str, Any]], bool], image: str = "one") -> dict[str, Any]:
        """Wait until the server holds labels of a kind, and give them."""
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            saved = self.saved(image)
            if is_so(saved):
                return saved
            self.page.wait_for_timeout(20)
        raise AssertionError(f"The server still holds {json.dumps(self.saved(image))[:600]}")

    def expect_state(self, text: str) -> None:
        expect(self.page.get_by_test_id("save-state")).to_contain_text(text, timeout=8_000)


def objects(saved: dict[str, Any]) -> list[dict[str, Any]]:
    return saved["annotations"]


def near(point: list[float], x: float, y: float, reach: float = 8) -> bool:
    return abs(point[0] - x) <= reach and abs(point[1] - y) <= reach
