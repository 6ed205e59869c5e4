"""Projects: create, look over, fill with photos, hand out."""

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from core.domain.errors import AppError, FormatError, StorageError, pick
from core.domain.images import Image, ImageFilter, Project
from core.domain.labels import FINISHED, SPLITS, Category, ImageState, Split
from core.domain.mask_classes import parse_meanings
from core.domain.runs import Job
from core.formats import ingest, looking, sample
from core.formats.registry import FORMATS
from core.formats.source import list_files
from core.services import links
from core.services.home import Store
from core.storage import images, jobs, projects, tallies, uploads
from core.storage.blobs import not_saved
from core.storage.tallies import AuthorTally

MAX_NAME_BYTES = 200
PACKABLE = (".json", ".xml", ".txt", ".csv", ".yaml")  # everything else is compressed already


@dataclass(frozen=True)
class Overview:
    """Where a project stands: how many images, in which state and split."""

    images: int
    labelled: int
    in_progress: int
    unlabelled: int
    splits: dict[str, int]  # labelled images by train, valid, test, unsplit
    annotations: dict[int, int]  # labelled images that show a category, by category_id
    approved: int  # of those labelled
    rejected: int
    no_damage: int  # of those labelled
    objects: int
    suggestions: int


def list_all(store: Store) -> list[Project]:
    """List the projects, oldest first."""
    return projects.list_all(store)


def by_name(store: Store, name: str) -> Project:
    """Give the project with this name. Raises NotFound, which lists the names."""
    return projects.by_name(store, name)


def get(store: Store, project_id: str) -> Project:
    """Give one project. Raises NotFound."""
    return projects.get(store, project_id)


def create(store: Store, name: str) -> Project:
    """Make an empty project. Raises AppError when the name is empty, too long or taken."""
    return projects.create(store, name)


def get_or_create(store: Store, name: str) -> Project:
    """Give the project with this name; make it if there is none."""
    for project in projects.list_all(store):
        if project.name == name.strip():
            return project
    return projects.create(store, name)


def create_sample(
    store: Store, name: str, on_progress: Callable[[int, int], None] | None = None
) -> ingest.ImportReport:
    """Fill a project with about 60 drawn photos of car panels, labelled and split 40/12/8."""
    project = get_or_create(store, name)
    with tempfile.TemporaryDirectory() as folder:
        dataset = sample.sample_dataset(Path(folder))
        return ingest.ingest(store, project.id, dataset, author="sample", on_progress=on_progress)


def queue_sample(store: Store, name: str = "Sample: car panels") -> tuple[Project, Job]:
    """Make the sample project and queue the drawing of its photos."""
    project = get_or_create(store, name)
    return project, jobs.create(store, "sample", {"project_id": project.id}, project.id)


