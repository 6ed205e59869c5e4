"""The drawing tools of the label canvas with real mouse, keyboard and touch events."""

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Error, expect

from core.domain.labels import annotation_from_json
from core.imaging.masks import Mask, encode_rle, rasterise
from tests.browser import patience
from tests.browser.labeler_desk import Desk, square
from tests.browser.labeler_driver import near, objects

pytestmark = pytest.mark.browser

# How strongly the top layer, that of tools and of the object pointed at, is painted at an image point.
TOP_ALPHA = """(canvas, [x, y]) => {
  const { scale, offsetX, offsetY } = canvas.dataset;
  const ratio = canvas.width / canvas.getBoundingClientRect().width;
  const [left, top] = [Number(offsetX) + x * scale, Number(offsetY) + y * scale];
  return canvas.getContext('2d').getImageData(left * ratio, top * ratio, 1, 1).data[3];
}"""

# What the canvas's own rasteriser, merge, split and cut make of each case.
COMPUTE = """async cases => {
  const [raster, combine, split] = await Promise.all(
    ['raster', 'combine', 'split'].map(name => import(`/assets/x/${name}.js`)));
  return cases.map(({ lists, line, size }) => ({
    code: raster.rleOp(raster.maskOf(lists[0], size), size).counts,
    merged: combine.mergedOps(lists.map(ops => ({ ops })), size),
    parts: split.splitOps(lists[0], line, size),
    rest: combine.cutUnder([{ ops: lists[1] }], lists[0], size, () => true).annotations,
  }));
}"""

NAMELESS = """root => [...root.querySelectorAll('button, input, textarea, select')]
  .filter(each => ![each.getAttribute('aria-label'), each.textContent, each.labels?.[0]?.textContent]
    .some(name => name?.trim()))
  .map(each => each.outerHTML)"""


def _desk(browser: Browser, *, is_phone: bool = False) -> Iterator[Desk]:
    size = {"width": 390, "height": 844} if is_phone else {"width": 1280, "height": 800}
    context = browser.new_context(viewport=size, has_touch=is_phone, is_mobile=is_phone)
    context.set_default_timeout(patience.MILLISECONDS)
    errors: list[Error] = []

    def note(error: Error) -> None:
        errors.append(error)

    page = context.new_page()
    page.on("pageerror", note)
    yield Desk(page)
    context.close()
    assert errors == []


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    yield from _desk(browser)


@pytest.fixture
def phone(browser: Browser) -> Iterator[Desk]:
    yield from _desk(browser, is_phone=True)


def mask_of(annotation: dict[str, object], desk: Desk) -> Mask:
    return rasterise(annotation_from_json(annotation).ops, (desk.size_wh[1], desk.size_wh[0]))


def names(desk: Desk) -> list[str]:
    return [each["id"] for each in objects(desk.saved())]


def _random_ops(rng: np.random.Generator, size_wh: tuple[int, int]) -> list[dict[str, object]]:
    ops: list[dict[str, object]] = []
    for number in range(rng.integers(1, 5)):
        middle, reach = rng.uniform((0, 0), size_wh), rng.uniform(5, 30)
        points = np.round(middle + rng.uniform(-reach, reach, (rng.integers(3, 8), 2)), 1).tolist()
        is_subtract = bool(number > 0 and rng.random() < 0.5)
        ops.append({"kind": "polygon", "points": points, "subtract": is_subtract})
    return ops


def _mask(ops: list[dict[str, object]], size_wh: tuple[int, int]) -> Mask:
    annotation = annotation_from_json({"id": "a", "category_id": 1, "ops": ops})
    return rasterise(annotation.ops, (size_wh[1], size_wh[0]))


def test_the_canvas_computes_with_the_pixels_of_the_server(desk: Desk) -> None:
    rng = np.random.default_rng(11)
    sizes = [(int(w), int(h)) for w, h in rng.integers(20, 90, (80, 2))]
    cases = [
        {
            "lists": [_random_ops(rng, size_wh) for _ in range(3)],
            "line": np.round(rng.uniform(-5, (size_wh[0] + 5, size_wh[1] + 5), (2, 2)), 1).tolist(),
            "size": {"width": size_wh[0], "height": size_wh[1]},
        }
        for size_wh in sizes
    ]
    desk.lay()

    answers = desk.page.evaluate(COMPUTE, cases)

    split = 0
    for case, answer, size_wh in zip(cases, answers, sizes, strict=True):
        masks = [_mask(ops, size_wh) for ops in case["lists"]]
        assert answer["code"] == encode_rle(masks[0])
        assert (_mask(answer["merged"], size_wh) == np.any(masks, axis=0)).all()
        rest = [_mask(each["ops"], size_wh) for each in answer["rest"]]
        assert (np.any(rest, axis=0) == (masks[1] & ~masks[0])).all()
        if answer["parts"]:
            split += 1
            parts = [_mask(ops, size_wh) for ops in answer["parts"]]
            assert (np.sum(parts, axis=0) == masks[0]).all()
            assert all(part.any() for part in parts)
    assert split > 10


