"""What the processes hold in memory once every page was open."""

from playwright.sync_api import Browser

from tests.bench.figures import Figure, median_figure
from tests.bench.photos import camera_photo
from tests.bench.processes import App, app_running, fresh_home, resident_megabytes
from tests.bench.screen import chromium, go_to, new_page, wait_until_settled
from tests.bench.trained_run import PROJECT, train_shortly

PAGES = ("Images", "Label", "Train", "Curves", "Review", "Predict")
AT_REST_MS = 5_000


def measure(*, is_quick: bool) -> list[Figure]:
    """Open all pages of a project with a finished run, wait, look; then predict one photo and look again."""
    rest: list[float] = []
    supervisor: list[float] = []
    predicted: list[float] = []
    with fresh_home(), chromium() as browser:
        train_shortly()
        for _ in range(1 if is_quick else 3):
            with app_running() as app:
                _visit(browser, app, rest, supervisor, predicted)
    return [
        median_figure("web process at rest", rest, "MB", "VmRSS after all pages", goal="under 400 MB"),
        median_figure("worker's supervisor at rest", supervisor, "MB", "VmRSS beside it"),
        median_figure(
            "web process after a prediction", predicted, "MB", "VmRSS after one 12-megapixel photo on Predict"
        ),
    ]


def _visit(
    browser: Browser, app: App, rest: list[float], supervisor: list[float], predicted: list[float]
) -> None:
    page = new_page(browser)
    page.goto(app.url)
    wait_until_settled(page, PROJECT)
    for name in PAGES:
        go_to(page, name, name)
        page.wait_for_timeout(500)
    page.wait_for_timeout(AT_REST_MS)
    web, worker = app.family()[:2]
    rest.append(resident_megabytes(web))
    supervisor.append(resident_megabytes(worker))
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        [{"name": "camera.jpg", "mimeType": "image/jpeg", "buffer": camera_photo(0)}]
    )
    page.locator("[data-testid=viewer][data-epoch-shown]").wait_for()
    page.wait_for_timeout(AT_REST_MS)
    predicted.append(resident_megabytes(web))
    page.context.close()
