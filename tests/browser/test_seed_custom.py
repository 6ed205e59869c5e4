"""Real photos come in through the browser, one is labelled by hand, and the export holds what was drawn."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from pycocotools import mask as rle
from pycocotools.coco import COCO

from core.domain.images import ImageFilter
from core.domain.labels import BrushOp, ImageState, PolygonOp
from core.imaging.masks import rasterise
from core.services import projects
from core.storage import annotations
from tests.browser.labeler_driver import Canvas
from tests.browser.patience import LONG_MILLISECONDS
from tests.browser.served import ROOT, App

pytestmark = pytest.mark.browser

SIDE = 1024
DAMAGE = [(250, 300), (620, 260), (760, 520), (540, 780), (230, 640)]
HOLE = [(420, 420), (560, 420), (560, 560), (420, 560)]
ERASED = [(300, 350), (380, 350)]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_what_is_drawn_on_a_real_photo_is_what_the_export_holds(
    app: App, page: Page, shared_data: Path, tmp_path: Path
) -> None:
    make_project(app, page, "Hail 2026")
    import_photos(app, page, shared_data / "seed_custom" / "custom-dataset" / "images")
    image_id = open_photo(app, page, "12.jpg")
    add_class(page, "severe damage")
    clicked = draw(app, page, image_id)

    store = app.store
    (project,) = projects.list_all(store)
    (drawn,) = annotations.current(store, image_id).annotations
    kinds = [(type(op), op.is_subtract) for op in drawn.ops]
    assert kinds == [(PolygonOp, False), (PolygonOp, True), (BrushOp, True)]
    for op, corners in zip(drawn.ops, clicked, strict=False):
        assert np.allclose(op.points_xy, corners, atol=0.051)  # the canvas keeps tenths of a pixel
    stored = rasterise(drawn.ops, (SIDE, SIDE))
    exported = export(app, tmp_path / "out", project.name)

    assert np.array_equal(exported, stored)
    outside_eraser = ~near_line(ERASED, drawn.ops[2].radius + 2)
    expected = painted(clicked[0]) & ~painted(clicked[1])
    off = (exported != expected) & outside_eraser
    assert not (off & ~near_border(expected)).any()
    assert not exported[350, 310:370].any() and painted(clicked[0])[350, 310:370].all()


def make_project(app: App, page: Page, name: str) -> None:
    page.goto(app.url)
    page.get_by_label("Project name").fill(name)
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def import_photos(app: App, page: Page, folder: Path) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Images").click()
    page.get_by_role("button", name="Import", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(sorted(folder.glob("*.jpg")))
    start = dialog.get_by_role("button", name="Import", exact=True)
    expect(start).to_be_enabled()
    start.click()
    expect(page.get_by_text("Imported 9 photos")).to_be_visible(timeout=LONG_MILLISECONDS)
    expect(page.get_by_test_id("gallery").locator("img")).to_have_count(9)


def open_photo(app: App, page: Page, name: str) -> str:
    (project,) = projects.list_all(app.store)
    (image,) = projects.list_images(app.store, project.id, ImageFilter(name_contains=name))
    assert (image.size_wh, image.state) == ((SIDE, SIDE), ImageState.UNLABELLED)
    page.get_by_role("button", name=f"Open {name},").click()
    return image.id


def add_class(page: Page, name: str) -> None:
    expect(page.get_by_text("What do you want to find?")).to_be_visible()
    page.get_by_label("New class").fill(name)
    page.get_by_role("button", name="Add class").click()


def draw(app: App, page: Page, image_id: str) -> list[list[tuple[float, float]]]:
    """Draw a polygon, cut a hole, erase a stroke, say that it is done; give the corners clicked."""
    canvas = Canvas(page, app.url)
    canvas.wait_for_photo(image_id)
    canvas.canvas.focus()
    clicked = []
    for tool, corners in (("p", DAMAGE), ("s", HOLE)):
        canvas.press(tool)
        places = [tuple(map(round, canvas.screen(*corner))) for corner in corners]  # whole screen pixels
        clicked.append([canvas.image(*place) for place in places])
        for place in places:
            page.mouse.click(*place)
        canvas.press("Enter")
    canvas.press("e")
    canvas.drag(*ERASED)
    canvas.expect_state("Saved")
    page.get_by_test_id("done-next").click()
    expect(canvas.canvas).not_to_have_attribute("data-image", image_id)
    (project,) = projects.list_all(app.store)
    (done,) = projects.list_images(app.store, project.id, ImageFilter(state=ImageState.DONE))
    assert done.id == image_id
    return clicked


def export(app: App, out: Path, project: str) -> NDArray[np.bool_]:
    """Export on the command line; give the mask of the one annotation in it."""
    command = [sys.executable, "-m", "core", "export", "--project", project, "--format", "coco", str(out)]
    environment = {**os.environ, "MASKWRIGHT_HOME": str(app.home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (document,) = out.rglob("*.json")
    coco = COCO(document)
    (annotation,) = coco.dataset["annotations"]
    assert coco.cats[annotation["category_id"]]["name"] == "severe damage"
    (image,) = (i for i in coco.dataset["images"] if i["id"] == annotation["image_id"])
    assert image["file_name"].endswith("12.jpg") and list(out.rglob(image["file_name"]))
    return coco.annToMask(annotation).astype(bool)


def painted(points: list[tuple[float, float]]) -> NDArray[np.bool_]:
    """Rasterise a polygon with COCO's own code."""
    codes = rle.frPyObjects([[float(value) for point in points for value in point]], SIDE, SIDE)
    return rle.decode(rle.merge(codes)).astype(bool)


def near_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the pixels whose 3 x 3 neighbourhood is not all of one kind."""
    padded = np.pad(mask, 1, mode="edge")
    shifted = [padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)]
    return np.any(shifted, axis=0) & ~np.all(shifted, axis=0)


def near_line(points: list[tuple[float, float]], reach: float) -> NDArray[np.bool_]:
    """Mark the pixels around a horizontal line."""
    (x0, y0), (x1, _) = points
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.hypot(x - np.clip(x, x0, x1), y - y0) <= reach
