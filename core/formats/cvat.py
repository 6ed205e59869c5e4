"""CVAT's XML 1.1 "for images": one file with the shapes of many photos.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.domain.labels import Op
from core.formats.gathering import Reading, mentions, number, parse_xml, read_text_file, stated_size
from core.formats.regions import (
    NO_DAMAGE,
    Point,
    ellipse,
    is_exact,
    labelled_files,
    mask_op,
    plain_polygons,
    polygon,
    rectangle,
    replaced_labels,
    size_hw_of,
    turned,
)
from core.formats.source import SourceAnnotation, SourceDataset, SourceImage, shown
from core.imaging.limits import MAX_PIXELS
from core.imaging.masks import measure, rasterise_box

SHAPES = ("box", "polygon", "mask", "ellipse", "polyline", "points", "cuboid", "skeleton")
NO_AREA = ("polyline", "points", "cuboid", "skeleton")
NO_REGIONS = ("tag", "points", "skeleton", "polyline", "cuboid")  # types of labels
DECIMALS = 4


def detect(folder: Path) -> bool:
    """Tell whether a folder holds an XML with CVAT's images."""
    return bool(_label_files(Reading(folder)))


def read(folder: Path) -> SourceDataset:
    """Read CVAT's XML files at any depth, and the photos they name.

    Boxes and ellipses may be turned. ``z_order`` is the painting order; shapes of one level keep theirs.
    Shapes of a group stay regions of their own. The split comes from ``subset``, or else from folders.
    CVAT lists photos that nobody has looked at, so one without shapes is unlabelled, unless it has the
    tag "no damage".

    Raises:
        FormatError: no XML there is CVAT's for images; the sentence names one and its fault.
    """
    reading = Reading(folder)
    reading.documents = _label_files(reading)
    faults: list[str] = []
    for path in reading.ending(".xml"):
        try:
            root = _document(folder / path)
        except FormatError as error:
            faults.append(f"{path}: {error}")
            if path in reading.documents:
                reading.refuse(path, error)
            continue
        _take_all(reading, path, root)
    if not reading.images:
        raise FormatError(_fault(reading, faults))
    return reading.dataset()


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``annotations.xml`` with the photos in ``images/``, in a folder per split.

    A region that is one polygon stays one; what has holes or parts or was painted becomes a mask. The
    pixels and the painting order are the same. A photo without damage gets the tag "no damage".

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        StorageError: the disk is full.
    """
    classes = [shown(category.name) for category in dataset.categories]
    with replaced_labels(folder, _label_files) as keep:
        for name, images in labelled_files(dataset):
            root = _root(classes, len(images))
            for number_, (image, file_name) in enumerate(images):
                if with_photos:
                    keep(PurePosixPath(name, "images", file_name), image.read())
                root.append(_image(image, file_name, number_))
            ET.indent(root)
            content = ET.tostring(root, encoding="utf-8", xml_declaration=True)
            keep(PurePosixPath(name, "annotations.xml"), content)


def _label_files(reading: Reading) -> list[PurePosixPath]:
    return [path for path in reading.ending(".xml") if _is_cvat(reading.folder / path)]


def _is_cvat(path: Path) -> bool:
    return mentions(path, b"<annotations", b"<version") or mentions(path, b"<annotations", b"<image ")


def _document(path: Path) -> ET.Element:
    root = parse_xml(read_text_file(path))
    if root.tag != "annotations":
        raise FormatError(f"This is no file of CVAT's: it begins with <{shown(root.tag)[:40]}>.")
    if root.find("track") is not None and root.find("image") is None:
        raise FormatError("This is CVAT's XML for videos; export the task as “CVAT for images”.")
    if root.find("image") is None:
        raise FormatError("This is no file of CVAT's for images: it has no <image>.")
    return root


def _fault(reading: Reading, faults: Sequence[str]) -> str:
    if faults:
        return faults[0]
    if reading.refused:
        return f"{reading.refused[0].file}: {reading.refused[0].reason}"
    return "There is no XML of CVAT's here."


def _take_all(reading: Reading, path: PurePosixPath, root: ET.Element) -> None:
    for name in _label_names(root):
        try:
            reading.category(name)
        except FormatError as error:
            reading.refuse(path, error)
    images = root.findall("image")
    alike = Counter(PurePosixPath(image.get("name", "")).name for image in images)
    unlabelled, tagged = 0, 0
    for image in images:
        try:
            _take(reading, path, image, is_only_one=alike[PurePosixPath(image.get("name", "")).name] == 1)
        except FormatError as error:
            reading.refuse(image.get("name", "an image without a name"), error)
            continue
        unlabelled += not reading.images[-1].is_labelled
        tagged += any(not _says_no_damage(tag) for tag in image.findall("tag"))
    if unlabelled:
        reading.notes.append(
            f"{unlabelled} photos in {path} came without labels; tag those without damage “{NO_DAMAGE}”."
        )
    if tagged:
        reading.notes.append(f"{tagged} photos in {path} have tags, which were not taken.")


def _label_names(root: ET.Element) -> list[str]:
    """List the labels that regions may have, in the file's order."""
    labels = [label for labels in root.iter("labels") for label in labels.findall("label")]
    fitting = [label for label in labels if label.findtext("type") not in NO_REGIONS]
    return [label.findtext("name") or "" for label in fitting if label.find("parent") is None]


def _says_no_damage(tag: ET.Element) -> bool:
    return tag.get("label", "").strip().casefold() == NO_DAMAGE


def _take(reading: Reading, path: PurePosixPath, image: ET.Element, *, is_only_one: bool) -> None:
    width, height = (image.get(side, "") for side in ("width", "height"))
    size_wh = stated_size(int(number(width)), int(number(height)))
    if size_wh is None:
        raise FormatError("It states no width and height.")
    photo = reading.find(path, [image.get("name")], by_name_alone=is_only_one)
    photo = reading.claim(path, photo)
    shapes = [(f"Shape {n}", shape) for n, shape in enumerate(image, start=1) if shape.tag in SHAPES]
    entries = sorted(shapes, key=lambda entry: _level(entry[1]))
    drawn = reading.regions(photo, entries, partial(_annotation, reading, size_wh))
    says_nothing = not shapes and any(map(_says_no_damage, image.findall("tag")))
    subset = image.get("subset", "")
    reading.add(photo, drawn, is_labelled=bool(drawn) or says_nothing, size_wh=size_wh, split_names=[subset])


def _level(shape: ET.Element) -> float:
    try:
        return number(shape.get("z_order", "0"))
    except FormatError:
        return 0


def _annotation(reading: Reading, size_wh: tuple[int, int], shape: ET.Element) -> SourceAnnotation:
    category = reading.category(shape.get("label"))
    return SourceAnnotation(category, (_op(shape, size_wh),))


def _op(shape: ET.Element, size_wh: tuple[int, int]) -> Op:
    degrees = number(shape.get("rotation", "0"))
    if shape.tag == "polygon":
        return polygon(_points(shape.get("points", "")))
    if shape.tag == "box":
        left, top, right, bottom = (number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = rectangle([(left, top), (right, bottom)]).points_xy
        return polygon(turned(corners, ((left + right) / 2, (top + bottom) / 2), degrees))
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        return ellipse((cx, cy), (rx, ry), degrees)
    if shape.tag == "mask":
        left, top, width, height = (int(number(shape.get(k))) for k in ("left", "top", "width", "height"))
        return mask_op(_decoded(shape.get("rle", ""), (height, width)), (left, top), size_wh)
    assert shape.tag in NO_AREA
    raise FormatError(f"A shape of the type “{shape.tag}” has no area.")


def _points(text: str) -> list[Point]:
    points: list[Point] = []
    for pair in text.split(";"):
        values = [number(value) for value in pair.split(",")]
        if len(values) != 2:
            raise FormatError("A point is not a pair of x and y.")
        points.append((values[0], values[1]))
    return points


def _decoded(text: str, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode CVAT's run lengths: row by row inside the mask's box, background first."""
    height, width = size_hw
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise FormatError(f"A mask of {width} x {height} pixels cannot be.")
    try:
        lengths = np.array([int(part) for part in text.split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise FormatError("A mask's rle is no list of whole numbers.") from error
    rest = height * width - (int(lengths.sum()) if (lengths <= MAX_PIXELS).all() else MAX_PIXELS + 1)
    if (lengths < 0).any() or rest < 0:
        raise FormatError(f"A mask's rle does not add up to {width} x {height} pixels.")
    lengths = np.append(lengths, [0, rest] if lengths.size % 2 else [rest])  # a run of background to the end
    return np.repeat(np.arange(lengths.size) % 2 == 1, lengths).reshape(height, width)


def _encoded(box: NDArray[np.bool_]) -> str:
    pixels = box.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(starts, prepend=0, append=pixels.size).tolist()))


def _root(classes: Sequence[str], size: int) -> ET.Element:
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    ET.SubElement(task, "size").text = str(size)
    ET.SubElement(task, "mode").text = "annotation"
    labels = ET.SubElement(task, "labels")
    for name, kind in [*((name, "any") for name in classes), (NO_DAMAGE, "tag")]:
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "type").text = kind
        ET.SubElement(label, "attributes")
    return root


def _image(image: SourceImage, file_name: str, number_: int) -> ET.Element:
    height, width = size_hw_of(image)
    entry = ET.Element(
        "image", {"id": str(number_), "name": file_name, "width": str(width), "height": str(height)}
    )
    for level, annotation in enumerate(image.annotations):
        shape = _shape(annotation, (height, width))
        if shape is not None:
            common = {"label": shown(annotation.category), "source": "manual", "occluded": "0"}
            shape.attrib = common | shape.attrib | {"z_order": str(level)}
            entry.append(shape)
    if not len(entry):
        ET.SubElement(entry, "tag", {"label": NO_DAMAGE, "source": "manual"})
    return entry


def _shape(annotation: SourceAnnotation, size_hw: tuple[int, int]) -> ET.Element | None:
    measured = measure(annotation.ops, size_hw)
    if not measured.area:
        return None
    drawn = plain_polygons(annotation.ops) or []
    if len(drawn) == 1:
        text = ";".join(f"{x:.{DECIMALS}f},{y:.{DECIMALS}f}" for x, y in drawn[0])
        if is_exact([_points(text)], annotation.ops, size_hw):
            return ET.Element("polygon", {"points": text})
    box, (left, top) = rasterise_box(annotation.ops, size_hw)
    x, y, width, height = measured.bbox_xywh
    tight = box[y - top : y - top + height, x - left : x - left + width]
    place = {"left": str(x), "top": str(y), "width": str(width), "height": str(height)}
    return ET.Element("mask", {"rle": _encoded(tight)} | place)
