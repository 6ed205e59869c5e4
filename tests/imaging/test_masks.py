"""Ops, masks and run-length codes."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from core.domain.errors import FormatError
from core.domain.labels import Annotation, BrushOp, Op, PolygonOp, RleOp
from core.imaging.masks import (
    IGNORED,
    counts_from_uncompressed,
    decode_rle,
    encode_rle,
    encode_rle_box,
    instance_map,
    label_map,
    mask_to_ops,
    measure,
    number_instances,
    rasterise,
    rasterise_box,
    simplify_points,
)

# pycocotools' own decode, used here to compare with, is not quite at home in NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))
COORDINATES = st.one_of(
    st.floats(-40, 70, allow_nan=False), st.integers(-200, 350).map(lambda tenth: tenth / 10)
)
OUTLINES = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=10)
MASKS = arrays(np.bool_, SIZES)
SQUARE = PolygonOp(((2, 1), (6, 1), (6, 5), (2, 5)))


def by_pycocotools(points: list[tuple[float, float]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    flat = [value for point in points for value in point]
    return coco.decode(coco.frPyObjects([flat], *size_hw))[..., 0].astype(bool)


@settings(max_examples=400, deadline=None)
@given(OUTLINES, SIZES)
def test_a_polygon_has_exactly_the_pixels_pycocotools_gives(
    points: list[tuple[float, float]], size_hw: tuple[int, int]
) -> None:
    mask = rasterise([PolygonOp(tuple(points))], size_hw)

    np.testing.assert_array_equal(mask, by_pycocotools(points, size_hw))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(3500, 4100), st.floats(2800, 3100)), min_size=3, max_size=8))
def test_a_polygon_far_from_the_origin_is_exact_too(points: list[tuple[float, float]]) -> None:
    size_hw = (3000, 4000)

    box, (x, y) = rasterise_box([PolygonOp(tuple(points))], size_hw)

    expected = by_pycocotools(points, size_hw)
    np.testing.assert_array_equal(box, expected[y : y + box.shape[0], x : x + box.shape[1]])
    assert np.count_nonzero(box) == np.count_nonzero(expected)


def test_real_polygons_are_exact(shared_data: Path) -> None:
    path = shared_data / "car_parts" / "testset" / "annotations.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    labels = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in labels["images"]}

    for annotation in labels["annotations"][:200]:
        flat = annotation["segmentation"][0]
        points = list(zip(flat[0::2], flat[1::2], strict=True))
        mask = rasterise([PolygonOp(tuple(points))], sizes[annotation["image_id"]])

        np.testing.assert_array_equal(mask, by_pycocotools(points, sizes[annotation["image_id"]]))


def test_ops_are_replayed_in_order() -> None:
    hole = PolygonOp(((3, 2), (5, 2), (5, 4), (3, 4)), is_subtract=True)

    with_hole = rasterise([SQUARE, hole], (6, 8))
    filled_again = rasterise([hole, SQUARE], (6, 8))

    assert np.count_nonzero(with_hole) == 12
    assert not with_hole[2:4, 3:5].any()
    assert np.count_nonzero(filled_again) == 16


def test_ops_far_apart_share_one_box() -> None:
    other = PolygonOp(((20, 10), (22, 10), (22, 12), (20, 12)))
    eraser = BrushOp(((21, 11),), radius=40, is_subtract=True)

    box, corner = rasterise_box([other, SQUARE], (30, 40))
    nothing, _ = rasterise_box([other, SQUARE, eraser], (30, 40))

    assert corner == (2, 1)
    assert box.shape == (11, 20)
    assert np.count_nonzero(box) == 16 + 4
    assert not nothing.any()


@example([(0.0, 0.1875), (19.0, 2.25)], 1.625)  # leaves the image along its upper border
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-20, 60), st.floats(-20, 60)), min_size=1, max_size=5),
    st.floats(1, 12),
)
def test_a_brush_covers_what_lies_within_its_radius(points: list[tuple[float, float]], radius: float) -> None:
    mask = rasterise([BrushOp(tuple(points), radius)], (40, 50))

    y, x = np.mgrid[:40, :50] + 0.5
    away = distance_to_line(x, y, points)
    assert mask[away < radius - 0.6].all()
    assert not mask[away > radius + 0.8].any()


def distance_to_line(
    x: NDArray[np.float64], y: NDArray[np.float64], points: list[tuple[float, float]]
) -> NDArray[np.float64]:
    best = np.hypot(x - points[0][0], y - points[0][1])
    for (x0, y0), (x1, y1) in pairwise(points):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
        t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        best = np.minimum(best, np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)))
    return best


def test_a_brush_point_is_a_disc() -> None:
    mask = rasterise([BrushOp(((5.5, 5.5),), radius=2)], (11, 11))

    assert np.count_nonzero(mask) == 13
    assert mask[5, 3:8].all()
    assert mask[3:8, 5].all()


def test_a_brush_beside_the_image_paints_nothing() -> None:
    assert not rasterise([BrushOp(((-50, -50), (-60, -40)), radius=5)], (20, 20)).any()


def test_an_rle_op_is_its_mask_and_can_be_painted_on() -> None:
    mask = rasterise([SQUARE], (6, 8))
    op = RleOp((6, 8), encode_rle(mask))

    np.testing.assert_array_equal(rasterise([op], (6, 8)), mask)
    assert measure([op, BrushOp(((0.5, 5.5),), radius=0.6)], (6, 8)).area == 17


def test_an_rle_op_of_another_size_is_refused() -> None:
    with pytest.raises(FormatError, match="8 x 6 pixels does not fit its image of 9 x 6"):
        rasterise([RleOp((6, 8), "P1")], (6, 9))


@pytest.mark.parametrize(
    "op",
    [
        PolygonOp(((0, 0), (1e9, 0), (0, 1e9))),
        PolygonOp(((-1e300, 0), (1, 0), (0, 1))),
        PolygonOp(tuple((i % 2 * 900_000.0, 0.0) for i in range(1000))),
        BrushOp(((0, 0), (1e12, 5)), radius=3),
    ],
)
def test_an_absurdly_long_stroke_is_refused_before_it_costs_memory(op: Op) -> None:
    with pytest.raises(FormatError, match="A stroke"):
        rasterise([op], (10, 10))


def test_an_image_too_large_for_a_mask_is_refused() -> None:
    with pytest.raises(FormatError, match="cannot hold a mask"):
        rasterise([SQUARE], (30_000, 30_000))


def test_measure_comes_from_the_mask() -> None:
    eraser = PolygonOp(((2, 1), (4, 1), (4, 5), (2, 5)), is_subtract=True)

    assert measure([SQUARE], (6, 8)).bbox_xywh == (2, 1, 4, 4)
    assert measure([SQUARE, eraser], (6, 8)).bbox_xywh == (4, 1, 2, 4)
    assert measure([SQUARE, eraser], (6, 8)).area == 8


def test_an_empty_mask_measures_nothing() -> None:
    gone = PolygonOp(SQUARE.points_xy, is_subtract=True)

    for ops in ([], [gone], [SQUARE, gone]):
        found = measure(ops, (6, 8))

        assert (found.area, found.bbox_xywh) == (0, (0, 0, 0, 0))


def test_the_label_map_is_painted_in_order_and_leaves_unknown_categories_out() -> None:
    over = PolygonOp(((4, 1), (8, 1), (8, 5), (4, 5)))
    annotations = [
        Annotation("a", 7, (SQUARE,)),
        Annotation("b", 3, (over,)),
        Annotation("c", 99, (PolygonOp(((0, 0), (8, 0), (8, 6), (0, 6))),)),
    ]

    painted = label_map(annotations, {7: 1, 3: 2}, (6, 8))

    assert painted.dtype == np.uint8
    assert painted[2].tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert painted[0].tolist() == [0] * 8


def test_the_instance_map_numbers_what_is_drawn_in_order() -> None:
    over = PolygonOp(((4, 1), (8, 1), (8, 5), (4, 5)))
    corner = PolygonOp(((0, 0), (2, 0), (2, 2), (0, 2)))
    annotations = [
        Annotation("a", 7, (SQUARE,)),
        Annotation("unknown", 99, (PolygonOp(((0, 0), (8, 0), (8, 6), (0, 6))),)),
        Annotation("b", 7, (over,)),
        Annotation("c", 3, (corner,)),
    ]

    numbered = instance_map(annotations, {7: 1, 3: 2}, (6, 8))

    assert numbered.dtype == np.uint8
    assert numbered[2].tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert numbered[0].tolist() == [3, 3, 0, 0, 0, 0, 0, 0]
    assert instance_map([], {}, (6, 8)).tolist() == [[0] * 8] * 6


def test_what_is_ignored_is_255_in_the_label_map_and_no_region() -> None:
    over = PolygonOp(((4, 1), (8, 1), (8, 5), (4, 5)))
    annotations = [
        Annotation("a", 7, (SQUARE,)),
        Annotation("b", 3, (over,)),
        Annotation("c", 7, (PolygonOp(((7, 0), (8, 0), (8, 6), (7, 6))),)),
    ]
    class_index = {7: 1, 3: IGNORED}

    assert label_map(annotations, class_index, (6, 8))[2].tolist() == [0, 0, 1, 1, 255, 255, 255, 1]
    assert instance_map(annotations, class_index, (6, 8))[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 2]


def test_of_more_than_255_regions_the_largest_are_numbered() -> None:
    """300 bars in columns of 1..20 pixels; those of 1, 2 and 3 pixels are the 45 smallest."""
    heights = [1 + i % 20 for i in range(300)]
    annotations = [
        Annotation(str(i), 1, (PolygonOp(((i, 0), (i + 1, 0), (i + 1, h), (i, h))),))
        for i, h in enumerate(heights)
    ]

    numbered = instance_map(annotations, {1: 1}, (20, 300))

    kept = np.array(heights) > 3
    assert numbered.dtype == np.uint8 and kept.sum() == 255
    assert np.array_equal(numbered[0], np.where(kept, np.cumsum(kept), 0))
    assert [int(np.count_nonzero(column)) for column in numbered.T] == [h if h > 3 else 0 for h in heights]


@settings(max_examples=100, deadline=None)
@given(arrays(np.int32, SIZES, elements=st.integers(0, 600)))
def test_regions_are_numbered_anew_in_their_order(numbers: NDArray[np.int32]) -> None:
    anew = number_instances(numbers)

    pairs = sorted({(int(a), int(b)) for a, b in zip(numbers.ravel(), anew.ravel(), strict=True)})
    kept = [pair for pair in pairs if pair[1] > 0]
    sizes = {a: int(np.count_nonzero(numbers == a)) for a, _ in pairs if a > 0}
    assert [b for _, b in kept] == list(range(1, min(255, len(sizes)) + 1))
    assert all(b == 0 for a, b in pairs if a == 0)
    lost = [sizes[a] for a, b in pairs if a > 0 and b == 0]
    assert max(lost, default=0) <= min((sizes[a] for a, _ in kept), default=0)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_run_lengths_are_pycocotools_own_and_decode_to_the_mask(mask: NDArray[np.bool_]) -> None:
    counts = encode_rle(mask)

    assert counts == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(decode_rle(counts, mask.shape), mask)


def test_a_box_encodes_as_its_full_frame() -> None:
    ops = [SQUARE, BrushOp(((6, 0), (6, 6)), radius=1)]

    box, corner = rasterise_box(ops, (6, 8))

    assert encode_rle_box(box, corner, (6, 8)) == encode_rle(rasterise(ops, (6, 8)))


def test_a_hand_written_code_decodes() -> None:
    mask = decode_rle(counts_from_uncompressed([1, 2, 3], (2, 3)), (2, 3))

    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_uncompressed_counts_may_start_with_foreground() -> None:
    assert decode_rle(counts_from_uncompressed([0, 4], (2, 2)), (2, 2)).all()


@pytest.mark.parametrize("counts", [[], [1], [5], [-1, 5], [2, 2, 10**30], [1.5, 2.5], ["4"], [None]])
def test_wrong_uncompressed_counts_are_refused(counts: list[object]) -> None:
    with pytest.raises(FormatError):
        counts_from_uncompressed(counts, (2, 2))


@pytest.mark.parametrize(
    "counts", ["", "4", "40", "hello", "\x00", "ü", "oooooooo", "P" * 50, "O4", "o" * 8 + "0"]
)
def test_a_damaged_code_is_refused(counts: str) -> None:
    with pytest.raises(FormatError):
        decode_rle(counts, (2, 3))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40))
def test_any_text_is_decoded_or_refused(counts: str) -> None:
    try:
        mask = decode_rle(counts, (5, 7))
    except FormatError:
        return
    assert mask.shape == (5, 7)


def test_a_code_for_a_gigantic_image_is_refused() -> None:
    with pytest.raises(FormatError):
        decode_rle("0", (10**6, 10**6))


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_traced_without_tolerance_a_mask_comes_back_exactly(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(rasterise(mask_to_ops(mask, 0), mask.shape), mask)


def test_a_part_inside_a_hole_survives_tracing() -> None:
    y, x = np.mgrid[:60, :60]
    away = np.hypot(x - 30, y - 30)
    rings = (away < 28) & ~((away > 10) & (away < 20))

    ops = mask_to_ops(rings, 1.0)

    assert [op.is_subtract for op in ops] == [False, True, False]
    assert np.count_nonzero(rasterise(ops, rings.shape) ^ rings) < 0.05 * np.count_nonzero(rings)
    assert sum(len(op.points_xy) for op in ops) < 80


def test_simplifying_keeps_corners_and_never_collapses() -> None:
    outline = [(0.0, 0.0), (5.0, 0.1), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]

    assert simplify_points(outline, 0.5) == ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    assert simplify_points(outline, 0) == tuple(outline)
    assert len(simplify_points(outline, 1000)) >= 3
