"""VGG Image Annotator (VIA) 1 and 2: one json for many photos, a project or its annotations only.

Source: https://www.robots.ox.ac.uk/~vgg/software/via/docs/
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from core.domain.errors import FormatError, listed
from core.domain.labels import Op
from core.formats.gathering import (
    Reading,
    load_json,
    mentions,
    number,
    record,
    records,
)
from core.formats.regions import (
    NO_DAMAGE,
    Point,
    disc,
    ellipse,
    labelled_files,
    one_outline,
    polygon,
    rectangle,
    replaced_labels,
    size_hw_of,
)
from core.formats.source import SourceAnnotation, SourceDataset, SourceImage, shown

METADATA = "_via_img_metadata"
ATTRIBUTES = "_via_attributes"
DECIMALS = 4
DEFAULT_CLASS = "damage"
USUAL_NAMES = ("class", "classname", "class_name", "label", "category", "type", "name", "damage")
CLOSED_PX = 1.5  # a line whose ends lie so near is meant as an outline


def detect(folder: Path) -> bool:
    """Tell whether a folder holds a json with VIA's regions."""
    return bool(_label_files(Reading(folder)))


def read(folder: Path) -> SourceDataset:
    """Read VIA's json files at any depth, and the photos they name.

    The class is the region attribute that has options; or the only one; or the one with a usual name
    (class, label, type, ...). Without any attribute it is "damage". A line whose ends meet is an
    outline; an open one has no area and is refused. VIA lists photos that nobody has looked at, so a
    photo without regions is unlabelled, unless a file attribute "no damage" is set.

    Raises:
        FormatError: no json file there is VIA's, or several attributes may be the class.
    """
    reading = Reading(folder)
    reading.documents = _label_files(reading)
    faults: list[str] = []
    for path in reading.ending(".json"):
        try:
            entries, attributes = _document(folder / path)
        except FormatError as error:
            faults.append(f"{path}: {error}")
            if path in reading.documents:
                reading.refuse(path, error)
            continue
        _take_all(reading, path, entries, attributes)
    if not reading.images and not reading.refused:
        raise FormatError(faults[0] if faults else "There is no json file of VIA's here.")
    return reading.dataset()


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``via_project.json`` (VIA 2) with the photos beside it, in a folder per split.

    VIA has one polygon for a region and nothing for holes and parts, so these are joined by bridges
    without width (``regions.one_outline``): by the even-odd rule the pixels are the same. A photo
    without damage gets the file attribute "no damage".

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        FormatError: a region has too many points even without its finest detail.
        StorageError: the disk is full.
    """
    classes = [category.name for category in dataset.categories]
    with replaced_labels(folder, _label_files) as keep:
        for name, images in labelled_files(dataset):
            metadata: dict[str, Any] = {}
            for image, file_name in images:
                data = image.read()
                if with_photos:
                    keep(PurePosixPath(name, file_name), data)
                metadata[f"{file_name}{len(data)}"] = _entry(image, file_name, len(data))
            content = json.dumps(_project(metadata, classes), ensure_ascii=False)
            keep(PurePosixPath(name, "via_project.json"), content.encode())


def _label_files(reading: Reading) -> list[PurePosixPath]:
    return [path for path in reading.ending(".json") if _is_via(reading.folder / path)]


def _is_via(path: Path) -> bool:
    return mentions(path, b'"filename"', b'"regions"', b'"file_attributes"') or mentions(
        path, f'"{METADATA}"'.encode()
    )


def _document(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the entries of photos and the attributes that regions may have."""
    content = record(load_json(path), "The file")
    if {"project", "view", "metadata"} <= content.keys():
        raise FormatError("This is a project of VIA 3; export its annotations as COCO.")
    metadata = record(content.get(METADATA, content), f"“{METADATA}”")
    entries = [cast("dict[str, Any]", entry) for entry in metadata.values() if isinstance(entry, dict)]
    photos = [entry for entry in entries if "filename" in entry and "regions" in entry]
    if len(photos) != len(metadata) or (not photos and METADATA not in content):
        raise FormatError("This is no file of VIA's: its entries have no “filename” and “regions”.")
    attributes = content.get(ATTRIBUTES)
    region = attributes.get("region") if isinstance(attributes, dict) else None
    return photos, cast("dict[str, Any]", region) if isinstance(region, dict) else {}


