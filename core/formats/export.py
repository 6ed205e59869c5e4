"""What writers of all formats need: a project's labels, safe file names, files written whole."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from core.domain.errors import AppError, NotEnoughLabels, StorageError
from core.domain.images import Image, ImageFilter
from core.domain.labels import ImageState
from core.formats.source import (
    PHOTO_SUFFIXES,
    SourceAnnotation,
    SourceCategory,
    SourceDataset,
    SourceImage,
)
from core.storage import annotations, images, projects
from core.storage.store import Store

UNSPLIT = "unsplit"
MAX_STEM = 120

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


def labelled_dataset(store: Store, project_id: str) -> SourceDataset:
    """Give a project's labelled images; those without labels or still in progress are left out.

    A photo that is rotated by its EXIF data, or that few tools can open, is given as an upright JPEG
    of full size: labels are in upright pixels, and many tools that read them ignore EXIF.

    Raises:
        NotFound: the project does not exist.
        NotEnoughLabels: no image of it is labelled.
    """
    project = projects.get(store, project_id)
    names = {category.category_id: category.name for category in project.categories}
    done = images.list_page(store, project_id, ImageFilter(state=ImageState.DONE))
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


def file_names(names: Sequence[str]) -> list[str]:
    """Give names of one folder's photos in order, each with a stem of its own, letter case aside.

    Equal stems get their folders as a prefix (``a/1.jpg`` becomes ``a_1.jpg``), and a number where
    that does not tell them apart. No stem holds two underscores in a row or ends with one, so that a
    format may set off what it appends with two.
    """
    parts = [_safe_parts(name) for name in names]
    suffixes = [PurePosixPath(name).suffix.lower() for name in names]
    depths = [1] * len(names)
    for _ in range(max((len(p) for p in parts), default=0)):
        stems = [_joined(p, depth) for p, depth in zip(parts, depths, strict=True)]
        for indexes in _groups(stems):
            for index in indexes:
                depths[index] = min(depths[index] + 1, len(parts[index]))
    stems = [_joined(p, depth) for p, depth in zip(parts, depths, strict=True)]
    suffixes = [suffix if suffix in PHOTO_SUFFIXES else ".jpg" for suffix in suffixes]
    return [stem + suffix for stem, suffix in zip(_numbered(stems), suffixes, strict=True)]


def require_folder(folder: Path) -> None:
    """Make the folder to write into.

    Raises:
        AppError: it is a file.
        StorageError: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise AppError(f"{folder} is a file. Name a folder to write into.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {folder} cannot be made ({error.strerror}).") from error


def _source_image(store: Store, image: Image, names: dict[int, str]) -> SourceImage:
    drawn = annotations.current(store, image.id).annotations
    key, _ = images.rendition(store, image.id, "full")
    return SourceImage(
        name=image.name,
        read=partial(store.blobs.get, key),
        split=image.split,
        annotations=tuple(SourceAnnotation(names[a.category_id], a.ops) for a in drawn),
        is_labelled=True,
        drawn_size_wh=image.size_wh,
    )


def _safe_parts(name: str) -> list[str]:
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [_UNSAFE.sub("_", part).lstrip(".") for part in (*path.parts[:-1], path.stem)]
    return [part for part in parts if part.strip("_ ")] or ["photo"]


def _joined(parts: Sequence[str], depth: int) -> str:
    stem = re.sub("_{2,}", "_", "_".join(parts[-depth:]))[-MAX_STEM:]
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
