"""Take a source into a project: whole images with their labels, or not at all."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from core.domain.errors import AppError, OutOfReach, StorageError
from core.domain.images import Image
from core.domain.labels import SPLITS, Annotation, Category, ImageState, Source
from core.formats.ready import Ready, batches, make_ready
from core.formats.registry import pick_format
from core.formats.seeing import counted
from core.formats.source import Refusal, SourceAnnotation, SourceDataset, SourceImage
from core.formats.unpack import open_source
from core.storage import annotations, images, projects
from core.storage.patience import patiently
from core.storage.store import Store, new_id

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import took and what it did not.

    ``images`` and ``annotations`` count by train, valid, test and unsplit what this import took;
    a photo that was there without labels and got them counts as taken. ``classes`` counts the annotations
    taken by the project's name of their category, the most frequent first.
    """

    images: dict[str, int]
    annotations: dict[str, int]
    classes: dict[str, int]
    categories: tuple[str, ...]
    refused: tuple[Refusal, ...]
    already_there: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form: the fields by name; each refusal as ``{file, reason}``."""
        return {
            "images": dict(self.images),
            "annotations": dict(self.annotations),
            "classes": dict(self.classes),
            "categories": list(self.categories),
            "refused": [{"file": r.file, "reason": r.reason} for r in self.refused],
            "already_there": self.already_there,
            "notes": list(self.notes),
        }


def import_path(
    store: Store,
    project_id: str,
    path: Path,
    *,
    format: str = "auto",
    author: str = "",
    is_upload: bool = False,
    on_progress: Progress | None = None,
) -> ImportReport:
    """Import a folder, a zip or a photo into a project.

    Args:
        store: where to.
        project_id: an existing project.
        path: what to import.
        format: a name of ``FORMATS``; "auto" finds out.
        author: who gets named as the labels' author.
        is_upload: the folder holds what a user chose one by one, so that its zips are meant as well.
        on_progress: called with the images done and their total, after each batch.

    Raises:
        UnknownChoice: there is no such format.
        FormatError: the source is nothing that can be read.
        OutOfReach: the database or the blob store did not answer for long.
        StorageError: the disk is full; the sentence says how many photos were kept.
        NotFound: the project does not exist.
    """
    projects.get(store, project_id)
    with open_source(path, store.home / "scratch", with_zips=is_upload) as opened:
        dataset = pick_format(format, opened.folder).read(opened.folder)
        dataset = replace(dataset, refused=opened.refused + dataset.refused)
        return ingest(store, project_id, dataset, author=author, on_progress=on_progress)


def ingest(
    store: Store,
    project_id: str,
    dataset: SourceDataset,
    *,
    author: str = "",
    on_progress: Progress | None = None,
) -> ImportReport:
    """Take a source's images into a project.

    An image is in the project with all its usable labels or not at all; if the process dies, files
    that no row points at are all that is left over. A photo is known by its file's SHA-256: one that
    is labelled already stays as it is, one without labels gets those that the source brings. A database
    or a blob store that does not answer is waited for.

    Raises:
        OutOfReach: it did not answer for long; what was complete is kept.
        StorageError: the disk is full; what was complete is kept, and the sentence says how many.
        NotFound: the project does not exist.
    """
    total, done = len(dataset.images), 0

    def tell() -> None:
        if on_progress:
            on_progress(done, total)

    patiently(lambda: projects.get(store, project_id), check=tell)
    tally = _Tally(store, project_id, dataset, author)
    try:
        with closing(batches(store, project_id, dataset.images, tell)) as ready:
            for batch in ready:
                tally.take(batch, tell)
                done += len(batch)
                tell()
    except StorageError as error:
        kept = f"{tally.images.total()} of {total} photos, which are kept with their labels"
        raise _stopped(kept, error) from error
    return tally.report()


def _stopped(kept: str, error: StorageError) -> StorageError:
    again = "import the same source again; what is there is not taken twice"
    if isinstance(error, OutOfReach):
        return OutOfReach(f"The import stopped after {kept}. {error} Then {again}.")
    return StorageError(
        f"The import stopped after {kept}: the disk took no more ({_reason(error)}). "
        f"Free some space and {again}."
    )


def add_photo(store: Store, project_id: str, name: str, data: bytes) -> Image:
    """Put one photo without labels into a project, or give the image that it is already.

    Raises:
        ImageError: it is no photo that can be used.
        StorageError: it cannot be kept.
        NotFound: the project does not exist.
    """
    projects.get(store, project_id)
    ready = make_ready(store, project_id, SourceImage(name, lambda: data))
    if ready.existing is not None:
        return ready.existing
    try:
        with store.write() as connection:
            image_id = _insert(connection, project_id, ready)
    except IntegrityError:
        return images.by_sha256(store, project_id, [ready.sha256])[ready.sha256]
    return images.get(store, image_id)


def _reason(error: StorageError) -> str:
    """Give what the disk or the database said: the store's own sentence is about one file."""
    cause = error.__cause__
    return str(getattr(cause, "strerror", None) or getattr(cause, "orig", None) or error)


_Outcome = Literal["taken", "labels added", "already there"]


