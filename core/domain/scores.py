"""Scores of a segmentation, all derived from one confusion matrix of pixel counts.

Add the matrices of all images first and divide once: an average of per-image or per-batch ratios
depends on how the images were grouped. A ratio without anything to divide by is NaN, "not defined",
and left out of means; it is never counted as 0 or 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Scores of one set of images. Tuples have one entry per class index, background first.

    With TP, FP and FN the pixels of a class found, invented and missed:
    ``iou`` = TP / (TP + FP + FN), NaN where the class is in neither truth nor prediction;
    ``dice`` = 2 TP / (2 TP + FP + FN), likewise;
    ``precision`` = TP / (TP + FP), NaN where the class was never predicted;
    ``recall`` = TP / (TP + FN), NaN where the class is not in the truth;
    ``truth_pixels`` = TP + FN.

    ``miou_foreground`` and ``dice_foreground`` are the means of iou and dice over the foreground
    classes (index 1 and up) that are defined, NaN where none is. ``any_iou`` and ``any_dice`` take all
    foreground classes as one, "any damage against none". ``pixel_accuracy`` counts background, which
    dominates most photos: never a headline.

    Sources: mmsegmentation 1.2.2 IoUMetric (sums over the set, then nanmean); Wang et al., NeurIPS
    2023, arXiv 2310.19252, who call it mIoU^D; Metrics Reloaded, doi:10.1038/s41592-023-02151-z.
    """

    iou: tuple[float, ...]
    dice: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    truth_pixels: tuple[int, ...]
    miou_foreground: float
    dice_foreground: float
    pixel_accuracy: float
    any_iou: float
    any_dice: float


def score(confusion: NDArray[np.int64]) -> Scores:
    """Derive all scores from pixel counts.

    Args:
        confusion: int64 (C, C), C >= 1; row truth, column prediction, index 0 is background.

    Raises:
        ValueError: the matrix is not square or has a negative count.
    """
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or confusion.size == 0:
        raise ValueError(f"a confusion matrix has shape (C, C), got {confusion.shape}")
    if confusion.min() < 0:
        raise ValueError("a confusion matrix counts pixels; it has a negative count")
    found = np.diagonal(confusion)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    iou, dice = _ratio(found, truth + predicted - found), _ratio(2 * found, truth + predicted)
    is_any = confusion[1:, 1:].sum()
    any_truth, any_predicted = truth[1:].sum(), predicted[1:].sum()
    return Scores(
        iou=_floats(iou),
        dice=_floats(dice),
        precision=_floats(_ratio(found, predicted)),
        recall=_floats(_ratio(found, truth)),
        truth_pixels=tuple(int(pixels) for pixels in truth),
        miou_foreground=_mean(iou[1:]),
        dice_foreground=_mean(dice[1:]),
        pixel_accuracy=float(_ratio(found.sum(), confusion.sum())),
        any_iou=float(_ratio(is_any, any_truth + any_predicted - is_any)),
        any_dice=float(_ratio(2 * is_any, any_truth + any_predicted)),
    )


def _ratio(part: NDArray[np.int64] | np.int64, whole: NDArray[np.int64] | np.int64) -> NDArray[np.float64]:
    quotient = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotient, where=np.asarray(whole) > 0)
    return quotient


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
