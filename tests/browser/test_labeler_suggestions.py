"""The champion's suggestions in the real app: asked for, accepted, rejected, and never in anybody's way."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from core.domain.labels import Annotation, ImageState, Source
from core.storage import annotations, images, projects
from tests.browser import patience
from tests.browser.labeler_driver import Canvas
from tests.browser.patience import eventually
from tests.browser.served import App, running_app
from tests.builders import empty_store, project_with, square
from tests.inference.exported import BLUE, RED, Box, painted
from tests.services.championed import add_painted, crown

pytestmark = pytest.mark.browser

SIZE_WH = (640, 480)
DENT, SCRATCH = 1, 2
LEFT, OTHER, LOW = (8, 16, 28, 48), (44, 8, 60, 20), (40, 36, 56, 58)
ON_LEFT, ON_OTHER = (180, 240), (520, 100)

Open = Callable[..., tuple[Canvas, str]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app on a project whose champion knows dents by red and scratches by blue, and on one without."""
    home = tmp_path_factory.mktemp("suggest") / "home"
    store = empty_store(home)
    crown(store, project_with(store, "dent", "scratch"))  # before a worker is there to take the run on
    project_with(store, "dent", name="Vans")
    with running_app(home) as app:
        yield app


@pytest.fixture(scope="module")
def shared_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(patience.MILLISECONDS)
    yield context.new_page()
    context.close()


@pytest.fixture
def open_photo(app: App, shared_page: Page) -> Open:
    """Adds a painted photo, opens it on the canvas, and gives the canvas and the photo's id."""

    def open_(
        *boxes: tuple[tuple[int, int, int], Box], drawn: Annotation | None = None, project: str = "Cars"
    ) -> tuple[Canvas, str]:
        found = next(p for p in projects.list_all(app.store) if p.name == project)
        rgb = painted(SIZE_WH, *boxes)
        rgb[0, :: 2 + len(app.store.blobs.list("photos"))] = 0  # another photo each time
        image = add_painted(app.store, found, "door.png", rgb, *([drawn] if drawn else []))
        canvas = Canvas(shared_page, app.url)
        canvas.page.goto(f"{app.url}/label?project={project}&image={image.id}")
        canvas.wait_for_photo(image.id)
        canvas.canvas.focus()
        return canvas, image.id

    return open_


def saved(app: App, image_id: str, is_so: Callable[[list[Annotation]], bool]) -> list[Annotation]:
    """Wait until the home holds labels of a kind, and give them."""
    return eventually(lambda: list(annotations.current(app.store, image_id).annotations), is_so)


def sources(found: list[Annotation]) -> list[Source]:
    return [annotation.source for annotation in found]


def suggest(canvas: Canvas) -> None:
    """Ask for suggestions and wait for them."""
    canvas.page.get_by_test_id("suggest").click()
    expect(canvas.page.get_by_test_id("suggestion-count")).to_contain_text("suggestion")


def test_suggestions_are_decided_on_one_by_one_with_enter_and_backspace(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT), (BLUE, OTHER), (RED, LOW))

    suggest(canvas)

    found = saved(app, image_id, lambda s: len(s) == 3)
    assert sources(found) == [Source.SUGGESTED] * 3
    image = images.get(app.store, image_id)
    assert (image.state, image.suggestion_count) == (ImageState.UNLABELLED, 3)
    words = canvas.page.get_by_test_id("suggestion-count")
    expect(words).to_contain_text(" % sure")
    expect(canvas.page.locator("li[data-source=suggested]")).to_have_count(3)
    assert 0 < canvas.paint(*ON_LEFT) < 60, "filled more lightly than a label"

    canvas.press("Enter", "Backspace", "Enter")

    found = saved(app, image_id, lambda s: sources(s) == [Source.DRAWN] * 2)
    assert [a.category_id for a in found] == [DENT, SCRATCH], "the second one, red and low, was rejected"
    assert all(a.note == "" for a in found)
    assert images.get(app.store, image_id).state is ImageState.IN_PROGRESS
    expect(canvas.page.get_by_test_id("suggestions")).to_be_hidden()
    assert canvas.paint(*ON_LEFT) > 60

    canvas.press("Control+z", "Control+z", "Control+z")
    assert (
        sources(saved(app, image_id, lambda s: len(s) == 3 and s[0].is_suggestion)) == [Source.SUGGESTED] * 3
    )