def test_a_rectangle_is_dragged_or_clicked_and_shift_makes_it_square(desk: Desk) -> None:
    desk.lay()
    desk.press("r")
    desk.drag((500, 500), (1500, 900))
    desk.click((2000, 500), (2600, 700))
    desk.page.keyboard.down("Shift")
    desk.drag((2000, 1500), (2900, 1900))
    desk.page.keyboard.up("Shift")
    desk.click((100, 100))
    desk.press("Escape")
    desk.click((200, 100))
    desk.press("Enter")

    made = objects(desk.until(lambda s: s["rev"] == 3))
    boxes = [(op["points"][0], op["points"][2]) for o in made for op in o["ops"]]
    assert [op["kind"] for o in made for op in o["ops"]] == ["polygon"] * 3
    assert near(boxes[0][0], 500, 500) and near(boxes[0][1], 1500, 900)
    assert near(boxes[1][0], 2000, 500) and near(boxes[1][1], 2600, 700)
    assert near(boxes[2][0], 2000, 1500) and near(boxes[2][1], 2400, 1900)
    desk.expect_hint("Too small")


def test_objects_chosen_by_shift_clicks_are_merged_unless_their_classes_differ(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 400), square("b", 800, 800, 400), square("c", 2000, 500, 400, 2))
    desk.press("v")
    desk.click((600, 600), (2100, 600), modifier="Shift")
    desk.press("m")
    desk.expect_hint("one class")
    desk.click((2100, 600), (1100, 1100), modifier="Shift")
    expect(desk.page.get_by_test_id("selection-count")).to_have_text("2 objects")
    before = [mask_of(each, desk) for each in objects(desk.saved())[:2]]

    desk.press("m")

    desk.until(lambda s: s["rev"] == 1)
    assert names(desk) == ["b", "c"]
    assert (mask_of(objects(desk.saved())[0], desk) == (before[0] | before[1])).all()
    desk.press("Control+z")
    desk.until(lambda s: len(objects(s)) == 3)


def test_a_box_chooses_several_that_change_class_and_go_together(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 300), square("b", 1000, 500, 300), square("c", 2500, 2000, 300))
    desk.press("v")
    desk.page.keyboard.down("Shift")
    desk.drag((400, 400), (1400, 900))
    desk.page.keyboard.up("Shift")

    desk.press("2")
    saved = desk.until(lambda s: s["rev"] == 1)
    assert [each["category_id"] for each in objects(saved)] == [2, 2, 1]
    desk.drag((1150, 650), (1150, 850))
    saved = desk.until(lambda s: s["rev"] == 2)
    assert near(objects(saved)[0]["ops"][0]["points"][0], 500, 700, reach=14)
    assert near(objects(saved)[2]["ops"][0]["points"][0], 2500, 2000)
    desk.press("Delete")
    desk.until(lambda s: s["rev"] == 3)
    assert names(desk) == ["c"]


def test_what_is_chosen_is_duplicated_moved_by_keys_and_put_in_order(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 400), square("b", 1500, 500, 400, 2))
    desk.press("v", "ArrowDown", "ArrowDown")
    expect(desk.page.get_by_test_id("selection-count")).to_have_text("1 object")
    desk.press("Shift+ArrowRight", "Shift+Alt+ArrowDown")
    moved = objects(desk.until(lambda s: s["rev"] == 2))[0]
    assert moved["ops"][0]["points"][0] == [501, 510]

    desk.press("Control+ArrowUp")
    desk.until(lambda s: s["rev"] == 3)
    assert names(desk) == ["b", "a"]
    desk.press("Control+d")
    copy = objects(desk.until(lambda s: s["rev"] == 4))[2]
    assert copy["id"] not in ("a", "b") and copy["category_id"] == 1
    assert copy["ops"][0]["points"][0][0] > 510
    expect(desk.page.get_by_test_id("position")).to_have_text("1 / 1")


def test_a_line_splits_an_object_and_its_hole(desk: Desk) -> None:
    ring = square("a", 500, 500, 1000)
    ring["ops"].append({**square("", 800, 800, 400)["ops"][0], "subtract": True})
    desk.lay(ring)
    whole = mask_of(ring, desk)
    desk.press("x")

    desk.drag((1000, 300), (1010, 1700))

    halves = [mask_of(each, desk) for each in objects(desk.until(lambda s: len(objects(s)) == 2))]
    assert not (halves[0] & halves[1]).any()
    assert ((halves[0] | halves[1]) == whole).all()
    assert 0.9 < halves[0].sum() / halves[1].sum() < 1.1
    desk.click((900, 200), (905, 250))
    desk.press("Enter")
    desk.expect_hint("right across the object")


