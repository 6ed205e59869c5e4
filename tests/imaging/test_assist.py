"""Boxes, outlines, scribbles and the wand on drawn photos whose truth is known."""

import cv2
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from core.domain.labels import PolygonOp
from core.imaging import assist
from core.imaging.assist import Region, Stroke
from core.imaging.masks import Mask, rasterise
from core.imaging.random_walk import walk

Array = NDArray[np.uint8]


def photo_with(truth: Mask, *, seed: int = 3, noise: float = 6) -> Array:
    """A grey-blue panel with a rust-brown object where truth is, under a sensor's noise."""
    rgb = np.where(truth[:, :, None], (130, 80, 50), (110, 130, 150)).astype(np.float64)
    rgb += np.random.default_rng(seed).normal(0, noise, (*truth.shape, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def disc(size_wh: tuple[int, int], centre: tuple[int, int], radius: int) -> Mask:
    mask = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    return mask > 0


def ring(size_wh: tuple[int, int], centre: tuple[int, int], radius: int, hole: int) -> Mask:
    return disc(size_wh, centre, radius) & ~disc(size_wh, centre, hole)


def iou(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def whole(rgb: Array) -> Region:
    wh = (rgb.shape[1], rgb.shape[0])
    return assist.cut(rgb, wh, (0, 0, *wh))


def drawn(region: Region, mask: Mask, photo_wh: tuple[int, int]) -> Mask:
    ops = assist.ops_of(mask, region.corner_xy, region.size_wh)
    return rasterise(ops, (photo_wh[1], photo_wh[0]))


BOX = ((60.0, 40.0), (160.0, 40.0), (160.0, 140.0), (60.0, 140.0))


def test_a_region_has_a_margin_ends_at_the_photo_and_is_reduced_to_a_number_of_pixels() -> None:
    rgb = np.zeros((1000, 20_000, 3), np.uint8)
    box = assist.with_margin((0, 0, 20_000, 1000), (20_000, 1000))
    region = assist.cut(rgb, (20_000, 1000), box)

    assert assist.with_margin((100, 200, 200, 260), (4000, 3000)) == (65, 179, 235, 281)
    assert assist.around_scribbles([(2000.0, 1500.0)], (4000, 3000)) == (1550, 1050, 2450, 1950)
    assert box == (0, 0, 20_000, 1000)
    assert region.rgb.shape[0] * region.rgb.shape[1] <= 1.02 * assist.MAX_REGION_PX
    assert region.inside([(20_000.0, 1000.0)]) == ((region.size_hw[1], region.size_hw[0]),)


def test_a_region_of_a_photo_that_was_decoded_smaller_shows_the_same_place() -> None:
    truth = disc((800, 600), (500, 200), 60)
    rgb = photo_with(truth, noise=0)
    half = cv2.resize(rgb, (400, 300), interpolation=cv2.INTER_AREA).astype(np.uint8)
    box = (400, 100, 600, 300)

    full, reduced = assist.cut(rgb, (800, 600), box), assist.cut(half, (800, 600), box)

    assert full.rgb.shape == reduced.rgb.shape == (200, 200, 3)
    assert np.abs(full.rgb.astype(int) - reduced.rgb).mean() < 3


def test_grabcut_finds_what_a_box_is_around_and_the_same_again() -> None:
    truth = disc((220, 180), (110, 90), 38)
    region = whole(photo_with(truth))

    found = assist.segment_outline(region, BOX)

    assert iou(found, truth) > 0.95
    assert np.array_equal(found, assist.segment_outline(region, BOX))


def test_a_rough_outline_keeps_out_a_neighbour_of_the_same_colour() -> None:
    truth = disc((220, 180), (90, 90), 30)
    region = whole(photo_with(truth | disc((220, 180), (150, 90), 18)))
    outline = ((50.0, 50.0), (128.0, 50.0), (128.0, 130.0), (50.0, 130.0))

    assert iou(assist.segment_outline(region, outline), truth) > 0.9


def test_a_correction_holds_against_the_colours() -> None:
    truth = disc((220, 180), (110, 90), 38)
    region = whole(photo_with(truth))
    out = Stroke(((110.0, 70.0), (110.0, 110.0)), is_inside=False, radius=6)

    found = assist.segment_outline(region, BOX, [out])

    assert not found[80:100, 108:112].any()
    assert found.any()


def test_a_box_around_the_whole_photo_still_has_an_outside() -> None:
    truth = disc((120, 100), (60, 50), 25)
    region = whole(photo_with(truth))
    everything = ((0.0, 0.0), (120.0, 0.0), (120.0, 100.0), (0.0, 100.0))

    assert iou(assist.segment_outline(region, everything), truth) > 0.9


@pytest.mark.parametrize("size_wh", [(1, 1), (3, 3), (4, 2), (60, 1)])
def test_photos_of_a_few_pixels_are_answered(size_wh: tuple[int, int]) -> None:
    region = whole(np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))
    width, height = float(size_wh[0]), float(size_wh[1])
    corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))

    assert assist.segment_outline(region, corners).shape == region.size_hw
    assert assist.segment_strokes(region, [Stroke(((0.5, 0.5),))]).shape == region.size_hw
    assert assist.segment_similar(region, (0.5, 0.5), 5).all()


def test_a_photo_of_one_colour_gives_no_error() -> None:
    region = whole(np.full((180, 220, 3), 128, np.uint8))

    assert assist.segment_outline(region, BOX).shape == (180, 220)