def _take_all(
    reading: Reading,
    path: PurePosixPath,
    entries: Sequence[Mapping[str, Any]],
    attributes: Mapping[str, Any],
) -> None:
    attribute = _class_attribute(path, entries, attributes)
    if attribute is None:
        reading.notes.append(f"The regions of {path} have no attribute, so their class is “{DEFAULT_CLASS}”.")
    options = _options(attributes.get(attribute or ""))
    for option in options.values():
        try:
            reading.category(option)
        except FormatError as error:
            reading.refuse(path, error)
    alike = Counter(PurePosixPath(str(entry["filename"])).name for entry in entries)
    unlabelled = 0
    for entry in entries:
        try:
            photo = _photo(reading, path, entry, alike)
            unlabelled += not _take(reading, photo, entry, partial(_annotation, reading, attribute, options))
        except FormatError as error:
            reading.refuse(entry["filename"], error)
    if unlabelled:
        reading.notes.append(
            f"{unlabelled} photos in {path} have no regions and came without labels; "
            f"VIA says “{NO_DAMAGE}” by a file attribute of that name."
        )


def _photo(
    reading: Reading, path: PurePosixPath, entry: Mapping[str, Any], alike: Mapping[str, int]
) -> PurePosixPath:
    is_only_one = alike[PurePosixPath(str(entry["filename"])).name] == 1
    return reading.claim(path, reading.find(path, [entry["filename"]], by_name_alone=is_only_one))


def _take(
    reading: Reading,
    photo: PurePosixPath,
    entry: Mapping[str, Any],
    annotation: Callable[[object], SourceAnnotation],
) -> bool:
    """Take one photo; give whether its entry says anything about it."""
    regions = [(f"Region {n}", region) for n, region in enumerate(_regions(entry), start=1)]
    drawn = reading.regions(photo, regions, annotation)
    says_nothing = _says_no_damage(entry)
    reading.add(photo, drawn, is_labelled=bool(drawn) or (says_nothing and not regions))
    return bool(regions) or says_nothing


def _regions(entry: Mapping[str, Any]) -> list[Any]:
    regions = entry["regions"]
    # VIA 1 numbers them: {"0": {...}, "1": {...}}.
    listed_regions: object = list(regions.values()) if isinstance(regions, dict) else regions
    return records(listed_regions, "“regions”")


def _says_no_damage(entry: Mapping[str, Any]) -> bool:
    attributes = entry.get("file_attributes")
    if not isinstance(attributes, dict):
        return False
    named = {str(name).strip().casefold(): value for name, value in attributes.items()}
    values = [value.strip().casefold() for value in named.values() if isinstance(value, str)]
    return NO_DAMAGE in values or bool(named.get(NO_DAMAGE))


def _options(definition: object) -> dict[str, str]:
    """Give the options of an attribute with the texts that VIA shows for them."""
    options = definition.get("options") if isinstance(definition, dict) else None
    if not isinstance(options, dict):
        return {}
    texts = cast("dict[str, object]", options).items()
    return {
        key: text if isinstance(text, str) and 0 < len(text.strip()) <= 80 else key for key, text in texts
    }


