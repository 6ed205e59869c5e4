"""One annotation's ``segmentation`` in COCO: from ops and back."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pycocotools import mask as pycoco

from core.domain.errors import FormatError
from core.domain.labels import Annotation, Op, PolygonOp, RleOp, annotation_from_json, annotation_to_json
from core.imaging.masks import counts_from_uncompressed, encode_rle_box, measure, rasterise_box

EXTENSION = "maskwright"
FARTHEST = 1e9


def decode_annotation(record: Mapping[str, Any], size_hw: tuple[int, int] | None) -> tuple[Op, ...]:
    """Give the ops of a COCO annotation.

    Our own extension brings strokes back as they were drawn. It counts only while its mask is that of
    ``segmentation``, so that an edit made with another tool wins.

    Args:
        record: the annotation's JSON object.
        size_hw: the image's size as the file states it, None where it does not.

    Raises:
        FormatError: the segmentation cannot be used; the sentence says why.
    """
    ops = decode(record.get("segmentation"), size_hw)
    extension = record.get(EXTENSION)
    if size_hw is None or not isinstance(extension, Mapping):
        return ops
    try:
        drawn = annotation_from_json({"id": "", "category_id": 1, "ops": extension.get("ops")}).ops
        return drawn if mask_counts(drawn, size_hw) == mask_counts(ops, size_hw) else ops
    except FormatError:
        return ops


def decode(segmentation: object, size_hw: tuple[int, int] | None) -> tuple[Op, ...]:
    """Give ops for a segmentation: polygons, run-length codes, or a list that mixes them.

    Raises:
        FormatError: there is none, or a part of it cannot be used.
    """
    if isinstance(segmentation, Mapping):
        return (_rle(cast("Mapping[str, Any]", segmentation), size_hw),)
    if not isinstance(segmentation, list) or not segmentation:
        raise FormatError("It has no outline and no mask.")
    parts = cast("list[Any]", segmentation)
    if _is_numbers(parts):
        parts = [parts]  # some tools leave out the outer list
    return tuple(_rle(part, size_hw) if isinstance(part, Mapping) else _polygon(part) for part in parts)


def encode_annotation(ops: Sequence[Op], size_hw: tuple[int, int]) -> dict[str, Any] | None:
    """Give ``segmentation``, ``area``, ``bbox``, ``iscrowd`` and, where needed, our extension.

    Polygons are written as such only when pycocotools rasterises them to exactly the ops' mask, else
    as a compressed run-length code. None when the ops cover no pixel.
    """
    measured = measure(ops, size_hw)
    if measured.area == 0:
        return None
    counts = mask_counts(ops, size_hw)
    segmentation = _exact_polygons(ops, counts, size_hw)
    if segmentation is None:
        segmentation = {"size": list(size_hw), "counts": counts}
    record: dict[str, Any] = {
        "segmentation": segmentation,
        "area": measured.area,
        "bbox": list(measured.bbox_xywh),
        "iscrowd": 0,
    }
    if decode(segmentation, size_hw) != tuple(ops):
        drawn = Annotation(id="", category_id=1, ops=tuple(ops))
        record[EXTENSION] = {"ops": annotation_to_json(drawn)["ops"]}
    return record


def mask_counts(ops: Sequence[Op], size_hw: tuple[int, int]) -> str:
    """Give the compressed run-length counts of the ops' mask. Raises FormatError as ``rasterise``."""
    return encode_rle_box(*rasterise_box(ops, size_hw), size_hw)


def _exact_polygons(ops: Sequence[Op], counts: str, size_hw: tuple[int, int]) -> list[list[float]] | None:
    polygons: list[list[float]] = []
    for op in ops:
        if not isinstance(op, PolygonOp) or op.is_subtract:
            return None
        polygons.append([coordinate for point in op.points_xy for coordinate in point])
    parts: Any = cast("Any", pycoco).frPyObjects(polygons, *size_hw)
    merged: Any = pycoco.merge(parts)
    return polygons if merged["counts"].decode("ascii") == counts else None


def _polygon(part: object) -> PolygonOp:
    if not isinstance(part, list) or not _is_numbers(cast("list[Any]", part)):
        raise FormatError("A polygon must be a list of numbers: x, y, x, y, ...")
    numbers = cast("list[float]", part)
    if len(numbers) % 2:
        raise FormatError(f"A polygon has {len(numbers)} numbers; x and y must come in pairs.")
    if len(numbers) < 6:
        raise FormatError(f"A polygon has {len(numbers) // 2} points; it needs at least 3.")
    if not all(-FARTHEST <= number <= FARTHEST for number in numbers):
        raise FormatError("A polygon has a point that is not a number, or absurdly far away.")
    points = tuple((float(x), float(y)) for x, y in zip(numbers[::2], numbers[1::2], strict=True))
    return PolygonOp(points)


def _rle(part: Mapping[str, Any], size_hw: tuple[int, int] | None) -> RleOp:
    try:
        height, width = part["size"]
        counts = part["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("A run-length code needs a size (height, width) and counts.") from error
    if not (_is_whole(height) and _is_whole(width) and height > 0 and width > 0):
        raise FormatError("A run-length code needs a size (height, width) and counts.")
    if size_hw is not None and (height, width) != size_hw:
        raise FormatError(
            f"Its mask is {width} x {height} pixels, but its image {size_hw[1]} x {size_hw[0]}."
        )
    if isinstance(counts, list):
        counts = counts_from_uncompressed(cast("list[Any]", counts), (height, width))
    if not isinstance(counts, str):
        raise FormatError("A run-length code's counts must be a text or a list of numbers.")
    return RleOp((height, width), counts)


def _is_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
