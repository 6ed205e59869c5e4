"""A photo reaches the network as training and prediction agreed."""

import cv2
import numpy as np
import pytest

from core.domain.errors import FormatError
from core.domain.labels import Category
from core.models.card import ModelCard, card_from_json, card_to_json
from core.models.preprocessing import (
    Preprocessing,
    network_image,
    preprocessing_from_json,
    preprocessing_to_json,
    to_input,
    to_square,
)

HALF = Preprocessing(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_half_and_half_maps_pixels_to_minus_one_to_one() -> None:
    black_to_white = np.zeros((64, 64, 3), np.uint8)
    black_to_white[:, 32:] = 255

    image = to_input(black_to_white, HALF)

    assert image.shape == (3, 64, 64) and image.dtype == np.float32
    assert np.allclose(image[:, :, :32], -1) and np.allclose(image[:, :, 32:], 1)


def test_each_channel_has_its_own_mean_and_spread() -> None:
    grey = np.full((64, 64, 3), 51, np.uint8)  # 0.2

    image = to_input(grey, Preprocessing(64, (0.2, 0.0, 0.7), (1.0, 0.1, 0.5)))

    assert np.allclose(image[:, 0, 0], [0, 2, -1], atol=1e-6)


def test_shrinking_averages_areas() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 255

    small = to_square(stripes, 64)

    assert np.abs(small.astype(int) - 127).max() <= 1, "no stripe is picked out"


def test_a_wide_image_lower_than_the_square_does_not_alias() -> None:
    stripes = np.zeros((40, 640, 3), np.uint8)
    stripes[:, ::2] = 255

    square = to_square(stripes, 64)

    assert square.shape == (64, 64, 3)
    assert np.abs(square.astype(int) - 127).max() <= 1


def test_a_small_image_grows_and_a_fitting_one_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    assert to_square(image[:16, :24], 64).shape == (64, 64, 3)
    assert np.array_equal(to_square(image, 64), image)


def test_a_large_jpeg_decoded_scaled_looks_as_decoded_whole() -> None:
    smooth = cv2.resize(
        np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8),
        (800, 600),
        interpolation=cv2.INTER_CUBIC,
    )
    data = cv2.imencode(".jpg", smooth[:, :, ::-1])[1].tobytes()

    fast = network_image(data, 64)

    assert np.abs(fast.astype(int) - to_square(smooth, 64).astype(int)).mean() < 2


def test_the_json_forms_give_back_what_was_written() -> None:
    card = ModelCard((Category(7, "dent", "#E69F00"),), HALF, {"run_id": "r", "epoch": 3})

    assert preprocessing_from_json(preprocessing_to_json(HALF)) == HALF
    assert card_from_json(card_to_json(card)) == card


def test_a_damaged_json_form_is_refused() -> None:
    with pytest.raises(FormatError, match="preprocessing"):
        preprocessing_from_json({"size": 64, "mean": [0.5], "std": [0.5, 0.5, 0.5]})
    with pytest.raises(FormatError, match="description"):
        card_from_json({"categories": []})
