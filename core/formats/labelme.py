"""labelme: one json for each photo, beside it.

Source: https://github.com/wkentaro/labelme (its documentation and examples).
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from core.domain.errors import FormatError, ImageError
from core.domain.labels import Op
from core.formats.gathering import (
    Reading,
    load_json,
    mentions,
    photo_size_wh,
    record,
    records,
    stated_size,
)
from core.formats.regions import (
    disc,
    is_exact,
    labelled_files,
    mask_op,
    plain_polygons,
    points_of,
    polygon,
    rectangle,
    replaced_labels,
    size_hw_of,
)
from core.formats.source import (
    SourceAnnotation,
    SourceDataset,
    SourceImage,
    folders_inwards_first,
    shown,
    split_of,
)
from core.imaging.limits import MAX_FILE_BYTES
from core.imaging.masks import rasterise_box
from core.imaging.overlay import encode_grey_png
from core.imaging.reading import decode_grey

VERSION = "5.5.0"
NO_AREA = ("point", "points", "line", "linestrip")
DECIMALS = 4


def detect(folder: Path) -> bool:
    """Tell whether a folder holds a json with labelme's shapes."""
    return bool(_label_files(Reading(folder)))


def read(folder: Path) -> SourceDataset:
    """Read labelme's json files at any depth, and their photos.

    The photo is the one that ``imagePath`` names, else the one with the json's own stem beside it, else
    the one inside the json (``imageData``). Shapes of one label and ``group_id`` are one region, which
    lies where the first of them lies. A json without shapes means "no damage"; a photo without a
    json is left out. Flags are not taken.

    Raises:
        FormatError: no json file there is labelme's; the sentence names one and its fault.
    """
    reading = Reading(folder)
    reading.documents = _label_files(reading)
    faults: list[str] = []
    flagged = 0
    for path in reading.ending(".json"):
        try:
            content = _document(folder / path)
        except FormatError as error:
            faults.append(f"{path}: {error}")
            if path in reading.documents:
                reading.refuse(path, error)
            continue
        try:
            _take(reading, path, content)
            flagged += bool(_flags(content))
        except FormatError as error:
            reading.refuse(path, error)
    if not reading.images and not reading.refused:
        raise FormatError(faults[0] if faults else "There is no json file of labelme's here.")
    if flagged:
        reading.notes.append(f"{flagged} files set flags, which were not taken.")
    return reading.dataset()


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``NAME.json`` beside ``NAME.jpg``, in a folder per split, and the classes in ``labels.txt``.

    Polygons stay polygons, several of one region with a common ``group_id``; what has holes or was
    painted becomes a shape of the type "mask" (labelme 5.3 or newer). The pixels are the same.

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        StorageError: the disk is full.
    """
    with replaced_labels(folder, _label_files) as keep:
        for name, images in labelled_files(dataset):
            for image, file_name in images:
                path = PurePosixPath(name, file_name)
                if with_photos:
                    keep(path, image.read())
                content = json.dumps(_content(image, file_name), ensure_ascii=False, indent=1)
                keep(path.with_suffix(".json"), content.encode())
        names = "".join(f"{category.name}\n" for category in dataset.categories)
        keep(PurePosixPath("labels.txt"), names.encode())


def _label_files(reading: Reading) -> list[PurePosixPath]:
    return [path for path in reading.ending(".json") if _is_labelme(reading.folder / path)]


def _is_labelme(path: Path) -> bool:
    # What follows a photo in the json stands at its end, all else before it.
    return any(mentions(path, b'"shapes"', key) for key in (b'"imagePath"', b'"imageHeight"'))


def _document(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict) or "shapes" not in content:
        raise FormatError("This is no file of labelme's: it has no list “shapes”.")
    records(content["shapes"], "“shapes”")
    return record(content, "The file")


def _flags(content: Mapping[str, Any]) -> list[str]:
    flags = content.get("flags")
    return [str(name) for name, is_set in flags.items() if is_set] if isinstance(flags, dict) else []


def _take(reading: Reading, path: PurePosixPath, content: Mapping[str, Any]) -> None:
    size_wh = stated_size(content.get("imageWidth"), content.get("imageHeight"))
    photo = reading.find(path, [content.get("imagePath")]) or reading.beside(path)
    is_inside = photo is None and isinstance(content.get("imageData"), str)
    if not is_inside:
        photo = reading.claim(path, photo)
        size_wh = size_wh or photo_size_wh(reading.folder / photo)
    if size_wh is None:
        raise FormatError("It states no imageWidth and imageHeight.")
    groups = _grouped(content["shapes"])
    drawn = reading.regions(path, groups, partial(_annotation, reading, size_wh))
    is_labelled = bool(drawn) or not groups
    if photo is not None:
        reading.add(photo, drawn, is_labelled=is_labelled, size_wh=size_wh)
        return
    text = content.get("imagePath")
    named = PurePosixPath(text.replace("\\", "/")).name if isinstance(text, str) else ""
    reading.images.append(
        SourceImage(
            name=shown(path.parent / (named or f"{path.stem}.jpg")),
            read=partial(_embedded_photo, reading.folder / path),
            split=split_of(folders_inwards_first(path)),
            annotations=drawn,
            is_labelled=is_labelled,
            drawn_size_wh=size_wh,
        )
    )


def _embedded_photo(path: Path) -> bytes:
    """Give the photo inside a json; read again when it is needed, so that one at a time is in memory."""
    try:
        text = _document(path).get("imageData")
        if not isinstance(text, str) or len(text) > MAX_FILE_BYTES * 4 / 3 + 4:
            raise ImageError("The photo inside the json is larger than a photo may be.")
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"{path.name} names a photo that is not there, and holds none.") from error


def _grouped(shapes: Sequence[Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Give the shapes of each region with where they stand; a shape without a group is a region."""
    groups: dict[object, tuple[str, list[dict[str, Any]]]] = {}
    for number, shape in enumerate(shapes, start=1):
        entry: dict[str, Any] = shape if isinstance(shape, dict) else {}
        group = entry.get("group_id")
        is_group = isinstance(group, int) and not isinstance(group, bool)
        key = (str(entry.get("label")), group) if is_group else number
        groups.setdefault(key, (f"Shape {number}", []))[1].append(entry)
    return list(groups.values())


