"""Regions matched one to one: by hand, and as COCO's own evaluation matches them."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from core.domain.analysis import ObjectCounts
from core.imaging import objects
from core.imaging.objects import count_objects, find_components, find_overlaps

Mask = NDArray[np.uint8]


def painted(*boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = (40, 60)) -> Mask:
    """Paint boxes given as (top, left, height, width)."""
    mask = np.zeros(size_hw, np.uint8)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = 1
    return mask


def counted(truth: Mask, prediction: Mask, least_pixels: float = 0) -> ObjectCounts:
    components = find_components(truth), find_components(prediction)
    return count_objects(*components, find_overlaps(*components), least_pixels)


def test_found_missed_and_invented_regions() -> None:
    truth = painted((2, 2, 10, 10), (20, 2, 10, 10), (2, 40, 4, 4))
    prediction = painted((2, 5, 10, 10), (20, 9, 10, 10), (30, 40, 6, 6))

    found = counted(truth, prediction)

    # Shifted by 3 the IoU is 70 / 130, by 7 it is 30 / 170.
    assert found == ObjectCounts(truths=3, predictions=3, matches=1)
    assert (found.recall, found.precision, found.f1) == (1 / 3, 1 / 3, 1 / 3)
    assert (ObjectCounts().recall, ObjectCounts().precision, ObjectCounts().f1) == (None, None, None)
    assert ObjectCounts(2, 0, 0).f1 == 0.0


def test_regions_that_touch_at_a_corner_are_one() -> None:
    assert counted(painted((0, 0, 5, 5), (5, 5, 5, 5)), painted()) == ObjectCounts(1, 0, 0)


def test_specks_are_left_out_on_both_sides() -> None:
    truth, prediction = painted((0, 0, 3, 3), (20, 20, 10, 10)), painted((0, 0, 3, 2), (35, 0, 2, 2))

    assert counted(truth, prediction, least_pixels=9) == ObjectCounts(2, 0, 0)
    assert counted(truth, prediction, least_pixels=9.5) == ObjectCounts(1, 0, 0)
    assert counted(truth, prediction, least_pixels=4) == ObjectCounts(2, 2, 1)


def test_exactly_a_half_is_a_match_and_two_halves_cannot_be() -> None:
    whole, half = painted((5, 5, 10, 20)), painted((5, 5, 10, 10))
    gap = painted((5, 5, 10, 10), (5, 16, 10, 9))

    assert counted(whole, half) == ObjectCounts(1, 1, 1)
    assert counted(half, whole) == ObjectCounts(1, 1, 1)
    assert counted(whole, painted((5, 5, 10, 10), (5, 15, 10, 10))) == ObjectCounts(1, 1, 1)
    assert counted(whole, gap) == ObjectCounts(1, 2, 1)
    assert counted(painted((5, 5, 10, 21)), gap) == ObjectCounts(1, 2, 0)


def test_many_pairs_are_counted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    truth, prediction = (np.uint8(ndimage.gaussian_filter(rng.normal(size=(80, 90)), 1) > 0.1) for _ in "ab")
    few = counted(truth, prediction)

    monkeypatch.setattr(objects, "_MAX_TABLE", 10)

    assert counted(truth, prediction) == few
    assert few.truths > 20


def of_coco(truth: Mask, prediction: Mask) -> ObjectCounts:
    """Let COCO's evaluation match the connected regions at an IoU of 0.5."""
    records: list[list[dict]] = []
    for mask in (truth, prediction):
        numbers, count = ndimage.label(mask, np.ones((3, 3)))
        codes = [
            coco_mask.encode(np.asfortranarray((numbers == i + 1).astype(np.uint8))) for i in range(count)
        ]
        records.append(
            [
                {
                    "id": i + 1,
                    "image_id": 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "score": 1.0,
                    "area": float(coco_mask.area(code)),
                    "bbox": coco_mask.toBbox(code).tolist(),
                    "segmentation": code,
                }
                for i, code in enumerate(codes)
            ]
        )
    truths, predictions = records
    if not truths or not predictions:
        return ObjectCounts(len(truths), len(predictions), 0)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        height, width = truth.shape
        known.dataset = {
            "info": {},
            "images": [{"id": 1, "height": height, "width": width}],
            "annotations": truths,
            "categories": [{"id": 1, "name": "dent"}],
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(predictions), "segm")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [10_000]
        evaluation.evaluate()
    (found,) = evaluation.evalImgs
    return ObjectCounts(len(truths), len(predictions), int((found["dtMatches"][0] > 0).sum()))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_equal_those_of_cocos_evaluation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(36, 44))
    sigma, level, noise = rng.uniform(0.5, 2), rng.uniform(0.0, 0.4), rng.uniform(0, 0.8)
    truth, prediction = (
        np.uint8(ndimage.gaussian_filter(base + noise * rng.normal(size=base.shape), sigma) > level)
        for _ in "ab"
    )

    assert counted(truth, prediction) == of_coco(truth, prediction)
