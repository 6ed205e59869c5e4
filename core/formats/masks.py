"""Mask pictures beside photos: one file for each object or class.

Two layouts, at any depth, in a folder ``masks`` beside ``images`` (or beside the photos):

- Label Studio's brush export: ``task-N-annotation-M-by-K-tag-<Class>-I.png`` belongs to ``N.jpg``;
- ours: ``NAME.png`` (class "damage"), ``NAME_<class>.png`` or ``NAME__<class>__<n>.png``; <n> is the
  painting order.

A pixel is marked from value 128 on; in a file of zeros and ones it is marked by the ones. A class
that says "no damage" or "background" marks its photo as labelled, without an annotation.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError, ImageError
from core.domain.labels import Op, RleOp
from core.formats.export import Keep, by_folder, file_names, replaced_export
from core.formats.index_masks import holds_classes
from core.formats.seeing import counted
from core.formats.source import (
    Refusal,
    SourceAnnotation,
    SourceCategory,
    SourceDataset,
    SourceImage,
    folders_inwards_first,
    is_photo,
    list_files,
    read_photo,
    shown,
    split_of,
)
from core.imaging.masks import encode_rle, rasterise
from core.imaging.overlay import encode_grey_png
from core.imaging.reading import decode_grey

MASK_FOLDERS = ("masks", "mask")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
PHOTO_FOLDERS = ("images", "image", "photos", "jpegimages")
NOTHING = ("no damage", "nodamage", "no damages", "undamaged", "background")
PLAIN = ("", "mask", "seg", "segmentation", "gt")
DEFAULT_CLASS = "damage"
NO_DAMAGE = "no damage"
THRESHOLD = 128
THREADS = 2

_LABEL_STUDIO = re.compile(r"task-(\d+)-annotation-(\d+)-by-(\d+)-tag-(.+)-(\d+)")


@dataclass(frozen=True)
class _MaskFile:
    """A mask's file, what its name says, and where it comes in painting order."""

    path: PurePosixPath
    category: str
    order: tuple[int, int, str]

    @property
    def means_nothing(self) -> bool:
        return re.sub(r"[\s_-]+", " ", self.category).strip().casefold() in NOTHING


def detect(folder: Path) -> bool:
    """Tell whether there is a folder of mask pictures with photos beside it, an object or class in each.

    Masks that are named as their photos alone, and whose values are several classes, are another format.
    """
    masks, photos = _mask_and_photo_files(folder)
    if not masks or not photos:
        return False
    stems = {photo.stem for photo in photos}
    tells_class = any(_class_told(mask, stems) for mask in masks)
    return tells_class or not holds_classes(folder, masks)


def see(folder: Path) -> str:
    """Count the photos and their mask pictures."""
    masks, photos = _mask_and_photo_files(folder)
    return f"{counted(len(photos), 'photo')}, {counted(len(masks), 'mask picture')}"


def read(folder: Path) -> SourceDataset:
    """Read photos and their mask files; photos without a mask are unlabelled.

    The split comes from folder names, as for COCO. A photo none of whose masks can be used is
    unlabelled. Each mask becomes one exact run-length op.

    Raises:
        FormatError: there is no folder ``masks`` with pictures, or no photo.
    """
    masks, photos = _mask_and_photo_files(folder)
    if not masks or not photos:
        missing = "mask pictures in a folder “masks”" if not masks else "photos beside the masks"
        raise FormatError(f"There are no {missing} in {folder.name}.")
    matched, refused = _matched(masks, photos)
    files = [file for photo in photos for file in matched[photo] if not file.means_nothing]
    with ThreadPoolExecutor(THREADS) as pool:
        read_files = pool.map(partial(_read_mask, folder), files)
        ops = dict(zip((file.path for file in files), read_files, strict=True))
    images = [_image(folder, photo, matched[photo], ops, refused) for photo in photos]
    names = sorted({a.category for image in images for a in image.annotations}, key=str.casefold)
    empty = [shown(photo) for photo in photos if any(file.means_nothing for file in matched[photo])]
    notes = (f"Labelled as without damage, as their masks' class says: {', '.join(empty)}.",) if empty else ()
    return SourceDataset(tuple(SourceCategory(n) for n in names), tuple(images), tuple(refused), notes)


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write ``images/NAME.jpg`` and ``masks/NAME__<class>__<n>.png`` (0 and 255), in a folder per split.

    A labelled image without annotations gets an empty mask of the class "no damage". Categories
    without annotations cannot be said in this format. An export that is there already is replaced.

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        StorageError: the disk is full.
    """
    with replaced_export(folder) as keep:
        for name, images in by_folder(dataset).items():
            for image, file_name in zip(images, file_names(images), strict=True):
                if with_photos:
                    keep(PurePosixPath(name, "images", file_name), image.read())
                _write_masks(image, PurePosixPath(name, "masks"), PurePosixPath(file_name).stem, keep)


def _write_masks(image: SourceImage, folder: PurePosixPath, stem: str, keep: Keep) -> None:
    if not image.is_labelled:
        return
    assert image.drawn_size_wh is not None, "a mask needs its image's size"
    size_hw = image.drawn_size_wh[1], image.drawn_size_wh[0]
    masks = [(a.category, rasterise(a.ops, size_hw)) for a in image.annotations]
    shown = [(category, mask) for category, mask in masks if mask.any()]
    for number, (category, mask) in enumerate(shown or [(NO_DAMAGE, np.zeros(size_hw, np.bool_))], start=1):
        name = f"{stem}__{quote(category, safe=' ()')}__{number}.png"
        keep(folder / name, encode_grey_png(mask.astype(np.uint8) * 255))


def _class_told(mask: PurePosixPath, stems: Collection[str]) -> bool:
    """Whether a mask's name says more than which photo it belongs to."""
    if mask.stem in stems:
        return False
    stem, _, rest = mask.stem.rpartition("_")
    return not (stem in stems and rest.casefold() in PLAIN)


