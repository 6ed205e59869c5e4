"""YOLO segmentation: one text file of normalised polygons for each photo, classes in ``data.yaml``.

Source: https://docs.ultralytics.com/datasets/segment/
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import yaml

from core.domain.errors import FormatError
from core.domain.labels import Split
from core.formats.gathering import (
    Reading,
    number,
    photo_size_wh,
    read_text_file,
)
from core.formats.regions import (
    Point,
    labelled_files,
    one_outline,
    polygon,
    rectangle,
    replaced_labels,
    size_hw_of,
)
from core.formats.source import SourceAnnotation, SourceDataset, SourceImage, shown

CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
MAX_YAML_BYTES = 1024**2
DECIMALS = 8
FARTHEST_SHARE = (-1.0, 2.0)  # beyond it, numbers are no shares of the width and height
SPLIT_KEYS: dict[str, Split] = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}

_NUMBERS = re.compile(r"\s*\d+(\.0*)?(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*")


@dataclass(frozen=True)
class _Classes:
    """The class names by index, None where nothing lists them, and each split's folders."""

    names: Mapping[int, str] | None
    folders: Sequence[tuple[Split, tuple[str, ...]]] = ()


def detect(folder: Path) -> bool:
    """Tell whether photos have text files of numbers beside them, or in ``labels`` beside ``images``."""
    reading = Reading(folder)
    is_listed = any(path.name in CLASS_FILES for path in reading.files) or any(
        _yaml_names(folder, path) is not None for path in reading.ending(".yaml", ".yml")
    )
    for path in _label_files(reading).values():
        lines = _first_line(folder / path)
        if lines is not None and (_NUMBERS.fullmatch(lines) or (not lines and is_listed)):
            return True
    return False


def read(folder: Path) -> SourceDataset:
    """Read photos and their label files.

    A photo without a label file is unlabelled; an empty label file means "no damage". A line of four
    numbers (a box) becomes a rectangle. The split comes from ``data.yaml``, or else from the names of
    folders. Coordinates refer to the upright photo; what leaves it is clipped.

    Raises:
        FormatError: no photo has a label file, or they hold keypoints.
    """
    reading = Reading(folder)
    labels = _label_files(reading)
    if not labels:
        raise FormatError("No photo has a text file of its name beside it, or in a folder “labels”.")
    classes = _classes(reading)
    boxes = sum(_take(reading, classes, photo, labels.get(photo)) for photo in reading.photos)
    if boxes:
        reading.notes.append(f"{boxes} boxes were taken as rectangles; draw their outlines to train on them.")
    for path in set(reading.ending(".txt")) - set(labels.values()):
        if "labels" in path.parts[:-1] and path.name not in CLASS_FILES:
            reading.refuse(path, "There is no photo of this name.")
    return reading.dataset()


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``data.yaml``, ``images/NAME.jpg`` and ``labels/NAME.txt``, the latter in a folder per split.

    The format has one polygon for an object and nothing for holes and parts, so these are joined by
    bridges without width (``regions.one_outline``). Read by the even-odd rule of COCO's rasteriser the
    pixels are the same; tools that draw outlines as well paint the bridges one pixel wide and holes
    one pixel smaller all round. Only the painting order of the lines tells what lies on top.

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        FormatError: a region has too many points even without its finest detail.
        StorageError: the disk is full.
    """
    indexes = {category.name: index for index, category in enumerate(dataset.categories)}
    with replaced_labels(folder, _foreign) as keep:
        names: list[str] = []
        for name, images in labelled_files(dataset):
            names.append(name)
            for image, file_name in images:
                if with_photos:
                    keep(PurePosixPath(name, "images", file_name), image.read())
                path = PurePosixPath(name, "labels", PurePosixPath(file_name).stem + ".txt")
                keep(path, _lines(image, indexes).encode())
        keep(PurePosixPath("data.yaml"), _data_yaml(names, list(indexes)).encode())


def _foreign(reading: Reading) -> list[PurePosixPath]:
    """List what would be taken for labels, and what would be written over."""
    yamls = [p for p in reading.ending(".yaml", ".yml") if _yaml_names(reading.folder, p) is not None]
    return [*_label_files(reading).values(), *yamls]


def _lines(image: SourceImage, indexes: Mapping[str, int]) -> str:
    height, width = size_hw_of(image)

    def share(point: Point) -> Point:
        return round(point[0] / width, DECIMALS), round(point[1] / height, DECIMALS)

    def written(point: Point) -> Point:
        x, y = share(point)
        return x * width, y * height

    lines: list[str] = []
    for annotation in image.annotations:
        outline = one_outline(annotation.ops, (height, width), written)
        if outline is not None:
            shares = (f"{value:.{DECIMALS}f}" for point in outline for value in share(point))
            lines.append(f"{indexes[annotation.category]} {' '.join(shares)}\n")
    return "".join(lines)


def _data_yaml(names: Sequence[str], classes: Sequence[str]) -> str:
    """Give the yaml that training tools ask for; where there are no splits, all photos are both."""
    places = {name: f"{name}/images" for name in names if name}
    plain = "images" if "" in names else None
    train = places.get("train", plain)
    content: dict[str, Any] = {"path": ".", "train": train, "val": places.get("valid", plain or train)}
    if "test" in places:
        content["test"] = places["test"]
    content |= {"nc": len(classes), "names": dict(enumerate(classes))}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def _label_files(reading: Reading) -> dict[PurePosixPath, PurePosixPath]:
    """Give each photo's text file: of the same stem, in ``labels`` in place of ``images``, or beside it."""
    texts = {path: path for path in reading.ending(".txt")}
    found: dict[PurePosixPath, PurePosixPath] = {}
    for photo in reading.photos:
        for candidate in (_in_labels(photo), photo):
            text = texts.get(candidate.with_suffix(".txt")) if candidate else None
            if text is not None:
                found[photo] = text
                break
    return found


