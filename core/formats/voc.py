"""Pascal VOC: palette PNGs whose numbers are classes, and others whose numbers are objects.

``JPEGImages/NAME.jpg``, ``SegmentationClass/NAME.png``, ``SegmentationObject/NAME.png`` and the lists
``ImageSets/Segmentation/{train,val,test}.txt``, at any depth. The value 255 rims the objects; it is kept
as the class "void" and meant to be ignored: as background it would teach that objects have no edge.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.domain.labels import Split
from core.domain.mask_classes import FoundValue, Meanings
from core.formats import value_names
from core.formats.export import file_names, replaced_export
from core.formats.index_masks import class_numbers, painted
from core.formats.mask_values import Labelled, found_values, read_labelled, survey
from core.formats.seeing import counted
from core.formats.source import (
    Refusal,
    SourceDataset,
    SourceImage,
    folders_inwards_first,
    is_photo,
    list_files,
    read_photo,
    shown,
    split_of,
)
from core.formats.value_examples import with_examples
from core.formats.value_names import ValueNames
from core.imaging.masks import paint
from core.imaging.overlay import encode_index_png

PHOTOS, CLASSES, OBJECTS = "JPEGImages", "SegmentationClass", "SegmentationObject"
LISTS = PurePosixPath("ImageSets", "Segmentation")
LABEL_MAP = "labelmap.txt"
MAX_OBJECTS = 254  # 255 is void
LIST_NAMES: dict[Split | None, str] = {"train": "train", "valid": "val", "test": "test", None: "default"}
MAX_LIST_BYTES = 50_000_000


@dataclass(frozen=True)
class _Source:
    """What lies in VOC's folders: photos with their mask, by the order of their paths."""

    photos: tuple[Labelled, ...]
    refused: tuple[Refusal, ...]
    left_out: int

    @property
    def masks(self) -> list[Labelled]:
        return [photo for photo in self.photos if photo.mask is not None]


def detect(folder: Path) -> bool:
    """Tell whether there are masks in a folder SegmentationClass and photos in JPEGImages."""
    places = {part for path in list_files(folder) for part in path.parts[:-1] if is_photo(path)}
    return PHOTOS in places and CLASSES in places


def see(folder: Path) -> str:
    """Count the photos and their masks."""
    source = _source(folder)
    objects = sum(photo.objects is not None for photo in source.photos)
    parts = [counted(len(source.photos), "photo"), counted(len(source.masks), "mask")]
    return ", ".join(parts + ([f"{objects:,} with single objects"] if objects else []))


def find(folder: Path) -> tuple[FoundValue, ...]:
    """Give the values that the masks hold, with their names where they are VOC's or labelmap.txt's.

    Raises:
        FormatError: no photo has a mask, or the masks hold no classes.
    """
    source = _with_masks(folder)
    surveyed = survey([photo.mask for photo in source.masks if photo.mask])
    listed = value_names.names_in(folder, list_files(folder))
    names = listed if listed.by_number or listed.by_color else _voc_names(surveyed.palette)
    return with_examples(found_values(surveyed, names), surveyed, source.masks)


def read(folder: Path) -> SourceDataset:
    """Read photos and masks whose values all have names.

    Raises:
        FormatError: as ``find``; or a value has no name, and the sentence says how to give it one.
    """
    return read_named(folder, value_names.require_known(find(folder)))


