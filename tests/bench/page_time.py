"""How long a click on a page's name takes until the page stands, with 2,000 photos in the project."""

import time

from core.services.home import open_home
from tests.bench.figures import Figure, median_figure
from tests.bench.photos import fill_with_small_photos
from tests.bench.processes import app_running, fresh_home
from tests.bench.screen import chromium, go_to, new_page, wait_until_settled

PHOTOS = 2_000
PROJECT = "Two thousand"
# The page's name in the sidebar, its title, and what has to be there before it counts as drawn.
PAGES = (
    ("Project", PROJECT, "[data-testid=stProgress]"),
    ("Images", "Images", "[data-testid=gallery] img"),
    ("Label", "Label", "[data-testid=labeler-canvas][data-photo=full]"),
    ("Train", "Train", "[data-testid=stDataFrame]"),
)


def measure(*, is_quick: bool) -> list[Figure]:
    """Go round the pages; the first round only warms up."""
    seconds: dict[str, list[float]] = {link: [] for link, _, _ in PAGES}
    with fresh_home(), chromium() as browser:
        fill_with_small_photos(open_home(), PROJECT, PHOTOS)
        with app_running() as app:
            page = new_page(browser)
            page.goto(app.url)
            wait_until_settled(page, PROJECT)
            for turn in range(3 if is_quick else 11):
                for link, title, mark in (*PAGES[1:], PAGES[0]):
                    started = time.perf_counter()
                    go_to(page, link, title, mark)
                    if turn:
                        seconds[link].append(time.perf_counter() - started)
    how = "click in the sidebar until script, pictures in the window and canvas are done; all warm"
    return [
        median_figure(f"page {link}, {PHOTOS:,} photos", [1000 * s for s in seconds[link]], "ms", how)
        for link, _, _ in PAGES
    ]