def test_the_walker_agrees_with_the_equations_solved_directly() -> None:
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (6, 6, 3)).astype(np.float32)
    lab = np.asarray(cv2.resize(coarse, (61, 47), interpolation=cv2.INTER_CUBIC), np.float32)
    seeds = np.zeros((47, 61), np.int8)
    seeds[[0, -1]] = seeds[:, [0, -1]] = -1
    seeds[20:24, 30:33] = 1

    found = walk(lab, seeds, beta=1.0)

    assert np.abs(found - solved(lab, seeds, beta=1.0)).max() < 0.01


def test_scribbles_find_a_dent_that_is_only_darker_and_go_round_what_is_crossed_out() -> None:
    truth = disc((220, 180), (110, 90), 40)
    soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 2)[:, :, None]
    rgb = (150 - 18 * soft + np.random.default_rng(1).normal(0, 1.5, (180, 220, 1))).repeat(3, 2)
    region = whole(np.clip(rgb, 0, 255).astype(np.uint8))
    inside = Stroke(((90.0, 90.0), (130.0, 90.0)), radius=6)
    outside = Stroke(((50.0, 40.0), (170.0, 40.0), (170.0, 140.0), (50.0, 140.0)), is_inside=False)
    across = Stroke(((110.0, 75.0), (125.0, 75.0)), is_inside=False, radius=3)

    found = assist.segment_strokes(region, [inside, outside])
    corrected = assist.segment_strokes(region, [inside, outside, across])

    assert iou(found, truth) > 0.8
    assert found[75, 118]
    assert not corrected[75, 118]
    assert corrected[90, 90]


def test_the_wand_takes_what_joins_and_is_alike_and_more_with_more_tolerance() -> None:
    truth = disc((220, 180), (80, 90), 30)
    other = disc((220, 180), (170, 90), 20)
    region = whole(photo_with(truth | other, noise=2))

    found = assist.segment_similar(region, (80.0, 90.0), 12)

    assert iou(found, truth) > 0.95
    assert not found[90, 170]
    assert assist.segment_similar(region, (80.0, 90.0), 100).all()


def test_an_answer_at_full_resolution_is_drawn_pixel_by_pixel_with_its_holes() -> None:
    truth = ring((220, 180), (110, 90), 40, 14)
    region = assist.cut(photo_with(truth), (220, 180), (40, 20, 180, 160))
    mask = truth[20:160, 40:180]

    ops = assist.ops_of(mask, region.corner_xy, region.size_wh)

    assert [op.is_subtract for op in ops] == [False, True]
    assert np.array_equal(rasterise(ops, (180, 220)), truth)


def test_an_answer_of_a_reduced_region_lies_in_the_photo_without_stairs_or_loss() -> None:
    truth = ring((2400, 1800), (1200, 900), 500, 200)
    region = assist.cut(photo_with(truth), (2400, 1800), (400, 200, 2000, 1600))
    small = cv2.resize(
        truth[200:1600, 400:2000].astype(np.uint8), region.rgb.shape[1::-1], interpolation=cv2.INTER_AREA
    )

    assert region.rgb.shape[0] * region.rgb.shape[1] <= 1.02 * assist.MAX_REGION_PX
    assert iou(drawn(region, small > 0, (2400, 1800)), truth) > 0.985


def test_specks_and_pinholes_go_but_a_small_object_stays() -> None:
    mask = disc((200, 200), (80, 80), 40)
    mask[150:154, 150:154] = True
    mask[80:83, 80:83] = False
    small = np.zeros((200, 200), np.bool_)
    small[10:13, 10:14] = True

    assert np.array_equal(assist.tidied(mask), disc((200, 200), (80, 80), 40))
    assert np.array_equal(assist.tidied(small), small)
    assert not assist.tidied(np.zeros((5, 5), np.bool_)).any()
    assert assist.ops_of(np.zeros((5, 5), np.bool_), (0, 0), (5, 5)) == ()


def test_every_outline_given_is_a_polygon_that_can_be_drawn() -> None:
    mask = np.random.default_rng(2).random((40, 40)) > 0.5

    ops = assist.ops_of(assist.tidied(mask), (10, 20), (40, 40))

    assert all(isinstance(op, PolygonOp) and len(op.points_xy) >= 3 for op in ops)


def solved(lab: NDArray[np.float32], seeds: NDArray[np.int8], beta: float) -> NDArray[np.float64]:
    """The walker's chances from its definition: one linear equation per free pixel, solved exactly."""
    height, width = seeds.shape
    number = np.arange(seeds.size).reshape(seeds.shape)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    start = np.concatenate([a.ravel() for a, _ in pairs])
    end = np.concatenate([b.ravel() for _, b in pairs])
    colors = lab.reshape(-1, 3).astype(np.float64)
    squares = ((colors[start] - colors[end]) ** 2).sum(axis=1)
    weights = np.exp(-beta * squares / squares.mean()) + 1e-4
    half = scipy.sparse.coo_matrix((weights, (start, end)), shape=(seeds.size, seeds.size))
    graph = (half + half.T).tocsr()
    laplacian = (scipy.sparse.diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
    flat = seeds.ravel()
    free, held = np.flatnonzero(flat == 0), np.flatnonzero(flat)
    values = (flat > 0).astype(np.float64)
    right = -laplacian[free][:, held] @ values[held]
    values[free] = scipy.sparse.linalg.spsolve(laplacian[free][:, free].tocsc(), right)
    return values.reshape(height, width)
