"""A photo becomes a label map at its own size, and figures that follow from it."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.errors import ImageError
from core.domain.labels import Category
from core.inference.predict import compare, predict, shares
from core.inference.session import open_model
from tests.inference.exported import BLUE, RED, heads_of, painted, write_model

CATEGORIES = (Category(7, "red", "#FF0000"), Category(3, "blue", "#0000FF"))


def test_a_photo_is_labelled_at_its_own_size(model_path: Path) -> None:
    prediction = predict(open_model(model_path), _red_and_blue())

    assert prediction.size_wh == (640, 480)
    assert prediction.label_map.shape == prediction.confidence.shape == (480, 640)
    assert _share_right(prediction.label_map) > 0.97, "all but the cells that an edge runs through"
    assert prediction.confidence[240, 100] > 230


def test_a_file_is_labelled_as_its_pixels_are(model_path: Path) -> None:
    model = open_model(model_path)
    data = cv2.imencode(".jpg", _red_and_blue()[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()

    from_file, from_pixels = predict(model, data), predict(model, _red_and_blue())

    assert from_file.size_wh == (640, 480)
    assert (from_file.label_map == from_pixels.label_map).mean() > 0.99


def test_a_preview_is_labelled_at_the_previews_size(model_path: Path) -> None:
    prediction = predict(open_model(model_path), _red_and_blue(), size_wh=(320, 240))

    assert prediction.size_wh == (320, 240)
    assert prediction.label_map.shape == (240, 320)


def test_the_confidence_of_a_large_photo_is_bounded(model_path: Path) -> None:
    prediction = predict(open_model(model_path), _red_and_blue(), size_wh=(4000, 3000))

    assert prediction.label_map.shape == (3000, 4000)
    assert prediction.confidence.shape == (768, 1024)


def test_what_is_no_photo_is_refused(model_path: Path) -> None:
    with pytest.raises(ImageError):
        predict(open_model(model_path), b"no photo", size_wh=(10, 10))


def test_touching_regions_of_one_class_are_counted_singly_where_the_model_tells_them_apart(
    tmp_path: Path,
) -> None:
    left, right, other = (8, 16, 28, 48), (28, 16, 48, 48), (52, 4, 62, 12)
    model = open_model(write_model(tmp_path / "m.onnx", heads=heads_of(left, right, other)))
    photo = painted((640, 480), (RED, left), (RED, right), (BLUE, other))

    prediction = predict(model, photo)

    assert prediction.told_apart == "model"
    assert [r.class_index for r in prediction.regions.regions] == [1, 1, 2]
    is_red, is_blue = prediction.label_map == 1, prediction.label_map == 2
    meeting = 28 * 10  # the column where the two touch
    masks = [is_red[:, :meeting].sum(), is_red[:, meeting:].sum(), is_blue.sum()]
    assert [r.pixels for r in prediction.regions.regions] == masks
    for region, (x0, y0, x1, y1) in zip(prediction.regions.regions, (left, right, other), strict=True):
        assert region.share == pytest.approx(region.pixels / (640 * 480))
        # A centre is a whole pixel of the network, 10 x 7.5 of the photo.
        assert region.centre_xy == pytest.approx((5 * (x0 + x1), 3.75 * (y0 + y1)), abs=5.1)
        assert region.score is not None and 0.8 < region.score <= 1


def test_a_model_of_classes_alone_counts_connected_regions(model_path: Path) -> None:
    boxes = (
        (RED, (8, 16, 28, 48)),
        (RED, (28, 16, 48, 48)),
        (BLUE, (52, 4, 62, 12)),
        (BLUE, (52, 40, 62, 50)),
    )

    prediction = predict(open_model(model_path), painted((640, 480), *boxes))

    assert prediction.told_apart == "connected"
    assert [r.class_index for r in prediction.regions.regions] == [1, 2, 2]
    assert prediction.regions.regions[0].centre_xy == pytest.approx((280, 240), abs=1)
    assert np.array_equal(prediction.regions.number_map > 0, prediction.label_map > 0)
    confidences = prediction.confidence[prediction.regions.number_map == 1] / 255
    assert prediction.regions.regions[0].score == pytest.approx(confidences.mean())


@pytest.mark.parametrize("with_heads", [True, False])
def test_on_a_large_photo_regions_are_counted_small_and_given_in_its_pixels(
    with_heads: bool, tmp_path: Path
) -> None:
    box = (8, 16, 29, 49)
    heads = heads_of(box) if with_heads else None
    model = open_model(write_model(tmp_path / "m.onnx", heads=heads))

    prediction = predict(model, painted((640, 480), (RED, box)), size_wh=(4000, 3000))

    (region,) = prediction.regions.regions
    assert prediction.regions.number_map.shape == prediction.confidence.shape == (768, 1024)
    assert region.pixels == pytest.approx((prediction.label_map == 1).sum(), rel=0.005)
    assert region.share == pytest.approx(region.pixels / 12e6, rel=1e-6)
    assert region.centre_xy == pytest.approx((18.5 * 4000 / 64, 32.5 * 3000 / 64), abs=3)


def test_where_the_model_finds_no_centre_connected_regions_are_counted(tmp_path: Path) -> None:
    model = open_model(write_model(tmp_path / "m.onnx", heads=heads_of()))

    prediction = predict(model, painted((640, 480), (RED, (8, 16, 28, 48)), (RED, (40, 16, 60, 48))))
    nothing = predict(model, painted((640, 480)))

    assert prediction.told_apart == "no_centre"
    assert [r.class_index for r in prediction.regions.regions] == [1, 1]
    assert (nothing.told_apart, nothing.regions.regions) == ("model", ()), "there was none to find"


def test_shares_are_of_the_whole_image() -> None:
    label_map = np.array([[0, 0, 0, 1], [2, 2, 0, 0]], np.uint8)

    assert shares(label_map, CATEGORIES) == {"red": 1 / 8, "blue": 2 / 8}
    assert shares(np.zeros((2, 2), np.uint8), CATEGORIES) == {"red": 0, "blue": 0}


def test_a_comparison_counts_each_class() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    label_map = np.array([[0, 1, 1, 2]], np.uint8)

    comparison = compare(label_map, truth, num_classes=3)

    assert comparison.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert comparison.scores.iou == (1 / 2, 1 / 3, 0)
    assert comparison.scores.any_iou == 2 / 3


def test_what_is_ignored_is_not_counted() -> None:
    truth = np.array([[0, 255], [1, 255]], np.uint8)
    label_map = np.array([[0, 1], [2, 0]], np.uint8)

    comparison = compare(label_map, truth, num_classes=3)

    assert comparison.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_where_classes_differ_any_damage_is_compared() -> None:
    truth = np.array([[0, 0, 7, 9]], np.uint8)
    label_map = np.array([[0, 1, 1, 2]], np.uint8)

    comparison = compare(label_map, truth, num_classes=None)

    assert comparison.confusion.tolist() == [[1, 1], [0, 2]]
    assert comparison.scores.iou[1] == comparison.scores.any_iou == 2 / 3


def test_nothing_found_and_nothing_there_is_not_defined() -> None:
    nothing = np.zeros((4, 4), np.uint8)

    assert math.isnan(compare(nothing, nothing, num_classes=None).scores.any_iou)


def _red_and_blue() -> NDArray[np.uint8]:
    """Grey 640 x 480 with a red left third and a blue right third."""
    rgb = np.full((480, 640, 3), 128, np.uint8)
    rgb[:, :213] = (220, 20, 20)
    rgb[:, 427:] = (20, 20, 220)
    return rgb


def _share_right(label_map: NDArray[np.uint8]) -> float:
    truth = np.zeros((480, 640), np.uint8)
    truth[:, :213], truth[:, 427:] = 1, 2
    return float((label_map == truth).mean())
