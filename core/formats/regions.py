"""Shapes of labelling tools as ops, and masks as what those tools can hold: exact polygons, one outline."""

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, FormatError
from core.domain.labels import MAX_POINTS, BrushOp, Op, PolygonOp, RleOp
from core.formats.export import LISTING, Keep, by_folder, file_names, replaced_export
from core.formats.gathering import Reading, number, records
from core.formats.segmentation import mask_counts
from core.formats.source import SourceDataset, SourceImage
from core.imaging.masks import encode_rle_box, mask_to_ops, rasterise_box

Point = tuple[float, float]

ELLIPSE_ERROR_PX = 0.05
COARSER_PX = (0, 3, 5, 9, 17, 33)  # detail to give up where an outline has too many points; 0 is none
NO_DAMAGE = "no damage"


def points_of(value: object) -> list[Point]:
    """Give a list of [x, y] as points. Raises FormatError."""
    points: list[Point] = []
    for pair in records(value, "Its outline"):
        if len(records(pair, "A point")) != 2:
            raise FormatError("A point is not a pair of x and y.")
        points.append((number(pair[0]), number(pair[1])))
    return points


def polygon(points_xy: Sequence[Point]) -> PolygonOp:
    """Give the op of a closed outline. Raises FormatError when it has fewer than three points."""
    if len(points_xy) < 3:
        raise FormatError(f"A polygon has {len(points_xy)} points; it needs at least 3.")
    return PolygonOp(tuple(points_xy))


def rectangle(points_xy: Sequence[Point]) -> PolygonOp:
    """Give the op of the upright rectangle around points; two opposite corners are enough."""
    if len(points_xy) < 2:
        raise FormatError("A rectangle needs two corners.")
    xs, ys = [x for x, _ in points_xy], [y for _, y in points_xy]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    return PolygonOp(((left, top), (right, top), (right, bottom), (left, bottom)))


def disc(center_xy: Point, radius: float) -> BrushOp:
    """Give the op of a filled circle: the pixels whose centres lie within the radius."""
    if radius <= 0:
        raise FormatError("A circle needs a radius of more than 0.")
    return BrushOp((center_xy,), radius)


def ellipse(center_xy: Point, radii_xy: Point, degrees: float = 0) -> PolygonOp:
    """Give the op of a filled ellipse, turned clockwise; its outline is right to 0.05 pixels.

    Raises:
        FormatError: a radius is 0 or less.
    """
    if min(radii_xy) <= 0:
        raise FormatError("An ellipse needs two radii of more than 0.")
    # The error of a chord is r (1 - cos(pi / n)), which is less than r (pi / n)^2 / 2.
    corners = min(max(16, math.ceil(math.pi * math.sqrt(max(radii_xy) / (2 * ELLIPSE_ERROR_PX)))), MAX_POINTS)
    angles = np.arange(corners) * (2 * math.pi / corners)
    x, y = center_xy
    around = [(x + radii_xy[0] * math.cos(a), y + radii_xy[1] * math.sin(a)) for a in angles.tolist()]
    return PolygonOp(turned(around, center_xy, degrees))