def _annotation(
    reading: Reading, size_wh: tuple[int, int], shapes: Sequence[Mapping[str, Any]]
) -> SourceAnnotation:
    category = reading.category(shapes[0].get("label"))
    return SourceAnnotation(category, tuple(_op(shape, size_wh) for shape in shapes))


def _op(shape: Mapping[str, Any], size_wh: tuple[int, int]) -> Op:
    kind = shape.get("shape_type") or "polygon"  # old files say nothing
    points = points_of(shape.get("points"))
    match kind:
        case "polygon" | "rotation" | "quadrilateral":
            return polygon(points)
        case "rectangle":
            return rectangle(points)
        case "circle":
            if len(points) != 2:
                raise FormatError("A circle needs its centre and a point on it.")
            return disc(points[0], math.dist(points[0], points[1]))
        case "mask":
            return _mask(shape.get("mask"), points, size_wh)
        case str() if kind in NO_AREA:
            raise FormatError(f"A shape of the type “{kind}” has no area.")
        case _:
            raise FormatError(f"There is no shape type “{shown(kind)[:40]}”.")


def _mask(text: object, points: Sequence[tuple[float, float]], size_wh: tuple[int, int]) -> Op:
    if not isinstance(text, str) or len(points) != 2:
        raise FormatError("A mask needs two corners and its picture.")
    try:
        picture = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("A mask's picture is no base64.") from error
    left, top = (round(min(pair)) for pair in zip(*points, strict=True))
    return mask_op(np.asarray(decode_grey(picture) > 0, np.bool_), (left, top), size_wh)


def _content(image: SourceImage, file_name: str) -> dict[str, Any]:
    size_hw = size_hw_of(image)
    shapes: list[dict[str, Any]] = []
    for number, annotation in enumerate(image.annotations, start=1):
        shapes += _shapes(annotation, number, size_hw)
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": file_name,
        "imageData": None,
        "imageHeight": size_hw[0],
        "imageWidth": size_hw[1],
    }


def _shapes(annotation: SourceAnnotation, number: int, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    ops = annotation.ops
    box, (x, y) = rasterise_box(ops, size_hw)
    if not box.any():
        return []
    drawn = plain_polygons(ops) or []
    polygons = [[(round(px, DECIMALS), round(py, DECIMALS)) for px, py in points] for points in drawn]
    if polygons and is_exact(polygons, ops, size_hw):
        group = number if len(polygons) > 1 else None
        return [_shape(annotation.category, "polygon", points, group) for points in polygons]
    corners = [(float(x), float(y)), (float(x + box.shape[1] - 1), float(y + box.shape[0] - 1))]
    picture = base64.b64encode(encode_grey_png(box.astype(np.uint8))).decode()
    return [_shape(annotation.category, "mask", corners, None) | {"mask": picture}]


def _shape(label: str, kind: str, points: Sequence[tuple[float, float]], group: int | None) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(point) for point in points],
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }
