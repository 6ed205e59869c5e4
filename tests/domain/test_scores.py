"""Scores from one confusion matrix."""

import math

import numpy as np
import pytest

from core.domain.scores import score


def test_hand_computed_scores() -> None:
    confusion = np.array([[50, 2, 3], [4, 10, 1], [0, 5, 25]], np.int64)

    scores = score(confusion)

    assert scores.iou == pytest.approx((50 / 59, 10 / 22, 25 / 34))
    assert scores.dice == pytest.approx((100 / 109, 20 / 32, 50 / 59))
    assert scores.precision == pytest.approx((50 / 54, 10 / 17, 25 / 29))
    assert scores.recall == pytest.approx((50 / 55, 10 / 15, 25 / 30))
    assert scores.truth_pixels == (55, 15, 30)
    assert scores.miou_foreground == pytest.approx((10 / 22 + 25 / 34) / 2)
    assert scores.dice_foreground == pytest.approx((20 / 32 + 50 / 59) / 2)
    assert scores.pixel_accuracy == pytest.approx(0.85)
    assert scores.any_iou == pytest.approx(41 / (41 + 5 + 4))
    assert scores.any_dice == pytest.approx(82 / (82 + 5 + 4))


def test_a_class_in_neither_labels_nor_predictions_is_not_counted() -> None:
    scores = score(np.array([[90, 0, 0], [2, 8, 0], [0, 0, 0]], np.int64))

    assert math.isnan(scores.iou[2])
    assert math.isnan(scores.dice[2])
    assert scores.miou_foreground == pytest.approx(0.8)


def test_a_class_only_predicted_counts_as_zero() -> None:
    scores = score(np.array([[90, 0, 5], [0, 8, 0], [0, 0, 0]], np.int64))

    assert scores.iou[2] == 0
    assert scores.precision[2] == 0
    assert math.isnan(scores.recall[2])
    assert scores.miou_foreground == pytest.approx(0.5)


def test_a_class_only_in_the_truth_has_no_precision() -> None:
    scores = score(np.array([[90, 0], [5, 0]], np.int64))

    assert math.isnan(scores.precision[1])
    assert scores.recall[1] == 0
    assert scores.miou_foreground == 0


def test_without_any_foreground_the_foreground_mean_is_not_defined() -> None:
    scores = score(np.array([[100, 0], [0, 0]], np.int64))

    assert math.isnan(scores.miou_foreground)
    assert math.isnan(scores.dice_foreground)
    assert math.isnan(scores.any_iou)
    assert scores.pixel_accuracy == 1


def test_no_pixels_give_no_scores() -> None:
    scores = score(np.zeros((3, 3), np.int64))

    assert all(math.isnan(value) for value in (*scores.iou, scores.pixel_accuracy, scores.any_dice))


def test_confusing_two_damages_does_not_hurt_any_damage() -> None:
    scores = score(np.array([[100, 0, 0], [0, 0, 20], [0, 20, 0]], np.int64))

    assert scores.miou_foreground == 0
    assert scores.any_iou == scores.any_dice == 1


def test_counts_are_summed_before_they_are_divided() -> None:
    large = np.array([[0, 0], [0, 1000]], np.int64)
    small = np.array([[0, 0], [10, 0]], np.int64)

    assert score(large + small).miou_foreground == pytest.approx(1000 / 1010)


def test_very_large_counts_stay_exact() -> None:
    scores = score(np.array([[2**60, 1], [0, 2**60]], np.int64))

    assert scores.truth_pixels == (2**60 + 1, 2**60)
    assert scores.recall[1] == 1


def test_scores_agree_with_torchmetrics() -> None:
    import torch
    from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex

    rng = np.random.default_rng(4)
    truth, prediction = rng.integers(0, 5, (2, 4, 30, 40))
    confusion = np.bincount((truth * 5 + prediction).ravel(), minlength=25).reshape(5, 5).astype(np.int64)
    jaccard = MulticlassJaccardIndex(5, average="none")(torch.tensor(prediction), torch.tensor(truth))
    dice = MulticlassF1Score(5, average="none")(torch.tensor(prediction), torch.tensor(truth))

    scores = score(confusion)

    assert scores.iou == pytest.approx(jaccard.tolist())
    assert scores.dice == pytest.approx(dice.tolist())
    assert scores.miou_foreground == pytest.approx(float(jaccard[1:].mean()))


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 3)), np.zeros(4), np.zeros((0, 0)), np.array([[1, -1], [0, 1]])]
)
def test_what_is_no_confusion_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="confusion matrix"):
        score(matrix)