def _mask_and_photo_files(folder: Path) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    masks: list[PurePosixPath] = []
    photos: list[PurePosixPath] = []
    for path in list_files(folder):
        if any(part.casefold() in MASK_FOLDERS for part in path.parts[:-1]):
            if path.suffix.lower() in MASK_SUFFIXES:
                masks.append(path)
        elif is_photo(path):
            photos.append(path)
    return masks, photos


def _matched(
    masks: Sequence[PurePosixPath], photos: Sequence[PurePosixPath]
) -> tuple[dict[PurePosixPath, list[_MaskFile]], list[Refusal]]:
    """Give each photo its mask files in painting order, and refuse those that belong to none."""
    by_place: dict[tuple[str, ...], dict[str, PurePosixPath]] = defaultdict(dict)
    for photo in photos:
        by_place[_place(photo, PHOTO_FOLDERS)].setdefault(photo.stem, photo)
    matched: dict[PurePosixPath, list[_MaskFile]] = {photo: [] for photo in photos}
    refused: list[Refusal] = []
    for mask in masks:
        stems = by_place[_place(mask, MASK_FOLDERS)]
        try:
            stem, file = _parsed(mask, stems)
            SourceCategory(file.category)
            matched[stems[stem]].append(file)
        except FormatError as error:
            refused.append(Refusal(shown(mask), str(error)))
    for files in matched.values():
        files.sort(key=lambda file: file.order)
    return matched, refused


def _place(path: PurePosixPath, folders: Sequence[str]) -> tuple[str, ...]:
    """Give the folders of a path without the one that says "masks" or "images"."""
    parts = list(path.parts[:-1])
    for index, part in enumerate(parts):
        if part.casefold() in folders:
            return (*parts[:index], *parts[index + 1 :])
    return tuple(parts)


def _parsed(mask: PurePosixPath, stems: Mapping[str, PurePosixPath]) -> tuple[str, _MaskFile]:
    """Give the stem of the photo that a mask belongs to, and what else its name says."""
    name = mask.stem
    if name in stems:
        return name, _MaskFile(mask, DEFAULT_CLASS, (0, 0, name))
    told = _LABEL_STUDIO.fullmatch(name)
    if told:
        if told[1] not in stems:
            raise FormatError(f"There is no photo {told[1]} that this mask belongs to.")
        return told[1], _MaskFile(mask, told[4].strip(), (int(told[2]), int(told[5]), name))
    starts = [stem for stem in stems if name.startswith((f"{stem}__", f"{stem}_", f"{stem}-"))]
    if not starts:
        raise FormatError("There is no photo whose name this mask's name begins with.")
    stem = max(starts, key=len)
    category, number = _class_and_number(name[len(stem) :])
    return stem, _MaskFile(mask, category, (number, 0, name))


def _class_and_number(rest: str) -> tuple[str, int]:
    if rest.startswith("__"):
        category, separator, number = rest[2:].rpartition("__")
        if separator and number.isdecimal():
            return unquote(category).strip(), int(number)
        return unquote(rest[2:]).strip(), 0
    category = rest[1:].strip()
    return (DEFAULT_CLASS if category.casefold() in PLAIN else category), 0


def _read_mask(folder: Path, file: _MaskFile) -> tuple[Op, ...] | FormatError:
    try:
        values = decode_grey(read_photo(folder / file.path))
        return (RleOp((values.shape[0], values.shape[1]), encode_rle(_marked(values))),)
    except OSError as error:
        return ImageError(f"The mask cannot be read: {error.strerror or error}.")
    except FormatError as error:
        return error


def _marked(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    highest = int(values.max(initial=0))
    if highest == 0:
        raise FormatError(
            "The mask is empty. If the photo shows no damage, say so in the name: NAME__no damage.png."
        )
    if 1 < highest < THRESHOLD:
        raise FormatError(
            f"The mask's highest value is {highest}; pixels are marked from {THRESHOLD} on, "
            "or by 1 in a mask of zeros and ones."
        )
    return np.asarray(values >= min(highest, THRESHOLD), np.bool_)


def _image(
    folder: Path,
    photo: PurePosixPath,
    files: Sequence[_MaskFile],
    ops: Mapping[PurePosixPath, tuple[Op, ...] | FormatError],
    refused: list[Refusal],
) -> SourceImage:
    taken: list[SourceAnnotation] = []
    says_nothing = any(file.means_nothing for file in files)
    for file in files:
        found = ops.get(file.path)
        if isinstance(found, FormatError):
            refused.append(Refusal(shown(file.path), str(found)))
        elif found is not None:
            taken.append(SourceAnnotation(file.category, found, origin=shown(file.path)))
    return SourceImage(
        name=shown(photo),
        read=partial(read_photo, folder / photo),
        split=split_of(folders_inwards_first(photo)),
        annotations=tuple(taken),
        is_labelled=bool(taken) or says_nothing,
    )