def _in_labels(photo: PurePosixPath) -> PurePosixPath | None:
    parts = list(photo.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            return PurePosixPath(*parts[:index], "labels", *parts[index + 1 :])
    return None


def _first_line(path: Path) -> str | None:
    """Give the first line with something in it, "" where there is none, None for no text."""
    try:
        lines = read_text_file(path).decode().splitlines()
    except (UnicodeDecodeError, FormatError):
        return None
    return next((line for line in lines if line.strip()), "")


def _classes(reading: Reading) -> _Classes:
    """Find the list of classes; of several, the one least deep in the folders."""
    by_depth = sorted(reading.files, key=lambda path: (len(path.parts), path))
    for path in by_depth:
        if path.suffix.lower() not in (".yaml", ".yml"):
            continue
        content = _yaml_names(reading.folder, path)
        if content is not None:
            if "kpt_shape" in content:
                raise FormatError(f"{path} describes keypoints, which are no regions.")
            return _Classes(_named(reading, path, _indexed(content["names"])), _folders(content))
    for path in by_depth:
        if path.name in CLASS_FILES or path.suffix == ".names":
            text = read_text_file(reading.folder / path).decode(errors="replace")
            names = [line.strip() for line in text.splitlines()]
            while names and not names[-1]:
                names.pop()
            return _Classes(_named(reading, path, dict(enumerate(names))))
    reading.notes.append("Nothing lists the classes (data.yaml, classes.txt), so they go by their numbers.")
    return _Classes(None)


def _yaml_names(folder: Path, path: PurePosixPath) -> dict[str, Any] | None:
    """Give the content of a yaml that lists names, None for another file.

    One with aliases is another file: a few lines of them stand for gigabytes once they are written out.
    """
    file = folder / path
    if file.stat().st_size > MAX_YAML_BYTES:
        return None
    try:
        data = file.read_bytes()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data)):
            return None
        content: Any = yaml.safe_load(data)
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None
    is_listing = isinstance(content, dict) and isinstance(content.get("names"), list | dict)
    return cast("dict[str, Any]", content) if is_listing else None


def _indexed(names: object) -> dict[int, str]:
    if isinstance(names, list):
        return dict(enumerate(map(str, cast("list[object]", names))))
    listed = cast("dict[object, object]", names)
    numbered = ((str(index), str(name)) for index, name in listed.items())
    return {int(index): name for index, name in numbered if index.isdecimal() and len(index) < 10}


def _named(reading: Reading, path: PurePosixPath, names: Mapping[int, str]) -> dict[int, str]:
    taken: dict[int, str] = {}
    for index, name in sorted(names.items()):
        try:
            taken[index] = reading.category(name)
        except FormatError as error:
            reading.refuse(path, f"Class {index}: {error}")
    return taken


def _folders(content: Mapping[str, Any]) -> list[tuple[Split, tuple[str, ...]]]:
    found: list[tuple[Split, tuple[str, ...]]] = []
    for key, split in SPLIT_KEYS.items():
        value = content.get(key)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                parts = PurePosixPath(text.replace("\\", "/")).parts
                found.append((split, tuple(part for part in parts if part not in (".", "..", "/"))))
    return [(split, parts) for split, parts in found if parts]


def _split_names(classes: _Classes, photo: PurePosixPath) -> list[str]:
    folders = photo.parts[:-1]
    splits = {split for split, parts in classes.folders if _holds(folders, parts)}
    return [splits.pop()] if len(splits) == 1 else []


def _holds(folders: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return any(folders[at : at + len(parts)] == parts for at in range(len(folders) - len(parts) + 1))


def _take(reading: Reading, classes: _Classes, photo: PurePosixPath, label: PurePosixPath | None) -> int:
    """Take a photo with what its label file says; give how many boxes that were."""
    reading.claim(label or photo, photo)
    split_names = _split_names(classes, photo)
    if label is None:
        reading.add(photo, (), is_labelled=False, split_names=split_names)
        return 0
    try:
        text = read_text_file(reading.folder / label).decode("utf-8-sig")
        size_wh = photo_size_wh(reading.folder / photo)
    except (FormatError, UnicodeDecodeError) as error:
        told = "It is no text in UTF-8." if isinstance(error, UnicodeDecodeError) else error
        reading.refuse(label, f"{told} {photo.name} was taken without labels.")
        reading.add(photo, (), is_labelled=False, split_names=split_names)
        return 0
    lines = [(f"Line {n}", line.split()) for n, line in enumerate(text.splitlines(), start=1)]
    entries = [(origin, fields) for origin, fields in lines if fields]
    drawn = reading.regions(label, entries, lambda fields: _annotation(reading, classes, fields, size_wh))
    is_labelled = bool(drawn) or not entries
    reading.add(photo, drawn, is_labelled=is_labelled, size_wh=size_wh, split_names=split_names)
    fields_at = dict(entries)
    return sum(len(fields_at[annotation.origin]) in (5, 6) for annotation in drawn)


def _annotation(
    reading: Reading, classes: _Classes, fields: Sequence[str], size_wh: tuple[int, int]
) -> SourceAnnotation:
    category = _category(reading, classes, fields[0])
    values = [number(text) for text in fields[1:]]
    if len(values) == 5:
        values.pop()  # a box's confidence
    if len(values) < 4 or len(values) % 2:
        raise FormatError(f"It has {len(values)} numbers after the class; x and y must come in pairs.")
    if not all(FARTHEST_SHARE[0] <= value <= FARTHEST_SHARE[1] for value in values):
        raise FormatError("Its coordinates are no shares of the width and height, from 0 to 1.")
    if len(values) == 4:
        x, y, width, height = values
        corners = [(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)]
        return SourceAnnotation(category, (rectangle(_scaled(corners, size_wh)),))
    points = list(zip(values[::2], values[1::2], strict=True))
    return SourceAnnotation(category, (polygon(_scaled(points, size_wh)),))


def _scaled(points_xy: Sequence[Point], size_wh: tuple[int, int]) -> list[Point]:
    return [(x * size_wh[0], y * size_wh[1]) for x, y in points_xy]


def _category(reading: Reading, classes: _Classes, text: str) -> str:
    index = number(text)
    if not index.is_integer() or index < 0:
        raise FormatError(f"“{shown(text)}” is no class number.")
    if classes.names is None:
        return reading.category(f"class {int(index)}")
    if int(index) not in classes.names:
        raise FormatError(f"There is no class {int(index)}; {len(classes.names)} are listed.")
    return classes.names[int(index)]
