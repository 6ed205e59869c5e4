"""The label canvas in a real browser: mouse, keyboard, touch, and a server that fails on demand."""

import numpy as np
import pytest
from playwright.sync_api import Browser, Route, expect
from pycocotools.mask import encode as encode_mask

from tests.browser import patience
from tests.browser.labeler_driver import SQUARE, Canvas, near, objects

pytestmark = pytest.mark.browser


def test_a_polygon_is_on_the_server_as_soon_as_it_is_closed(canvas: Canvas) -> None:
    canvas.press("p")
    canvas.click(*SQUARE, SQUARE[0])

    saved = canvas.until(lambda s: len(objects(s)) == 1)
    made = objects(saved)[0]
    assert saved["state"] == "in_progress"
    assert (made["category_id"], made["source"], made["author"]) == (1, "drawn", "me")
    assert [op["kind"] for op in made["ops"]] == ["polygon"]
    assert all(near(p, *q) for p, q in zip(made["ops"][0]["points"], SQUARE, strict=True))
    assert all(round(v, 1) == v for p in made["ops"][0]["points"] for v in p)
    canvas.expect_state("Saved")


def test_a_polygon_closes_by_double_click_and_forgets_its_last_corner_by_backspace(canvas: Canvas) -> None:
    canvas.click(*SQUARE[:3], (3000, 400))
    canvas.press("Backspace")
    canvas.double_click(*SQUARE[3])

    points = objects(canvas.until(lambda s: len(objects(s)) == 1))[0]["ops"][0]["points"]
    assert len(points) == 4


def test_quick_clicks_far_apart_are_corners_and_a_dot_is_no_object(canvas: Canvas) -> None:
    canvas.click((800, 800), (801, 800), (1500, 900))
    canvas.press("Escape")
    canvas.press("f")
    for _ in range(14):
        canvas.page.mouse.move(*canvas.screen(1000, 1000))
        canvas.page.mouse.wheel(0, -200)
    canvas.click((1000, 1000), (1001.5, 1000), (1001.5, 1001.5))
    canvas.press("Enter")

    canvas.expect_hint("Too small")
    canvas.expect_state("No changes")
    assert canvas.saved()["rev"] == 0


def test_no_other_tool_takes_the_place_of_a_polygon_under_way(canvas: Canvas) -> None:
    canvas.click(*SQUARE[:3])
    canvas.press("b")
    canvas.expect_hint("Finish the polygon first")
    canvas.page.get_by_test_id("tool-rectangle").click()
    canvas.press("Enter")
    made = objects(canvas.until(lambda s: len(objects(s)) == 1))[0]
    assert len(made["ops"][0]["points"]) == 3

    canvas.click((3000, 400))  # a single corner is no work
    canvas.press("b", "Enter")
    canvas.drag((3000, 400), (3300, 400))
    saved = canvas.until(lambda s: len(objects(s)) == 2)
    assert objects(saved)[1]["ops"][0]["kind"] == "brush"


def test_dragging_with_the_polygon_tool_traces_a_simplified_outline(canvas: Canvas) -> None:
    canvas.drag((1000, 1000), (1800, 1000), (1800, 1700), (1000, 1700), (1000, 1020), steps=25)

    points = objects(canvas.until(lambda s: len(objects(s)) == 1))[0]["ops"][0]["points"]
    assert 4 <= len(points) <= 12


def test_brush_strokes_add_to_the_selected_object_and_the_eraser_takes_away(canvas: Canvas) -> None:
    canvas.press("b", "2")
    canvas.drag((1000, 1000), (2000, 1000))
    canvas.drag((1000, 1200), (2000, 1200))
    canvas.press("e")
    canvas.drag((1500, 900), (1500, 1300))
    canvas.press("b", "Enter")
    canvas.drag((500, 500), (600, 500))

    saved = canvas.until(lambda s: len(objects(s)) == 2)
    first, second = objects(saved)
    assert [(op["kind"], op["subtract"]) for op in first["ops"]] == [
        ("brush", False),
        ("brush", False),
        ("brush", True),
    ]
    assert first["category_id"] == second["category_id"] == 2
    assert first["ops"][0]["radius"] > 1