def test_all_are_accepted_or_rejected_at_once(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT), (BLUE, OTHER))
    canvas.press("Shift+S")
    saved(app, image_id, lambda s: len(s) == 2)

    canvas.press("Shift+R")
    saved(app, image_id, lambda s: s == [])
    assert images.get(app.store, image_id).state is ImageState.UNLABELLED, "no label came of it"
    canvas.press("Control+z")
    saved(app, image_id, lambda s: len(s) == 2)
    expect(canvas.page.get_by_test_id("suggestion-accept")).to_be_hidden()
    canvas.page.get_by_test_id("suggestion-first").click()  # as a thumb does
    expect(canvas.page.get_by_test_id("suggestion-count")).to_contain_text(" % sure")
    expect(canvas.page.get_by_test_id("suggestion-accept")).to_be_visible()
    canvas.press("Shift+A")

    assert (
        sources(saved(app, image_id, lambda s: len(s) == 2 and not s[0].is_suggestion)) == [Source.DRAWN] * 2
    )


def test_an_edit_accepts_and_new_suggestions_leave_what_is_drawn(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT), (BLUE, OTHER))
    suggest(canvas)
    saved(app, image_id, lambda s: len(s) == 2)

    canvas.press("v")
    canvas.click(ON_OTHER)
    canvas.press("1")
    found = saved(app, image_id, lambda s: sources(s).count(Source.DRAWN) == 1)
    assert next(a for a in found if not a.is_suggestion).category_id == DENT

    canvas.press("Shift+S")

    again = saved(app, image_id, lambda s: {a.id for a in s} != {a.id for a in found})
    assert [(a.category_id, a.is_suggestion) for a in again] == [(DENT, False), (DENT, True)]


def test_a_photo_is_not_finished_over_open_suggestions(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT), (BLUE, OTHER), drawn=square(SCRATCH, 500, 300))
    suggest(canvas)
    saved(app, image_id, lambda s: len(s) == 3)
    page = canvas.page

    canvas.press("d")
    expect(page.get_by_test_id("banner")).to_contain_text("2 suggestions are left")
    page.get_by_test_id("finish-cancel").click()
    expect(page.get_by_test_id("banner")).to_be_hidden()
    assert images.get(app.store, image_id).state is not ImageState.DONE
    canvas.canvas.focus()
    canvas.press("d")
    page.get_by_test_id("finish-reject-all").click()

    eventually(lambda: images.get(app.store, image_id).state, lambda state: state is ImageState.DONE)
    assert [a.category_id for a in annotations.current(app.store, image_id).annotations] == [SCRATCH]


def test_where_nothing_is_found_no_damage_is_one_click(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo()

    canvas.press("Shift+S")

    expect(canvas.page.get_by_test_id("banner")).to_contain_text("The champion finds nothing on this photo.")
    canvas.page.get_by_test_id("agree-no-damage").click()
    eventually(lambda: images.get(app.store, image_id).state, lambda state: state is ImageState.DONE)
    assert images.get(app.store, image_id).shows_no_damage


def test_without_a_champion_the_button_says_why(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT), project="Vans")
    button = canvas.page.get_by_test_id("suggest")

    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute(
        "title", "This project has no champion yet. Train a model and make one of its epochs the champion."
    )
    button.click(force=True)  # it says why instead of doing nothing

    expect(canvas.page.get_by_test_id("hint")).to_contain_text("no champion yet")
    assert images.get(app.store, image_id).rev == 0


def test_a_photo_deleted_meanwhile_is_told_of(app: App, open_photo: Open) -> None:
    canvas, image_id = open_photo((RED, LEFT))
    images.delete(app.store, [image_id])

    canvas.press("Shift+S")

    expect(canvas.page.get_by_test_id("hint")).to_contain_text("does not exist any more")
