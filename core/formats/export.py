"""What writers of all formats need: a project's labels, safe file names, a folder with one truth."""

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

from core.domain.errors import AppError, NotEnoughLabels, StorageError
from core.domain.images import Image, ImageFilter
from core.domain.labels import FINISHED, SPLITS
from core.formats.coco_read import mentions_coco
from core.formats.source import (
    PHOTO_SUFFIXES,
    SourceAnnotation,
    SourceCategory,
    SourceDataset,
    SourceImage,
)
from core.storage import annotations, images, projects
from core.storage.blobs import not_saved, write_atomically
from core.storage.store import Store

UNSPLIT = "unsplit"
LISTING = ".maskwright-export"  # names the files that an export wrote, one in a line
WRITTEN_BY = "Damage masks, written by Maskwright"
MAX_STEM_BYTES = 120  # file systems allow names of 255 bytes, and formats append to the stem
SUFFIXES = {"image/jpeg": (".jpg", ".jpeg"), "image/png": (".png",)}

Keep = Callable[[PurePosixPath, bytes], None]

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


class Write(Protocol):
    """Write a project's labels into a folder, with the photos beside them if wanted."""

    def __call__(self, store: Store, project_id: str, folder: Path, *, with_photos: bool = True) -> None: ...


class WriteDataset(Protocol):
    """Write a dataset's labels into a folder, with the photos beside them if wanted."""

    def __call__(self, dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None: ...


def writes(write_dataset: WriteDataset) -> Write:
    """Give what writes a project's finished labels as ``write_dataset`` does.

    It raises AppError where nothing is labelled, else what ``write_dataset`` raises.
    """

    def write(store: Store, project_id: str, folder: Path, *, with_photos: bool = True) -> None:
        write_dataset(labelled_dataset(store, project_id), folder, with_photos=with_photos)

    return write


def labelled_dataset(store: Store, project_id: str) -> SourceDataset:
    """Give a project's finished images, done or approved, without suggestions; others are left out.

    A photo that is rotated by its EXIF data, or that few tools can open, is given as an upright JPEG
    of full size: labels are in upright pixels, and many tools that read them ignore EXIF.

    Raises:
        NotFound: the project does not exist.
        NotEnoughLabels: no image of it is labelled.
    """
    project = projects.get(store, project_id)
    names = {category.category_id: category.name for category in project.categories}
    done = images.list_page(store, project_id, ImageFilter(state=FINISHED))
    if not done:
        raise NotEnoughLabels("There is nothing to export yet. Label a photo first.")
    return SourceDataset(
        categories=tuple(SourceCategory(c.name, c.category_id) for c in project.categories),
        images=tuple(_source_image(store, image, names) for image in done),
    )


def by_folder(dataset: SourceDataset) -> dict[str, list[SourceImage]]:
    """Sort images into folders: one for each split and one for the rest; "" alone where none has a split."""
    folders: dict[str, list[SourceImage]] = defaultdict(list)
    has_splits = any(image.split for image in dataset.images)
    for image in dataset.images:
        folders[image.split or (UNSPLIT if has_splits else "")].append(image)
    return dict(folders)


def file_names(photos: Sequence[SourceImage]) -> list[str]:
    """Give names of one folder's photos in order, each with a stem of its own, letter case aside.

    The ending says what the bytes are, where that is known: a HEIC photo is given as a ``.jpg``.
    Equal stems get their folders as a prefix (``a/1.jpg`` becomes ``a_1.jpg``), and a number where
    that does not tell them apart. No stem holds two underscores in a row or ends with one, so that a
    format may set off what it appends with two.
    """
    parts = [_safe_parts(photo.name) for photo in photos]
    depths = [1] * len(photos)
    for _ in range(max((len(p) for p in parts), default=0)):
        stems = [_joined(p, depth) for p, depth in zip(parts, depths, strict=True)]
        for indexes in _groups(stems):
            for index in indexes:
                depths[index] = min(depths[index] + 1, len(parts[index]))
    stems = [_joined(p, depth) for p, depth in zip(parts, depths, strict=True)]
    return [stem + _suffix(photo) for stem, photo in zip(_numbered(stems), photos, strict=True)]


@contextmanager
def replaced_export(folder: Path) -> Generator[Keep]:
    """Give a function that writes one file of an export, by its path inside the folder.

    At the end, what an earlier export of any format left there and this one did not write is removed,
    so that the folder holds one truth. A hidden list tells our files from the user's. An export that
    breaks off removes nothing; the next one clears up after it.

    Raises:
        AppError: the folder is a file, or holds annotations that no export wrote. Nothing was written.
        StorageError: the disk is full.
    """
    _require_folder(folder)
    earlier = _written_earlier(folder)
    _refuse_foreign(folder, earlier)
    written: set[PurePosixPath] = set()

    def keep(path: PurePosixPath, data: bytes) -> None:
        _note_down(folder / LISTING, path)
        write_atomically(folder / path, data)
        written.add(path)

    yield keep
    same = {str(path).casefold() for path in written}  # some file systems do not tell letter case apart
    _remove(folder, [path for path in earlier if str(path).casefold() not in same])
    write_atomically(folder / LISTING, "".join(f"{path}\n" for path in sorted(written)).encode())


def _require_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise AppError(f"{folder} is a file. Name a folder to write into.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {folder} cannot be made ({error.strerror}).") from error


def _written_earlier(folder: Path) -> set[PurePosixPath]:
    listing = folder / LISTING
    listed = listing.read_text(encoding="utf-8", errors="replace") if listing.is_file() else ""
    paths = {PurePosixPath(line) for line in listed.split("\n")}
    inside = {path for path in paths if path.parts and not path.is_absolute() and ".." not in path.parts}
    return inside | {path for path in _annotation_files(folder) if _is_by_us(folder / path)}


def _refuse_foreign(folder: Path, earlier: set[PurePosixPath]) -> None:
    foreign = sorted(set(_annotation_files(folder)) - earlier)
    if foreign:
        raise AppError(
            f"{folder} holds annotations that come from elsewhere ({foreign[0]}), and two sets of labels in "
            "one folder would be mixed up. Name another folder."
        )


def _annotation_files(folder: Path) -> list[PurePosixPath]:
    """Give the files, in the places that exports write to, that a reader would take for annotations."""
    found: list[Path] = []
    for place in (folder, *(folder / name for name in (*SPLITS, UNSPLIT))):
        found += [path for path in place.glob("*.json") if path.is_file() and mentions_coco(path)]
        for masks in ("masks", "SegmentationClass"):
            found += (place / masks).glob("*.png")
        found += place.glob("*.npz")
    return [PurePosixPath(path.relative_to(folder).as_posix()) for path in found]


def _is_by_us(path: Path) -> bool:
    """Whether a COCO json is from an export whose list is gone, such as one that came as a zip."""
    is_ours_by_name = path.name in ("annotations.json", "_annotations.coco.json")
    return is_ours_by_name and WRITTEN_BY.encode() in path.read_bytes()


def _note_down(listing: Path, path: PurePosixPath) -> None:
    try:
        with listing.open("a", encoding="utf-8") as file:
            file.write(f"{path}\n")
    except OSError as error:
        raise StorageError(not_saved(listing.name, error)) from error


def _remove(folder: Path, paths: Sequence[PurePosixPath]) -> None:
    try:
        for path in paths:
            (folder / path).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"What an earlier export left in {folder} could not be removed ({error.strerror}). "
            "Name another folder."
        ) from error


