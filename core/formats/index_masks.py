"""One mask beside each photo, whose numbers or colours are the classes.

Read are: grey and palette pictures (a pixel's number is its class), pictures in fixed colours (CamVid,
with its ``label_colors.txt``), Cityscapes' ``leftImg8bit`` and ``gtFine``, and the Lyft and Udacity road
set, whose red channel holds the class. Names come from a list beside the masks (``classes.csv``,
``label_colors.txt``, ``class_dict.csv``, ``_classes.csv``, ``labelmap.txt``), from the layout, or from a
person.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, FormatError
from core.domain.mask_classes import FoundValue, Meaning, Meanings, Role, role_of
from core.formats import value_names
from core.formats.export import by_folder, file_names, labelled_dataset, replaced_export
from core.formats.mask_pairs import Pairs, labelled, lies_among_masks, pair, refused, unlabelled_note
from core.formats.mask_values import found_values, read_labelled, survey
from core.formats.seeing import counted
from core.formats.source import SourceDataset, SourceImage, list_files, read_photo
from core.formats.value_examples import with_examples
from core.formats.value_names import ValueNames
from core.imaging.mask_values import MaskValues, decode_mask_values
from core.imaging.masks import paint
from core.imaging.overlay import encode_index_png
from core.storage import projects
from core.storage.store import Store

SAMPLED = 12
SOFT_STEPS = 16  # values between black and white from which on edges count as soft
SOFT_SHARE = 0.2  # of the marked pixels: soft edges take less, classes more
CLASS_LIST = "classes.csv"
MAX_CLASSES = 254  # 0 is background, 255 is what many tools ignore


def detect(folder: Path) -> bool:
    """Tell whether there are photos with a mask each whose values are classes.

    A name alone (``a_l.png`` beside ``a.jpg``) makes no mask of what looks like another photo.
    """
    if _is_voc(folder):
        return False
    pairs = pair(folder)
    if not pairs.masks:
        return False
    if _in_mask_folders(pairs):
        return holds_classes(folder, pairs.masks)
    return any(lies_among_masks(mask) for mask in pairs.masks) or _has_classes(folder, pairs)


def _has_classes(folder: Path, pairs: Pairs) -> bool:
    try:
        survey(_reads(folder, pairs)[:SAMPLED])
    except FormatError:
        return False
    return True


def see(folder: Path) -> str:
    """Count the photos and masks, and say what tells the classes."""
    pairs = pair(folder)
    kind = "colours" if survey(_reads(folder, pairs)[:SAMPLED]).is_color else "numbers"
    return (
        f"{counted(len(pairs.photos), 'photo')}, {counted(len(pairs.masks), 'mask')} whose {kind} are classes"
    )


def find(folder: Path) -> tuple[FoundValue, ...]:
    """Give the values that the masks hold, with their names where they are told.

    Raises:
        FormatError: there is no pair of photo and mask, or the masks hold no classes.
    """
    pairs = _pairs(folder)
    surveyed = survey(_reads(folder, pairs))
    photos = [photo for photo in labelled(folder, pairs) if photo.mask]
    return with_examples(found_values(surveyed, _names(folder)), surveyed, photos)


def read(folder: Path) -> SourceDataset:
    """Read photos and masks whose values all have names.

    Raises:
        FormatError: as ``find``; or a value has no name, and the sentence says how to give it one.
    """
    return read_named(folder, value_names.require_known(find(folder)))


def read_named(folder: Path, meanings: Meanings) -> SourceDataset:
    """Read photos and masks by what their values mean: each connected region becomes an annotation.

    What is ignored is one annotation per photo. A mask without a class means "no damage"; one that holds
    another value is refused, and its photo stays unlabelled, as those without a mask are.

    Raises:
        FormatError: there is no pair of photo and mask.
    """
    pairs = _pairs(folder)
    dataset = read_labelled(labelled(folder, pairs), meanings)
    return SourceDataset(
        dataset.categories,
        dataset.images,
        refused(pairs) + dataset.refused,
        dataset.notes + unlabelled_note(pairs),
    )


def write(store: Store, project_id: str, folder: Path, *, with_photos: bool = True) -> None:
    """Write a project's labelled images into a folder, as ``write_dataset`` does, in the classes' colours.

    Raises:
        AppError: nothing is labelled, more than 254 classes, the folder is a file or holds annotations
            from elsewhere.
        StorageError: the disk is full; what was written before is complete.
    """
    colors = {c.name: c.color for c in projects.get(store, project_id).categories}
    write_dataset(labelled_dataset(store, project_id), folder, colors, with_photos=with_photos)


def write_dataset(
    dataset: SourceDataset, folder: Path, colors: Mapping[str, str], *, with_photos: bool = True
) -> None:
    """Write ``images/NAME.jpg``, ``masks/NAME.png`` (palette, 0 is background) and ``classes.csv``.

    A class's number is its id where that is below 255. Where two annotations overlap, the later one is
    seen; objects of one class that touch become one.

    Raises:
        AppError: as ``write``.
        StorageError: the disk is full.
    """
    numbers = class_numbers(dataset)
    palette = ["#000000"] * (max(numbers.values(), default=0) + 1)
    for name, number in numbers.items():
        palette[number] = colors.get(name, "#808080")
    listed = {"0": Meaning("background", "background")}
    listed |= {str(n): Meaning(name, _written_role(name), palette[n]) for name, n in numbers.items()}
    with replaced_export(folder) as keep:
        for place, images in by_folder(dataset).items():
            for image, file_name in zip(images, file_names(images), strict=True):
                if with_photos:
                    keep(PurePosixPath(place, "images", file_name), image.read())
                mask = encode_index_png(painted(image, numbers), palette)
                keep(PurePosixPath(place, "masks", f"{PurePosixPath(file_name).stem}.png"), mask)
        keep(PurePosixPath(CLASS_LIST), value_names.write_list(listed))


def class_numbers(dataset: SourceDataset) -> dict[str, int]:
    """Number the classes from 1 on: by their id where it is below 255, else by the next that is free.

    Raises:
        AppError: there are more than 254.
    """
    if len(dataset.categories) > MAX_CLASSES:
        raise AppError(f"A mask can number {MAX_CLASSES} classes, and there are {len(dataset.categories)}.")
    taken = {c.wanted_id for c in dataset.categories}
    free = (number for number in range(1, MAX_CLASSES + 1) if number not in taken)
    fits = {c.name: c.wanted_id for c in dataset.categories if c.wanted_id and c.wanted_id <= MAX_CLASSES}
    return {c.name: fits.get(c.name) or next(free) for c in dataset.categories}


def painted(image: SourceImage, numbers: Mapping[str, int]) -> NDArray[np.uint8]:
    """Paint an image's annotations in order into a map (H, W) of their classes' numbers; 0 is none."""
    assert image.drawn_size_wh is not None, "a mask needs its image's size"
    label_map = np.zeros((image.drawn_size_wh[1], image.drawn_size_wh[0]), np.uint8)
    for annotation in image.annotations:
        paint(label_map, annotation.ops, numbers[annotation.category])
    return label_map


def holds_classes(folder: Path, masks: list[PurePosixPath]) -> bool:
    """Tell whether masks hold classes, rather than one object each: by a class list, or by their values.

    Zeros and ones, black and one other colour, and soft edges between them mark one object.
    """
    names = value_names.names_in(folder, list_files(folder))
    if names.by_number or names.by_color:
        return True
    sampled = masks[:: max(1, len(masks) // SAMPLED)][:SAMPLED]
    pictures: list[MaskValues] = []
    for path in sampled:
        try:
            pictures.append(decode_mask_values(read_photo(folder / path)))
        except (OSError, FormatError):
            continue
    colors = {int(value) for picture in pictures if picture.is_color for value in np.unique(picture.values)}
    if colors:
        return len(colors - {0}) > 1
    held = [picture for picture in pictures if not _is_soft(picture)]
    values = {int(value) for picture in held for value in np.unique(picture.values)}
    return len(values - {0}) > 1 or bool(values - {0, 1, 255} and max(values) < 128 and len(masks) > 1)


def _is_soft(picture: MaskValues) -> bool:
    """Whether a picture is grey with soft edges: many values between, on few of the marked pixels."""
    if picture.palette or picture.is_color:
        return False
    counts = np.bincount(picture.values.ravel().clip(0, 65535), minlength=256)
    between, marked = counts[1:255], counts[1:].sum()
    is_high = counts[128:].sum() > 0
    return bool(is_high and (between > 0).sum() >= SOFT_STEPS and between[:127].sum() < SOFT_SHARE * marked)


def _written_role(name: str) -> Role:
    return "ignore" if role_of(name) == "ignore" else "class"


def _is_voc(folder: Path) -> bool:
    return any("SegmentationClass" in path.parts for path in list_files(folder))


def _in_mask_folders(pairs: Pairs) -> bool:
    """Whether the other format that reads mask pictures would take these as well."""
    return any(part.casefold() in ("masks", "mask") for mask in pairs.masks for part in mask.parts[:-1])


def _pairs(folder: Path) -> Pairs:
    pairs = pair(folder)
    if pairs.masks:
        return pairs
    if pairs.lost:
        raise FormatError(
            f"There are {len(pairs.lost):,} masks, such as {pairs.lost[0]}, but no photo of the same name."
        )
    raise FormatError(
        f"There are {len(pairs.photos):,} photos, but no masks for them: put each photo's mask, with the "
        "same name, into a folder “masks” beside “images”."
    )


def _reads(folder: Path, pairs: Pairs) -> list[partial[bytes]]:
    return [partial(read_photo, folder / mask) for mask in pairs.masks]


def _names(folder: Path) -> ValueNames:
    files = list_files(folder)
    names = value_names.names_in(folder, files)
    if names.by_number or names.by_color:
        return names
    folders = {part.casefold() for path in files for part in path.parts[:-1]}
    if "cameraseg" in folders:
        return value_names.carla_names()
    return value_names.cityscapes_names() if "leftimg8bit" in folders else names
