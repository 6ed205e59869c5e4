"""The assistance on the label canvas, in a real browser, answered by the real app."""

import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from core.domain.images import ImageFilter
from core.domain.labels import Annotation
from core.formats.ingest import add_photo
from core.imaging.masks import Mask, rasterise
from core.imaging.overlay import encode_jpeg
from core.services import projects
from core.storage import annotations
from tests.browser import patience
from tests.browser.labeler_driver import Canvas
from tests.browser.patience import eventually
from tests.browser.served import App, running_app

pytestmark = pytest.mark.browser

SIZE_WH = (800, 600)
CENTRE = (400, 300)
RADIUS = 120


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("assist") / "home") as app:
        project = projects.create(app.store, "Rust")
        projects.add_category(app.store, project.id, "rust")
        add_photo(app.store, project.id, "rust.jpg", encode_jpeg(rusty(), 95))
        yield app


@pytest.fixture(scope="module")
def opened(browser: Browser, app: App) -> Iterator[Canvas]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(patience.MILLISECONDS)
    opened = Canvas(context.new_page(), app.url)
    opened.open()
    yield opened
    context.close()


@pytest.fixture
def canvas(opened: Canvas, app: App) -> Canvas:
    """The canvas without an object."""
    opened.canvas.focus()
    opened.press("Escape", "v", "Control+a", "Delete")
    eventually(lambda: objects(app), lambda found: found == ())
    return opened


def truth() -> Mask:
    mask = np.zeros((SIZE_WH[1], SIZE_WH[0]), np.uint8)
    cv2.circle(mask, CENTRE, RADIUS, 1, -1)
    return mask > 0


def rusty() -> np.ndarray:
    rgb = np.where(truth()[:, :, None], (130, 80, 50), (110, 130, 150)).astype(np.float64)
    rgb += np.random.default_rng(3).normal(0, 5, (*truth().shape, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def objects(app: App) -> tuple[Annotation, ...]:
    (image,) = projects.list_images(app.store, projects.list_all(app.store)[0].id, ImageFilter())
    return annotations.current(app.store, image.id).annotations


def saved_iou(app: App) -> float:
    """How well the one object that the server holds fits, once there is one."""
    (made,) = eventually(lambda: objects(app), lambda found: len(found) == 1)
    found = rasterise(made.ops, truth().shape)
    assert made.source.value == "drawn"
    return float((found & truth()).sum() / (found | truth()).sum())


def expect_found(canvas: Canvas) -> None:
    expect(canvas.page.get_by_test_id("assist-bar")).to_have_attribute("data-state", "found")


def test_a_box_becomes_an_outline_that_is_taken_by_enter_and_can_be_undone(canvas: Canvas, app: App) -> None:
    canvas.press("g")
    canvas.drag((250, 150), (550, 450))
    expect_found(canvas)
    assert objects(app) == ()
    canvas.press("Enter")

    assert saved_iou(app) > 0.95
    canvas.press("Control+z")
    eventually(lambda: objects(app), lambda found: found == ())


def test_the_slider_leaves_fewer_corners_and_escape_drops_it_all(canvas: Canvas, app: App) -> None:
    canvas.press("g")
    canvas.drag((250, 150), (550, 450))
    expect_found(canvas)
    bar = canvas.page.get_by_test_id("assist-bar")
    detail = canvas.page.get_by_test_id("assist-detail")

    detail.fill("100")
    many = int(bar.locator("output:visible").last.inner_text().split()[0])
    detail.fill("5")
    few = int(bar.locator("output:visible").last.inner_text().split()[0])
    canvas.canvas.focus()
    canvas.press("Escape")

    assert few < 20 < many
    expect(bar).to_have_attribute("data-state", "idle")
    assert objects(app) == ()


def test_a_rough_outline_and_a_wand_find_it_too(canvas: Canvas, app: App) -> None:
    canvas.press("g")
    canvas.click((400, 140), (550, 220), (550, 380), (400, 460), (250, 380), (250, 220))
    canvas.press("Enter")
    expect_found(canvas)
    canvas.press("Escape", "w")
    canvas.click(CENTRE)
    expect_found(canvas)
    canvas.press("]", "]", "]", "]")
    expect_found(canvas)
    canvas.press("Enter")

    assert saved_iou(app) > 0.9


def test_scribbles_inside_and_with_alt_outside(canvas: Canvas, app: App) -> None:
    canvas.press("q")
    canvas.drag((340, 300), (460, 300))
    expect_found(canvas)
    canvas.page.keyboard.down("Alt")
    canvas.drag((240, 140), (560, 140), (560, 460), (240, 460), (240, 140))
    canvas.page.keyboard.up("Alt")
    expect_found(canvas)
    canvas.press("Enter")

    assert saved_iou(app) > 0.8


def test_the_right_button_marks_what_is_outside_and_opens_no_menu(canvas: Canvas) -> None:
    page = canvas.page
    page.evaluate("addEventListener('contextmenu', event => (window.menuOpens = !event.defaultPrevented))")
    canvas.press("q")
    canvas.drag((340, 300), (460, 300))
    expect_found(canvas)

    with page.expect_request("**/assist/**") as asked:
        canvas.drag((240, 140), (560, 140), button="right")
    prompt = json.loads(asked.value.post_data or "{}")
    assert [stroke["inside"] for stroke in prompt["strokes"]] == [True, False]
    assert page.evaluate("window.menuOpens") is False
    expect_found(canvas)

    page.get_by_test_id("draft-back").click()
    expect(page.get_by_role("toolbar", name="Found object under way")).to_be_visible()
    canvas.press("d")
    expect(page.get_by_test_id("hint")).to_contain_text("Finish the found object first")
    canvas.press("Escape")


def test_what_cannot_be_looked_into_is_a_sentence_and_the_click_tool_is_not_shown(canvas: Canvas) -> None:
    page = canvas.page
    expect(page.get_by_test_id("tool-smart")).to_be_visible()
    expect(page.get_by_test_id("tool-click")).to_be_hidden()
    canvas.press("g")
    page.route("**/assist/**", lambda route: route.abort())
    canvas.drag((250, 150), (550, 450))

    expect(page.get_by_test_id("assist-text")).to_contain_text("did not answer")
    page.unroute("**/assist/**")
    canvas.press("Escape")
