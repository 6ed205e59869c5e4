"""Doubt by hand, features that tell unlike photos apart, and the file they are kept in."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from core.domain.errors import FormatError, ImageError
from core.inference.session import open_model
from core.inference.usefulness import Usefulness, doubt_of, embeddings, measure, pack, unpack
from tests.inference.exported import BLUE, RED, painted


def file_of(*boxes: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> bytes:
    return cv2.imencode(".png", painted((320, 240), *boxes)[:, :, ::-1])[1].tobytes()


def test_doubt_is_of_the_most_doubted_twentieth_of_the_pixels() -> None:
    sure = np.array([0.98, 0.01, 0.01], np.float32)
    probabilities = np.repeat(sure[:, None], 100, axis=1).reshape(3, 10, 10)
    probabilities[:, 0, :5] = np.array([[0.5], [0.4], [0.1]])  # five of a hundred: 1 - (.5 - .4) = .9
    probabilities[:, 5, 5] = [0.6, 0.3, 0.1]  # a sixth, less doubted: .7

    assert doubt_of(probabilities) == pytest.approx(0.9)
    assert doubt_of(np.ones((1, 4, 4), np.float32)) == 0.0
    assert doubt_of(np.full((4, 1, 1), 0.25, np.float32)) == 1.0


def test_a_photo_in_colours_between_two_classes_is_doubted_more(model_path: Path) -> None:
    model = open_model(model_path)
    grey_red = (165, 128, 128)

    clear, unclear = (measure(model, file_of((color, (8, 8, 40, 40)))) for color in (RED, grey_red))

    assert 0 <= clear.doubt < unclear.doubt <= 1


def test_like_photos_lie_near_each_other(model_path: Path) -> None:
    model = open_model(model_path)
    same = [file_of((RED, (8, 8, 28, 28))), file_of((RED, (9, 9, 29, 29)))]
    found = [measure(model, data) for data in (*same, file_of((BLUE, (40, 40, 60, 60))), file_of())]

    rows = embeddings(found)

    assert rows.shape == (4, 96 + 2 * 16)
    near = float(np.linalg.norm(rows[0] - rows[1]))
    far = [float(np.linalg.norm(rows[0] - row)) for row in rows[2:]]
    assert near < 0.5 * min(far)
    assert embeddings([]).shape == (0, 0)


def test_what_is_packed_is_unpacked(model_path: Path) -> None:
    one = measure(open_model(model_path), file_of((RED, (8, 8, 28, 28))))
    name = "ab" * 32

    (kept,) = unpack(pack({name: one})).items()

    assert kept[0] == name
    assert kept[1].doubt == pytest.approx(one.doubt)
    np.testing.assert_allclose(kept[1].look, one.look, atol=1e-3)
    np.testing.assert_allclose(kept[1].belief, one.belief, atol=1e-3)
    assert unpack(pack({})) == {}


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_damaged_file_says_so(cut: int) -> None:
    whole = pack({"a" * 64: Usefulness(0.5, np.zeros(96, np.float32), np.zeros(16, np.float32))})

    with pytest.raises(FormatError, match="Measure them again"):
        unpack(whole[:cut])


def test_what_is_no_photo_is_refused(model_path: Path) -> None:
    with pytest.raises(ImageError):
        measure(open_model(model_path), b"no photo")
