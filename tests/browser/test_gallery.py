"""The grid of photos: the boxes that are ticked are the photos that the page acts on."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from core.services import projects
from tests.browser.served import App
from tests.builders import add_image, project_with

pytestmark = pytest.mark.browser

NAMES = ["left.jpg", "front.jpg", "right.jpg"]


@pytest.fixture
def gallery(app: App, page: Page) -> Page:
    """The Images page of a project with three photos."""
    project = project_with(app.store, "Dent")
    for seed, name in enumerate(NAMES):
        add_image(app.store, project, seed, name=name)
    page.goto(f"{app.url}/images?project={project.id}")
    expect(page.get_by_test_id("gallery").locator("img")).to_have_count(3)
    return page


def box(page: Page, name: str) -> Locator:
    return page.get_by_role("checkbox", name=f"Select {name}")


def expect_ticked(page: Page, *names: str) -> None:
    """Both halves agree: the boxes, and the number on the page (none shows where it is 0)."""
    expect(page.get_by_test_id("gallery").locator("input:checked")).to_have_count(len(names))
    for name in names:
        expect(box(page, name)).to_be_checked()
    told = page.get_by_text(re.compile(r"^\d+ selected$"))
    if names:
        expect(told).to_have_text(f"{len(names)} selected")
    else:
        expect(told).to_have_count(0)
    page.wait_for_timeout(300)  # a late answer of the other half would show now
    expect(page.get_by_test_id("gallery").locator("input:checked")).to_have_count(len(names))


def search(page: Page, text: str, count: int) -> None:
    field = page.get_by_label("Name", exact=True)
    field.fill(text)
    field.press("Enter")
    expect(page.get_by_test_id("gallery").locator("img")).to_have_count(count)


def test_a_photo_that_is_not_shown_any_more_is_not_selected_any_more(gallery: Page) -> None:
    box(gallery, "left.jpg").check()
    box(gallery, "right.jpg").check()
    expect_ticked(gallery, "left.jpg", "right.jpg")

    search(gallery, "left", 1)
    expect_ticked(gallery, "left.jpg")

    search(gallery, "", 3)
    expect_ticked(gallery, "left.jpg")


def test_boxes_stay_ticked_when_a_tile_is_drawn_anew(gallery: Page, app: App) -> None:
    box(gallery, "left.jpg").check()
    (project,) = projects.list_all(app.store)
    left = next(i for i in projects.list_images(app.store, project.id) if i.name == "left.jpg")
    projects.set_split(app.store, [left.id], "test")

    box(gallery, "front.jpg").check()

    expect(gallery.get_by_role("button", name="Open left.jpg, Done · test")).to_be_visible()
    expect_ticked(gallery, "left.jpg", "front.jpg")


def test_an_action_is_for_the_ticked_photos_and_unticks_them(gallery: Page, app: App) -> None:
    box(gallery, "left.jpg").check()
    box(gallery, "front.jpg").check()
    expect_ticked(gallery, "left.jpg", "front.jpg")

    gallery.get_by_role("button", name="Move to train").click()

    expect(gallery.get_by_role("button", name="Open left.jpg, Done · train")).to_be_visible()
    (project,) = projects.list_all(app.store)
    moved = {i.name for i in projects.list_images(app.store, project.id) if i.split == "train"}
    assert moved == {"left.jpg", "front.jpg"}
    expect_ticked(gallery)

    box(gallery, "right.jpg").check()
    expect_ticked(gallery, "right.jpg")


def test_deleting_leaves_nothing_selected(gallery: Page) -> None:
    box(gallery, "left.jpg").check()
    gallery.get_by_role("button", name="Delete").click()
    gallery.get_by_role("button", name="Delete 1 photo").click()

    expect(gallery.get_by_test_id("gallery").locator("img")).to_have_count(2)
    expect_ticked(gallery)
