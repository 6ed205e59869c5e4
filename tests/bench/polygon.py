"""From the click that closes a polygon to the server's word that it is kept, on a 12-megapixel photo."""

from playwright.sync_api import Page

from core.formats.ingest import add_photo
from core.services import labelling, projects
from core.services.home import open_home
from tests.bench.figures import Figure, median_figure
from tests.bench.photos import CAMERA_WH, camera_photo
from tests.bench.processes import app_running, fresh_home
from tests.bench.screen import chromium, new_page
from tests.browser.labeler_driver import Canvas

CLOSED_AND_SAVED = """() => {
  window.lastPointerUp = 0;
  window.answers = [];
  addEventListener('pointerup', (event) => { window.lastPointerUp = event.timeStamp; }, true);
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      if (entry.name.includes('/annotations/')) window.answers.push(entry.responseEnd);
  }).observe({ type: 'resource' });
}"""


def measure(*, is_quick: bool) -> list[Figure]:
    """Draw triangles on the label page, one beside the other."""
    with fresh_home(), chromium() as browser:
        store = open_home()
        project = projects.create(store, "Polygons")
        projects.add_category(store, project.id, "dent")
        image = add_photo(store, project.id, "camera.jpg", camera_photo(0))
        with app_running() as app:
            page = new_page(browser)
            canvas = Canvas(page, app.url)
            canvas.open("/label")
            page.evaluate(CLOSED_AND_SAVED)
            canvas.canvas.focus()
            canvas.press("p", "1")
            values: list[float] = []
            for number in range(5 if is_quick else 20):
                values.append(_draw(page, canvas, number))
                kept = len(labelling.open_image(store, image.id).annotations.annotations)
                if kept != number + 1:
                    raise RuntimeError(f"The server answered, but the database holds {kept} polygons.")
    how = "pointer up on the first corner until the PUT is answered; the row is there then (checked)"
    return [median_figure("polygon closed to saved, 12 megapixels", values, "ms", how)]


def _draw(page: Page, canvas: Canvas, number: int) -> float:
    """Draw one triangle and give the milliseconds from its closing to the server's answer."""
    left = 200 + (number % 5) * (CAMERA_WH[0] - 600) / 5
    top = 200 + (number // 5) * (CAMERA_WH[1] - 600) / 4
    corners = [(left, top), (left + 500, top), (left + 250, top + 400)]
    canvas.click(*corners)
    page.wait_for_timeout(400)  # a click soon after another is a double click
    canvas.click(corners[0])
    page.wait_for_function("number => window.answers.length > number", arg=number)
    return float(page.evaluate("number => window.answers[number] - window.lastPointerUp", number))
