"""The grid of photos in a real browser: the ticked boxes are the photos that the page acts on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from core.domain.images import ImageFilter, Project
from core.services import projects
from core.storage.store import Store
from tests.browser.patience import wait_for_picture, wait_until_idle
from tests.browser.served import served
from tests.builders import add_image, empty_store, project_with

pytestmark = pytest.mark.browser

HARNESS = Path(__file__).with_name("harness_gallery.py")
NAMES = ["left.jpg", "front.jpg", "right.jpg"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return empty_store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("gallery") / "log.txt"
    with served(HARNESS, log, {"MASKWRIGHT_HOME": str(store.home)}) as url:
        yield url


@pytest.fixture
def project(store: Store, request: pytest.FixtureRequest) -> Project:
    """A new project of three photos."""
    made = project_with(store, "Dent", name=request.node.name[:80])
    for seed, name in enumerate(NAMES):
        add_image(store, made, seed, name=name)
    return made


@pytest.fixture
def gallery(server: str, project: Project, page: Page) -> Page:
    """The page with that project's grid."""
    page.goto(server)
    pictures = page.get_by_test_id("gallery").locator("img")
    expect(pictures).to_have_count(3)
    for number in range(3):
        wait_for_picture(pictures.nth(number))  # a test may delete its photo
    wait_until_idle(page)
    return page


def box(page: Page, name: str) -> Locator:
    return page.get_by_role("checkbox", name=f"Select {name}")


def expect_selected(page: Page, *names: str) -> None:
    """Boxes and page agree, and still do when a late message of either has come."""
    for wait in (0, 400):
        page.wait_for_timeout(wait)
        wait_until_idle(page)
        expect(page.get_by_text(f"selected: {list(names)} opened: False")).to_be_visible()
        expect(page.get_by_test_id("gallery").locator("input:checked")).to_have_count(len(names))
        for name in names:
            expect(box(page, name)).to_be_checked()


def search(page: Page, text: str, count: int) -> None:
    page.get_by_label("Name", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("gallery").locator("img")).to_have_count(count)


def test_a_photo_that_is_not_shown_any_more_is_not_selected_any_more(gallery: Page) -> None:
    box(gallery, "left.jpg").check()
    box(gallery, "right.jpg").check()
    expect_selected(gallery, "left.jpg", "right.jpg")

    search(gallery, "left", 1)
    expect_selected(gallery, "left.jpg")

    search(gallery, "", 3)
    expect_selected(gallery, "left.jpg")
    box(gallery, "left.jpg").uncheck()
    expect_selected(gallery)


def test_boxes_stay_ticked_when_their_tiles_change(gallery: Page, project: Project, store: Store) -> None:
    box(gallery, "left.jpg").check()
    expect_selected(gallery, "left.jpg")
    left = next(i for i in projects.list_images(store, project.id, ImageFilter()) if i.name == "left.jpg")
    projects.set_split(store, [left.id], "test")

    box(gallery, "front.jpg").check()

    expect(gallery.get_by_role("button", name="Open left.jpg, No damage · test")).to_be_visible()
    expect_selected(gallery, "left.jpg", "front.jpg")


def test_an_action_is_for_the_ticked_photos_and_unticks_them(
    gallery: Page, project: Project, store: Store
) -> None:
    box(gallery, "left.jpg").check()
    box(gallery, "front.jpg").check()
    expect_selected(gallery, "left.jpg", "front.jpg")

    gallery.get_by_role("button", name="Move to train").click()

    expect(gallery.get_by_role("button", name="Open left.jpg, No damage · train")).to_be_visible()
    expect_selected(gallery)
    moved = projects.list_images(store, project.id, ImageFilter(split="train"))
    assert {image.name for image in moved} == {"left.jpg", "front.jpg"}
    box(gallery, "right.jpg").check()
    expect_selected(gallery, "right.jpg")


def test_a_deleted_photo_is_not_selected_and_the_others_stay(
    gallery: Page, project: Project, store: Store
) -> None:
    box(gallery, "left.jpg").check()
    expect_selected(gallery, "left.jpg")
    left = next(i for i in projects.list_images(store, project.id, ImageFilter()) if i.name == "left.jpg")
    projects.delete_images(store, [left.id])

    box(gallery, "right.jpg").check()

    expect(box(gallery, "left.jpg")).to_have_count(0)
    expect_selected(gallery, "right.jpg")


def test_boxes_and_page_agree_after_the_grid_was_away(gallery: Page) -> None:
    box(gallery, "left.jpg").check()
    expect_selected(gallery, "left.jpg")
    toggle = gallery.get_by_text("Show", exact=True)
    toggle.click()
    expect(gallery.get_by_test_id("gallery")).to_have_count(0)

    toggle.click()

    expect_selected(gallery)
    box(gallery, "front.jpg").check()
    expect_selected(gallery, "front.jpg")


def test_ticking_a_box_draws_no_other_tile_anew(gallery: Page) -> None:
    image = gallery.get_by_test_id("gallery").locator("img").first.element_handle()

    box(gallery, "left.jpg").press(" ")
    expect_selected(gallery, "left.jpg")

    assert image is not None and image.evaluate("node => node.isConnected")
    expect(box(gallery, "left.jpg")).to_be_focused()


def test_a_photo_opens_by_its_picture(gallery: Page) -> None:
    gallery.get_by_role("button", name="Open front.jpg").click()

    expect(gallery.get_by_text("selected: [] opened: True")).to_be_visible()
