"""The results viewer in a real browser, on generated photos and label maps."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute, expect

from pages.components.viewer import ViewerEpoch, ViewerImage, ViewerSeries
from pages.components.viewer import viewer as viewer_component
from tests.browser import patience
from tests.browser.patience import eventually, messages_to_script, wait_until_at_rest, wait_until_idle
from tests.browser.served import served

pytestmark = pytest.mark.browser

HARNESS = Path(__file__).with_name("harness_viewer.py")
SIZE_WH = (1024, 768)
EPOCHS = tuple(range(1, 13))
CLASSES = [
    {"index": 1, "name": "Dent", "color": "#E69F00"},
    {"index": 2, "name": "Scratch", "color": "#CC79A7"},
    {"index": 3, "name": "Broken glass", "color": "#56B4E9"},
]
LabelMap = NDArray[np.uint8]

# In one go in the page: between two keys from outside a busy machine may let the epoch stand still.
STEP_ON = """async (viewer, times) => {
  for (let i = 0; i < times; i += 1) {
    viewer.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
    await new Promise(done => setTimeout(done, 20));
  }
}"""


def label_map(shift: float) -> LabelMap:
    """Three regions, displaced by `shift` pixels, on a map of 1024 x 768."""
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    labels = np.zeros(SIZE_WH[::-1], np.uint8)
    wobble = 14 * np.sin(x / 37) + 9 * np.cos(y / 23)
    labels[np.hypot((x - 330 - shift) / 1.5, y - 470 + shift / 2) + wobble < 110] = 1
    labels[abs(y - 300 - (x - 480 - shift) * 0.35 + wobble) < 20 - shift / 14] = 2
    labels[:, : int(280 + shift)] *= labels[:, : int(280 + shift)] != 2
    labels[np.hypot(x - 790 + shift, (y - 300 - shift) * 1.3) + wobble < 88] = 3
    if shift:
        labels[np.hypot(x - 560, y - 560) < shift / 2] = 2
        labels[(labels == 1) & (x > 450 - shift)] = 2
    return labels


COLORS = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const counts = {};
  for (let i = 0; i < data.length; i += 4) {
    const key = [data[i], data[i + 1], data[i + 2]].join();
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}"""
TRUTH = label_map(0)
PREDICTIONS = {epoch: label_map(5 + 110 / epoch) for epoch in EPOCHS}
CONFIDENCE = np.tile(np.linspace(0, 255, SIZE_WH[0]).astype(np.uint8), (SIZE_WH[1], 1))


