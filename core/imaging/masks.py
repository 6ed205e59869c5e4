"""Ops become masks, masks become run-length codes and ops again.

A mask is a bool array (H, W). Everything is computed inside the bounding box of what is drawn, so an
object costs what it covers, not what the photo measures.

Inside this file a mask's *runs* are its foreground as (starts, ends): int64 positions in column-major
order, ascending, as COCO counts them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from core.domain.errors import FormatError
from core.domain.labels import IGNORED, Annotation, BrushOp, Op, PolygonOp, RleOp
from core.imaging.limits import MAX_PIXELS

Mask = NDArray[np.bool_]
Runs = tuple[NDArray[np.int64], NDArray[np.int64]]

# pycocotools keeps five points per pixel of an outline in memory and counts them in C ints.
MAX_COORDINATE = 1_000_000
MAX_OUTLINE_PX = 2_000_000
MAX_CHARS_PER_RUN = 7  # 35 bits, far more than MAX_PIXELS
SUBPIXEL_BITS = 4
FILL_BORDER_PX = 0.45
MARGIN_PX = 4  # OpenCV fills outlines that leave the array up to 0.8 px wrong along the array's border
MAX_INSTANCES = 255  # that a byte can number
HALF_TURN = np.linspace(-np.pi / 2, np.pi / 2, 33)


@dataclass(frozen=True)
class Measure:
    """How much a mask covers: pixels, and its box (x, y, width, height); all 0 for an empty mask."""

    area: int
    bbox_xywh: tuple[int, int, int, int]


def rasterise(ops: Iterable[Op], size_hw: tuple[int, int]) -> Mask:
    """Replay ops in order and give their mask (H, W).

    A polygon covers exactly the pixels that pycocotools gives for it (even-odd rule, any position). A
    brush covers the pixels around its line, with round ends, to within half a pixel.

    Raises:
        FormatError: an op lies absurdly far away, or its run-length code does not fit the image.
    """
    box, (x, y) = rasterise_box(ops, size_hw)
    mask = np.zeros(size_hw, np.bool_)
    mask[y : y + box.shape[0], x : x + box.shape[1]] = box
    return mask


def rasterise_box(ops: Iterable[Op], size_hw: tuple[int, int]) -> tuple[Mask, tuple[int, int]]:
    """Replay ops in order inside the box of what they add.

    Returns:
        The mask's part in that box (h, w), clipped to the image, and the box's top left pixel (x, y).
        (0, 0) pixels at (0, 0) when nothing is covered. After a subtract the box may be wider than
        what is left; ``measure`` gives the tight one.

    Raises:
        FormatError: as ``rasterise``.
    """
    _check_size(size_hw)
    canvas, at = _empty()
    for op in ops:
        patch, corner = _patch(op, size_hw)
        if op.is_subtract:
            _subtract(canvas, at, patch, corner)
        elif patch.size:
            canvas, at = _added(canvas, at, patch, corner)
    return canvas, at


def measure(ops: Iterable[Op], size_hw: tuple[int, int]) -> Measure:
    """Count the pixels that ops cover and give their tight box; both come from the mask.

    Raises:
        FormatError: as ``rasterise``.
    """
    box, (x, y) = rasterise_box(ops, size_hw)
    rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
    if rows.size == 0:
        return Measure(0, (0, 0, 0, 0))
    left, top = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) - left + 1, int(rows[-1]) - top + 1
    return Measure(int(np.count_nonzero(box)), (x + left, y + top, width, height))


def label_map(
    annotations: Iterable[Annotation], class_index: Mapping[int, int], size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Paint annotations into one map of class indices.

    Args:
        annotations: in painting order; where two overlap, the later one is on top.
        class_index: category_id to class index (1..255, of which 255 is IGNORED). An annotation of a
            category that is not in it is left out, as if it had not been drawn.
        size_hw: height and width of the image.

    Returns:
        uint8 (H, W); 0 is background.

    Raises:
        FormatError: as ``rasterise``.
    """
    _check_size(size_hw)
    painted = np.zeros(size_hw, np.uint8)
    for annotation in annotations:
        index = class_index.get(annotation.category_id)
        if index is None:
            continue
        assert 0 < index < 256, "a label map holds class indices 1..255"
        paint(painted, annotation.ops, index)
    return painted


def paint(onto: NDArray[np.integer[Any]], ops: Iterable[Op], value: int) -> None:
    """Write a value over the pixels of a map (H, W) that an annotation's ops cover.

    Raises:
        FormatError: as ``rasterise``.
    """
    box, (x, y) = rasterise_box(ops, (onto.shape[0], onto.shape[1]))
    np.copyto(onto[y : y + box.shape[0], x : x + box.shape[1]], onto.dtype.type(value), where=box)


def instance_map(
    annotations: Iterable[Annotation], class_index: Mapping[int, int], size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Paint annotations into one map of single regions, as ``label_map`` paints their classes.

    Args:
        annotations, class_index, size_hw: as in ``label_map``. What is IGNORED there is no region, but
            covers those under it.

    Returns:
        uint8 (H, W): 0 where there is no region, k on the visible pixels of the k-th region drawn. Of
        more than 255 regions the 255 with the most visible pixels are left, numbered anew.

    Raises:
        FormatError: as ``rasterise``.
    """
    _check_size(size_hw)
    drawn = [a for a in annotations if a.category_id in class_index]
    painted = np.zeros(size_hw, np.uint8 if len(drawn) <= MAX_INSTANCES else np.int32)
    number = 0
    for annotation in drawn:
        is_region = class_index[annotation.category_id] != IGNORED
        number += is_region
        paint(painted, annotation.ops, number if is_region else 0)
    return number_instances(painted) if number > MAX_INSTANCES else painted.astype(np.uint8)


def number_instances(numbered: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Number the regions of a map (H, W) from 1 on, in the order of their numbers; 0 stays 0.

    Of more than 255 regions the smallest become 0.
    """
    numbers, places, counts = np.unique(numbered, return_inverse=True, return_counts=True)
    ranks = np.argsort(np.where(numbers > 0, -counts, 1), kind="stable")[:MAX_INSTANCES]
    is_kept = np.zeros(len(numbers), np.bool_)
    is_kept[ranks] = numbers[ranks] > 0
    anew = np.where(is_kept, np.cumsum(is_kept), 0).astype(np.uint8)
    return anew[places].reshape(numbered.shape)


def encode_rle(mask: Mask) -> str:
    """Encode a mask (H, W) as COCO's compressed run-length counts; the text equals pycocotools'."""
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (H, W), got {mask.shape}")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return encode_rle_box(mask[:0, :0], (0, 0), mask.shape)
    x, y = int(columns[0]), int(rows[0])
    return encode_rle_box(mask[y : rows[-1] + 1, x : columns[-1] + 1], (x, y), mask.shape)


def encode_rle_box(box: Mask, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> str:
    """Encode a mask given as a box of it, as ``rasterise_box`` returns it, without the full frame.

    Returns:
        Compressed counts of the whole (H, W) frame.
    """
    starts, ends = _runs_of_box(box, corner_xy, size_hw[0])
    bounds = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(bounds, prepend=0, append=size_hw[0] * size_hw[1])
    if counts.size > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return _compressed(counts, size_hw)


def decode_rle(counts: str, size_hw: tuple[int, int]) -> Mask:
    """Decode COCO's compressed run-length counts to a mask (H, W).

    Raises:
        FormatError: the text is not such a code, or its runs do not add up to H * W.
    """
    _check_size(size_hw)
    lengths = _run_lengths(counts, size_hw)
    is_foreground = np.arange(lengths.size) % 2 == 1
    height, width = size_hw
    return np.ascontiguousarray(np.repeat(is_foreground, lengths).reshape(width, height).T)


def counts_from_uncompressed(counts: Sequence[Any], size_hw: tuple[int, int]) -> str:
    """Compress COCO's uncompressed counts: run lengths in column-major order, background first.

    Raises:
        FormatError: a length is negative or no whole number, or they do not add up to H * W.
    """
    _check_size(size_hw)
    if not all(isinstance(count, int) and 0 <= count <= MAX_PIXELS for count in counts):
        raise FormatError("A mask's run-length counts must be whole numbers of 0 or more.")
    lengths = np.array(counts, np.int64)
    _check_sum(lengths, size_hw)
    return _compressed(lengths, size_hw)


def mask_to_ops(mask: Mask, tolerance_px: float) -> tuple[PolygonOp, ...]:
    """Trace a mask (H, W) as polygons that can be edited.

    Args:
        mask: may have several parts, holes, and parts inside holes.
        tolerance_px: how far an outline may leave the mask's edge; 0 keeps every pixel, so that
            ``rasterise`` gives the same mask back.

    Returns:
        Parts as adding and holes as subtracting polygons, outer ones first; () for an empty mask.

    Raises:
        FormatError: an outline has more points than an op may hold; use a higher tolerance.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return ()
    x, y = int(columns[0]), int(rows[0])
    crop = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.uint8)
    # Outlines run through pixel centres. At twice the size these lie a quarter pixel inside the edge,
    # so that filling the outline covers the same pixels again.
    doubled = cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(doubled, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    depths = _depths(tree[0])
    ops: list[PolygonOp] = []
    for index in np.argsort(depths, kind="stable"):
        outline = (contours[index][:, 0, :].astype(np.float64) + 0.5) / 2 + (x, y)
        points = simplify_points([(float(px), float(py)) for px, py in outline], tolerance_px)
        ops.append(PolygonOp(points, is_subtract=bool(depths[index] % 2)))
    return tuple(ops)


def simplify_points(
    points_xy: Sequence[tuple[float, float]], tolerance_px: float
) -> tuple[tuple[float, float], ...]:
    """Leave out the points of a closed outline that lie within a tolerance of the simpler one.

    An outline that would shrink to fewer than three points is given back as it came.

    Source: Douglas & Peucker 1973, as cv2.approxPolyDP.
    """
    if tolerance_px <= 0 or len(points_xy) <= 3:
        return tuple(points_xy)
    origin = np.array(points_xy[0])
    shifted = (np.array(points_xy) - origin).astype(np.float32)  # float32 is exact enough near 0
    kept = cv2.approxPolyDP(shifted[:, None, :], tolerance_px, closed=True)[:, 0, :]
    if len(kept) < 3:
        return tuple(points_xy)
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in kept + origin)


def _patch(op: Op, size_hw: tuple[int, int]) -> tuple[Mask, tuple[int, int]]:
    if isinstance(op, BrushOp):
        return _brush_patch(op, size_hw)
    if isinstance(op, PolygonOp):
        return _box_of_runs(_polygon_runs(op, size_hw), size_hw)
    if op.size_hw != size_hw:
        raise FormatError(
            f"A mask of {op.size_hw[1]} x {op.size_hw[0]} pixels does not fit "
            f"its image of {size_hw[1]} x {size_hw[0]}."
        )
    return _box_of_runs(_rle_runs(op, size_hw), size_hw)


def _empty() -> tuple[Mask, tuple[int, int]]:
    return np.zeros((0, 0), np.bool_), (0, 0)


def _added(
    canvas: Mask, at: tuple[int, int], patch: Mask, corner: tuple[int, int]
) -> tuple[Mask, tuple[int, int]]:
    if canvas.size == 0:
        return patch, corner
    left, top = min(at[0], corner[0]), min(at[1], corner[1])
    right = max(at[0] + canvas.shape[1], corner[0] + patch.shape[1])
    bottom = max(at[1] + canvas.shape[0], corner[1] + patch.shape[0])
    if (bottom - top, right - left) != canvas.shape:
        grown = np.zeros((bottom - top, right - left), np.bool_)
        grown[at[1] - top :, at[0] - left :][: canvas.shape[0], : canvas.shape[1]] = canvas
        canvas = grown
    canvas[corner[1] - top :, corner[0] - left :][: patch.shape[0], : patch.shape[1]] |= patch
    return canvas, (left, top)


def _subtract(canvas: Mask, at: tuple[int, int], patch: Mask, corner: tuple[int, int]) -> None:
    left, top = max(at[0], corner[0]), max(at[1], corner[1])
    right = min(at[0] + canvas.shape[1], corner[0] + patch.shape[1])
    bottom = min(at[1] + canvas.shape[0], corner[1] + patch.shape[0])
    if left < right and top < bottom:
        taken = patch[top - corner[1] : bottom - corner[1], left - corner[0] : right - corner[0]]
        canvas[top - at[1] : bottom - at[1], left - at[0] : right - at[0]] &= ~taken


def _brush_patch(op: BrushOp, size_hw: tuple[int, int]) -> tuple[Mask, tuple[int, int]]:
    points = np.array(op.points_xy)
    _check_outline(points)
    low = np.maximum(np.floor(points.min(axis=0) - op.radius) - 1, 0)
    high = np.minimum(np.ceil(points.max(axis=0) + op.radius) + 1, (size_hw[1], size_hw[0]))
    if (low >= high).any():
        return _empty()
    (left, top), (width, height) = low.astype(int).tolist(), (high - low).astype(int).tolist()
    local = points - low - 0.5  # from corners, where our origin lies, to pixel centres
    if (points == points[0]).all():
        y, x = np.ogrid[:height, :width]
        return (x - local[0, 0]) ** 2 + (y - local[0, 1]) ** 2 <= op.radius**2, (left, top)
    patch = np.zeros((height + 2 * MARGIN_PX, width + 2 * MARGIN_PX), np.uint8)
    for start, end in pairwise(local + MARGIN_PX):
        outline = np.rint(_capsule(start, end, op.radius) * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillConvexPoly(patch, outline, 1, cv2.LINE_8, SUBPIXEL_BITS)
    inner = patch[MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width]
    return np.ascontiguousarray(inner).view(np.bool_), (left, top)


def _capsule(start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Outline (n, 2) of what lies within a radius of a line.

    OpenCV's own thick lines are up to a pixel too wide at odd widths, half as much again for a thin
    brush; its filled polygons include their border, hence the slightly smaller radius.
    """
    heading = np.arctan2(end[1] - start[1], end[0] - start[0])
    angles = heading + HALF_TURN
    around = max(radius - FILL_BORDER_PX, 0.1) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([end + around, start - around])


def _polygon_runs(op: PolygonOp, size_hw: tuple[int, int]) -> Runs:
    points = np.array(op.points_xy)
    _check_outline(points)
    (code,) = coco.frPyObjects([points.ravel().tolist()], *size_hw)
    return _foreground(_run_lengths(_text(code), size_hw))


def _rle_runs(op: RleOp, size_hw: tuple[int, int]) -> Runs:
    return _foreground(_run_lengths(op.counts, size_hw))


def _foreground(lengths: NDArray[np.int64]) -> Runs:
    bounds = np.cumsum(lengths)
    starts, ends = bounds[0:-1:2], bounds[1::2]
    is_real = starts < ends
    return starts[is_real], ends[is_real]


def _box_of_runs(runs: Runs, size_hw: tuple[int, int]) -> tuple[Mask, tuple[int, int]]:
    starts, ends = runs
    if starts.size == 0:
        return _empty()
    height = size_hw[0]
    first, last = starts // height, (ends - 1) // height
    left, right = int(first[0]), int(last[-1]) + 1
    if (first == last).all():
        top, bottom = int((starts % height).min()), int(((ends - 1) % height).max()) + 1
    else:
        top, bottom = 0, height

    def inside(position: NDArray[np.int64]) -> NDArray[np.int64]:
        column, row = position // height, position % height
        return (column - left) * (bottom - top) + np.clip(row - top, 0, bottom - top)

    bounds = np.stack([inside(starts), inside(ends)], axis=1).ravel()
    lengths = np.diff(bounds, prepend=0, append=(bottom - top) * (right - left))
    pixels = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    return np.ascontiguousarray(pixels.reshape(right - left, bottom - top).T), (left, top)


def _runs_of_box(box: Mask, corner_xy: tuple[int, int], height: int) -> Runs:
    columns = np.zeros((box.shape[1], box.shape[0] + 2), np.bool_)
    columns[:, 1:-1] = box.T
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])
    positions = ((column + corner_xy[0]) * height + row + corner_xy[1]).astype(np.int64)
    starts, ends = positions[0::2], positions[1::2]
    goes_on = starts[1:] == ends[:-1]  # the foot of one column meets the head of the next
    return starts[np.append(True, ~goes_on)[: starts.size]], ends[np.append(~goes_on, True)[: ends.size]]


def _compressed(lengths: NDArray[np.int64], size_hw: tuple[int, int]) -> str:
    code = coco.frPyObjects({"counts": lengths.tolist(), "size": list(size_hw)}, *size_hw)
    return _text(code)


def _text(code: Mapping[str, Any]) -> str:
    return code["counts"].decode("ascii")


def _run_lengths(counts: str, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """Read compressed counts; never hands text from outside to C.

    Each number is written in groups of five bits from the low end, bit 6 says that more follow, and
    from the fourth run on it is the difference to the run before the last one.

    Source: https://github.com/cocodataset/cocoapi (common/maskApi.c, rleFrString).
    """
    if len(counts) > MAX_CHARS_PER_RUN * (size_hw[0] * size_hw[1] + 2):
        raise FormatError("A mask's run-length code is longer than its image.")
    codes = np.frombuffer(counts.encode("ascii", "replace"), np.uint8) - np.uint8(48)
    if codes.size == 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise FormatError("A mask's run-length code is damaged; it cannot be read.")
    last = np.flatnonzero((codes & 0x20) == 0)
    first = np.append(0, last[:-1] + 1)
    sizes = last - first + 1
    if sizes.max() > MAX_CHARS_PER_RUN:
        raise FormatError("A mask's run-length code has a run longer than any image.")
    shifts = 5 * (np.arange(codes.size) - np.repeat(first, sizes))
    lengths = np.add.reduceat((codes & 0x1F).astype(np.int64) << shifts, first)
    lengths -= np.where(codes[last] & 0x10, np.int64(1) << (5 * sizes), 0)
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    _check_sum(lengths, size_hw)
    return lengths


def _check_sum(lengths: NDArray[np.int64], size_hw: tuple[int, int]) -> None:
    pixels = size_hw[0] * size_hw[1]
    if lengths.size == 0 or lengths.min() < 0 or lengths.max() > pixels or int(lengths.sum()) != pixels:
        raise FormatError(
            f"A mask's run-length counts do not add up to its image of {size_hw[1]} x {size_hw[0]} pixels."
        )


def _check_size(size_hw: tuple[int, int]) -> None:
    if min(size_hw) < 1 or size_hw[0] * size_hw[1] > MAX_PIXELS:
        raise FormatError(f"An image of {size_hw[1]} x {size_hw[0]} pixels cannot hold a mask.")


def _check_outline(points: NDArray[np.float64]) -> None:
    if np.abs(points).max() > MAX_COORDINATE:
        raise FormatError(f"A stroke has a point more than {MAX_COORDINATE:,} pixels away from its image.")
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1)
    if steps.sum() > MAX_OUTLINE_PX:
        raise FormatError(f"A stroke is longer than {MAX_OUTLINE_PX:,} pixels; split it.")


def _depths(tree: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many outlines lie around each; ``tree`` is OpenCV's (n, 4), the parent's index last."""
    depths = np.zeros(len(tree), np.int64)
    parents = tree[:, 3].copy()
    while (parents >= 0).any():
        depths += parents >= 0
        parents = np.where(parents >= 0, tree[parents, 3], -1)
    return depths
