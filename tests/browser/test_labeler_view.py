"""The label canvas in a real browser: the photo's look, its states and notes, and other people's saves."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import patience
from tests.browser.labeler_driver import SQUARE, Canvas, objects
from tests.browser.patience import eventually

pytestmark = pytest.mark.browser

# The middle of what a person sees of the photo, as one grey level: the canvas's pixels, then its filter.
SEEN = """canvas => {
  const photo = canvas.previousElementSibling.previousElementSibling;
  const sample = new OffscreenCanvas(64, 64).getContext('2d');
  sample.filter = photo.style.filter || 'none';
  sample.drawImage(photo, photo.width / 2 - 32, photo.height / 2 - 32, 64, 64, 0, 0, 64, 64);
  const levels = sample.getImageData(0, 0, 64, 64).data.filter((_, i) => i % 4 === 1);
  const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length;
  const spread = Math.sqrt(levels.reduce((sum, level) => sum + (level - mean) ** 2, 0) / levels.length);
  return { mean, spread };
}"""


def seen(canvas: Canvas) -> dict[str, float]:
    patience.wait_until_at_rest(canvas.canvas)
    return canvas.canvas.evaluate(SEEN)


def zoom_in(canvas: Canvas, steps: int = 8) -> None:
    canvas.canvas.focus()
    canvas.press(*["+"] * steps)


def brush(x: float, name: str) -> dict[str, Any]:
    op = {"kind": "brush", "points": [[x, 2000]], "radius": 90, "subtract": False}
    return {"id": name, "category_id": 2, "ops": [op], "source": "drawn", "author": "Anna", "note": ""}


def test_light_and_contrast_change_what_is_seen_and_are_remembered(canvas: Canvas) -> None:
    before = seen(canvas)
    canvas.press("i")
    canvas.page.get_by_test_id("look-brightness").fill("150")
    assert seen(canvas)["mean"] == pytest.approx(1.5 * before["mean"], rel=0.03)
    canvas.page.get_by_test_id("look-local").fill("100")
    expect(canvas.canvas).to_have_attribute("data-lifted", "yes")
    assert seen(canvas)["spread"] > 2 * before["spread"]
    assert canvas.saved()["rev"] == 0  # for the eye only

    canvas.open()

    expect(canvas.canvas).to_have_attribute("data-lifted", "yes")
    canvas.page.get_by_test_id("look").click()
    expect(canvas.page.get_by_test_id("look-brightness")).to_have_value("150")
    canvas.page.get_by_test_id("look-reset").click()
    canvas.press("Escape")
    expect(canvas.page.get_by_test_id("look-panel")).to_be_hidden()
    assert seen(canvas) == pytest.approx(before, rel=0.001)


def test_the_full_photo_is_lifted_too_when_the_view_needs_it(canvas: Canvas) -> None:
    canvas.page.get_by_test_id("look").click()
    canvas.page.get_by_test_id("look-local").fill("60")
    zoom_in(canvas, 12)
    assert canvas.scale() > 1

    expect(canvas.canvas).to_have_attribute("data-lifted", "yes")

    canvas.page.get_by_test_id("look-reset").click()
    expect(canvas.canvas).to_have_attribute("data-lifted", "no")
    canvas.canvas.focus()
    canvas.press("Escape")


def test_outlines_only_leaves_the_inside_of_objects_clear(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("v", "Escape")
    assert canvas.paint(1200, 1200) > 60

    canvas.press("t")
    assert canvas.paint(1200, 1200) == 0
    assert canvas.paint(800, 1200) > 60
    canvas.press("t")

    assert canvas.paint(1200, 1200) > 60


def test_past_twice_the_size_an_overview_shows_and_moves_the_view(canvas: Canvas) -> None:
    overview = canvas.page.get_by_test_id("minimap")
    expect(overview).to_be_hidden()
    zoom_in(canvas)
    expect(overview).to_be_visible()

    box = overview.bounding_box()
    stage = canvas.canvas.bounding_box()
    assert box and stage
    canvas.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    x, y = canvas.image(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    assert (x, y) == pytest.approx((3000, 750), abs=40)

    canvas.press("ArrowLeft")
    left, _ = canvas.image(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    assert left < x - 100
    expect(canvas.page.get_by_test_id("position")).to_have_text("1 / 3")
    canvas.press("Escape", "f")
    expect(overview).to_be_hidden()


def test_the_held_space_bar_makes_arrows_move_the_photo(canvas: Canvas) -> None:
    zoom_in(canvas, 4)
    before = canvas.screen(2000, 1500)

    canvas.page.keyboard.down(" ")
    canvas.press("ArrowRight", "ArrowDown")
    canvas.page.keyboard.up(" ")

    after = canvas.screen(2000, 1500)
    assert after[0] < before[0] - 50 and after[1] < before[1] - 50
    expect(canvas.page.get_by_test_id("position")).to_have_text("1 / 3")


def test_the_zoom_stays_from_photo_to_photo_of_one_size(canvas: Canvas) -> None:
    whole = canvas.scale()
    zoom_in(canvas, 5)
    before = canvas.screen(1000, 1000)

    canvas.press("ArrowRight")
    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    canvas.wait_for_photo()

    assert canvas.screen(1000, 1000) == pytest.approx(before, abs=0.01)
    canvas.press("f", "ArrowLeft")
    expect(canvas.page.get_by_test_id("position")).to_have_text("1 / 3")
    canvas.wait_for_photo()
    assert canvas.scale() == pytest.approx(whole)


def test_approving_goes_on_and_editing_what_was_approved_makes_it_done_again(canvas: Canvas) -> None:
    state = canvas.page.get_by_test_id("image-state")
    canvas.draw_square()
    canvas.press("y")
    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    assert canvas.saved("one")["state"] == "approved"
    canvas.wait_for_photo()
    canvas.press("ArrowLeft")
    expect(state).to_have_text("Approved")
    canvas.wait_for_photo()

    canvas.press("b")
    canvas.drag((2500, 1000), (3000, 1000))

    assert canvas.until(lambda s: len(objects(s)) == 2)["state"] == "done"
    canvas.press("u")
    canvas.until(lambda s: s["state"] == "in_progress")
    expect(state).to_have_text("In progress")


def test_a_photo_is_rejected_only_with_a_note_that_the_next_visitor_reads(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.until(lambda s: s["rev"] == 1)
    canvas.press("n")
    reason = canvas.page.get_by_test_id("reject-note")
    expect(reason).to_be_focused()
    canvas.page.get_by_test_id("reject").click()
    expect(reason).to_be_visible()
    assert canvas.saved()["rev"] == 1

    canvas.page.keyboard.type("no dent: a reflection")  # letters that are keys of the canvas elsewhere
    canvas.press("Control+Enter")

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    saved = canvas.saved("one")
    assert (saved["state"], saved["note"], len(objects(saved))) == ("rejected", "no dent: a reflection", 1)
    canvas.wait_for_photo()
    canvas.press("ArrowLeft")
    canvas.expect_hint("Sent back: no dent: a reflection")
    expect(canvas.page.get_by_test_id("photo-note")).to_have_value("no dent: a reflection")


def test_no_damage_is_a_state_of_its_own_with_a_key(canvas: Canvas) -> None:
    canvas.press("o")
    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    canvas.wait_for_photo()
    canvas.press("ArrowLeft")

    expect(canvas.page.get_by_test_id("image-state")).to_have_text("No damage")
    canvas.wait_for_photo()
    canvas.draw_square()
    canvas.until(lambda s: len(objects(s)) == 1 and s["state"] == "done")
    canvas.press("o")
    canvas.expect_hint("There is something marked")


def test_the_menu_of_states_is_walked_by_keyboard(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.page.get_by_test_id("image-state").click()
    expect(canvas.page.get_by_test_id("state-done")).to_be_focused()

    canvas.press("ArrowDown", "ArrowUp", "Enter")

    canvas.until(lambda s: s["state"] == "done")
    expect(canvas.canvas).to_be_focused()
    expect(canvas.page.get_by_test_id("position")).to_have_text("1 / 3")


def test_notes_are_saved_and_no_key_of_anybody_fires_while_typing(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.until(lambda s: s["rev"] == 1)
    before = len(canvas.messages)
    canvas.press("v", "Escape", "k")
    canvas.page.keyboard.type("rc wet paint\ndark")
    canvas.press("Escape")
    canvas.until(lambda s: s["note"] == "rc wet paint\ndark" and s["state"] == "in_progress")

    canvas.click((1200, 1200))
    canvas.press("k")
    canvas.page.keyboard.type("deep")
    canvas.press("Escape")

    canvas.until(lambda s: [o.get("note", "") for o in objects(s)] == ["deep"])
    canvas.press("Control+z")
    canvas.until(lambda s: [o.get("note", "") for o in objects(s)] == [""])
    expect(canvas.page.get_by_test_id("object-note")).to_have_value("")
    assert len(canvas.messages) == before
    expect(canvas.page.get_by_text("Clear caches")).to_have_count(0)


def test_a_note_still_being_typed_is_saved_when_the_page_goes_away(canvas: Canvas) -> None:
    canvas.press("k")
    canvas.page.keyboard.type("half a sent")

    canvas.page.goto("about:blank")

    canvas.until(lambda s: s["note"] == "half a sent")
    canvas.open()


def test_without_a_connection_the_work_waits_in_the_browser_and_is_sent_on_return(canvas: Canvas) -> None:
    context = canvas.page.context
    image = canvas.canvas.get_attribute("data-image")
    context.set_offline(True)
    canvas.draw_square()
    canvas.expect_state("Not saved – retrying")
    canvas.press("b")
    canvas.drag((2500, 1000), (3000, 1000))
    kept = canvas.page.evaluate(f"JSON.parse(localStorage['maskwright.unsent.{image}']).annotations.length")
    assert kept == 2

    context.set_offline(False)

    canvas.until(lambda s: len(objects(s)) == 2)
    canvas.expect_state("Saved")
    assert canvas.page.evaluate(f"localStorage['maskwright.unsent.{image}'] ?? null") is None


def test_a_page_closed_in_mid_stroke_keeps_all_but_that_stroke(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("b")
    start, end = canvas.places((2500, 1000), (3000, 1000))
    canvas.page.mouse.move(*start)
    canvas.page.mouse.down()
    canvas.page.mouse.move(*end, steps=4)

    canvas.page.goto("about:blank")

    canvas.page.mouse.up()
    canvas.until(lambda s: len(objects(s)) == 1)
    canvas.open()
    expect(canvas.page.get_by_test_id("object")).to_have_count(1)


def begin_conflict(canvas: Canvas) -> None:
    """Both start from a square; Anna gives it another class and adds a stroke; I add a polygon."""
    canvas.draw_square()
    square = objects(canvas.until(lambda s: s["rev"] == 1))[0]
    canvas.tell(do="other", image="one", annotations=[{**square, "category_id": 3}, brush(3000, "hers")])
    canvas.click((2500, 500), (3200, 500), (3200, 900))
    canvas.press("Enter")
    expect(canvas.page.get_by_test_id("banner")).to_contain_text("Anna saved this photo")


def test_the_second_saver_reads_and_sees_what_changed_and_keeps_both(canvas: Canvas) -> None:
    begin_conflict(canvas)
    told = canvas.page.get_by_test_id("changes").locator("li")
    expect(told).to_have_text(["Anna added: Scratch", "Anna changed: Cracked glass", "You added: Dent"])
    assert canvas.paint(3000, 2000) == 0

    canvas.page.get_by_test_id("look-at-theirs").click()
    assert canvas.paint(3000, 2000) > 60 and canvas.paint(3100, 600) == 0
    canvas.canvas.focus()
    canvas.press("Delete", "b")
    canvas.drag((1000, 2500), (1500, 2500))  # looking is not drawing
    canvas.press("f")
    canvas.page.get_by_test_id("look-at-both").click()
    assert canvas.paint(3000, 2000) > 60 and canvas.paint(3100, 600) > 60
    canvas.page.get_by_test_id("keep-both").click()

    saved = canvas.until(lambda s: s["rev"] == 3)
    assert sorted(o["category_id"] for o in objects(saved)) == [1, 2, 3]
    canvas.expect_state("Saved")
    expect(canvas.page.get_by_test_id("banner")).to_be_hidden()
    assert canvas.saved()["rev"] == 3


def test_looking_at_theirs_and_keeping_mine_sends_mine(canvas: Canvas) -> None:
    begin_conflict(canvas)
    canvas.page.get_by_role("button", name="Anna added: Scratch").click()
    expect(canvas.page.get_by_test_id("look-at-theirs")).to_have_attribute("aria-pressed", "true")

    canvas.page.get_by_test_id("keep-mine").click()

    saved = canvas.until(lambda s: s["rev"] == 3)
    assert [o["category_id"] for o in objects(saved)] == [1, 1]
    assert canvas.paint(3000, 2000) == 0 and canvas.paint(3100, 600) > 60


def test_unsent_work_of_an_earlier_visit_is_compared_with_what_was_saved_since(canvas: Canvas) -> None:
    canvas.tell(do="down")
    canvas.draw_square()
    canvas.expect_state("retrying")
    canvas.page.goto("about:blank")
    canvas.tell(do="up")
    canvas.tell(do="other", image="one", annotations=[brush(3000, "hers")])
    canvas.open()
    expect(canvas.page.get_by_test_id("changes").locator("li")).to_have_text(
        ["Only in yours: Dent", "Missing in yours: Scratch"]
    )
    canvas.page.get_by_test_id("look-at-mine").click()
    assert canvas.paint(1200, 1200) > 60 and canvas.paint(3000, 2000) == 0

    canvas.page.get_by_test_id("keep-both").click()

    canvas.until(lambda s: len(objects(s)) == 2 and s["rev"] == 2)
    canvas.expect_state("Saved")


def test_every_control_of_the_side_panels_has_a_name(canvas: Canvas) -> None:
    controls = canvas.page.get_by_test_id("labeler").locator(
        "button, input, textarea, select, canvas[tabindex]"
    )
    names = controls.evaluate_all(
        "all => all.map(e => [e.outerHTML.slice(0, 90), e.ariaLabel || e.textContent.trim() || e.title])"
    )
    assert [html for html, name in names if not name] == []


def phone(browser: Browser, server: str) -> Iterator[Canvas]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    context.set_default_timeout(patience.MILLISECONDS)
    canvas = Canvas(context.new_page(), server)
    canvas.tell(do="reset")
    canvas.open()
    yield canvas
    context.close()


def is_in_reach(page: Page, testid: str) -> bool:
    """Whether a finger that aims at a control's middle hits it, without scrolling."""
    return page.get_by_test_id(testid).evaluate(
        "e => { const b = e.getBoundingClientRect();"
        " const hit = e.getRootNode().elementFromPoint(b.left + b.width / 2, b.top + b.height / 2);"
        " return e.contains(hit) && b.height >= 30 && b.right <= innerWidth; }"
    )


