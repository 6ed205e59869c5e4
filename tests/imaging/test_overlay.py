"""Label maps over photos, and as files."""

import io

import numpy as np
import pytest
from PIL import Image

from core.imaging.overlay import blend, decode_index_png, encode_grey_png, encode_index_png, encode_jpeg
from core.imaging.reading import decode_grey, decode_rgb

COLORS = ["#123456", "#FF0000", "#00ff00"]


def labelled() -> np.ndarray:
    label_map = np.zeros((40, 60), np.uint8)
    label_map[10:30, 10:30] = 1
    label_map[10:30, 30:50] = 2
    return label_map


def test_classes_are_mixed_in_and_background_is_left_alone() -> None:
    rgb = np.full((40, 60, 3), 100, np.uint8)

    result = blend(rgb, labelled(), COLORS, 0.5)

    assert result[0, 0].tolist() == [100, 100, 100]
    assert np.abs(result[20, 20].astype(int) - (178, 50, 50)).max() <= 1
    assert np.abs(result[20, 40].astype(int) - (50, 178, 50)).max() <= 1
    assert (rgb == 100).all()


def test_an_outline_is_opaque_and_inside_its_region() -> None:
    result = blend(np.full((40, 60, 3), 100, np.uint8), labelled(), COLORS, 0.0, outline=True)

    assert result[10, 20].tolist() == [255, 0, 0]
    assert result[20, 29].tolist() == [255, 0, 0]
    assert result[20, 30].tolist() == [0, 255, 0]
    assert result[20, 20].tolist() == [100, 100, 100]
    assert result[9, 20].tolist() == [100, 100, 100]


def test_an_index_without_a_colour_stays_unpainted() -> None:
    result = blend(np.full((40, 60, 3), 100, np.uint8), labelled(), COLORS[:2], 1.0, outline=True)

    assert result[20, 40].tolist() == [100, 100, 100]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        blend(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), COLORS, 0.5)
    with pytest.raises(ValueError, match="opacity"):
        blend(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8), COLORS, 1.5)


@pytest.mark.parametrize("highest", [1, 2, 15, 255])
def test_index_pngs_keep_every_index(highest: int) -> None:
    label_map = np.random.default_rng(0).integers(0, highest + 1, (33, 47), np.uint8, endpoint=False)

    data = encode_index_png(label_map, COLORS)

    np.testing.assert_array_equal(decode_index_png(data), label_map)


def test_an_index_png_shows_the_colours_over_a_transparent_background() -> None:
    with Image.open(io.BytesIO(encode_index_png(labelled(), COLORS))) as image:
        shown = np.asarray(image.convert("RGBA"))

    assert shown[0, 0, 3] == 0
    assert shown[20, 20].tolist() == [255, 0, 0, 255]


def test_grey_pngs_and_jpegs_decode_again() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)

    np.testing.assert_array_equal(decode_grey(encode_grey_png(grey)), grey)
    assert decode_rgb(encode_jpeg(np.full((20, 30, 3), 77, np.uint8))).shape == (20, 30, 3)