def read_named(folder: Path, meanings: Meanings) -> SourceDataset:
    """Read photos and masks by what their values mean.

    Each object of SegmentationObject becomes an annotation with all its parts; without that picture,
    each connected region of a class. Photos in no list and without a mask are left out.

    Raises:
        FormatError: no photo has a mask.
    """
    source = _with_masks(folder)
    dataset = read_labelled(source.photos, meanings)
    notes = dataset.notes
    if source.left_out:
        notes += (f"{source.left_out:,} photos have no mask and are in no list; they were left out.",)
    return SourceDataset(dataset.categories, dataset.images, source.refused + dataset.refused, notes)


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write VOC's folders and lists, and ``labelmap.txt``, which names the classes as CVAT does.

    Images without a split are listed in ``default.txt``. Where annotations overlap, the later one is
    seen. Of more than 254 visible objects on a photo, those beyond are told by their regions alone.

    Raises:
        AppError, StorageError: as ``write``.
    """
    numbers = class_numbers(dataset)
    palette = voc_palette()
    lists: dict[str, list[str]] = defaultdict(list)
    with replaced_export(folder) as keep:
        for image, file_name in zip(dataset.images, file_names(dataset.images), strict=True):
            stem = PurePosixPath(file_name).stem
            lists[LIST_NAMES[image.split]].append(stem)
            if with_photos:
                keep(PurePosixPath(PHOTOS, file_name), image.read())
            classes, objects = painted(image, numbers), _painted_objects(image)
            keep(PurePosixPath(CLASSES, f"{stem}.png"), encode_index_png(classes, palette))
            keep(PurePosixPath(OBJECTS, f"{stem}.png"), encode_index_png(objects, palette))
        for name, stems in lists.items():
            keep(LISTS / f"{name}.txt", "".join(f"{stem}\n" for stem in stems).encode())
        keep(PurePosixPath(LABEL_MAP), _label_map_file(numbers, palette))


def voc_palette() -> list[str]:
    """Give VOC's 256 colours, "#rrggbb": the bits of a number, spread over the channels' high bits.

    Source: the development kit's VOClabelcolormap.m.
    """
    palette: list[str] = []
    for number in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        palette.append("#{:02x}{:02x}{:02x}".format(*channels))
    return palette


def _voc_names(palette: Sequence[str]) -> ValueNames:
    """Give VOC's names where the palette is VOC's, or where there is none and the colours are its own."""
    names, colors = value_names.voc_names(), voc_palette()
    by_color = {colors[number]: meaning for number, meaning in names.by_number.items()}
    is_vocs = list(palette[:21]) == colors[: min(21, len(palette))] and len(palette) > 1
    return ValueNames(names.by_number if is_vocs else {}, {} if is_vocs else by_color)


def _with_masks(folder: Path) -> _Source:
    source = _source(folder)
    if not source.masks:
        raise FormatError(
            f"No photo in {PHOTOS} has a mask of the same name in {CLASSES}, which Pascal VOC wants."
        )
    return source


def _source(folder: Path) -> _Source:
    files = list_files(folder)
    pictures = {path.with_suffix(""): path for path in files if is_photo(path)}
    splits = _listed_splits(folder, files)
    photos: list[Labelled] = []
    left_out = 0
    paired: set[PurePosixPath] = set()
    for plain, path in pictures.items():
        if PHOTOS not in path.parts[:-1]:
            continue
        mask = pictures.get(_moved(plain, CLASSES))
        if mask is None and plain not in splits:
            left_out += 1
            continue
        paired |= {mask} if mask else set()
        photos.append(_labelled(folder, path, mask, pictures.get(_moved(plain, OBJECTS)), splits.get(plain)))
    lost = [p for p in pictures.values() if CLASSES in p.parts[:-1] and p not in paired]
    refused = tuple(Refusal(shown(p), f"There is no photo of this name in {PHOTOS}.") for p in lost)
    return _Source(tuple(photos), refused, left_out)


def _labelled(
    folder: Path,
    photo: PurePosixPath,
    mask: PurePosixPath | None,
    objects: PurePosixPath | None,
    split: Split | None,
) -> Labelled:
    split = split or split_of(folders_inwards_first(photo))
    return Labelled(
        SourceImage(shown(photo), partial(read_photo, folder / photo), split),
        partial(read_photo, folder / mask) if mask else None,
        shown(mask or ""),
        partial(read_photo, folder / objects) if objects and mask else None,
    )


def _moved(plain: PurePosixPath, place: str) -> PurePosixPath:
    """Give the path of the same name in another of VOC's folders."""
    parts = list(plain.parts)
    parts[len(parts) - 1 - parts[::-1].index(PHOTOS)] = place
    return PurePosixPath(*parts)


def _listed_splits(folder: Path, files: Sequence[PurePosixPath]) -> dict[PurePosixPath, Split | None]:
    """Give the photos that lists name, by path without its ending; the first telling list counts."""
    splits: dict[PurePosixPath, Split | None] = {}
    for path in files:
        is_list = path.suffix.lower() == ".txt" and path.parts[-3:-1] == LISTS.parts
        if not is_list or (folder / path).stat().st_size > MAX_LIST_BYTES:
            continue
        split = split_of([path.stem])
        text = (folder / path).read_text(encoding="utf-8-sig", errors="replace")
        for line in filter(None, map(str.strip, text.splitlines())):
            name = PurePosixPath(line)
            key = path.parent.parent.parent / PHOTOS / (name.stem if is_photo(name) else name.name)
            splits[key] = splits.get(key) or split
    return splits


def _painted_objects(image: SourceImage) -> NDArray[np.uint8]:
    """Number an image's annotations in painting order; the 255th and later ones show no number."""
    assert image.drawn_size_wh is not None, "a mask needs its image's size"
    objects = np.zeros((image.drawn_size_wh[1], image.drawn_size_wh[0]), np.uint8)
    for number, annotation in enumerate(image.annotations, start=1):
        paint(objects, annotation.ops, number if number <= MAX_OBJECTS else 0)
    return objects


def _label_map_file(numbers: dict[str, int], palette: Sequence[str]) -> bytes:
    lines = ["# label:color_rgb:parts:actions"]
    for name, number in {"background": 0, **numbers}.items():
        color = ",".join(str(channel) for channel in bytes.fromhex(palette[number][1:]))
        lines.append(f"{name.replace(':', ' ').replace('#', ' ')}:{color}::")
    return ("\n".join(lines) + "\n").encode()