def import_path(
    store: Store,
    project_id: str,
    path: Path,
    *,
    format: str = "auto",
    classes: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> ingest.ImportReport:
    """Import a folder, a zip or a photo, here and now.

    Args:
        classes: what the values of masks mean, like ``0=background,1=scratch,255=ignore``.

    Raises:
        UnknownChoice: there is no such format.
        FormatError: the source is nothing that can be read, or it leaves open what it means; the sentence
            says how to tell.
        StorageError: the disk is full; what came before is kept.
    """
    wanted = looking.Wanted(format, parse_meanings(classes) if classes else None)
    result = looking.take(store, project_id, path, wanted, on_progress=on_progress)
    if isinstance(result, looking.Question):
        raise FormatError(result.sentence())
    return result


def import_into(
    store: Store,
    name: str,
    path: Path,
    *,
    format: str = "auto",
    classes: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> ingest.ImportReport:
    """Import into the project of this name, which is made if there is none.

    A project made for a source that turns out to be unreadable is taken away again. Raises as
    ``import_path`` does.
    """
    is_new = all(project.name != name.strip() for project in projects.list_all(store))
    project = get_or_create(store, name)
    try:
        return import_path(store, project.id, path, format=format, classes=classes, on_progress=on_progress)
    except AppError:
        if is_new:
            projects.discard_if_empty(store, project.id)
        raise


def import_uploads(
    store: Store, project_id: str, files: Iterable[tuple[str, BinaryIO]], *, format: str
) -> Job:
    """Keep uploaded files and queue their import, which unpacks each zip among them.

    The import takes at once what is clear. Where a person has to say more first, its result is a
    question, and ``core.services.importing`` takes the answer.

    Args:
        files: the client's names, with folders or not, and the contents.

    Raises:
        AppError: nothing was uploaded.
        OutOfReach: the blob store or the database does not answer now.
        StorageError: the disk is full.
    """
    folder, names = _keep_uploads(store, files)
    if not names:
        folder.rmdir()
        raise AppError("Choose at least one photo, folder or zip.")
    only = next(iter(names)).relative_to(folder)
    is_one_zip = len(names) == 1 and only.suffix.lower() == ".zip"
    place = uploads.hand_over(store, folder)
    payload = {
        "path": f"{place}/{only.as_posix()}" if is_one_zip else place,
        "upload": place,
        "format": format,
        "project_id": project_id,
        "is_temporary": True,
    }
    try:
        return jobs.create(store, "import", payload, project_id)
    except AppError:
        uploads.delete(store, place)
        raise


def formats() -> dict[str, str]:
    """Give the label formats by name, with their titles."""
    return {name: spec.title for name, spec in FORMATS.items()}


def writable_formats() -> dict[str, tuple[str, str]]:
    """Give the formats that can be written: name to title and a line on what survives there."""
    return {name: (spec.title, spec.keeps) for name, spec in FORMATS.items() if spec.write}


def overview(store: Store, project_id: str) -> Overview:
    """Count a project's images."""
    counts = tallies.by_state(store, project_id)
    finished = [tally for tally in counts if tally.state in FINISHED]
    states = {state: sum(t.images for t in counts if t.state is state) for state in ImageState}
    return Overview(
        images=sum(states.values()),
        labelled=sum(tally.images for tally in finished),
        in_progress=states[ImageState.IN_PROGRESS],
        unlabelled=states[ImageState.UNLABELLED],
        splits={s: sum(t.images for t in finished if t.split == s) for s in (*SPLITS, "unsplit")},
        annotations=tallies.by_category(store, project_id),
        approved=states[ImageState.APPROVED],
        rejected=states[ImageState.REJECTED],
        no_damage=sum(tally.empty for tally in finished),
        objects=sum(tally.annotations for tally in counts),
        suggestions=sum(tally.suggestions for tally in counts),
    )


def work_done(store: Store, project_id: str, since: datetime) -> list[AuthorTally]:
    """Count on how many photos each person saved labels as finished or looked them over."""
    return tallies.by_author(store, project_id, since)


def authors(store: Store, project_id: str) -> list[str]:
    """List who saved the newest labels of a photo; "" where nobody was logged in."""
    return tallies.authors(store, project_id)


def list_images(
    store: Store, project_id: str, only: ImageFilter, *, offset: int = 0, limit: int | None = None
) -> list[Image]:
    """List a project's images in the order they came, filtered."""
    return images.list_page(store, project_id, only, offset=offset, limit=limit)


def count_images(store: Store, project_id: str, only: ImageFilter) -> int:
    """Count a project's images, filtered."""
    return images.count(store, project_id, only)


def set_split(store: Store, image_ids: list[str], split: Split | None) -> None:
    """Put images into a split, or into none."""
    images.set_split(store, image_ids, split)


def delete_images(store: Store, image_ids: list[str]) -> None:
    """Take images and their labels out of the project."""
    images.delete(store, image_ids)


def photo_link(store: Store, image: Image, rendition: images.Rendition) -> str:
    """Give the signed link of an upright picture of an image, relative to the app's root."""
    return links.sign(store, f"img/{image.id}/{rendition}", v=image.sha256[:8])


def add_category(store: Store, project_id: str, name: str) -> Category:
    """Add a category, or give the one that has this name already."""
    with store.write() as connection:
        return projects.add_category(connection, project_id, name)


def change_category(store: Store, project_id: str, category: Category) -> None:
    """Rename or recolour a category. Raises AppError when the name is taken."""
    projects.change_category(store, project_id, category)


def export(
    store: Store, project_id: str, folder: Path, *, format: str = "coco", with_photos: bool = True
) -> Path:
    """Write a project's labels into a folder, with the photos beside them.

    Raises:
        UnknownChoice: there is no such format, or it cannot be written.
        AppError: nothing is labelled, or the folder is a file.
        StorageError: the disk is full.
    """
    writable = {name: spec.write for name, spec in FORMATS.items() if spec.write}
    write = pick(writable, format, kind="format to write")
    write(store, project_id, folder, with_photos=with_photos)
    return folder


def export_zip(store: Store, project_id: str, format: str = "coco") -> BinaryIO:
    """Pack a project's labels and photos as an export.

    Returns:
        The zip, opened for reading. It lies on the disk without a name and is gone once it is closed.

    Raises:
        UnknownChoice: there is no such format, or it cannot be written.
        AppError: nothing is labelled.
        StorageError: the disk is full.
    """
    scratch = store.home / "scratch"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with ExitStack() as on_failure, tempfile.TemporaryDirectory(prefix="export-", dir=scratch) as name:
            packed = on_failure.enter_context(tempfile.TemporaryFile(dir=scratch))
            _pack(export(store, project_id, Path(name), format=format), packed)
            on_failure.pop_all()
    except OSError as error:
        raise StorageError(not_saved("The zip", error)) from error
    # Streamlit's download takes files that can only be read.
    return io.BufferedReader(packed.detach())


def _pack(folder: Path, packed: BinaryIO) -> None:
    """Move a folder's files into a zip."""
    with zipfile.ZipFile(packed, "w") as archive:
        for path in list_files(folder):
            archive.write(folder / path, path, zipfile.ZIP_DEFLATED if path.suffix in PACKABLE else None)
            (folder / path).unlink()
    packed.seek(0)


def _keep_uploads(store: Store, files: Iterable[tuple[str, BinaryIO]]) -> tuple[Path, set[Path]]:
    upload: Path | None = None
    names: set[Path] = set()
    try:
        upload = uploads.new_folder(store)
        for name, content in files:
            target = _unique(upload / _safe(name), names)
            names.add(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
    except OSError as error:
        if upload is not None:
            shutil.rmtree(upload, ignore_errors=True)
        raise StorageError(not_saved("The upload", error)) from error
    return upload, names


def _safe(name: str) -> Path:
    """Turn a client's file name into a relative path that cannot leave its folder."""
    text = name.encode(errors="ignore").decode().replace("\0", "").replace("\\", "/")
    parts = [_shortened(part) for part in PurePosixPath(text).parts if part not in ("/", "//", "..")]
    return Path(*parts) if parts else Path("photo")


def _shortened(part: str) -> str:
    """Cut a name to 200 bytes, which every file system takes, and keep its ending."""
    suffix = PurePosixPath(part).suffix
    if len(suffix) > 20:
        suffix = ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    return part.removesuffix(suffix).encode()[:room].decode(errors="ignore") + suffix


def _unique(path: Path, taken: set[Path]) -> Path:
    candidate, number = path, 2
    while candidate in taken:
        candidate = path.with_stem(f"{path.stem}_{number}")
        number += 1
    return candidate