class _Tally:
    """The rows of one import, written batch by batch, and what came of it."""

    def __init__(self, store: Store, project_id: str, dataset: SourceDataset, author: str) -> None:
        self.store = store
        self.project_id = project_id
        self.dataset = dataset
        self.author = author
        self.categories: dict[str, Category] = {}  # by name in lower case
        self.first_by_sha256: dict[str, Ready] = {}
        self.images: Counter[str] = Counter()
        self.annotations: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.refused = list(dataset.refused)
        self.already_there = 0
        self.labels_added = 0
        self.labels_kept = 0

    def take(self, batch: Sequence[Ready | Refusal], check: Callable[[], None]) -> None:
        """Write a batch's rows in one transaction, then count them."""
        fresh = [ready for ready in batch if isinstance(ready, Ready) and self._is_first(ready)]
        outcomes = patiently(lambda: self._write(fresh), check=check) if fresh else []
        self.refused += [refusal for refusal in batch if isinstance(refusal, Refusal)]
        for ready, outcome in outcomes:
            self._count(ready, outcome)

    def _write(self, fresh: Sequence[Ready]) -> list[tuple[Ready, _Outcome | Refusal]]:
        """Write rows; done again after a commit of unknown end, it finds them there already."""
        self._fill_splits(fresh)
        try:
            with self.store.write() as connection:
                self._require_categories(connection)
                return [(ready, self._row(connection, ready)) for ready in fresh]
        except OutOfReach:
            self.categories.clear()  # they may not have been kept
            raise

    def report(self) -> ImportReport:
        """Sum up."""
        notes = list(self.dataset.notes)
        if self.labels_added:
            photos = counted(self.labels_added, "photo that was", "photos that were")
            notes.append(f"Labels were added to {photos} there without any.")
        if self.labels_kept:
            photos = counted(self.labels_kept, "photo that was", "photos that were")
            notes.append(f"The labels of {photos} there already stayed as they were.")
        return ImportReport(
            images={split: self.images[split] for split in (*SPLITS, "unsplit")},
            annotations={split: self.annotations[split] for split in (*SPLITS, "unsplit")},
            classes=dict(self.classes.most_common()),
            categories=tuple(category.name for category in self.dataset.categories),
            refused=tuple(self.refused),
            already_there=self.already_there,
            notes=tuple(notes),
        )

    def _is_first(self, ready: Ready) -> bool:
        first = self.first_by_sha256.setdefault(ready.sha256, ready)
        if first is ready:
            return True
        if first.is_labelled or ready.is_labelled:
            reason = f"This is the same photo as {first.name}, which came first; its labels were left out."
            self.refused.append(Refusal(ready.name, reason))
        else:
            self.already_there += 1
        return False

    def _fill_splits(self, fresh: Sequence[Ready]) -> None:
        for split in SPLITS:
            open_ids = [
                ready.existing.id
                for ready in fresh
                if ready.existing
                and not ready.existing.split
                and ready.split == split
                and _brings_labels(ready)
            ]
            if open_ids:
                images.set_split(self.store, open_ids, split)

    def _require_categories(self, connection: sa.Connection) -> None:
        if self.categories:
            return
        # Those that bring an id come first, so that the others cannot take it.
        for category in sorted(self.dataset.categories, key=lambda c: c.wanted_id is None):
            self.categories[category.name.strip().casefold()] = projects.add_category(
                connection, self.project_id, category.name, wanted_id=category.wanted_id
            )

    def _row(self, connection: sa.Connection, ready: Ready) -> _Outcome | Refusal:
        if ready.existing is not None and not _brings_labels(ready):
            return "already there"
        try:
            with connection.begin_nested():
                if ready.existing is not None:
                    self._save_labels(connection, ready.existing.id, ready, ready.existing.rev)
                    return "labels added"
                image_id = _insert(connection, self.project_id, ready)
                if ready.is_labelled:
                    self._save_labels(connection, image_id, ready, 0)
                return "taken"
        except IntegrityError:  # another import was faster
            return "already there"
        except AppError as error:
            return Refusal(ready.name, str(error))

    def _save_labels(self, connection: sa.Connection, image_id: str, ready: Ready, base_rev: int) -> None:
        drawn = [
            Annotation(new_id(), self._category(a).category_id, a.ops, Source.IMPORTED, self.author)
            for a in ready.annotations
        ]
        annotations.save_in(
            connection, image_id, drawn, base_rev=base_rev, state=ImageState.DONE, author=self.author
        )

    def _count(self, ready: Ready, outcome: _Outcome | Refusal) -> None:
        if isinstance(outcome, Refusal):
            self.refused.append(outcome)
            return
        self.refused += ready.refused
        if outcome == "already there":
            self.already_there += 1
            self.labels_kept += ready.existing is not None and ready.is_labelled
            return
        split = (ready.existing.split if ready.existing else None) or ready.split or "unsplit"
        self.images[split] += 1
        self.annotations[split] += len(ready.annotations)
        self.classes.update(self._category(a).name for a in ready.annotations)
        self.labels_added += outcome == "labels added"

    def _category(self, annotation: SourceAnnotation) -> Category:
        return self.categories[annotation.category.casefold()]


def _brings_labels(ready: Ready) -> bool:
    """Whether the photo is there without labels and the source has some."""
    is_open = ready.existing is not None and ready.existing.state is ImageState.UNLABELLED
    return is_open and ready.is_labelled


def _insert(connection: sa.Connection, project_id: str, ready: Ready) -> str:
    assert ready.photo is not None
    return images.add(connection, project_id, ready.sha256, ready.photo, name=ready.name, split=ready.split)