def _class_attribute(
    path: PurePosixPath, entries: Sequence[Mapping[str, Any]], attributes: Mapping[str, Any]
) -> str | None:
    """Choose the region attribute that says the class; None where there is none at all."""
    used: dict[str, None] = {}
    for entry in entries:
        with suppress(FormatError):  # of an entry that will be refused when it is its turn
            for region in _regions(entry):
                values = region.get("region_attributes") if isinstance(region, dict) else None
                used |= dict.fromkeys(cast("dict[str, Any]", values)) if isinstance(values, dict) else {}
    names = list(used or dict.fromkeys(attributes))
    with_options = [name for name in names if _options(attributes.get(name))]
    usual = [name for name in with_options or names if name.strip().casefold() in USUAL_NAMES]
    for choice in (with_options, names, usual):
        if len(choice) == 1:
            return choice[0]
    if not names:
        return None
    raise FormatError(
        f"{path}: any of the region attributes {listed(names)} may be the class; name it “class”, "
        "or leave the others out."
    )


def _annotation(
    reading: Reading, attribute: str | None, options: Mapping[str, str], region: object
) -> SourceAnnotation:
    entry = record(region, "It")
    attributes = entry.get("region_attributes")
    value: object = DEFAULT_CLASS
    if attribute is not None:
        value = attributes.get(attribute) if isinstance(attributes, dict) else None
    if isinstance(value, dict):  # of checkboxes
        ticked = [name for name, is_set in cast("dict[str, object]", value).items() if is_set]
        value = ticked[0] if len(ticked) == 1 else None
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"Its attribute “{attribute}” names no class.")
    op = _op(record(entry.get("shape_attributes"), "Its shape"))
    return SourceAnnotation(reading.category(options.get(value, value)), (op,))


def _op(shape: Mapping[str, Any]) -> Op:
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        return _outline(shape, is_line=kind == "polyline")
    if kind == "rect":
        x, y, width, height = (number(shape.get(key)) for key in ("x", "y", "width", "height"))
        return rectangle([(x, y), (x + width, y + height)])
    if kind == "circle":
        return disc((number(shape.get("cx")), number(shape.get("cy"))), number(shape.get("r")))
    if kind == "ellipse":
        cx, cy, rx, ry = (number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        return ellipse((cx, cy), (rx, ry), math.degrees(number(shape.get("theta", 0))))
    if kind == "point":
        raise FormatError("A point has no area.")
    raise FormatError(f"There is no shape “{shown(kind)[:40]}”.")


def _outline(shape: Mapping[str, Any], *, is_line: bool) -> Op:
    xs = [number(x) for x in records(shape.get("all_points_x"), "“all_points_x”")]
    ys = [number(y) for y in records(shape.get("all_points_y"), "“all_points_y”")]
    if len(xs) != len(ys):
        raise FormatError(f"It has {len(xs)} values of x, but {len(ys)} of y.")
    points: list[Point] = list(zip(xs, ys, strict=True))
    if is_line and (len(points) < 4 or math.dist(points[0], points[-1]) > CLOSED_PX):
        raise FormatError("An open line has no area.")
    return polygon(points)


def _entry(image: SourceImage, file_name: str, size: int) -> dict[str, Any]:
    regions: list[dict[str, Any]] = []
    for annotation in image.annotations:
        outline = one_outline(annotation.ops, size_hw_of(image), _written)
        if outline is None:
            continue
        xs, ys = zip(*(_written(point) for point in outline), strict=True)
        shape = {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}
        regions.append({"shape_attributes": shape, "region_attributes": {"class": annotation.category}})
    attributes = {} if regions else {NO_DAMAGE: "yes"}
    return {"filename": file_name, "size": size, "regions": regions, "file_attributes": attributes}


def _written(point: Point) -> Point:
    return round(point[0], DECIMALS), round(point[1], DECIMALS)


def _project(metadata: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    dropdown = {
        "type": "dropdown",
        "description": "",
        "options": dict.fromkeys(classes, ""),
        "default_options": {},
    }
    text = {"type": "text", "description": "yes: looked at, and there is no damage", "default_value": ""}
    settings = {"core": {"filepath": {}, "default_filepath": ""}, "project": {"name": "via_project"}}
    return {
        "_via_settings": settings,
        METADATA: metadata,
        ATTRIBUTES: {"region": {"class": dropdown}, "file": {NO_DAMAGE: text}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }
