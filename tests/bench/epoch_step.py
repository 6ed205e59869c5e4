"""From a key on the epoch slider to the new overlay on the screen, on the real review page."""

from playwright.sync_api import Locator, Page

from core.services.home import open_home
from tests.bench.figures import Figure, median_figure
from tests.bench.finished_run import finish_run
from tests.bench.photos import fill_with_panels
from tests.bench.processes import app_running, fresh_home
from tests.bench.screen import chromium, new_page, wait_until_settled

EPOCHS = 12
SIZE_WH = (1024, 768)

# The frame after the one that painted the canvases: only then are they on the screen.
WATCH = """viewer => {
  viewer.getRootNode().addEventListener('keydown', (event) => { window.pressedAt = event.timeStamp; }, true);
  new MutationObserver(() => {
    const epoch = viewer.dataset.epochShown;
    requestAnimationFrame(() => { window.step = { epoch, ms: performance.now() - window.pressedAt }; });
  }).observe(viewer, { attributeFilter: ['data-epoch-shown'] });
}"""


def measure(*, is_quick: bool) -> list[Figure]:
    """Step through the epochs, there and back; the very first step is not counted."""
    with fresh_home(), chromium() as browser:
        store = open_home()
        project = fill_with_panels(store, "Steps", 9, SIZE_WH)
        finish_run(store, project, EPOCHS)
        with app_running() as app:
            page = new_page(browser)
            page.goto(f"{app.url}/review")
            wait_until_settled(page, "Review", "[data-testid=viewer][data-epoch-shown]")
            viewer = page.get_by_test_id("viewer")
            viewer.evaluate(WATCH)
            page.get_by_test_id("viewer-epoch-slider").focus()
            values = [_step(page, viewer) for _ in range(6 if is_quick else 21)][1:]
    how = f"keydown until the frame after the repaint, four panes, {EPOCHS} epochs, {SIZE_WH[0]}x{SIZE_WH[1]}"
    return [median_figure("epoch step to overlay painted", values, "ms", how)]


def _step(page: Page, viewer: Locator) -> float:
    """Press the key that leads to another epoch and give the milliseconds until it is on the screen."""
    shown = int(viewer.get_attribute("data-epoch-shown") or 0)
    direction = page.evaluate("() => window.direction ?? 'ArrowLeft'")
    if shown in (1, EPOCHS):
        direction = "ArrowRight" if shown == 1 else "ArrowLeft"
        page.evaluate("direction => { window.direction = direction; }", direction)
    page.keyboard.press(direction)
    wanted = str(shown + (1 if direction == "ArrowRight" else -1))
    page.wait_for_function("epoch => window.step?.epoch === epoch", arg=wanted)
    milliseconds = float(page.evaluate("() => window.step.ms"))
    page.wait_for_timeout(150)  # a person looks before the next step
    return milliseconds
