"""Label Studio's json: its full export ("JSON"), the short one ("JSON-MIN"), and single tasks.

Source: https://labelstud.io/guide/task_format and /guide/export. The run-length code of brush strokes is
read by ``core/formats/brush_rle.py``: the vendor's converter does the same but brings a whole server client.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from core.domain.errors import FormatError
from core.domain.labels import Op
from core.formats.brush_rle import decode_brush, encode_brush
from core.formats.gathering import (
    Reading,
    load_json,
    mentions,
    number,
    photo_size_wh,
    record,
    records,
    stated_size,
)
from core.formats.regions import (
    Point,
    ellipse,
    is_exact,
    labelled_files,
    mask_op,
    plain_polygons,
    points_of,
    polygon,
    rectangle,
    replaced_labels,
    size_hw_of,
    turned,
)
from core.formats.source import (
    PHOTO_SUFFIXES,
    SourceAnnotation,
    SourceCategory,
    SourceDataset,
    SourceImage,
    shown,
)
from core.imaging.masks import rasterise

FARTHEST_PERCENT = (-100.0, 200.0)
LOCAL_FILES = "/data/local-files/?d="

_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
_KINDS = (b'"original_width"', b'"completions"', b'"annotation_id"', b'"was_cancelled"', b'"file_upload"')


@dataclass
class _Task:
    """One photo: the paths that may mean it, and what each annotator said."""

    names: list[str]
    annotations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass
class _Tally:
    """What was left out of a file, for its notes."""

    several: int = 0
    aside: int = 0


def detect(folder: Path) -> bool:
    """Tell whether a folder holds a json with Label Studio's tasks."""
    return bool(_label_files(Reading(folder)))


def read(folder: Path) -> SourceDataset:
    """Read Label Studio's json files at any depth, and the photos they name.

    Polygons, brush masks, rectangles and ellipses are taken. Of several annotations of one photo the one
    marked as ground truth counts, else the newest; skipped ones, drafts and predictions do not. An
    annotation without regions means "no damage"; a task without an annotation is unlabelled. A photo
    is found by its path, or by its name with or without the prefix that uploads get.

    Raises:
        FormatError: no json file there is Label Studio's; the sentence names one and its fault.
    """
    reading = Reading(folder)
    reading.documents = _label_files(reading)
    faults: list[str] = []
    for path in reading.ending(".json"):
        try:
            tasks = _tasks(load_json(folder / path))
        except FormatError as error:
            faults.append(f"{path}: {error}")
            if path in reading.documents:
                reading.refuse(path, error)
            continue
        _take_all(reading, path, tasks)
    if not reading.images and not reading.refused:
        raise FormatError(faults[0] if faults else "There is no json file of Label Studio's here.")
    return reading.dataset()


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``tasks.json`` with the photos in ``images/``, in a folder per split, and the interface.

    A region that is one polygon stays one; what has holes or parts or was painted becomes a brush mask.
    The pixels and the painting order are the same. The photos are named as Label Studio's local
    files below the folder; ``label_config.xml`` is the labelling interface to paste.

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        StorageError: the disk is full.
    """
    with replaced_labels(folder, _label_files) as keep:
        first = 1
        for name, images in labelled_files(dataset):
            tasks: list[dict[str, Any]] = []
            for image, file_name in images:
                path = PurePosixPath(name, "images", file_name)
                if with_photos:
                    keep(path, image.read())
                tasks.append(_task(image, path, first + len(tasks)))
            first += len(tasks)
            keep(PurePosixPath(name, "tasks.json"), json.dumps(tasks, ensure_ascii=False).encode())
        keep(PurePosixPath("label_config.xml"), _interface(dataset.categories))


def _label_files(reading: Reading) -> list[PurePosixPath]:
    return [path for path in reading.ending(".json") if _is_label_studio(reading.folder / path)]


def _is_label_studio(path: Path) -> bool:
    return any(mentions(path, kind, b"labels") or mentions(path, kind, b'"result"') for kind in _KINDS)


def _tasks(content: object) -> list[_Task]:
    entries = [content] if isinstance(content, dict) else records(content, "The file")
    tasks: list[_Task] = []
    short: dict[object, _Task] = {}
    for value in entries:
        entry = record(value, "A task")
        said = entry.get("annotations", entry.get("completions"))
        if isinstance(entry.get("data"), dict) and isinstance(said, list):
            names = _names([*cast("dict[str, object]", entry["data"]).values(), entry.get("file_upload")])
            tasks.append(_Task(names, [record(one, "An annotation") for one in cast("list[object]", said)]))
        elif "annotation_id" in entry and (names := _names(entry.values())):
            key = str(entry.get("id", names))
            short.setdefault(key, _Task(names)).annotations.append(_from_short(entry))
        else:
            raise FormatError("This is no file of Label Studio's: a task has no “data” and “annotations”.")
    return [*tasks, *short.values()]


def _from_short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row of JSON-MIN as the annotation that it was; each list of objects is one control's."""
    lists = [cast("list[object]", value) for value in entry.values() if isinstance(value, list)]
    values = [value for listed in lists for value in listed if isinstance(value, dict)]
    return dict(entry) | {"result": [{"value": value} | cast("dict[str, Any]", value) for value in values]}


