"""A rough prompt on a photo becomes a mask: a box, a rough outline, scribbles, or one colour.

Everything is computed on a *region*: what the prompt concerns with a margin around it, reduced to at most
MAX_REGION_PX pixels, so that the time does not depend on the photo's size. Prompts and answers are in
image pixels; masks are bool (h, w) of the region.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import BrushOp, PolygonOp
from core.imaging.masks import Mask, mask_to_ops, rasterise_box
from core.imaging.random_walk import INSIDE, OUTSIDE, Seeds, Soft, walk

Pixels = NDArray[np.uint8]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom in image pixels

MAX_REGION_PX = 320 * 320
MAX_OUTLINE_PX = 2_000_000  # of the picture that an outline is traced on
MARGIN = 0.35
SCRIBBLE_MARGIN = 0.6  # scribbles lie inside of what they mean,
SCRIBBLE_REACH = 0.15  # which may reach this share of the photo's short side beyond them
LEAST_MARGIN_PX = 4
LEAST_SIDE_PX = 3

# CORE, BETA, PULL, SURE and UNSURE are the best of a handful tried on two dozen objects of the split `train`
# of the photos of damaged cars; the other figures were set without a search.
GRABCUT_PX = 160 * 160
GRABCUT_ROUNDS = 3
CORE = 0.3  # what lies deeper in an outline than this share of its depth is thought to be the object first
COLLAPSED = 0.2  # of that
BETA = 1.0
PULL = 0.005
SURE, UNSURE = 0.9, 0.1  # how far GrabCut's word is believed
SPECK_PX = 30  # region pixels
SPECK_SHARE = 0.02  # of the largest part


@dataclass(frozen=True)
class Stroke:
    """A scribble: a line of a radius in image pixels, or a click, that is inside the object or outside."""

    points_xy: tuple[Point, ...]
    is_inside: bool = True
    radius: float = 2.0


@dataclass(frozen=True)
class Region:
    """A part of a photo, reduced: RGB uint8 (h, w, 3), and where it lies in the photo.

    ``corner_xy`` is its top left corner in image pixels and ``size_wh`` what it covers of them.
    """

    rgb: Pixels = field(repr=False)
    corner_xy: tuple[int, int]
    size_wh: tuple[int, int]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in its own pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def inside(self, points_xy: Sequence[Point]) -> tuple[Point, ...]:
        """Give image points in the region's own pixels."""
        (left, top), (width, height) = self.corner_xy, self.size_wh
        across, down = self.rgb.shape[1] / width, self.rgb.shape[0] / height
        return tuple(((x - left) * across, (y - top) * down) for x, y in points_xy)


def box_around(points_xy: Sequence[Point]) -> Box:
    """Give the box of some points."""
    xs, ys = [x for x, _ in points_xy], [y for _, y in points_xy]
    return min(xs), min(ys), max(xs), max(ys)


