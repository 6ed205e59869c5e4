"""Which mask picture belongs to which photo, told by folders and names."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from core.formats.mask_values import Labelled
from core.formats.source import (
    Refusal,
    SourceImage,
    folders_inwards_first,
    is_photo,
    list_files,
    read_photo,
    shown,
    split_of,
)

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".jpg", ".jpeg")
PHOTO_FOLDERS = (
    *("images", "image", "imgs", "img", "photos", "rgb", "jpegimages", "leftimg8bit"),
    *("camerargb", "701_stillsraw_full", "input", "inputs"),
)
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "ground_truth", "groundtruth"),
    *("segmentation", "segmentations", "labelmaps", "label_maps", "gtfine", "gtcoarse", "cameraseg"),
    *("labeledapproved_full", "targets", "target", "semantic"),
)
# Cityscapes keeps colours, objects and outlines beside the label ids; only the ids are read.
OTHER_VIEWS = ("_color", "_instanceids", "_labeltrainids", "_polygons", "_instancetrainids")

_MASK_NAME = re.compile(
    r"(.+?)(?:_gt(?:fine|coarse)_labelids|_labelids|_l|_masks?|_labels?|_seg|_segmentation|_gt|_annotation)",
    re.I,
)
_PHOTO_NAME = re.compile(r"(.+?)_leftimg8bit", re.I)
_ANNOTATED_FOLDER = re.compile(r"(.+?)[_-]?(?:annots?|annotations?|masks?|labels?|gt|seg)", re.I)


@dataclass(frozen=True)
class Pairs:
    """A source's photos, each with its mask or None, and the masks that belong to no photo."""

    photos: tuple[tuple[PurePosixPath, PurePosixPath | None], ...]
    lost: tuple[PurePosixPath, ...]

    @property
    def masks(self) -> list[PurePosixPath]:
        """Those that belong to a photo, in the photos' order."""
        return [mask for _, mask in self.photos if mask is not None]


def pair(folder: Path) -> Pairs:
    """Pair the pictures of a folder, at any depth.

    A mask lies in a folder that says so (``masks``, ``labels``, ``CameraSeg``, ``gtFine``, ``trainannot``
    beside ``train``), or beside its photo with a name that says so (``a_mask.png`` beside ``a.jpg``). The
    photo has the same name without what marks the mask, in the same place or, where no two photos
    share their name, anywhere.
    """
    pictures = [path for path in list_files(folder) if is_photo(path)]
    known = {(path.parent, path.stem.casefold()) for path in pictures}
    masks = [path for path in pictures if _is_mask(path, known)]
    wanted = [path for path in masks if not path.stem.casefold().endswith(OTHER_VIEWS)]
    is_mask = set(masks)
    photos = [path for path in pictures if path not in is_mask]
    matched = _matched(photos, wanted)
    taken = set(matched.values())
    lost = tuple(mask for mask in wanted if mask not in taken)
    return Pairs(tuple((photo, matched.get(photo)) for photo in photos), lost)


def labelled(folder: Path, pairs: Pairs) -> list[Labelled]:
    """Give the photos with what reads their masks. The split comes from folder names, as for COCO."""
    return [
        Labelled(
            SourceImage(
                shown(photo), partial(read_photo, folder / photo), split_of(folders_inwards_first(photo))
            ),
            None if mask is None else partial(read_photo, folder / mask),
            "" if mask is None else shown(mask),
        )
        for photo, mask in pairs.photos
    ]


def refused(pairs: Pairs) -> tuple[Refusal, ...]:
    """Refuse the masks that belong to no photo."""
    return tuple(Refusal(shown(mask), "There is no photo that this mask belongs to.") for mask in pairs.lost)


def unlabelled_note(pairs: Pairs) -> tuple[str, ...]:
    """Say how many photos have no mask."""
    without = [photo for photo, mask in pairs.photos if mask is None]
    if not without:
        return ()
    return (f"{len(without):,} photos have no mask and came without labels, such as {shown(without[0])}.",)


def _is_mask(path: PurePosixPath, known: set[tuple[PurePosixPath, str]]) -> bool:
    if path.suffix.lower() not in MASK_SUFFIXES:
        return False
    if lies_among_masks(path):
        return True
    named = _MASK_NAME.fullmatch(path.stem)
    return named is not None and (path.parent, named[1].casefold()) in known


def lies_among_masks(path: PurePosixPath) -> bool:
    """Tell whether a picture lies in a folder that says it holds masks."""
    return any(_marks_masks(part) for part in path.parts[:-1])


def _marks_masks(part: str) -> bool:
    name = part.casefold()
    told = _ANNOTATED_FOLDER.fullmatch(name)
    return name in MASK_FOLDERS or (told is not None and split_of([told[1]]) is not None)


def _matched(
    photos: Sequence[PurePosixPath], masks: Sequence[PurePosixPath]
) -> dict[PurePosixPath, PurePosixPath]:
    by_place: dict[tuple[tuple[str, ...], str], list[PurePosixPath]] = defaultdict(list)
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for photo in photos:
        stem = _plain(photo.stem, _PHOTO_NAME)
        by_place[_place(photo), stem].append(photo)
        by_name[stem].append(photo)
    matched: dict[PurePosixPath, PurePosixPath] = {}
    for mask in masks:
        for stem in dict.fromkeys((mask.stem.casefold(), _plain(mask.stem, _MASK_NAME))):
            found = by_place.get((_place(mask), stem)) or by_name.get(stem, [])
            if len(found) == 1 and found[0] not in matched:
                matched[found[0]] = mask
                break
    return matched


def _plain(stem: str, marks: re.Pattern[str]) -> str:
    told = marks.fullmatch(stem)
    return (told[1] if told else stem).casefold()


def _place(path: PurePosixPath) -> tuple[str, ...]:
    """Give a picture's folders without those that say "photos" or "masks"."""
    parts: list[str] = []
    for part in map(str.casefold, path.parts[:-1]):
        told = _ANNOTATED_FOLDER.fullmatch(part)
        if told and split_of([told[1]]) is not None:
            parts.append(told[1])
        elif part not in PHOTO_FOLDERS and part not in MASK_FOLDERS:
            parts.append(part)
    return tuple(parts)
