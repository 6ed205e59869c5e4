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