def _names(values: Any) -> list[str]:
    """Give the paths that a task's photo may have, from the texts that look like one."""
    names: list[str] = []
    for value in values:
        if not isinstance(value, str) or len(value) > 2000:
            continue
        try:
            url = urlsplit(value)
        except ValueError:
            continue
        given = [*parse_qs(url.query).get("d", []), unquote(url.path)]
        paths = [path for path in given if PurePosixPath(path).suffix.lower() in PHOTO_SUFFIXES]
        names += paths
        names += [
            bare for path in paths if (bare := _UPLOAD_PREFIX.sub("", PurePosixPath(path).name, count=1))
        ]
    return list(dict.fromkeys(names))


def _take_all(reading: Reading, path: PurePosixPath, tasks: Sequence[_Task]) -> None:
    alike = Counter(task.names[0].rpartition("/")[2] for task in tasks if task.names)
    tally = _Tally()
    for task in tasks:
        try:
            if not task.names:
                raise FormatError("A task names no photo.")
            is_only_one = alike[task.names[0].rpartition("/")[2]] == 1
            photo = reading.claim(path, reading.find(path, task.names, by_name_alone=is_only_one))
            _take(reading, photo, task, tally)
        except FormatError as error:
            reading.refuse(task.names[0] if task.names else path, error)
    if tally.several:
        reading.notes.append(
            f"{tally.several} photos in {path} have several annotations; "
            "of each, the one marked as ground truth was taken, or the newest."
        )
    if tally.aside:
        reading.notes.append(f"{tally.aside} answers in {path} are no regions and were not taken.")


def _take(reading: Reading, photo: PurePosixPath, task: _Task, tally: _Tally) -> None:
    finished = [one for one in task.annotations if not one.get("was_cancelled") and not one.get("skipped")]
    tally.several += len(finished) > 1
    if not finished:
        reading.add(photo, (), is_labelled=False)
        return
    results = [record(result, "A result") for result in records(_chosen(finished).get("result"), "“result”")]
    regions = _regions(results)
    tally.aside += sum(1 for result in results if not _is_region(result))
    size_wh = _size(regions) or photo_size_wh(reading.folder / photo)
    entries = [(f"Region {n}", region) for n, region in enumerate(regions, start=1)]
    drawn = reading.regions(photo, entries, partial(_annotation, reading, size_wh))
    reading.add(photo, drawn, is_labelled=bool(drawn) or not regions, size_wh=size_wh)


