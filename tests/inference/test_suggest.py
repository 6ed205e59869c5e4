"""A prediction becomes annotations: exact polygons with holes, never over what is drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.labels import (
    Annotation,
    Category,
    PolygonOp,
    Source,
    annotation_from_json,
    annotation_to_json,
)
from core.imaging.masks import rasterise
from core.inference.session import open_model
from core.inference.suggest import MAX_SUGGESTIONS, Suggested, Task, left_out, suggest
from tests.builders import square
from tests.inference.exported import BLUE, CATEGORIES, GREY, RED, heads_of, painted, write_model

RED_ID, BLUE_ID = 7, 3
SIZE_WH = (640, 480)
LEFT, OTHER = (8, 16, 28, 48), (44, 8, 60, 20)


def file_of(rgb: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


def suggested(
    path: Path, rgb: NDArray[np.uint8], *drawn: Annotation, known: frozenset[int] = frozenset({7, 3})
) -> Suggested:
    size_wh = (rgb.shape[1], rgb.shape[0])
    task = Task(size_wh, CATEGORIES, known, drawn, "Car run, epoch 4")
    return suggest(open_model(path), file_of(rgb), task)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def box_of(box: tuple[int, int, int, int], size_wh: tuple[int, int] = SIZE_WH) -> NDArray[np.bool_]:
    """Give where a box of the network's pixels lies in the photo."""
    return (painted(size_wh, (RED, box)) == RED).all(axis=2)


@pytest.mark.parametrize("size_wh", [SIZE_WH, (4000, 3000), (300, 1700)])
def test_each_region_is_a_polygon_of_the_photos_own_pixels(
    model_path: Path, size_wh: tuple[int, int]
) -> None:
    found = suggested(model_path, painted(size_wh, (RED, LEFT), (BLUE, OTHER)))

    assert [a.category_id for a in found.annotations] == [RED_ID, BLUE_ID], "the largest first"
    for annotation, box in zip(found.annotations, (LEFT, OTHER), strict=True):
        mask = rasterise(annotation.ops, (size_wh[1], size_wh[0]))
        assert iou(mask, box_of(box, size_wh)) > 0.9, "but for the cells that an edge runs through"
        assert annotation.source is Source.SUGGESTED and annotation.is_suggestion
        assert annotation.author == "Car run, epoch 4"
        assert annotation.note.endswith(" % sure") and 50 <= int(annotation.note.split()[0]) <= 100
        assert annotation_from_json(annotation_to_json(annotation)) == annotation
    assert len({annotation.id for annotation in found.annotations}) == 2


def test_a_hole_stays_a_hole_and_a_pinhole_and_a_speck_go(model_path: Path) -> None:
    rgb = painted(SIZE_WH, (RED, (8, 8, 56, 56)), (GREY, (24, 24, 40, 40)))
    rgb[106:112, 102:108] = (20, 220, 20)  # enough to turn a bit of one of the network's pixels
    rgb[16:20, 22:26] = RED

    (annotation,) = suggested(model_path, rgb).annotations

    assert [op.is_subtract for op in annotation.ops] == [False, True]
    mask = rasterise(annotation.ops, (480, 640))
    assert not mask[240, 320] and mask[105:113, 100:110].all() and not mask[18, 24]


def test_outlines_have_few_corners(model_path: Path) -> None:
    (annotation,) = suggested(model_path, painted((4000, 3000), (RED, LEFT))).annotations

    (outline,) = annotation.ops
    assert isinstance(outline, PolygonOp)
    assert 4 <= len(outline.points_xy) <= 40


def test_what_is_drawn_is_never_suggested_again_nor_painted_over(model_path: Path) -> None:
    rgb = painted(SIZE_WH, (RED, LEFT), (BLUE, OTHER))
    most_of_blue = square(RED_ID, 440, 60, 160)  # of another class: it is drawn all the same
    part_of_red = square(RED_ID, 80, 120, 60)

    found = suggested(model_path, rgb, most_of_blue, part_of_red)

    assert found.overlapping == 1
    (annotation,) = found.annotations
    assert annotation.category_id == RED_ID
    mask = rasterise(annotation.ops, (480, 640))
    taken = rasterise(part_of_red.ops, (480, 640))
    assert (mask & taken).sum() < 0.02 * taken.sum(), "at most the pixels along a simplified edge"
    assert iou(mask, box_of(LEFT) & ~taken) > 0.9


def test_a_class_that_the_project_has_no_more_is_left_out_and_named(model_path: Path) -> None:
    found = suggested(model_path, painted(SIZE_WH, (RED, LEFT), (BLUE, OTHER)), known=frozenset({RED_ID}))

    assert [annotation.category_id for annotation in found.annotations] == [RED_ID]
    assert found.gone == ("blue",)


def test_nothing_to_see_gives_nothing(model_path: Path) -> None:
    assert suggested(model_path, painted(SIZE_WH)) == Suggested(())


def test_a_photo_of_one_pixel_and_a_strip_can_be_suggested_on(model_path: Path) -> None:
    (dot,) = suggested(model_path, np.array([[RED]], np.uint8)).annotations
    (strip,) = suggested(model_path, painted((20_000, 100), (RED, (16, 0, 32, 64)))).annotations

    assert rasterise(dot.ops, (1, 1)).all()
    mask = rasterise(strip.ops, (100, 20_000))
    assert mask[:, 6000:9000].mean() > 0.9 and not mask[:, :4000].any()


def test_there_is_a_bound_on_how_many_are_suggested(tmp_path: Path) -> None:
    cells = [(x, y, x + 3, y + 3) for y in range(0, 60, 5) for x in range(0, 60, 5)]
    path = write_model(tmp_path / "many.onnx", heads=heads_of(*cells))

    found = suggested(path, painted((1280, 960), *((RED, cell) for cell in cells)))

    assert len(found.annotations) == MAX_SUGGESTIONS
    assert found.beyond == len(cells) - MAX_SUGGESTIONS


def test_regions_that_touch_are_suggested_singly_where_the_model_tells_them_apart(tmp_path: Path) -> None:
    boxes = ((8, 16, 28, 48), (28, 16, 48, 48))
    path = write_model(tmp_path / "apart.onnx", heads=heads_of(*boxes))

    found = suggested(path, painted(SIZE_WH, *((RED, box) for box in boxes)))

    masks = [rasterise(annotation.ops, (480, 640)) for annotation in found.annotations]
    assert sorted(round(max(iou(mask, box_of(box)) for box in boxes), 1) for mask in masks) >= [0.9, 0.9]
    assert (masks[0] & masks[1]).sum() < 0.02 * masks[0].sum()


def test_what_was_left_out_is_said_in_sentences() -> None:
    rust = Category(9, "rust", "#123456")

    said = left_out(Suggested((), 2, ("chip",), 4), (*CATEGORIES, rust), CATEGORIES)

    assert said == [
        "Left out: “chip”, which the project has no more.",
        "Left out: 2 regions on what is drawn already.",
        f"Left out: 4 more, smaller than the first {MAX_SUGGESTIONS}.",
        "The champion does not know “rust”.",
    ]
    assert left_out(Suggested(()), CATEGORIES, CATEGORIES) == []