def turned(points_xy: Sequence[Point], about_xy: Point, degrees: float) -> tuple[Point, ...]:
    """Turn points clockwise, as seen on the screen, around one."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    x0, y0 = about_xy
    moved = [(x - x0, y - y0) for x, y in points_xy]
    return tuple((x0 + x * cosine - y * sine, y0 + x * sine + y * cosine) for x, y in moved)


def mask_op(box: NDArray[np.bool_], corner_xy: tuple[int, int], size_wh: tuple[int, int]) -> RleOp:
    """Give the op of a mask (h, w) that lies at a corner of a picture; what leaves it is cut off."""
    (x, y), (width, height) = corner_xy, size_wh
    left, top = min(max(x, 0), width), min(max(y, 0), height)
    inside = box[max(top - y, 0) : max(height - y, 0), max(left - x, 0) : max(width - x, 0)]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size:  # the code of a tight box costs what the mask covers
        inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        left, top = left + int(columns[0]), top + int(rows[0])
    return RleOp((height, width), encode_rle_box(inside, (left, top), (height, width)))


def plain_polygons(ops: Sequence[Op]) -> list[tuple[Point, ...]] | None:
    """Give the outlines of ops that are nothing but adding polygons, else None."""
    polygons = [op.points_xy for op in ops if isinstance(op, PolygonOp) and not op.is_subtract]
    return polygons if polygons and len(polygons) == len(ops) else None


def is_exact(polygons: Sequence[Sequence[Point]], ops: Sequence[Op], size_hw: tuple[int, int]) -> bool:
    """Tell whether polygons, as a reader will get them, cover exactly the pixels of ops."""
    read = tuple(PolygonOp(tuple(points)) for points in polygons)
    return mask_counts(read, size_hw) == mask_counts(ops, size_hw)


def one_outline(
    ops: Sequence[Op], size_hw: tuple[int, int], written: Callable[[Point], Point]
) -> tuple[Point, ...] | None:
    """Give one closed outline that covers the pixels of ops by the even-odd rule.

    Parts and holes are joined by bridges without width: each is walked to and fro, so it encloses
    nothing. A single polygon stays as it was drawn. Where the outline would have more than 100,000
    points, or be too long to be read, detail finer than 3, 5, 9, 17 or 33 pixels is given up, in that
    order; otherwise the pixels are the same.

    Args:
        ops: what to cover.
        size_hw: the image's height and width.
        written: what a point becomes by being written and read again; checked to keep the pixels.

    Returns:
        Points in image pixels; None when the ops cover no pixel.

    Raises:
        FormatError: even so it is too long.
    """
    drawn = plain_polygons(ops)
    box, (x, y) = rasterise_box(ops, size_hw)
    if not box.any():
        return None
    if drawn and len(drawn) == 1 and is_exact([[written(point) for point in drawn[0]]], ops, size_hw):
        return drawn[0]
    for detail_px in COARSER_PX:
        outlines = _traced(box, detail_px)
        if not outlines or sum(map(len, outlines)) + 2 * len(outlines) > MAX_POINTS:
            continue
        outline = tuple((px + x, py + y) for px, py in _bridged(outlines))
        if _is_readable([written(point) for point in outline], size_hw):
            return outline
    raise FormatError("A region is too ragged to be written as one outline; smooth it, or export as COCO.")


def _is_readable(points_xy: Sequence[Point], size_hw: tuple[int, int]) -> bool:
    try:
        rasterise_box([PolygonOp(tuple(points_xy))], size_hw)
    except FormatError:  # the outline is too long
        return False
    return True


def _traced(box: NDArray[np.bool_], detail_px: int) -> list[NDArray[np.float64]]:
    if detail_px:
        # A frame of background: the filter repeats the border, which would fatten what touches it.
        framed = np.pad(box.astype(np.uint8), detail_px)
        smooth = cv2.medianBlur(framed, detail_px)[detail_px:-detail_px, detail_px:-detail_px]
        box = np.asarray(smooth > 0, np.bool_)
    try:
        return [np.array(op.points_xy) for op in mask_to_ops(box, detail_px / 4)]
    except FormatError:
        return []


def _bridged(outlines: Sequence[NDArray[np.float64]]) -> list[Point]:
    """Join outlines (n, 2) into one: each hangs at a corner of an earlier one that lies close to it."""
    corners = np.concatenate(outlines)
    x, y = np.ascontiguousarray(corners[:, 0]), np.ascontiguousarray(corners[:, 1])
    begins = np.cumsum([0, *map(len, outlines)]).tolist()
    hanging: dict[int, list[tuple[int, int]]] = defaultdict(list)  # corner -> outlines, each from its corner
    for index in range(1, len(outlines)):
        first, end = begins[index], begins[index + 1]
        near = int(np.argmin((x[:first] - x[first]) ** 2 + (y[:first] - y[first]) ** 2))
        start = int(np.argmin((x[first:end] - x[near]) ** 2 + (y[first:end] - y[near]) ** 2))
        hanging[near].append((index, first + start))
    path: list[int] = []
    ahead = [(corner, True) for corner in reversed(range(begins[1]))]
    while ahead:
        corner, is_new = ahead.pop()
        path.append(corner)
        for index, start in hanging[corner] if is_new and corner in hanging else ():
            around = [*range(start, begins[index + 1]), *range(begins[index], start)]
            ahead += [(corner, False), (start, False), *((c, True) for c in reversed(around))]
    return [(float(x[corner]), float(y[corner])) for corner in path]


@contextmanager
def replaced_labels(
    folder: Path, label_files: Callable[[Reading], Iterable[PurePosixPath]]
) -> Generator[Keep]:
    """Give a function that writes one file of an export, as ``export.replaced_export`` does.

    Args:
        folder: where to.
        label_files: lists the files there that hold labels in the format that is written.

    Raises:
        AppError: the folder is a file, or holds such labels that no export wrote. Nothing was written.
        StorageError: the disk is full.
    """
    if folder.is_dir():
        listing = folder / LISTING
        text = listing.read_text(encoding="utf-8", errors="replace") if listing.is_file() else ""
        foreign = sorted({str(path) for path in label_files(Reading(folder))} - set(text.split("\n")))
        if foreign:
            raise AppError(
                f"{folder} holds annotations that come from elsewhere ({foreign[0]}), and two sets of "
                "labels in one folder would be mixed up. Name another folder."
            )
    with replaced_export(folder) as keep:
        yield keep


def labelled_files(dataset: SourceDataset) -> Generator[tuple[str, list[tuple[SourceImage, str]]]]:
    """Give a data set's labelled images with their file names, folder by folder ("" alone without splits)."""
    for name, images in by_folder(dataset).items():
        labelled = [image for image in images if image.is_labelled]
        if labelled:
            yield name, list(zip(labelled, file_names(labelled), strict=True))


def size_hw_of(image: SourceImage) -> tuple[int, int]:
    """Give the height and width of an image to be written."""
    assert image.drawn_size_wh is not None, "a format states the size of each image"
    return image.drawn_size_wh[1], image.drawn_size_wh[0]
