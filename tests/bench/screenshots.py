"""Draw docs/screenshots: the real app on the sample project, after a real training of eight epochs.

`python -m tests.bench.screenshots [FOLDER]`. Only drawn sample photos are ever shown.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from core.imaging.overlay import encode_jpeg
from core.imaging.sample import draw_panel
from tests.bench.processes import ROOT, App, app_running, command_line, fresh_home
from tests.bench.screen import PATIENCE_MS, chromium, new_page, wait_until_settled
from tests.bench.trained_run import PROJECT, train_sample
from tests.browser.patience import wait_until_idle

EPOCHS = 8
MAX_BYTES = 400_000
WIDE = (1440, 900)
PHONE = (390, 844)
OTHER_SERIES = 77  # panels that the sample project does not hold
SETTLING_MS = 1_500


def main() -> None:
    """Make the project, train, and go from page to page with a camera."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with fresh_home(), chromium() as browser, app_running() as app:
        print(f"training {EPOCHS} epochs ...", flush=True)
        _, run = train_sample(epochs=EPOCHS)
        command_line("promote", run.id, "best")
        for name, (size_wh, theme, show) in SCENES.items():
            path = folder / f"{name}.png"
            _shoot(browser, app, size_wh, theme, show, path)
            print(f"{path.name}: {path.stat().st_size / 1000:,.0f} kB", flush=True)
        stop_runs()


def _shoot(
    browser: Browser,
    app: App,
    size_wh: tuple[int, int],
    theme: str,
    show: Callable[[Page, App], None],
    path: Path,
) -> None:
    page = new_page(browser, *size_wh, theme)
    show(page, app)
    page.mouse.move(size_wh[0] - 5, size_wh[1] - 5)  # so that nothing is hovered
    page.wait_for_timeout(SETTLING_MS)
    wait_until_idle(page)
    path.write_bytes(small_enough(page.screenshot(animations="disabled")))
    page.context.close()


def small_enough(png: bytes) -> bytes:
    """Give a PNG of less than ``MAX_BYTES``: as it is, or with as many colours as that allows."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colors in (None, 256, 192, 128, 96, 64):
        file = io.BytesIO()
        drawn = image if colors is None else image.quantize(colors, Image.Quantize.MEDIANCUT)
        drawn.save(file, "PNG", optimize=True)
        if file.tell() < MAX_BYTES:
            return file.getvalue()
    raise RuntimeError(f"Even 64 colours take {file.tell():,} bytes.")


def show_home(page: Page, app: App) -> None:
    page.goto(app.url)
    wait_until_settled(page, PROJECT, "[data-testid=stProgress]")


def show_label(page: Page, app: App) -> None:
    """Show a labelled photo."""
    page.goto(f"{app.url}/label")
    wait_until_settled(page, "Label", "[data-testid=labeler-canvas][data-photo=full]")


def show_label_at_work(page: Page, app: App) -> None:
    """Show a labelled photo with one of its objects selected, from the list beside it."""
    show_label(page, app)
    page.get_by_test_id("object").first.get_by_role("button").first.click()


def show_review(page: Page, app: App) -> None:
    """Show an early epoch of a photo, on which all kinds of error are to be seen."""
    page.goto(f"{app.url}/review")
    wait_until_settled(page, "Review", "[data-testid=viewer][data-epoch-shown]")
    number = page.get_by_test_id("viewer-epoch-number")
    number.fill("4")
    number.press("Enter")
    number.blur()
    page.locator("[data-testid=viewer][data-epoch-shown='4']").wait_for()
    page.get_by_text("Epoch 4, all validation photos").wait_for()  # the figures beside it follow
    previous = page.get_by_test_id("viewer-previous")
    while previous.is_enabled():  # up to the worst photo of this epoch
        previous.click()
        wait_until_idle(page)


def show_predict(page: Page, app: App) -> None:
    """Drop a panel that the model has never seen."""
    page.goto(f"{app.url}/predict")
    data = encode_jpeg(draw_panel(4, OTHER_SERIES).rgb, 92)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        [{"name": "returned-car.jpg", "mimeType": "image/jpeg", "buffer": data}]
    )
    wait_until_settled(page, "Predict", "[data-testid=viewer][data-epoch-shown]")


def show_curves(page: Page, app: App) -> None:
    page.goto(f"{app.url}/curves")
    wait_until_settled(page, "Curves", "[data-testid=stPlotlyChart] .main-svg")


def show_train(page: Page, app: App) -> None:
    """Show a training under way, one that waits, and the one that is done."""
    for _ in range(2):
        command_line("train", "--project", PROJECT, "--epochs", "40", "--set", "keep=best:3")
    page.goto(f"{app.url}/train")
    page.get_by_text("epoch 2 of 40").wait_for(timeout=5 * PATIENCE_MS)


def show_workers(page: Page, app: App) -> None:
    """Show the same from the worker's side."""
    page.goto(f"{app.url}/workers")
    page.get_by_text("of 40").first.wait_for()


def stop_runs() -> None:
    """Stop what ``show_train`` started: a training outlives its app."""
    for run in json.loads(command_line("runs", "--project", PROJECT, "--json")):
        if run["state"] in ("queued", "dispatched", "running"):
            command_line("cancel", run["run"])
    while any(
        run["state"] == "running" for run in json.loads(command_line("runs", "--project", PROJECT, "--json"))
    ):
        time.sleep(0.5)


SCENES: dict[str, tuple[tuple[int, int], str, Callable[[Page, App], None]]] = {
    "home": (WIDE, "light", show_home),
    "label": (WIDE, "light", show_label_at_work),
    "review": (WIDE, "light", show_review),
    "predict": (WIDE, "light", show_predict),
    "curves": (WIDE, "light", show_curves),
    "review-dark": (WIDE, "dark", show_review),
    "label-phone": (PHONE, "light", show_label),
    "train": (WIDE, "light", show_train),
    "workers": (WIDE, "light", show_workers),
}


if __name__ == "__main__":
    main()
