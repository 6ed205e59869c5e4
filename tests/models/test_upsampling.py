"""The label map equals that of the logits upsampled whole, at a fraction of the memory."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.models import upsampling
from core.models.upsampling import predict_map


@pytest.mark.parametrize("size_hw", [(64, 64), (97, 131), (480, 640), (31, 17), (1, 5), (700, 1500)])
def test_the_label_map_is_the_argmax_of_the_upsampled_logits(size_hw: tuple[int, int]) -> None:
    logits = _smooth_logits(classes=6, side=64)

    label_map, _ = predict_map(logits, size_hw)

    whole = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size_hw, mode="bilinear", align_corners=False
    )[0].numpy()
    best_two = np.sort(whole, axis=0)[-2:]
    is_clear = best_two[1] - best_two[0] > 1e-4  # ties are decided by rounding
    assert label_map.shape == size_hw and label_map.dtype == np.uint8
    assert np.array_equal(label_map[is_clear], whole.argmax(axis=0)[is_clear])
    assert is_clear.mean() > 0.99


def test_the_confidence_is_the_winners_probability() -> None:
    logits = _smooth_logits(classes=6, side=64)

    _, confidence = predict_map(logits, (480, 640))

    whole = np.stack([cv2.resize(plane, (640, 480), interpolation=cv2.INTER_LINEAR) for plane in logits])
    probabilities = np.exp(whole) / np.exp(whole).sum(axis=0)
    assert np.abs(confidence / 255 - probabilities.max(axis=0)).max() <= 0.5 / 255 + 1e-5


def test_on_a_tie_the_lowest_class_wins() -> None:
    label_map, confidence = predict_map(np.zeros((4, 8, 8), np.float32), (20, 30))

    assert not label_map.any()
    assert np.all(confidence == 64)


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((3000, 4000), (768, 1024)), ((500, 1024), (500, 1024)), ((9, 4096), (2, 1024))]
)
def test_the_confidence_map_keeps_the_shape_within_1024(
    size_hw: tuple[int, int], expected: tuple[int, int]
) -> None:
    _, confidence = predict_map(_smooth_logits(classes=2, side=16), size_hw)

    assert confidence.shape == expected


def test_a_twelve_megapixel_map_needs_little_more_memory_than_itself() -> None:
    logits = _smooth_logits(classes=9, side=64)
    label_map_bytes, all_logits_bytes = 3000 * 4000, 9 * 3000 * 4000 * 4

    tracemalloc.start()
    predict_map(logits, (3000, 4000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < label_map_bytes + 16e6 < all_logits_bytes / 10


def test_what_is_no_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot upsample"):
        predict_map(np.zeros((8, 8), np.float32), (16, 16))
    with pytest.raises(ValueError, match="cannot upsample"):
        predict_map(np.zeros((2, 8, 8), np.float32), (0, 16))


def _smooth_logits(*, classes: int, side: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(classes, side, side)).astype(np.float32)
    return np.stack([10 * cv2.GaussianBlur(plane, (0, 0), side / 16) for plane in noise])


def test_label_map_and_confidence_together_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = _smooth_logits(classes=6, side=64)
    together = predict_map(logits, (480, 640))

    monkeypatch.setattr(upsampling, "display_size_hw", lambda size_hw: (size_hw[0], size_hw[1] + 1))
    label_map, _ = predict_map(logits, (480, 640))
    monkeypatch.setattr(upsampling, "display_size_hw", lambda size_hw: (480, 640))
    _, confidence = predict_map(logits, (960, 1280))

    assert np.array_equal(together[0], label_map)
    assert np.array_equal(together[1], confidence)
