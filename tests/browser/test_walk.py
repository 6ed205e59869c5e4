"""The whole path as a user walks it, on the real app with its own worker."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from playwright.sync_api import Page, expect
from pycocotools.coco import COCO

from core.domain.images import Image, ImageFilter, Project
from core.domain.labels import BrushOp, ImageState, PolygonOp, Source
from core.imaging.overlay import encode_jpeg
from core.imaging.sample import draw_panel
from core.services import evaluation, projects
from core.storage import annotations
from core.storage.store import Store
from tests.browser.labeler_driver import Canvas
from tests.browser.patience import LONG_MILLISECONDS, wait_for_picture, wait_until_at_rest, wait_until_idle
from tests.browser.served import App

pytestmark = pytest.mark.browser

CALM_FRAMES = 40  # about a second: the expander opens, the sketch's picture comes
TRIANGLE = [(120, 100), (300, 110), (200, 260)]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_a_user_walks_from_nothing_to_a_marked_photo(app: App, page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "left door.jpg"
    photo.write_bytes(encode_jpeg(draw_panel(99, 2).rgb))

    start_the_sample_project(app, page)
    look_at_the_photos(page)
    draw_on_an_undamaged_photo(app, page)
    train_two_epochs(page)
    look_at_the_curves(page)
    choose_the_champion(app, page)
    shares = predict(page, photo)
    take_the_results_along(page, shares, tmp_path / "downloads")
    mark_what_was_missed(app, page)


def start_the_sample_project(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_role("button", name="Create sample project").click()
    expect(page.get_by_text("Imported 60 photos")).to_be_visible(timeout=LONG_MILLISECONDS)
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("60")


def look_at_the_photos(page: Page) -> None:
    go_to(page, "Images")
    thumbnails = page.get_by_test_id("gallery").locator("img")
    expect(thumbnails).to_have_count(60)
    wait_for_picture(thumbnails.first)


def draw_on_an_undamaged_photo(app: App, page: Page) -> None:
    image = next(i for i in images_of(app.store) if i.annotation_count == 0 and i.split == "train")
    page.get_by_role("button", name=f"Open {image.name.rpartition('/')[2]},").click()
    canvas = Canvas(page, app.url)
    canvas.wait_for_photo(image.id)

    canvas.canvas.focus()
    canvas.press("p", "1")
    canvas.click(*TRIANGLE)
    canvas.press("Enter")
    canvas.expect_state("Saved")
    page.reload()
    canvas.wait_for_photo(image.id)

    expect(page.get_by_test_id("object")).to_have_count(1)
    (drawn,) = annotations.current(app.store, image.id).annotations
    (polygon,) = drawn.ops
    assert isinstance(polygon, PolygonOp)
    assert np.allclose(polygon.points_xy, TRIANGLE, atol=1)
    assert canvas.paint(200, 150) > 40 and canvas.paint(50, 50) == 0
    page.get_by_test_id("done-next").click()
    expect(canvas.canvas).not_to_have_attribute("data-image", image.id)


def train_two_epochs(page: Page) -> None:
    go_to(page, "Train")
    page.locator(".st-key-choose_tiny").get_by_role("button", name="Choose").click()
    expect(page.locator(".st-key-choose_tiny").get_by_role("button", name="Chosen")).to_be_visible()
    wait_until_idle(page)
    epochs = page.get_by_label("Epochs", exact=True)
    expect(epochs).to_have_count(1)  # the former preset's field stays until the page has run to its end
    epochs.fill("2")
    epochs.press("Tab")
    expect(page.get_by_text("Photos that show each class.")).to_be_visible()  # the page's first run is over
    wait_until_idle(page)
    expect(epochs).to_have_value("2")
    page.get_by_role("button", name="Start training").click()
    runs = page.get_by_test_id("stMainBlockContainer")
    expect(runs.get_by_text(re.compile("Running$"))).to_be_visible(timeout=LONG_MILLISECONDS)
    expect(runs.get_by_text(re.compile("Done$"))).to_be_visible(timeout=LONG_MILLISECONDS)
    expect(runs.get_by_text("2 / 2", exact=True)).to_be_visible()


def look_at_the_curves(page: Page) -> None:
    go_to(page, "Curves")
    curve = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace").first
    expect(curve.locator(".points path")).to_have_count(2)


def choose_the_champion(app: App, page: Page) -> None:
    go_to(page, "Review")
    viewer = page.get_by_test_id("viewer")
    expect(viewer).to_have_attribute("data-epoch-shown", re.compile("[12]"))
    wait_until_idle(page)
    before = viewer.get_attribute("data-epoch-shown")
    other = "1" if before == "2" else "2"

    page.get_by_test_id("viewer-epoch-slider").press("ArrowLeft" if other == "1" else "ArrowRight")
    expect(viewer).to_have_attribute("data-epoch-shown", other)
    page.get_by_role("button", name=f"Make epoch {other} champion").click()

    expect(page.get_by_test_id("stMain").get_by_text(re.compile("Champion$"))).to_be_visible()
    chosen = evaluation.champion(app.store, only_project(app.store).id)
    assert chosen is not None and str(chosen.epoch) == other


def predict(page: Page, photo: Path) -> list[str]:
    """Upload a photo; give the shares that the page shows, class by class."""
    go_to(page, "Predict")
    page.locator("input[type=file]").set_input_files(photo, timeout=LONG_MILLISECONDS)
    viewer = page.get_by_test_id("viewer")
    expect(viewer).to_have_attribute("data-epoch-shown", re.compile("[12]"), timeout=LONG_MILLISECONDS)
    expect(page.get_by_test_id("pane-prediction")).to_be_visible()
    expect(page.get_by_text("Share of the photo")).to_be_visible()
    shares = page.get_by_text(re.compile(r"^(\d+\.\d%|none)$"))
    expect(shares).to_have_count(3)  # the page draws them one by one
    return shares.all_inner_texts()


def take_the_results_along(page: Page, shares: list[str], folder: Path) -> None:
    mask = Picture.open(io.BytesIO(download(page, "Mask (PNG)", folder / "mask.png")))
    assert (mask.mode, mask.size) == ("P", (640, 480))
    indices = np.asarray(mask)
    assert indices.max() <= 3
    found = [np.mean(indices == index) for index in (1, 2, 3)]
    assert shares == [f"{share:.1%}" if share else "none" for share in sorted(found, reverse=True)]

    overlay = Picture.open(io.BytesIO(download(page, "Overlay (JPEG)", folder / "overlay.jpg")))
    assert (overlay.format, overlay.size) == ("JPEG", (640, 480))

    download(page, "COCO json", folder / "coco.json")
    coco = COCO(folder / "coco.json")
    names = [category["name"] for category in coco.loadCats(coco.getCatIds())]
    assert names == ["scratch", "dent", "paint loss"]
    painted = np.zeros_like(indices)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        painted[coco.annToMask(annotation) > 0] = 1 + names.index(
            coco.cats[annotation["category_id"]]["name"]
        )
    assert np.array_equal(painted, indices)


def mark_what_was_missed(app: App, page: Page) -> None:
    page.get_by_text("Mark what it missed").click()
    canvas = page.locator("canvas.upper-canvas")
    save = page.get_by_role("button", name="Save for labelling")
    expect(save).to_be_disabled()
    canvas.scroll_into_view_if_needed()
    wait_until_idle(page)
    wait_until_at_rest(canvas, CALM_FRAMES)
    box = canvas.bounding_box()
    assert box

    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 140, steps=8)
    page.mouse.up()
    expect(save).to_be_enabled()
    save.click()
    expect(page.get_by_text("Saved as a draft")).to_be_visible()

    (image,) = images_of(app.store, state=ImageState.IN_PROGRESS)
    assert image.name == "left door.jpg"
    (sketched,) = annotations.current(app.store, image.id).annotations
    (stroke,) = sketched.ops
    assert sketched.source is Source.SKETCHED and isinstance(stroke, BrushOp)
    assert np.allclose((stroke.points_xy[0], stroke.points_xy[-1]), ((100, 100), (260, 140)), atol=3)
    page.get_by_role("link", name="Finish it on the canvas").click()
    expect(page.get_by_test_id("labeler-canvas")).to_have_attribute("data-image", image.id)
    expect(page.get_by_test_id("image-state")).to_have_text("In progress")
    expect(page.get_by_test_id("object")).to_have_count(1)


def go_to(page: Page, title: str) -> None:
    """Choose a page in the navigation."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()


def download(page: Page, button: str, path: Path) -> bytes:
    """Press a download button and give the file."""
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    started.value.save_as(path)
    return path.read_bytes()


def only_project(store: Store) -> Project:
    """Give the one project there is."""
    (project,) = projects.list_all(store)
    return project


def images_of(store: Store, **only: Any) -> list[Image]:
    """List the images of the one project there is."""
    return projects.list_images(store, only_project(store).id, ImageFilter(**only))
