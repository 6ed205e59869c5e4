"""What a frame of the label canvas costs: 50 objects on a 12-megapixel photo, without a graphics card."""

import math
import random
from typing import Any

from playwright.sync_api import CDPSession, Page

from tests.bench.figures import Figure, median_figure
from tests.bench.screen import chromium
from tests.browser.labeler_desk import Desk

OBJECTS, FRAMES = 50, 40
GESTURES = {"hover": "v", "pan": "v", "zoom": "v", "brush": "b"}
GOAL = "under 16.7 ms, 60 frames a second"
GESTURE = """async ([what, frames]) => {
  const host = document.getElementById('host').shadowRoot;
  const stage = host.querySelector('canvas.top');
  const box = stage.getBoundingClientRect();
  stage.setPointerCapture = () => {};
  const at = (x, y) => ({ clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true,
    pointerId: 1, pointerType: 'mouse' });
  const send = (type, x, y, more) => stage.dispatchEvent(new PointerEvent(type, { ...at(x, y), ...more }));
  if (what === 'pan') send('pointerdown', 500, 300, { button: 1 });
  if (what === 'brush') send('pointerdown', 200, 300, { button: 0 });
  for (let i = 0; i < frames; i++) {
    await new Promise(requestAnimationFrame);
    const t = i / 10;
    if (what === 'zoom') {
      stage.dispatchEvent(new WheelEvent('wheel', { ...at(500, 300), deltaY: i % 20 < 10 ? -40 : 40 }));
    }
    if (what === 'pan') send('pointermove', 500 + 100 * Math.sin(t), 300 + 60 * Math.cos(t));
    if (what === 'hover') send('pointermove', 500 + 300 * Math.sin(t), 300 + 200 * Math.cos(t));
    if (what === 'brush') send('pointermove', 200 + 3 * i, 300 + 60 * Math.sin(t));
  }
  send('pointerup', 500, 300, { button: what === 'pan' ? 1 : 0 });
}"""


def measure(*, is_quick: bool) -> list[Figure]:
    """Drive each gesture for some frames, several times; count the main thread's processor time."""
    rng = random.Random(3)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        desk = Desk(page)
        desk.lay(*(_object(rng, number) for number in range(OBJECTS)))
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.evaluate(GESTURE, ["hover", FRAMES])
        spent = {what: _spent(page, session, what, 2 if is_quick else 7) for what in GESTURES}
    how = f"processor time of the page's main thread per frame, {FRAMES} frames; polygons, holes and strokes"
    on = f"{OBJECTS} objects on 12 megapixels"
    return [
        median_figure(f"label canvas, {what}, {on}", values, "ms", how, goal=GOAL)
        for what, values in spent.items()
    ]


def _spent(page: Page, session: CDPSession, what: str, repeats: int) -> list[float]:
    """Give the milliseconds per frame of each repeat."""
    page.keyboard.press(GESTURES[what])
    values: list[float] = []
    for _ in range(repeats):
        page.keyboard.press("f")
        before = _task_seconds(session)
        page.evaluate(GESTURE, [what, FRAMES])
        values.append(1000 * (_task_seconds(session) - before) / FRAMES)
    return values


def _task_seconds(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def _object(rng: random.Random, number: int) -> dict[str, Any]:
    """Draw a polygon of 40 corners, one with a hole, or a brush stroke of 60 points."""
    x, y, radius = rng.uniform(300, 3700), rng.uniform(300, 2700), rng.uniform(60, 300)
    turns = [turn * math.tau / 40 for turn in range(40)]
    ring = [
        [round(x + math.cos(a) * radius * rng.uniform(0.7, 1.1), 1),
         round(y + math.sin(a) * radius * rng.uniform(0.7, 1.1), 1)]
        for a in turns
    ]  # fmt: skip
    ops: list[dict[str, Any]] = [{"kind": "polygon", "points": ring, "subtract": False}]
    if number % 3 == 1:
        hole = [[round(x + (a - x) * 0.4, 1), round(y + (b - y) * 0.4, 1)] for a, b in ring]
        ops.append({"kind": "polygon", "points": hole, "subtract": True})
    if number % 3 == 2:
        points = [[x, y]]
        while len(points) < 60:
            points.append([round(v + rng.uniform(-30, 30), 1) for v in points[-1]])
        ops = [{"kind": "brush", "points": points, "radius": 20, "subtract": False}]
    about = {"id": f"a{number}", "category_id": 1 + number % 3, "source": "drawn", "author": "", "note": ""}
    return {**about, "ops": ops}
