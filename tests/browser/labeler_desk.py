"""The label canvas on a page of its own, without Streamlit: any photo size, any number of objects."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from playwright.sync_api import Page, Route

from pages.components.assets import ASSETS_FOLDER
from tests.browser.labeler_driver import KEEP_HINTS, Canvas
from tests.browser.patience import wait_until_at_rest

HOST = "http://canvas.test"
TYPES = {".js": "text/javascript", ".css": "text/css"}
PAGE = """<!doctype html><meta name="viewport" content="width=device-width">
<body style="margin: 0"><div id="host"></div></body>"""
MOUNT = """async data => {
  const labeler = await import('/assets/x/labeler.js');
  const parentElement = document.getElementById('host').attachShadow({ mode: 'open' });
  labeler.mount({ data, parentElement, setTriggerValue: () => {} });
}"""
CATEGORIES = [
    {"category_id": 1, "name": "Dent", "color": "#E69F00"},
    {"category_id": 2, "name": "Scratch", "color": "#56B4E9"},
    {"category_id": 3, "name": "Cracked glass", "color": "#D55E00"},
]


class Desk(Canvas):
    """The canvas on one photo; what it saves is kept in this process."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, HOST)
        self.size_wh = (4000, 3000)
        self.kept: dict[str, Any] = {}
        self.photos: dict[tuple[int, int], bytes] = {}
        page.route(f"{HOST}/**", self._answer)

    def lay(self, *annotations: dict[str, Any], size_wh: tuple[int, int] = (4000, 3000)) -> None:
        """Open a photo of a size with these objects on it."""
        self.size_wh = size_wh
        self.kept = {"rev": 0, "annotations": list(annotations), "state": "unlabelled", "note": ""}
        self.again()

    def again(self) -> None:
        """Load the page anew with what was saved."""
        self.page.goto(f"{HOST}/page/label")
        width, height = self.size_wh
        image = {"id": "one", "name": "IMG.jpg", "url": "img/full", "view_url": "img/full"}
        page = {"position": "1 / 1", "has_previous": False, "has_next": False, "author": "me", "height": None}
        data = {
            **self.kept,
            **page,
            "image": {**image, "width": width, "height": height},
            "categories": CATEGORIES,
            "save_url": "labels/one",
            "preload": [],
        }
        self.page.evaluate(MOUNT, data)
        self.page.wait_for_selector("[data-testid=labeler-canvas][data-photo=full]")
        wait_until_at_rest(self.canvas)
        self.canvas.evaluate(KEEP_HINTS)
        self.canvas.focus()

    def saved(self, image: str = "one") -> dict[str, Any]:
        self.page.evaluate("0")  # lets the routes answer
        return self.kept

    def _answer(self, route: Route) -> None:
        room, _, name = urlsplit(route.request.url).path.lstrip("/").partition("/")
        if room == "assets":
            path = ASSETS_FOLDER / name.partition("/")[2]
            route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix])
        elif room == "img":
            route.fulfill(body=self._photo(), content_type="image/jpeg")
        elif room == "labels":
            content = json.loads(route.request.post_data or "{}")
            self.kept = {**content, "rev": self.kept["rev"] + 1}
            route.fulfill(json={**self.kept, "author": "me", "saved_at": "2026-01-01T10:00:00Z"})
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    def _photo(self) -> bytes:
        if self.size_wh not in self.photos:
            width, height = self.size_wh
            ramp = np.linspace(60, 190, width).astype(np.uint8)
            done, encoded = cv2.imencode(".jpg", np.repeat(ramp[None, :], height, axis=0))
            assert done
            self.photos[self.size_wh] = encoded.tobytes()
        return self.photos[self.size_wh]


def polygon(
    name: str, points: Sequence[tuple[float, float]], category_id: int = 1, **more: object
) -> dict[str, Any]:
    """One drawn object of one polygon."""
    op = {"kind": "polygon", "points": [list(point) for point in points], "subtract": False}
    return {
        "id": name,
        "category_id": category_id,
        "ops": [op],
        "source": "drawn",
        "author": "",
        "note": "",
        **more,
    }


def square(
    name: str, x: float, y: float, side: float, category_id: int = 1, **more: object
) -> dict[str, Any]:
    """One drawn object: a square."""
    corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    return polygon(name, corners, category_id, **more)