def test_erasing_everything_removes_the_object(canvas: Canvas) -> None:
    canvas.press("b")
    canvas.drag((1000, 1000), (1100, 1000))
    canvas.press("]", "]", "]", "e")
    canvas.drag((980, 1000), (1120, 1000))

    canvas.until(lambda s: s["rev"] == 2 and objects(s) == [])
    canvas.expect_hint("erased")


def test_a_hole_is_cut_into_the_object_under_it(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("s")
    canvas.click((1000, 1000), (1300, 1000), (1300, 1300), (1000, 1300))
    canvas.press("Enter")

    made = objects(canvas.until(lambda s: s["rev"] == 2))[0]
    assert [op["subtract"] for op in made["ops"]] == [False, True]


def test_an_imported_mask_is_shown_and_the_eraser_takes_from_it(canvas: Canvas) -> None:
    mask = np.zeros((3000, 4000), np.uint8)
    mask[1000:2000, 1000:2500] = 1
    counts = encode_mask(np.asfortranarray(mask))["counts"].decode()
    op = {"kind": "rle", "size": [3000, 4000], "counts": counts, "subtract": False}
    imported = {"id": "mask", "category_id": 2, "ops": [op], "source": "imported", "author": ""}
    canvas.tell(do="other", image="one", annotations=[imported])
    canvas.page.get_by_role("button", name="Start afresh").click()
    expect(canvas.page.get_by_test_id("object")).to_have_count(1)
    canvas.canvas.focus()
    canvas.press("e")

    canvas.drag((1500, 1500), (2000, 1500))

    ops = objects(canvas.until(lambda s: s["rev"] == 2))[0]["ops"]
    assert [(o["kind"], o["subtract"]) for o in ops] == [("rle", False), ("brush", True)]
    assert canvas.paint(1200, 1200) > 60
    assert canvas.paint(1700, 1500) == canvas.paint(900, 900) == 0


def test_corners_are_dragged_inserted_and_deleted(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("v")
    canvas.drag((1600, 1600), (2000, 1900))
    points = objects(canvas.until(lambda s: s["rev"] == 2))[0]["ops"][0]["points"]
    assert near(points[2], 2000, 1900)

    canvas.click((1200, 800))
    points = objects(canvas.until(lambda s: s["rev"] == 3))[0]["ops"][0]["points"]
    assert len(points) == 5 and near(points[1], 1200, 800)

    canvas.click((1200, 800), modifier="Alt")
    points = objects(canvas.until(lambda s: s["rev"] == 4))[0]["ops"][0]["points"]
    assert len(points) == 4


def test_an_object_is_selected_moved_and_deleted(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("v", "Escape")
    canvas.drag((1200, 1200), (1700, 1300))
    points = objects(canvas.until(lambda s: s["rev"] == 2))[0]["ops"][0]["points"]
    assert near(points[0], 1300, 900, reach=14)

    canvas.press("Delete")
    canvas.until(lambda s: s["rev"] == 3 and objects(s) == [])


def test_undo_and_redo_go_stroke_by_stroke_and_are_saved(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.press("b", "2")
    canvas.drag((2500, 1000), (3000, 1000))
    canvas.drag((2500, 1200), (3000, 1200))
    canvas.until(lambda s: [len(o["ops"]) for o in objects(s)] == [1, 2])

    canvas.press("Control+z")
    canvas.until(lambda s: [len(o["ops"]) for o in objects(s)] == [1, 1])
    canvas.press("Control+z", "Control+z")
    canvas.until(lambda s: objects(s) == [])
    expect(canvas.page.get_by_test_id("undo")).to_be_disabled()
    canvas.press("Control+Shift+z", "Control+y")
    canvas.page.get_by_test_id("redo").click()
    canvas.until(lambda s: [len(o["ops"]) for o in objects(s)] == [1, 2])


def test_a_number_key_chooses_the_category_and_changes_that_of_the_selected_object(canvas: Canvas) -> None:
    canvas.press("3")
    canvas.draw_square()
    assert objects(canvas.until(lambda s: s["rev"] == 1))[0]["category_id"] == 3

    canvas.press("v", "2")

    assert objects(canvas.until(lambda s: s["rev"] == 2))[0]["category_id"] == 2
    expect(canvas.page.get_by_test_id("category-2")).to_have_attribute("aria-checked", "true")


def test_zooming_keeps_the_image_point_under_the_cursor(canvas: Canvas) -> None:
    x, y = (round(value) for value in canvas.screen(2500, 1000))  # wheel events come on whole pixels
    point = canvas.image(x, y)
    canvas.page.mouse.move(x, y)
    scale = canvas.scale()

    for _ in range(8):
        canvas.page.mouse.wheel(0, -200)

    assert canvas.scale() > 5 * scale
    assert canvas.image(x, y) == pytest.approx(point, abs=0.01)


def test_space_drag_pans_and_f_shows_the_whole_photo_again(canvas: Canvas) -> None:
    before = canvas.screen(0, 0)
    canvas.page.keyboard.down(" ")
    canvas.drag((1000, 1000), (1400, 1300))
    canvas.page.keyboard.up(" ")
    assert canvas.screen(0, 0)[0] > before[0] + 20
    canvas.expect_state("No changes")
    assert canvas.saved()["rev"] == 0

    canvas.press("f")

    assert canvas.screen(0, 0) == pytest.approx(before, abs=0.01)


def test_a_server_that_comes_back_gets_what_was_drawn_meanwhile(canvas: Canvas) -> None:
    canvas.tell(do="down")
    canvas.draw_square()
    canvas.expect_state("Not saved – retrying")
    canvas.press("b")
    canvas.drag((2500, 1000), (3000, 1000))
    canvas.tell(do="up")

    canvas.until(lambda s: len(objects(s)) == 2)
    canvas.expect_state("Saved")


def test_unsent_changes_survive_the_page(canvas: Canvas) -> None:
    canvas.tell(do="down")
    canvas.draw_square()
    canvas.expect_state("retrying")
    canvas.page.goto("about:blank")
    canvas.tell(do="up")

    canvas.open()

    canvas.until(lambda s: len(objects(s)) == 1)


@pytest.mark.parametrize(("button", "expected"), [("keep-mine", "polygon"), ("take-theirs", "brush")])
def test_when_somebody_else_saved_first_the_user_decides(canvas: Canvas, button: str, expected: str) -> None:
    op = {"kind": "brush", "points": [[3000, 2000]], "radius": 90, "subtract": False}
    hers = {"id": "hers", "category_id": 2, "ops": [op], "source": "drawn", "author": "Anna"}
    canvas.tell(do="other", image="one", annotations=[hers])
    canvas.draw_square()
    expect(canvas.page.get_by_test_id("banner")).to_contain_text("Anna saved this photo")
    canvas.expect_state("changed elsewhere")

    canvas.page.get_by_test_id(button).click()

    saved = canvas.until(lambda s: [o["ops"][0]["kind"] for o in objects(s)] == [expected])
    assert saved["rev"] == (2 if button == "keep-mine" else 1)
    canvas.expect_state("Saved")
    expect(canvas.page.get_by_test_id("object")).to_have_count(1)


def test_a_save_whose_answer_was_lost_is_nobody_elses(canvas: Canvas) -> None:
    def lose_the_answer(route: Route) -> None:
        route.fetch(timeout=patience.MILLISECONDS)
        canvas.tell(do="down")  # so that it stays lost until more was drawn
        route.abort()

    canvas.page.route("**/labels/*", lose_the_answer, times=1)
    canvas.draw_square()
    canvas.expect_state("retrying")
    canvas.press("b")
    canvas.drag((2500, 1000), (3000, 1000))
    canvas.tell(do="up")

    saved = canvas.until(lambda s: len(objects(s)) == 2)
    canvas.expect_state("Saved")
    assert saved["rev"] == 2
    expect(canvas.page.get_by_test_id("banner")).to_be_hidden()
    expect(canvas.page.get_by_test_id("object")).to_have_count(2)


@pytest.mark.parametrize("way", ["leave-next", "d"])
def test_a_photo_deleted_meanwhile_says_so_and_lets_go(canvas: Canvas, way: str) -> None:
    canvas.tell(do="refuse", status=404)
    image = canvas.canvas.get_attribute("data-image")
    canvas.draw_square()
    banner = canvas.page.get_by_test_id("banner")
    expect(banner).to_contain_text("What you draw on it cannot be saved")
    canvas.expect_state("Not saved")

    if way == "d":
        canvas.press("d")
    else:
        canvas.page.get_by_test_id(way).click()

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    expect(banner).to_be_hidden()
    assert canvas.tell(do="look")["events"] == [{"to": "next", "image_id": "one", "rev": 0}]
    assert f"maskwright.unsent.{image}" in canvas.page.evaluate("Object.keys(localStorage)")


def test_whoever_hears_only_on_leaving_that_the_photo_is_gone_stays_to_read_it(canvas: Canvas) -> None:
    canvas.tell(do="refuse", status=404)
    canvas.press("d")
    expect(canvas.page.get_by_test_id("banner")).to_contain_text("cannot be saved")
    assert canvas.navigations() == []

    canvas.press("ArrowRight")

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")


def test_a_refused_change_is_left_behind_only_when_the_user_says_so(canvas: Canvas) -> None:
    canvas.tell(do="refuse", status=422)
    image = canvas.canvas.get_attribute("data-image")
    canvas.draw_square()
    canvas.expect_state("Not saved")
    canvas.expect_hint("Nothing can be saved here.")
    canvas.press("ArrowRight")
    banner = canvas.page.get_by_test_id("banner")
    expect(banner).to_contain_text("Go on without it?")
    canvas.page.get_by_test_id("stay").click()
    expect(banner).to_be_hidden()
    expect(canvas.page.get_by_test_id("object")).to_have_count(1)
    assert canvas.navigations() == []

    canvas.press("ArrowRight")
    canvas.page.get_by_test_id("go-on").click()

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    assert canvas.tell(do="look")["events"] == [{"to": "next", "image_id": "one", "rev": 0}]
    assert f"maskwright.unsent.{image}" not in canvas.page.evaluate("Object.keys(localStorage)")


def test_a_change_that_the_server_takes_settles_the_question(canvas: Canvas) -> None:
    canvas.tell(do="refuse", status=413)
    canvas.draw_square()
    canvas.press("ArrowRight")
    banner = canvas.page.get_by_test_id("banner")
    expect(banner).to_be_visible()
    canvas.tell(do="refuse", status=None)

    canvas.press("b")
    canvas.drag((2500, 1000), (3000, 1000))

    canvas.until(lambda s: len(objects(s)) == 2)
    expect(banner).to_be_hidden()


def test_an_expired_link_says_so_and_keeps_the_work(canvas: Canvas) -> None:
    canvas.tell(do="expire")
    canvas.draw_square()

    canvas.expect_state("link expired")
    kept = canvas.page.evaluate("Object.keys(localStorage)")
    assert f"maskwright.unsent.{canvas.canvas.get_attribute('data-image')}" in kept


def test_the_next_photo_comes_only_after_the_last_change_is_saved(canvas: Canvas) -> None:
    canvas.tell(do="down")
    canvas.draw_square()
    canvas.expect_state("retrying")
    canvas.press("d")
    assert canvas.navigations() == []

    canvas.tell(do="up")

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    saved = canvas.saved("one")
    assert (saved["state"], len(objects(saved))) == ("done", 1)
    assert canvas.tell(do="look")["events"] == [{"to": "done_next", "image_id": "one", "rev": saved["rev"]}]
    canvas.wait_for_photo()
    canvas.press("ArrowLeft")
    expect(canvas.page.get_by_test_id("position")).to_have_text("1 / 3")
    expect(canvas.page.get_by_test_id("image-state")).to_have_text("Done")
    expect(canvas.page.get_by_test_id("object")).to_have_count(1)


def test_no_damage_saves_an_explicit_empty_label(canvas: Canvas) -> None:
    canvas.page.get_by_test_id("no-damage").click()

    expect(canvas.page.get_by_test_id("position")).to_have_text("2 / 3")
    saved = canvas.saved("one")
    assert (saved["state"], saved["annotations"], saved["rev"]) == ("done", [], 1)
    canvas.wait_for_photo()
    canvas.draw_square()
    canvas.until(lambda s: len(objects(s)) == 1, "two")
    expect(canvas.page.get_by_test_id("no-damage")).to_be_hidden()


def test_drawing_reruns_no_script_and_streamlits_own_keys_stay_silent(canvas: Canvas) -> None:
    before = len(canvas.messages)
    assert before > 0  # they are heard

    canvas.draw_square()
    canvas.press("r", "c")
    canvas.until(lambda s: s["rev"] == 1)
    canvas.page.wait_for_timeout(400)  # for a dialog to come up

    assert len(canvas.messages) == before
    expect(canvas.page.get_by_text("Clear caches")).to_have_count(0)


def test_coming_from_the_first_page_and_going_back_keeps_the_labels(canvas: Canvas) -> None:
    canvas.draw_square()
    canvas.until(lambda s: s["rev"] == 1)
    canvas.open("/label")
    canvas.page.get_by_role("link", name="Home").first.click()
    expect(canvas.page.get_by_role("heading", name="Home")).to_be_visible()

    canvas.page.get_by_role("link", name="To the canvas").click()
    canvas.wait_for_photo()

    expect(canvas.page.get_by_test_id("object")).to_have_count(1)
    expect(canvas.page.get_by_test_id("labeler")).to_have_count(1)


def test_every_control_has_a_name_and_help_lists_the_keys(canvas: Canvas) -> None:
    canvas.press("?")
    expect(canvas.page.get_by_test_id("help-panel")).to_be_visible()
    canvas.press("Escape")
    expect(canvas.page.get_by_test_id("help-panel")).to_be_hidden()

    buttons = canvas.page.get_by_test_id("labeler").locator("button, input")
    named = "(all) => all.map((e) => e.ariaLabel || e.textContent.trim() || e.title)"
    names = buttons.evaluate_all(named)
    assert names and all(names)
    expect(canvas.page.get_by_test_id("tool-polygon")).to_have_attribute("aria-pressed", "true")


def test_on_a_phone_one_finger_draws_and_two_fingers_zoom(browser: Browser, server: str) -> None:
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, is_mobile=True, device_scale_factor=2)
    context.set_default_timeout(patience.MILLISECONDS)
    phone = Canvas(context.new_page(), server)
    phone.tell(do="reset")
    phone.open()
    phone.page.get_by_test_id("tool-brush").tap()
    session = context.new_cdp_session(phone.page)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    start, end = phone.places((1000, 1000), (2000, 1500))
    touch("touchStart", start)
    for step in range(1, 6):
        touch("touchMove", tuple(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
    touch("touchEnd")
    saved = phone.until(lambda s: len(objects(s)) == 1)
    stroke = objects(saved)[0]["ops"][0]
    assert near(stroke["points"][0], 1000, 1000, 12) and near(stroke["points"][-1], 2000, 1500, 12)

    scale = phone.scale()
    x, y = phone.screen(2000, 1500)
    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for spread in (40, 60, 90):
        touch("touchMove", (x - spread, y), (x + spread, y))
    touch("touchEnd")

    assert phone.scale() == pytest.approx(3 * scale, rel=0.02)
    assert phone.screen(2000, 1500) == pytest.approx((x, y), abs=1.5)
    phone.expect_state("Saved")
    assert phone.saved()["rev"] == saved["rev"]
    sizes = phone.page.locator(".tools button").evaluate_all("(all) => all.map((e) => e.offsetHeight)")
    assert min(size for size in sizes if size) >= 40
    context.close()


def test_each_closed_polygon_is_on_the_server_before_the_next_one(canvas: Canvas) -> None:
    image = canvas.canvas.get_attribute("data-image")
    for index in range(10):
        y = 250 + 250 * index
        canvas.press("p")
        canvas.click((600, y), (900, y), (900, y + 150))
        with canvas.page.expect_response(f"**/labels/{image}") as answer:
            canvas.press("Enter")

        assert answer.value.ok
        assert len(objects(canvas.saved())) == index + 1