def _chosen(annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def rank(annotation: Mapping[str, Any]) -> tuple[bool, str]:
        when = annotation.get("updated_at") or annotation.get("created_at") or ""
        return bool(annotation.get("ground_truth")), str(when)

    return max(reversed(annotations), key=rank)  # the last of equals


def _is_region(result: Mapping[str, Any]) -> bool:
    value = result.get("value")
    return isinstance(value, dict) and bool(value.keys() & {"points", "rle", "radiusX", "width"})


def _regions(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the results that are regions; one that another of its id repeats with its class is left out."""
    regions = [result for result in results if _is_region(result)]
    labelled = {str(result["id"]) for result in regions if "id" in result and _labels(result["value"])}
    return [r for r in regions if _labels(r["value"]) or str(r.get("id")) not in labelled]


def _labels(value: Mapping[str, Any]) -> list[object]:
    for key, labels in value.items():
        if key.endswith("labels") and isinstance(labels, list):
            return cast("list[object]", labels)
    return []


def _size(regions: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    sizes = [stated_size(r.get("original_width"), r.get("original_height")) for r in regions]
    return next((size for size in sizes if size), None)


def _annotation(reading: Reading, size_wh: tuple[int, int], result: Mapping[str, Any]) -> SourceAnnotation:
    value = record(result["value"], "Its value")
    labels = _labels(value)
    if len(labels) != 1:
        raise FormatError(f"It has {len(labels)} classes instead of one.")
    if result.get("image_rotation"):
        raise FormatError("It was drawn on the photo turned; turn it back in Label Studio and export again.")
    return SourceAnnotation(reading.category(labels[0]), (_op(value, size_wh),))


def _op(value: Mapping[str, Any], size_wh: tuple[int, int]) -> Op:
    if "rle" in value:
        return mask_op(decode_brush(records(value["rle"], "A brush mask"), size_wh), (0, 0), size_wh)
    if "points" in value:
        return polygon([_scaled(point, size_wh) for point in points_of(value["points"])])
    degrees = number(value.get("rotation", 0))
    corner = number(value.get("x")), number(value.get("y"))
    at = _scaled(corner, size_wh)
    if "radiusX" in value:
        radii = _scaled((number(value["radiusX"]), number(value.get("radiusY"))), size_wh)
        return ellipse(at, radii, degrees)
    sides = _scaled((number(value.get("width")), number(value.get("height"))), size_wh)
    corners = rectangle([at, (at[0] + sides[0], at[1] + sides[1])]).points_xy
    return polygon(turned(corners, at, degrees))  # around the corner that x and y name


def _scaled(percent: Point, size_wh: tuple[int, int]) -> Point:
    if not all(FARTHEST_PERCENT[0] <= value <= FARTHEST_PERCENT[1] for value in percent):
        raise FormatError("Its coordinates are no percentages, from 0 to 100.")
    return percent[0] / 100 * size_wh[0], percent[1] / 100 * size_wh[1]


def _task(image: SourceImage, path: PurePosixPath, task_id: int) -> dict[str, Any]:
    results = [_result(annotation, size_hw_of(image)) for annotation in image.annotations]
    drawn = [result | {"id": f"r{n}"} for n, result in enumerate(results) if result is not None]
    annotation = {"result": drawn, "was_cancelled": False, "ground_truth": False}
    data = {"image": LOCAL_FILES + quote(str(path))}
    return {"id": task_id, "data": data, "annotations": [annotation], "predictions": []}


def _result(annotation: SourceAnnotation, size_hw: tuple[int, int]) -> dict[str, Any] | None:
    height, width = size_hw
    mask = rasterise(annotation.ops, size_hw)
    if not mask.any():
        return None
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    drawn = plain_polygons(annotation.ops) or []
    percent = [(100 * x / width, 100 * y / height) for x, y in drawn[0]] if len(drawn) == 1 else []
    if percent and _is_kept(percent, annotation.ops, size_hw):
        points = [list(point) for point in percent]
        value = {"points": points, "closed": True, "polygonlabels": [annotation.category]}
        return common | {"type": "polygonlabels", "from_name": "polygon", "value": value}
    brush = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [annotation.category]}
    return common | {"type": "brushlabels", "from_name": "brush", "value": brush}


def _is_kept(percent: Sequence[Point], ops: Sequence[Op], size_hw: tuple[int, int]) -> bool:
    """Whether the polygon will be read, and with the same pixels."""
    try:
        points = [_scaled(point, (size_hw[1], size_hw[0])) for point in percent]
    except FormatError:  # it leaves the photo by far
        return False
    return is_exact([points], ops, size_hw)


def _interface(categories: Sequence[SourceCategory]) -> bytes:
    view = ET.Element("View")
    ET.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    for kind, name in (("PolygonLabels", "polygon"), ("BrushLabels", "brush")):
        labels = ET.SubElement(view, kind, {"name": name, "toName": "image"})
        for category in categories:
            ET.SubElement(labels, "Label", {"value": shown(category.name)})
    ET.indent(view)
    return ET.tostring(view, encoding="utf-8")