def photo(seed: int) -> NDArray[np.uint8]:
    """Something like a car's door: two smooth panels, a seam, a handle, a little noise."""
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    light = 150 + 60 * np.sin(y / 190 + x / 900 + seed) - 50 * (abs(x - 620 - y / 9) < 3)
    light += 40 * np.exp(-(((y - 210 - x / 30) / 18) ** 2))
    light -= 60 * ((abs(x - 740) < 70) & (abs(y - 240) < 16))
    rgb = light[..., None] * np.array([(0.55, 0.68, 0.86), (0.85, 0.6, 0.55), (0.62, 0.72, 0.66)][seed])
    return np.clip(rgb + np.random.default_rng(seed).normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three photos (4:3) with truth, confidence and a prediction per epoch."""
    folder = tmp_path_factory.mktemp("viewer")
    images = [
        {"id": f"p{n}", "name": f"claim-20{n}/front-door-{n}.jpg", "width": 2048, "height": 1536}
        for n in range(3)
    ]
    epochs = [
        {"epoch": e, "miou": round(0.8 - 0.7 / e, 3), "dice": round(0.88 - 0.7 / e, 3), "is_best": e == 9}
        for e in EPOCHS
    ]
    epochs[6]["is_champion"] = True
    (folder / "scene.json").write_text(json.dumps({"images": images, "epochs": epochs, "classes": CLASSES}))
    for number in range(3):
        Image.fromarray(photo(number)).resize((2048, 1536)).save(folder / f"p{number}.jpg", quality=85)
        maps = {"truth": TRUTH, "confidence": CONFIDENCE, **PREDICTIONS}
        for name, pixels in maps.items():
            Image.fromarray(pixels, "L").save(folder / f"p{number}-{name}.png", compress_level=1)
    return folder


@pytest.fixture(scope="module")
def url(scene: Path) -> Iterator[str]:
    """The harness app, running."""
    with served(HARNESS, scene / "log.txt", {"VIEWER_DATA": str(scene)}) as url:
        yield url


@pytest.fixture(scope="module")
def desktop(browser: Browser) -> BrowserContext:
    """One for all tests, so that Streamlit's own files come from its cache."""
    return browser.new_context(viewport={"width": 1440, "height": 900})


@pytest.fixture
def page(desktop: BrowserContext) -> Iterator[Page]:
    page = desktop.new_page()
    page.set_default_timeout(patience.MILLISECONDS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    assert faults == []


def opened(page: Page, address: str, *, epoch: int = 1) -> Locator:
    """Open a page and wait until its viewer shows an epoch and everything on it lies still."""
    page.goto(address)
    viewer = page.get_by_test_id("viewer")
    expect(viewer).to_have_attribute("data-epoch-shown", str(epoch))
    wait_until_idle(page)
    wait_until_at_rest(page.locator("[data-testid^=pane-]").first)
    return viewer


def expect_counts(viewer: Locator, counts: dict[str, int]) -> None:
    eventually(lambda: json.loads(viewer.get_attribute("data-counts") or "null"), lambda now: now == counts)


def numpy_counts(truth: LabelMap, found: LabelMap) -> dict[str, int]:
    kinds = {
        "right": (truth > 0) & (truth == found),
        "false_positive": (truth == 0) & (found > 0),
        "false_negative": (truth > 0) & (found == 0),
        "wrong_class": (truth > 0) & (found > 0) & (truth != found),
    }
    return {**{kind: int(mask.sum()) for kind, mask in kinds.items()}, "pixels": truth.size}


def script(page: Page) -> dict[str, int]:
    """What the harness says after its last run: runs, epoch, image."""
    wait_until_idle(page)
    text = page.get_by_text(re.compile(r"^runs=")).inner_text()
    return {name: int(value) for name, value in (part.split("=") for part in text.split())}


def set_range(slider: Locator, value: int) -> None:
    slider.evaluate("(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})) }", value)


def scale(page: Page, pane: str) -> float:
    """Screen pixels per photo pixel on a pane, once it lies still."""
    wait_until_at_rest(page.get_by_test_id(f"pane-{pane}"))
    return float(page.get_by_test_id(f"pane-{pane}").get_attribute("data-scale") or "nan")


def colors(page: Page, pane: str) -> dict[str, int]:
    """How often each colour is on a pane's canvas, once all is drawn."""
    wait_until_at_rest(page.get_by_test_id(f"pane-{pane}"))
    return page.get_by_test_id(f"pane-{pane}").locator("canvas").evaluate(COLORS)


def test_error_counts_are_those_of_numpy_at_every_epoch(page: Page, url: str) -> None:
    viewer = opened(page, url)
    slider = page.get_by_test_id("viewer-epoch-slider")

    for epoch in (1, 4, 12):
        set_range(slider, epoch - 1)
        expect(viewer).to_have_attribute("data-epoch-shown", str(epoch))

        expect_counts(viewer, numpy_counts(TRUTH, PREDICTIONS[epoch]))


def test_class_indices_are_read_exactly(page: Page, url: str, scene: Path) -> None:
    every_index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(every_index, "L").save(scene / "every.png")
    opened(page, url)

    read = page.evaluate(
        """async () => {
          const {LabelMaps} = await import('/assets/x/maps.js');
          return [...(await new LabelMaps().get('/data/every.png')).pixels];
        }"""
    )

    assert read == every_index.ravel().tolist()


@pytest.mark.parametrize("case", ["", "runs"])
def test_a_step_changes_the_picture_without_a_run_of_the_script(page: Page, url: str, case: str) -> None:
    held_back: list[str | bytes] = []
    is_cut = False

    def connect(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: held_back.append(message) if is_cut else server.send(message))

    page.route_web_socket(re.compile("/_stcore/stream"), connect)
    viewer = opened(page, f"{url}/?case={case}")
    runs = script(page)["runs"]
    before = colors(page, "errors")
    is_cut = True

    page.get_by_test_id("viewer-epoch-slider").press("ArrowRight")
    expect(viewer).to_have_attribute("data-epoch-shown", "2")

    assert colors(page, "errors") != before
    expect(page.get_by_test_id("viewer-epoch-label")).to_have_text("Epoch 2 of 12")
    eventually(lambda: page.wait_for_timeout(20) or held_back, bool)  # the step is told, but not heard
    assert script(page)["runs"] == runs


def test_python_hears_once_when_the_epoch_stands_still(page: Page, url: str) -> None:
    sent = messages_to_script(page)
    viewer = opened(page, url)
    runs, before = script(page)["runs"], len(sent)

    viewer.evaluate(STEP_ON, 5)
    page.get_by_text(re.compile(r"epoch=6 ")).wait_for()

    assert script(page) == {"runs": runs + 1, "epoch": 6, "image": 0}
    assert len(sent) == before + 1


def test_the_page_can_choose_the_epoch_after_the_user_did(page: Page, url: str) -> None:
    viewer = opened(page, url)
    set_range(page.get_by_test_id("viewer-epoch-slider"), 7)
    page.get_by_text(re.compile(r"epoch=8 ")).wait_for()

    page.get_by_role("button", name="Pick epoch 2").click()
    expect(viewer).to_have_attribute("data-epoch-shown", "2")
    page.get_by_text(re.compile(r"epoch=2 ")).wait_for()
    set_range(page.get_by_test_id("viewer-epoch-slider"), 7)

    page.get_by_text(re.compile(r"epoch=8 ")).wait_for()
    expect(viewer).to_have_attribute("data-epoch-shown", "8")


def test_zoom_and_pan_are_the_same_in_all_panes(page: Page, url: str) -> None:
    opened(page, url)
    fitted = scale(page, "photo")
    box = page.get_by_test_id("pane-photo").bounding_box()
    assert box
    page.mouse.move(box["x"] + 200, box["y"] + 150)

    page.mouse.wheel(0, -600)
    expect(page.get_by_test_id("pane-photo")).not_to_have_attribute("data-scale", f"{fitted:.4f}")

    zoomed = {scale(page, pane) for pane in ("photo", "truth", "prediction", "errors")}
    assert len(zoomed) == 1
    assert zoomed.pop() > 1.3 * fitted
    page.get_by_test_id("viewer").press("f")
    expect(page.get_by_test_id("pane-errors")).to_have_attribute("data-scale", f"{fitted:.4f}")


def test_the_next_image_keeps_the_zoom_and_the_epoch(page: Page, url: str) -> None:
    viewer = opened(page, url)
    viewer.press("ArrowRight")
    for _ in range(3):
        viewer.press("+")
    expect(viewer).to_have_attribute("data-epoch-shown", "2")
    zoomed = scale(page, "prediction")

    page.get_by_test_id("viewer-next").click()
    expect(viewer).to_have_attribute("data-image-shown", "p1")

    assert scale(page, "prediction") == zoomed
    expect(viewer).to_have_attribute("data-epoch-shown", "2")
    expect(page.get_by_test_id("viewer-previous")).to_be_enabled()
    viewer.press(",")
    expect(viewer).to_have_attribute("data-image-shown", "p0")


def test_who_goes_on_in_the_same_breath_as_to_another_epoch_gets_both(page: Page, url: str) -> None:
    viewer = opened(page, url)

    viewer.press("ArrowRight")
    page.get_by_test_id("viewer-next").click()

    expect(viewer).to_have_attribute("data-image-shown", "p1")
    expect(viewer).to_have_attribute("data-epoch-shown", "2")
    expect(page.get_by_text("epoch=2 image=1")).to_be_visible()


def test_a_hidden_class_leaves_picture_and_counts(page: Page, url: str) -> None:
    viewer = opened(page, url)

    page.get_by_role("button", name="Dent").click()
    expect(page.get_by_role("button", name="Dent")).to_have_attribute("aria-pressed", "false")

    involved = (TRUTH >= 2) | (PREDICTIONS[1] >= 2)
    expect_counts(viewer, numpy_counts(TRUTH * involved, PREDICTIONS[1] * involved))


def test_the_confidence_threshold_turns_unsure_pixels_into_background(page: Page, url: str) -> None:
    viewer = opened(page, url)

    set_range(page.get_by_test_id("viewer-confidence"), 40)

    expect_counts(viewer, numpy_counts(TRUTH, PREDICTIONS[1] * (CONFIDENCE >= 0.4 * 255)))


def test_opacity_one_shows_the_pure_class_colour_and_outline_only_borders(page: Page, url: str) -> None:
    viewer = opened(page, url)
    set_range(page.get_by_test_id("viewer-opacity"), 100)
    orange = "230,159,0"

    filled = colors(page, "truth").get(orange, 0)
    viewer.press("o")
    outlined = colors(page, "truth").get(orange, 0)

    shown = (TRUTH == 1).sum() * (scale(page, "truth") * 2) ** 2
    assert filled == pytest.approx(shown, rel=0.02)
    assert 0 < outlined < filled / 4


def test_streamlits_own_keys_do_not_fire(page: Page, url: str) -> None:
    sent = messages_to_script(page)
    viewer = opened(page, url)
    before = len(sent)
    assert before > 0  # they are heard

    viewer.press("r")
    viewer.press("c")
    page.wait_for_timeout(400)  # for a dialog to come up

    assert len(sent) == before
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_number_key_enlarges_a_pane_and_escape_brings_all_back(page: Page, url: str) -> None:
    viewer = opened(page, url)

    viewer.press("4")
    expect(page.get_by_test_id("pane-photo")).to_have_count(0)
    expect(page.get_by_test_id("pane-errors")).to_be_visible()
    viewer.press("Escape")

    for pane in ("photo", "truth", "prediction", "errors"):
        expect(page.get_by_test_id(f"pane-{pane}")).to_be_visible()


def test_the_divider_shows_two_pictures_in_one_pane(page: Page, url: str) -> None:
    viewer = opened(page, url)
    viewer.press("s")
    divider = page.get_by_test_id("viewer-divider")
    expect(divider).to_be_visible()
    set_range(page.get_by_test_id("viewer-opacity"), 100)
    at_half = sum(colors(page, "swipe").get(color, 0) for color in ("230,159,0", "204,121,167", "86,180,233"))

    box = page.get_by_test_id("pane-swipe").bounding_box()
    assert box
    divider.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()

    assert at_half > 0
    assert "230,159,0" not in colors(page, "swipe")


def test_a_file_that_fails_says_so_and_leaves_the_rest_working(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=broken")

    viewer.press("End")
    expect(viewer).to_have_attribute("data-epoch-shown", "13")

    note = page.get_by_test_id("pane-prediction").get_by_role("status")
    expect(note).to_have_text("Prediction could not be loaded. Reload the page.")
    expect(page.get_by_test_id("pane-truth").get_by_role("status")).to_be_hidden()
    viewer.press("ArrowLeft")
    expect(viewer).to_have_attribute("data-epoch-shown", "12")
    expect(note).to_be_hidden()


def test_without_ground_truth_there_are_photo_and_prediction(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=no_truth")

    expect(page.locator("[data-testid^=pane-]")).to_have_count(2)
    expect(viewer).not_to_have_attribute("data-counts", re.compile(""))


def test_one_epoch_needs_no_slider(page: Page, url: str) -> None:
    opened(page, f"{url}/?case=alone")

    expect(page.get_by_test_id("viewer-epoch-slider")).to_be_hidden()


def test_any_damage_has_no_wrong_class(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=any_damage")

    expect_counts(viewer, numpy_counts((TRUTH > 0).astype(np.uint8), (PREDICTIONS[1] > 0).astype(np.uint8)))


def test_it_works_on_another_page_than_the_first(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/review")

    expect_counts(viewer, numpy_counts(TRUTH, PREDICTIONS[1]))


def test_errors_and_their_counts_are_the_chosen_runs(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=runs")
    expect_counts(viewer, numpy_counts(TRUTH, PREDICTIONS[1]))
    of_a = colors(page, "errors")

    page.get_by_label("Errors of run").select_option("1")

    expect_counts(viewer, numpy_counts(TRUTH, PREDICTIONS[7]))
    assert colors(page, "errors") != of_a
    expect(page.get_by_label("Confidence of run")).to_have_value("1")
    expect(page.get_by_test_id("viewer-run-1")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Epoch 2, best")).to_have_count(0)  # a mark of A
    expect(page.get_by_label("Epoch 3, best")).to_be_visible()


def test_all_runs_follow_the_epoch_each_as_far_as_it_goes(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=four")

    set_range(page.get_by_test_id("viewer-epoch-slider"), 3)
    expect(viewer).to_have_attribute("data-epochs-shown", "4 4 4 4")
    viewer.press("End")
    expect(viewer).to_have_attribute("data-epochs-shown", "12 6 6 6")

    expect(page.get_by_test_id("pane-prediction-1")).to_contain_text("epoch 6")
    page.get_by_text(re.compile(r"epoch=12 ")).wait_for()


def test_with_all_runs_off_only_the_active_run_moves(page: Page, url: str) -> None:
    sent = messages_to_script(page)
    viewer = opened(page, f"{url}/?case=runs")
    before = len(sent)

    page.get_by_label("All runs").uncheck()
    page.get_by_test_id("viewer-run-1").click()
    viewer.press("ArrowRight")
    expect(viewer).to_have_attribute("data-epochs-shown", "1 2")
    page.wait_for_timeout(600)  # Python is told of the main run only, after 400 ms

    assert len(sent) == before
    viewer.press("n")
    viewer.press("End")
    expect(viewer).to_have_attribute("data-epochs-shown", "12 2")
    viewer.press("a")
    expect(viewer).to_have_attribute("data-epochs-shown", "12 6")


def test_the_divider_stands_between_any_two_pictures(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=runs")
    set_range(page.get_by_test_id("viewer-opacity"), 100)
    alone: dict[str, dict[str, int]] = {}
    for key, pane in (("2", "truth"), ("4", "prediction-1")):
        viewer.press(key)
        alone[pane] = colors(page, pane)
    viewer.press("s")
    expect(page.get_by_label("Left of the divider")).to_have_value("prediction")
    expect(page.get_by_label("Right of the divider")).to_have_value("prediction-1")
    divider = page.get_by_test_id("viewer-divider")

    for _ in range(25):
        divider.press("ArrowLeft")
    assert colors(page, "swipe") == alone["prediction-1"]
    page.get_by_label("Left of the divider").select_option("prediction-1")  # A goes to the right
    page.get_by_label("Right of the divider").select_option("truth")

    assert colors(page, "swipe") == alone["truth"]
    for _ in range(50):
        divider.press("ArrowRight")
    assert colors(page, "swipe") == alone["prediction-1"]


def test_the_confidence_map_has_the_palettes_colours_down_to_the_threshold(page: Page, url: str) -> None:
    viewer = opened(page, url)
    expect(page.get_by_test_id("pane-confidence")).to_have_count(0)
    viewer.press("5")
    set_range(page.get_by_test_id("viewer-opacity"), 100)
    anchors = np.array([(253, 231, 37), (94, 201, 98), (33, 145, 140), (59, 82, 139), (68, 1, 84)])
    scale = np.arange(256) / 255 * 4
    # Half up as in JavaScript; numpy rounds to even.
    palette = np.stack([np.floor(np.interp(scale, range(5), c) + 0.5) for c in anchors.T], 1).astype(int)
    wanted = [",".join(map(str, color)) for color in palette]

    found = colors(page, "confidence")
    set_range(page.get_by_test_id("viewer-confidence"), 40)
    left = colors(page, "confidence")

    assert set(wanted) <= set(found)
    assert sum(found[color] for color in set(wanted)) > 0.95 * sum(found.values()) - found.get("0,0,0", 0)
    assert not set(wanted[:102]) & set(left)
    assert set(wanted[102:]) <= set(left)


def test_panes_can_be_left_out_and_brought_back(page: Page, url: str) -> None:
    opened(page, f"{url}/?case=runs")
    toggle = page.get_by_role("group", name="Panes").get_by_role("button", name="Ground truth")

    toggle.click()
    expect(page.get_by_test_id("pane-truth")).to_have_count(0)
    expect(page.locator("[data-testid^=pane-]")).to_have_count(5)
    toggle.click()

    expect(page.get_by_test_id("pane-truth")).to_be_visible()


def test_eight_panes_are_alike_and_in_two_rows(page: Page, url: str) -> None:
    opened(page, f"{url}/?case=four")

    boxes: list[dict[str, float]] = page.locator("[data-testid^=pane-]").evaluate_all(
        "all => all.map(p => p.getBoundingClientRect().toJSON())"
    )

    assert len(boxes) == 8
    assert len({round(box["y"]) for box in boxes}) == 2
    assert max(box["width"] for box in boxes) - min(box["width"] for box in boxes) < 1
    assert max(box["height"] for box in boxes) - min(box["height"] for box in boxes) < 1


def test_a_run_without_confidence_says_so(page: Page, url: str) -> None:
    opened(page, f"{url}/?case=four")

    page.get_by_test_id("viewer-run-3").click()

    note = page.get_by_test_id("pane-confidence").get_by_role("status")
    expect(note).to_have_text("This epoch has no confidence map.")


def test_the_question_mark_lists_the_keys(page: Page, url: str) -> None:
    viewer = opened(page, f"{url}/?case=runs")
    keys = page.get_by_role("dialog", name="Keys")

    viewer.press("?")
    expect(keys).to_contain_text("All runs follow the epoch")
    viewer.press("Escape")

    expect(keys).to_be_hidden()
    expect(viewer).to_be_focused()


def test_series_that_cannot_be_shown_are_refused() -> None:
    epochs = [ViewerEpoch(1, "a.png")]
    run = ViewerSeries("r", "Run", epochs)
    shown = ViewerImage("p", "p.jpg", "p.jpg", 4, 3)

    def show(**chosen: Any) -> None:
        viewer_component(key="k", image=shown, truth_url=None, epoch=1, classes=[], **chosen)

    with pytest.raises(ValueError, match="either"):
        show()
    with pytest.raises(ValueError, match="either"):
        show(epochs=epochs, series=[run])
    with pytest.raises(ValueError, match="same id"):
        show(series=[run, run])
    with pytest.raises(ValueError, match="no epoch"):
        show(series=[run, ViewerSeries("s", "Other", [])])
    with pytest.raises(ValueError, match="at most 4"):
        show(series=[ViewerSeries(str(n), "Run", epochs) for n in range(5)])
    with pytest.raises(ValueError, match="epoch 1 is not"):
        show(series=[ViewerSeries("r", "Run", [ViewerEpoch(2, "a.png")])])


@pytest.mark.parametrize("case", ["", "four"])
def test_on_a_phone_nothing_sticks_out_and_targets_are_large(browser: Browser, url: str, case: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, device_scale_factor=2)
    page.set_default_timeout(patience.MILLISECONDS)
    viewer = opened(page, f"{url}/?case={case}")

    sizes: list[dict[str, Any]] = viewer.locator("button:visible").evaluate_all(
        "all => all.map(b => ({name: b.className, height: b.getBoundingClientRect().height}))"
    )
    overhang = viewer.evaluate("v => v.scrollWidth - v.clientWidth")
    page.close()

    assert overhang <= 0
    assert [s for s in sizes if s["height"] < 40 and s["name"] not in ("title", "mark")] == []
