"""The label formats by name."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.domain.errors import FormatError, listed, pick
from core.domain.mask_classes import FoundValue, Meanings
from core.formats import (
    coco,
    coco_read,
    cvat,
    index_masks,
    label_studio,
    labelme,
    masks,
    npz,
    photos,
    seeing,
    via,
    voc,
    yolo,
)
from core.formats.export import Write, writes
from core.formats.source import SourceDataset, is_photo, list_files


@dataclass(frozen=True)
class Numbered:
    """How a format is read whose masks hold numbers or colours that a person may have to name."""

    find: Callable[[Path], tuple[FoundValue, ...]]  # raises FormatError
    read: Callable[[Path, Meanings], SourceDataset]  # raises FormatError


@dataclass(frozen=True)
class FormatSpec:
    """One label format: how it is shown, recognised, read and, where it can be, written.

    ``see`` says in a few words what a folder holds that the format fits. ``keeps`` is one line, for the
    export menu, on what survives being written. ``is_exact``: an image's annotations come back one by
    one with their masks; else the picture that they make together does, or less.
    """

    title: str
    detect: Callable[[Path], bool]
    read: Callable[[Path], SourceDataset]  # raises FormatError
    write: Write | None = None
    see: Callable[[Path], str] | None = None
    keeps: str = ""
    is_exact: bool = False
    numbered: Numbered | None = None


@dataclass(frozen=True)
class Seen:
    """A format that fits a folder, and what it would take from there in a sentence."""

    format: str
    title: str
    sentence: str


# In the order in which they are asked about; "photos" counts only where no other fits.
FORMATS: dict[str, FormatSpec] = {
    "coco": FormatSpec(
        "COCO json (Roboflow and others)",
        coco_read.detect,
        coco_read.read,
        writes(coco.write_dataset),
        see=seeing.see_coco,
        keeps="Objects with holes, parts and strokes exactly as drawn, order and splits.",
        is_exact=True,
    ),
    "yolo": FormatSpec(
        "YOLO segmentation (data.yaml, one text file for each photo)",
        yolo.detect,
        yolo.read,
        writes(yolo.write_dataset),
        keeps="Objects, order and splits; holes and parts are joined into one polygon by thin bridges.",
        is_exact=True,
    ),
    "labelme": FormatSpec(
        "labelme (one json for each photo)",
        labelme.detect,
        labelme.read,
        writes(labelme.write_dataset),
        keeps="Objects with holes, parts, order and splits; what was painted becomes a mask shape.",
        is_exact=True,
    ),
    "via": FormatSpec(
        "VGG Image Annotator (VIA 1 and 2)",
        via.detect,
        via.read,
        writes(via.write_dataset),
        keeps="Objects, order and splits; holes and parts are joined into one polygon by thin bridges.",
        is_exact=True,
    ),
    "cvat": FormatSpec(
        "CVAT for images (XML 1.1)",
        cvat.detect,
        cvat.read,
        writes(cvat.write_dataset),
        keeps="Objects with holes, parts, order and splits; what is no single polygon becomes a mask.",
        is_exact=True,
    ),
    "label_studio": FormatSpec(
        "Label Studio (JSON and JSON-MIN)",
        label_studio.detect,
        label_studio.read,
        writes(label_studio.write_dataset),
        keeps="Objects with holes, parts, order and splits; what is no single polygon becomes a brush mask.",
        is_exact=True,
    ),
    "masks": FormatSpec(
        "Mask pictures beside photos (Label Studio and others)",
        masks.detect,
        masks.read,
        writes(masks.write_dataset),
        see=masks.see,
        keeps="Objects with holes, overlaps and order, as one PNG for each; no strokes.",
        is_exact=True,
    ),
    "voc": FormatSpec(
        "Pascal VOC (JPEGImages and SegmentationClass)",
        voc.detect,
        voc.read,
        writes(voc.write_dataset),
        see=voc.see,
        keeps="Visible objects with holes and splits; where two overlap, the upper one alone.",
        numbered=Numbered(voc.find, voc.read_named),
    ),
    "index_masks": FormatSpec(
        "Class masks beside photos (CamVid, Cityscapes and others)",
        index_masks.detect,
        index_masks.read,
        index_masks.write,
        see=index_masks.see,
        keeps="Classes and splits as one mask for each photo; touching objects of a class become one.",
        numbered=Numbered(index_masks.find, index_masks.read_named),
    ),
    "npz": FormatSpec(
        "NumPy arrays of images and masks (.npz)",
        npz.detect,
        npz.read,
        writes(npz.write_dataset),
        see=npz.see,
        keeps="Classes and splits as arrays, for notebooks; photos without their files' quality and data.",
        numbered=Numbered(npz.find, npz.read_named),
    ),
    "photos": FormatSpec("Photos without labels", photos.detect, photos.read, see=seeing.see_photos),
}


def pick_format(name: str, folder: Path) -> FormatSpec:
    """Give the format of this name; "auto" gives the one that fits the folder.

    Raises:
        UnknownChoice: there is no format of this name.
        FormatError: none fits, or several do.
    """
    if name != "auto":
        return pick(FORMATS, name, kind="format")
    return detect(folder)


def detect(folder: Path) -> FormatSpec:
    """Give the one format that fits a folder.

    Raises:
        FormatError: none does, or several do; the sentence says which or what was looked for.
    """
    seen = seen_in(folder)
    if len(seen) > 1:
        several = " ".join(f"{one.format}: {one.sentence}" for one in seen)
        raise FormatError(f"This may be read in {len(seen)} ways; name the format. {several}")
    return FORMATS[next(iter(seen)).format]


def seen_in(folder: Path) -> tuple[Seen, ...]:
    """Give all formats that fit a folder; photos without labels only where no other does.

    What looks like a format but cannot be read as one counts only where nothing else fits.

    Raises:
        FormatError: none does; the sentence says what was looked for and what there is instead, or what
            is wrong with the only one.
    """
    fitting = [name for name, spec in FORMATS.items() if spec.detect(folder)]
    labels = [name for name in fitting if name != "photos"]
    if not fitting:
        titles = listed(spec.title for spec in FORMATS.values())
        raise FormatError(f"There is nothing to import here. Looked for: {titles}. {_found_instead(folder)}")
    seen: list[Seen] = []
    faults: list[FormatError] = []
    for name in labels or fitting:
        try:
            seen.append(Seen(name, FORMATS[name].title, _sentence(name, folder)))
        except FormatError as error:
            faults.append(error)
    if not seen:
        raise faults[0]
    return tuple(seen)


def _sentence(name: str, folder: Path) -> str:
    spec = FORMATS[name]
    if spec.see is not None:
        return f"{spec.title}: {spec.see(folder)}."
    photo_files = sum(map(is_photo, list_files(folder)))
    return f"{spec.title}: {seeing.counted(photo_files, 'photo')}."


def _found_instead(folder: Path) -> str:
    """Say what a folder holds that no format fits, by the endings of its files."""
    endings = Counter(path.suffix.lower() or "without an ending" for path in list_files(folder))
    if not endings:
        return "There is no file at all."
    found = listed(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    return f"There are only these files: {found}. Labels come with their photos; add them."