def around_scribbles(points_xy: Sequence[Point], size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give the whole pixels of a photo in which the object of some scribbles is looked for."""
    least_px = max(LEAST_MARGIN_PX, SCRIBBLE_REACH * min(size_wh))
    return with_margin(box_around(points_xy), size_wh, SCRIBBLE_MARGIN, least_px)


def with_margin(
    box: Box, size_wh: tuple[int, int], margin: float = MARGIN, least_px: float = LEAST_MARGIN_PX
) -> tuple[int, int, int, int]:
    """Widen a box by a share of its sides and cut it to whole pixels of the photo."""
    left, top, right, bottom = box
    more_x, more_y = max(margin * (right - left), least_px), max(margin * (bottom - top), least_px)
    return (
        max(0, math.floor(left - more_x)),
        max(0, math.floor(top - more_y)),
        min(size_wh[0], math.ceil(right + more_x)),
        min(size_wh[1], math.ceil(bottom + more_y)),
    )


def region_scale(box: tuple[int, int, int, int], most_px: int = MAX_REGION_PX) -> float:
    """Say how far a box of a photo is reduced: region pixels per image pixel, at most 1."""
    return min(1.0, math.sqrt(most_px / ((box[2] - box[0]) * (box[3] - box[1]))))


def cut(
    rgb: Pixels, photo_wh: tuple[int, int], box: tuple[int, int, int, int], most_px: int = MAX_REGION_PX
) -> Region:
    """Cut a box out of a photo and reduce it.

    Args:
        rgb: the photo, at its full size or reduced already.
        photo_wh: its full size, in whose pixels the box is.
        box: whole pixels inside the photo.
        most_px: pixels of the region at most.
    """
    left, top, right, bottom = box
    size_wh = (right - left, bottom - top)
    across, down = rgb.shape[1] / photo_wh[0], rgb.shape[0] / photo_wh[1]
    x, y = min(int(left * across), rgb.shape[1] - 1), min(int(top * down), rgb.shape[0] - 1)
    part = rgb[y : max(y + 1, math.ceil(bottom * down)), x : max(x + 1, math.ceil(right * across))]
    scale = region_scale(box, most_px)
    wanted = max(1, round(size_wh[0] * scale)), max(1, round(size_wh[1] * scale))
    if wanted != (part.shape[1], part.shape[0]):
        part = cv2.resize(part, wanted, interpolation=cv2.INTER_AREA)
    return Region(np.ascontiguousarray(part, np.uint8), (left, top), size_wh)


def segment_outline(region: Region, outline_xy: Sequence[Point], strokes: Sequence[Stroke] = ()) -> Mask:
    """Find the object inside a box or a rough outline around it.

    GrabCut tells object and surroundings apart by their colours, on a small copy; a random walker then
    follows the edges and the corrections, and listens to GrabCut where these say little.

    Args:
        outline_xy: corners in image pixels; outside of them nothing is the object.
        strokes: corrections, which hold whatever the colours say; later ones lie over earlier ones.

    Source: Rother, Kolmogorov & Blake 2004, "GrabCut", as cv2.grabCut.
    """
    may_be = _filled(region, outline_xy)
    if may_be.all():  # a box around the whole photo: its rim is the background
        may_be = _without_rim(may_be)
    seeds = np.where(may_be, np.int8(0), np.int8(OUTSIDE))
    _mark(seeds, region, strokes)
    if not (seeds < 0).any():
        return may_be  # a photo of a few pixels
    colors = UNSURE + (SURE - UNSURE) * _grabcut(region.rgb, may_be, seeds)
    prior = np.asarray(np.where(may_be, colors, 0.0), np.float32)
    return walk(_lab(region.rgb), seeds, beta=BETA, prior=prior, pull=PULL) > 0.5


def segment_strokes(region: Region, strokes: Sequence[Stroke]) -> Mask:
    """Find the object that strokes lie in, by a random walker; the region's rim is outside.

    Args:
        strokes: later ones lie over earlier ones.
    """
    seeds = np.zeros(region.size_hw, np.int8)
    seeds[[0, -1]] = seeds[:, [0, -1]] = OUTSIDE
    _mark(seeds, region, strokes)
    return walk(_lab(region.rgb), seeds, beta=BETA) > 0.5


def segment_similar(region: Region, at_xy: Point, tolerance: float, blur_px: float = 1.0) -> Mask:
    """Take what joins a point and is of its colour (a magic wand).

    Args:
        tolerance: the largest difference in Lab, each channel by itself, in units of CIE L*a*b*.
        blur_px: how far the region is smoothed first, in its own pixels; 0 leaves it as it is.
    """
    smooth = cv2.GaussianBlur(region.rgb, (0, 0), blur_px) if blur_px > 0 else region.rgb
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ((x, y),) = region.inside([at_xy])
    height, width = region.size_hw
    seed = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
    flooded = np.zeros((height + 2, width + 2), np.uint8)
    span = (float(tolerance),) * 3
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(lab, flooded, seed, 0, span, span, flags)
    return flooded[1:-1, 1:-1].astype(np.bool_)


def box_of(region: Region, mask: Mask) -> Box:
    """Give the box of a region's mask, not empty, in image pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (left, top), (width, height) = region.corner_xy, region.size_wh
    across, down = width / mask.shape[1], height / mask.shape[0]
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    return left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down


def tidied(mask: Mask) -> Mask:
    """Drop specks and fill pinholes; the largest part always stays."""
    return _without_pinholes(_without_specks(mask))


def ops_of(mask: Mask, corner_xy: tuple[int, int], size_wh: tuple[int, int]) -> tuple[PolygonOp, ...]:
    """Trace a mask (h, w) as polygons in image pixels: parts add, holes subtract.

    Args:
        corner_xy, size_wh: which part of the photo the mask is of, in image pixels. At the photo's own
            resolution the polygons give the very pixels of the mask; a reduced mask is enlarged first,
            smoothly, so that no stairs are left.

    Returns:
        As ``mask_to_ops``: outer outlines first; () for an empty mask.
    """
    (left, top), (width, height) = corner_xy, size_wh
    growth = min(1.0, math.sqrt(MAX_OUTLINE_PX / (width * height)))
    fine_wh = max(1, round(width * growth)), max(1, round(height * growth))
    if fine_wh[0] > mask.shape[1] or fine_wh[1] > mask.shape[0]:
        soft = cv2.resize(mask.astype(np.float32), fine_wh, interpolation=cv2.INTER_LINEAR)
        mask, tolerance = soft >= 0.5, 0.5
    else:
        tolerance = 0.0
    across, down = width / mask.shape[1], height / mask.shape[0]
    return tuple(
        PolygonOp(tuple((x * across + left, y * down + top) for x, y in op.points_xy), op.is_subtract)
        for op in mask_to_ops(mask, tolerance)
    )


def _filled(region: Region, outline_xy: Sequence[Point]) -> Mask:
    return _drawn(region, PolygonOp(region.inside(outline_xy)))


def _stroked(region: Region, stroke: Stroke) -> Mask:
    radius = max(stroke.radius * region.rgb.shape[1] / region.size_wh[0], 0.75)
    return _drawn(region, BrushOp(region.inside(stroke.points_xy), radius))


def _drawn(region: Region, op: PolygonOp | BrushOp) -> Mask:
    box, (x, y) = rasterise_box([op], region.size_hw)
    mask = np.zeros(region.size_hw, np.bool_)
    mask[y : y + box.shape[0], x : x + box.shape[1]] = box
    return mask


def _without_rim(mask: Mask) -> Mask:
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1]
    return inner


def _mark(seeds: Seeds, region: Region, strokes: Sequence[Stroke]) -> None:
    for stroke in strokes:
        seeds[_stroked(region, stroke)] = INSIDE if stroke.is_inside else OUTSIDE


def _grabcut(rgb: Pixels, may_be: Mask, seeds: Seeds) -> Soft:
    """Tell by colour, on a copy of at most GRABCUT_PX: float32 (h, w), 1 where the object is.

    Where object and surroundings share their colours next to nothing is left of it; then what was thought to
    be it first stays.
    """
    height, width = may_be.shape
    shrink = min(1.0, math.sqrt(GRABCUT_PX / may_be.size))
    small_wh = max(1, round(width * shrink)), max(1, round(height * shrink))
    marks = _grabcut_marks(*(_shrunk(mask, small_wh) for mask in (may_be, seeds > 0, may_be & (seeds < 0))))
    found = first = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    if first.any() and not first.all():
        cv2.setRNGSeed(1)  # its colour clusters start at random: the same prompt is to give the same mask
        models = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
        small = cv2.resize(rgb, small_wh, interpolation=cv2.INTER_AREA)
        cv2.grabCut(small, marks, (0, 0, 0, 0), *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    believed = found if found.sum() > COLLAPSED * first.sum() else first
    soft = cv2.resize(believed.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft, np.float32)


def _grabcut_marks(may_be: Mask, is_inside: Mask, is_outside: Mask) -> Pixels:
    depth = cv2.distanceTransform(np.pad(may_be.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    marks = np.full(may_be.shape, cv2.GC_BGD, np.uint8)
    marks[may_be] = cv2.GC_PR_BGD
    marks[may_be & (depth > CORE * depth.max())] = cv2.GC_PR_FGD
    marks[is_inside] = cv2.GC_FGD
    marks[is_outside] = cv2.GC_BGD
    return marks


def _shrunk(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """Reduce a mask; a pixel stays where a third of it is covered, so that thin strokes do not get lost."""
    share = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0.33, np.bool_)


def _lab(rgb: Pixels) -> Soft:
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _without_specks(mask: Mask) -> Mask:
    parts, areas = _parts(mask)
    largest = int(areas[1:].max(initial=0))
    return ((areas >= min(max(SPECK_PX, SPECK_SHARE * largest), largest)) & (areas > 0))[parts] & mask


def _without_pinholes(mask: Mask) -> Mask:
    parts, areas = _parts(np.pad(~mask, 1, constant_values=True))
    is_open = areas >= SPECK_PX
    is_open[parts[0, 0]] = True  # what lies around the object is no hole, however small the region
    return mask | ~is_open[parts[1:-1, 1:-1]]


def _parts(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the connected parts, 0 where there is none, and count the pixels of each number."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    numbers = np.asarray(parts, np.int64)
    return numbers, np.bincount(numbers.ravel())