@pytest.fixture
def small(browser: Browser, server: str) -> Iterator[Canvas]:
    yield from phone(browser, server)


def test_on_a_phone_states_notes_and_light_are_a_tap_away(small: Canvas) -> None:
    page = small.page
    for testid in (
        "image-state",
        "undo",
        "redo",
        "toggle-objects",
        "look",
        "fit",
        "done-next",
        "tool-polygon",
    ):
        assert is_in_reach(page, testid), testid
    page.get_by_test_id("look").tap()
    assert is_in_reach(page, "look-local") and is_in_reach(page, "look-fill")
    page.get_by_test_id("look").tap()
    page.get_by_test_id("toggle-objects").tap()
    page.get_by_test_id("photo-note").tap()
    page.keyboard.type("from the phone")
    page.get_by_test_id("toggle-objects").tap()
    small.until(lambda s: s["note"] == "from the phone")

    page.get_by_test_id("image-state").tap()
    page.get_by_test_id("state-reject").tap()
    page.get_by_test_id("reject").tap()

    eventually(lambda: small.saved("one")["state"], lambda state: state == "rejected")


def test_on_a_phone_a_finger_on_the_overview_moves_the_view(small: Canvas) -> None:
    zoom_in(small)
    overview = small.page.get_by_test_id("minimap")
    box = overview.bounding_box()
    stage = small.canvas.bounding_box()
    assert box and stage

    small.page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])

    x, y = small.image(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    assert (x, y) == pytest.approx((1000, 2250), abs=80)
    assert objects(small.saved()) == []


def test_on_a_phone_both_ways_out_of_a_conflict_can_be_seen(small: Canvas) -> None:
    small.page.get_by_test_id("tool-polygon").tap()
    small.tell(do="other", image="one", annotations=[brush(3000 + 9 * i, f"hers{i}") for i in range(12)])
    for place in small.places(*SQUARE):
        small.page.touchscreen.tap(*place)
    small.page.get_by_test_id("draft-finish").tap()
    expect(small.page.get_by_test_id("changes")).to_contain_text("and 7 more")

    for testid in ("look-at-theirs", "keep-both", "keep-mine", "take-theirs"):
        assert is_in_reach(small.page, testid), testid