def test_new_objects_cut_what_lies_under_them_when_the_switch_says_so(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 1000), square("b", 2000, 500, 300, 2), square("c", 2000, 1500, 300, 3))
    whole = mask_of(objects(desk.saved())[0], desk)
    desk.page.get_by_test_id("category-lock").nth(2).click()
    desk.press("c", "r")

    desk.drag((1200, 400), (2500, 2000))

    saved = desk.until(lambda s: s["rev"] == 1)
    made = mask_of(objects(saved)[-1], desk)
    assert [each["id"] for each in objects(saved)][:-1] == ["a", "c"]
    assert (mask_of(objects(saved)[0], desk) == (whole & ~made)).all()
    assert len(objects(saved)[1]["ops"]) == 1
    desk.press("b", "2")
    desk.drag((400, 700), (900, 700))
    assert not (mask_of(objects(desk.until(lambda s: s["rev"] == 2))[0], desk)[700, 600:800]).any()
    desk.again()
    expect(desk.page.get_by_test_id("cut-under")).to_have_attribute("aria-pressed", "true")
    desk.press("c", "r")
    desk.drag((500, 1000), (900, 1400))
    assert len(objects(desk.until(lambda s: s["rev"] == 3))[0]["ops"]) == 3


def test_what_is_locked_or_hidden_is_neither_hit_nor_erased(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 1000), square("b", 2000, 500, 1000, 2))
    page = desk.page
    page.get_by_test_id("object-lock").last.click()  # the list is topmost first
    page.get_by_test_id("category-visibility").nth(1).click()

    desk.press("v")
    desk.click((1000, 1000), (2500, 1000))
    expect(page.get_by_test_id("selection")).to_be_hidden()
    desk.press("Control+a", "Delete", "e")
    desk.drag((800, 800), (2800, 800))
    page.get_by_test_id("object-delete").last.click()
    desk.expect_hint("locked")
    assert desk.paint(2500, 1000) == 0 < desk.paint(1000, 1000)
    assert desk.saved()["rev"] == 0

    page.get_by_test_id("object-lock").last.click()
    desk.press("e")
    desk.drag((800, 800), (1200, 800))
    desk.until(lambda s: len(objects(s)[0]["ops"]) == 2)


def test_what_leaves_the_photo_is_clipped_and_what_lies_outside_is_refused(desk: Desk) -> None:
    desk.lay(square("a", 3500, 500, 400))
    desk.press("p")
    desk.click((3800, 2000), (4150, 2000), (4150, 2400), (3800, 2400))
    desk.press("Enter")
    desk.press("v")
    desk.click((3700, 700))
    for _ in range(30):
        desk.press("Shift+Alt+ArrowRight")

    desk.until(lambda s: len(objects(s)) == 2 and objects(s)[0]["ops"][0]["points"][0][0] == 3800)
    moved, made = objects(desk.saved())
    assert max(x for x, _ in made["ops"][0]["points"]) == 4000
    assert max(x for x, _ in moved["ops"][0]["points"]) == 4000
    desk.press("b", "Escape")
    desk.drag((4150, 500), (4160, 1000))
    desk.expect_hint("outside the photo")


def test_the_wheel_with_alt_and_brackets_change_the_brush(desk: Desk) -> None:
    desk.lay()
    desk.press("b")
    size = desk.page.locator(".size output")
    before = size.inner_text()
    desk.press("]")
    expect(size).not_to_have_text(before)
    larger = int(size.inner_text().split()[0])
    scale = desk.scale()
    desk.page.mouse.move(*desk.screen(2000, 1500))
    desk.page.keyboard.down("Alt")
    desk.page.mouse.wheel(0, 100)
    desk.page.keyboard.up("Alt")

    expect(size).not_to_have_text(f"{larger} px")
    assert int(size.inner_text().split()[0]) < larger
    assert desk.scale() == scale


def test_the_list_tells_areas_groups_by_class_and_lights_what_is_pointed_at(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 1000), square("b", 2000, 500, 300, 2), square("c", 2000, 1500, 200))
    rows = desk.page.get_by_test_id("object")
    expect(rows.last).to_contain_text("1,000,000 px · 8.3 %")
    assert [rows.nth(i).get_attribute("data-id") for i in range(3)] == ["c", "b", "a"]

    desk.page.get_by_test_id("group-objects").click()
    expect(desk.page.locator(".group-title")).to_have_count(2)
    assert [rows.nth(i).get_attribute("data-id") for i in range(3)] == ["c", "a", "b"]
    assert desk.canvas.evaluate(TOP_ALPHA, [1000, 1000]) == 0
    rows.nth(1).hover()
    patience.eventually(lambda: desk.canvas.evaluate(TOP_ALPHA, [1000, 1000]), lambda alpha: alpha > 100)


def test_objects_with_a_note_are_marked_and_writing_on_a_suggestion_accepts_it(desk: Desk) -> None:
    desk.lay(
        square("a", 500, 500, 1000, note="deep"),
        square("b", 2000, 500, 300, source="suggested", note="87 % sure"),
    )
    marked = desk.page.get_by_test_id("object-note-mark")
    expect(marked).to_have_count(1)

    desk.press("v")
    desk.click((2150, 650))
    desk.press("k")
    desk.page.keyboard.type("wet paint")
    desk.press("Escape")

    after = desk.until(lambda s: objects(s)[1]["source"] == "drawn")
    assert objects(after)[1]["note"] == "wet paint"
    expect(marked).to_have_count(2)


def test_a_suggestion_is_accepted_by_the_brush_and_by_a_hole(desk: Desk) -> None:
    suggested = [square(name, x, 500, 600, source="suggested") for name, x in (("a", 500), ("b", 2000))]
    desk.lay(*suggested)
    desk.press("v")
    desk.click((800, 800))
    desk.press("b")
    desk.drag((1000, 800), (1300, 800))
    desk.until(lambda s: [each["source"] for each in objects(s)] == ["drawn", "suggested"])
    desk.press("Escape", "s")
    desk.click((2200, 700), (2400, 700), (2300, 900))
    desk.press("Enter")

    after = desk.until(lambda s: [each["source"] for each in objects(s)] == ["drawn", "drawn"])
    assert [len(each["ops"]) for each in objects(after)] == [2, 2]


def test_five_thousand_objects_are_listed_by_a_few_rows_and_can_be_edited(desk: Desk) -> None:
    many = [square(f"o{i}", 40 + 50 * (i % 78), 40 + 44 * (i // 78), 30, 1 + i % 3) for i in range(5000)]
    desk.lay(*many)
    rows = desk.page.get_by_test_id("object")
    assert rows.count() < 60
    desk.page.get_by_test_id("objects").evaluate("list => { list.scrollTop = list.scrollHeight; }")
    expect(desk.page.locator("[data-id=o0]")).to_be_visible()
    assert rows.count() < 60

    desk.press("v")
    desk.click((55, 55))
    desk.press("Delete")

    saved = desk.until(lambda s: s["rev"] == 1)
    assert len(objects(saved)) == 4999 and objects(saved)[0]["id"] == "o1"


@pytest.mark.parametrize("size_wh", [(1, 1), (20_000, 1000)])
def test_the_tiniest_and_the_widest_photo_can_be_labelled(desk: Desk, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    desk.lay(size_wh=size_wh)
    left, top = desk.screen(0, 0)
    right, bottom = desk.screen(width, height)
    assert 70 < right - left < 1280 and 30 < bottom - top < 800

    desk.press("r")
    desk.drag((0.05 * width, 0.05 * height), (0.95 * width, 0.95 * height))
    desk.press("b")
    desk.click((0.5 * width, 0.5 * height))

    saved = desk.until(lambda s: len(objects(s)) == 2)
    assert mask_of(objects(saved)[0], desk).mean() > 0.75
    desk.page.mouse.move(*desk.screen(0.5 * width, 0.5 * height))
    for _ in range(30):
        desk.page.mouse.wheel(0, -240)
    assert desk.scale() >= 40


def test_a_finger_inserts_a_corner_deletes_it_and_chooses_several(phone: Desk) -> None:
    phone.lay(square("a", 500, 500, 1000), square("b", 2200, 500, 1000))
    page = phone.page
    page.get_by_test_id("tool-select").tap()

    def tap(x: float, y: float) -> None:
        page.touchscreen.tap(*phone.screen(x, y))

    tap(1000, 1000)
    tap(1000, 500)
    saved = phone.until(lambda s: s["rev"] == 1)
    assert len(objects(saved)[0]["ops"][0]["points"]) == 5
    page.get_by_test_id("selection-corner").tap()
    phone.until(lambda s: len(objects(s)[0]["ops"][0]["points"]) == 4)
    page.get_by_test_id("selection-several").tap()
    tap(2700, 1000)
    page.get_by_test_id("selection-merge").tap()

    phone.until(lambda s: len(objects(s)) == 1)


def test_every_control_has_a_name_and_every_key_is_listed(desk: Desk) -> None:
    desk.lay(square("a", 500, 500, 1000))
    desk.press("v")
    desk.click((1000, 1000))
    expect(desk.page.get_by_test_id("selection")).to_be_visible()

    assert desk.page.get_by_test_id("labeler").evaluate(NAMELESS) == []
    desk.press("?")
    listed = desk.page.get_by_test_id("help-panel").inner_text()
    for words in ("Rectangle", "Split", "cut others", "Merge", "Duplicate", "painting order", "Lock"):
        assert words in listed