def _source_image(store: Store, image: Image, names: dict[int, str]) -> SourceImage:
    drawn = annotations.current(store, image.id).annotations
    key, media_type = images.rendition(store, image.id, "full")
    return SourceImage(
        name=image.name,
        read=partial(store.blobs.get, key),
        split=image.split,
        annotations=tuple(
            SourceAnnotation(names[a.category_id], a.ops) for a in drawn if not a.is_suggestion
        ),
        is_labelled=True,
        drawn_size_wh=image.size_wh,
        media_type=media_type,
    )


def _suffix(photo: SourceImage) -> str:
    named = PurePosixPath(photo.name).suffix.lower()
    if photo.media_type is None:
        return named if named in PHOTO_SUFFIXES else ".jpg"
    fitting = SUFFIXES[photo.media_type]
    return named if named in fitting else fitting[0]


def _safe_parts(name: str) -> list[str]:
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [_UNSAFE.sub("_", part).lstrip(".") for part in (*path.parts[:-1], path.stem)]
    return [part for part in parts if part.strip("_ ")] or ["photo"]


def _joined(parts: Sequence[str], depth: int) -> str:
    whole = re.sub("_{2,}", "_", "_".join(parts[-depth:]))
    stem = whole.encode(errors="ignore")[-MAX_STEM_BYTES:].decode(errors="ignore")
    return stem.strip("_ .") or "photo"


def _groups(stems: Sequence[str]) -> list[list[int]]:
    by_stem: dict[str, list[int]] = defaultdict(list)
    for index, stem in enumerate(stems):
        by_stem[stem.casefold()].append(index)
    return [indexes for indexes in by_stem.values() if len(indexes) > 1]


def _numbered(stems: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    unique: list[str] = []
    for stem in stems:
        candidate, number = stem, 2
        while candidate.casefold() in taken:
            candidate, number = f"{stem}-{number}", number + 1
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique
