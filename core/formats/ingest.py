"""Take a source into a project: whole images with their labels, or not at all."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from core.domain.errors import AppError, FormatError, StorageError
from core.domain.images import Image
from core.domain.labels import SPLITS, Annotation, ImageState, Source, Split
from core.formats.registry import pick_format
from core.formats.source import Refusal, SourceAnnotation, SourceDataset, SourceImage
from core.formats.unpack import open_source
from core.imaging.masks import rasterise_box
from core.imaging.reading import PreparedPhoto, content_sha256, prepare_photo
from core.storage import annotations, images, projects
from core.storage.store import Store, new_id

THREADS = 3  # decoding and hashing leave Python's lock; a third one covers the waits for the disk
MAX_WAITING = 4
BATCH = 16  # images a transaction

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportReport:
    """What an import took and what it did not.

    ``images`` and ``annotations`` count by train, valid, test and unsplit what this import took;
    a photo that was there without labels and got them counts as taken.
    """

    images: dict[str, int]
    annotations: dict[str, int]
    categories: tuple[str, ...]
    refused: tuple[Refusal, ...]
    already_there: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form: the fields by name; each refusal as ``{file, reason}``."""
        return {
            "images": dict(self.images),
            "annotations": dict(self.annotations),
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
    on_progress: Progress | None = None,
) -> ImportReport:
    """Import a folder, a zip or a photo into a project.

    Args:
        store: where to.
        project_id: an existing project.
        path: what to import.
        format: a name of ``FORMATS``; "auto" finds out.
        author: who gets named as the labels' author.
        on_progress: called with the images done and their total, after each batch.

    Raises:
        UnknownChoice: there is no such format.
        FormatError: the source is nothing that can be read.
        StorageError: the disk is full; the sentence says how many photos were kept.
        NotFound: the project does not exist.
    """
    projects.get(store, project_id)
    with open_source(path, store.home / "scratch") as opened:
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
    is labelled already stays as it is, one without labels gets those that the source brings.

    Raises:
        StorageError: the disk is full; what was complete is kept, and the sentence says how many.
        NotFound: the project does not exist.
    """
    projects.get(store, project_id)
    tally = _Tally(store, project_id, dataset, author)
    total = len(dataset.images)
    done = 0
    try:
        with closing(_batches(store, project_id, dataset.images)) as batches:
            for batch in batches:
                tally.take(batch)
                done += len(batch)
                if on_progress:
                    on_progress(done, total)
    except StorageError as error:
        kept = tally.images.total()
        raise StorageError(
            f"The import stopped after {kept} of {total} photos, which are kept with their labels: {error} "
            "Import the same source again to go on; what is there is not taken twice."
        ) from error
    return tally.report()


def add_photo(store: Store, project_id: str, name: str, data: bytes) -> Image:
    """Put one photo without labels into a project, or give the image that it is already.

    Raises:
        ImageError: it is no photo that can be used.
        StorageError: it cannot be kept.
        NotFound: the project does not exist.
    """
    ready = _make_ready(store, project_id, SourceImage(name, lambda: data))
    if ready.existing is not None:
        return ready.existing
    projects.get(store, project_id)
    try:
        with store.write() as connection:
            image_id = _insert(connection, project_id, ready)
    except IntegrityError:
        return images.by_sha256(store, project_id, [ready.sha256])[ready.sha256]
    return images.get(store, image_id)


@dataclass(frozen=True)
class _Ready:
    """An image whose files are kept and whose labels are checked: what is missing are its rows.

    ``photo`` is None where ``existing`` is not; its large renditions are emptied.
    """

    name: str
    sha256: str
    split: Split | None
    photo: PreparedPhoto | None = field(repr=False)
    existing: Image | None
    annotations: tuple[SourceAnnotation, ...]
    is_labelled: bool
    refused: tuple[Refusal, ...]


_Outcome = Literal["taken", "labels added", "already there"]


class _Tally:
    """The rows of one import, written batch by batch, and what came of it."""

    def __init__(self, store: Store, project_id: str, dataset: SourceDataset, author: str) -> None:
        self.store = store
        self.project_id = project_id
        self.dataset = dataset
        self.author = author
        self.category_ids: dict[str, int] = {}  # by name in lower case
        self.first_by_sha256: dict[str, _Ready] = {}
        self.images: Counter[str] = Counter()
        self.annotations: Counter[str] = Counter()
        self.refused = list(dataset.refused)
        self.already_there = 0
        self.labels_added = 0

    def take(self, batch: Sequence[_Ready | Refusal]) -> None:
        """Write a batch's rows in one transaction, then count them."""
        fresh = [ready for ready in batch if isinstance(ready, _Ready) and self._is_first(ready)]
        self._fill_splits(fresh)
        outcomes: list[tuple[_Ready, _Outcome | Refusal]] = []
        if fresh:
            with self.store.write() as connection:
                self._require_categories(connection)
                outcomes = [(ready, self._row(connection, ready)) for ready in fresh]
        self.refused += [refusal for refusal in batch if isinstance(refusal, Refusal)]
        for ready, outcome in outcomes:
            self._count(ready, outcome)

    def report(self) -> ImportReport:
        """Sum up."""
        notes = list(self.dataset.notes)
        if self.labels_added:
            notes.append(f"{self.labels_added} photos that were there without labels have got theirs.")
        return ImportReport(
            images={split: self.images[split] for split in (*SPLITS, "unsplit")},
            annotations={split: self.annotations[split] for split in (*SPLITS, "unsplit")},
            categories=tuple(category.name for category in self.dataset.categories),
            refused=tuple(self.refused),
            already_there=self.already_there,
            notes=tuple(notes),
        )

    def _is_first(self, ready: _Ready) -> bool:
        first = self.first_by_sha256.setdefault(ready.sha256, ready)
        if first is ready:
            return True
        if first.is_labelled or ready.is_labelled:
            reason = f"This is the same photo as {first.name}, which came first; its labels were left out."
            self.refused.append(Refusal(ready.name, reason))
        else:
            self.already_there += 1
        return False

    def _fill_splits(self, fresh: Sequence[_Ready]) -> None:
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
        if self.category_ids:
            return
        # Those that bring an id come first, so that the others cannot take it.
        for category in sorted(self.dataset.categories, key=lambda c: c.wanted_id is None):
            made = projects.add_category(
                connection, self.project_id, category.name, wanted_id=category.wanted_id
            )
            self.category_ids[category.name.strip().casefold()] = made.category_id

    def _row(self, connection: sa.Connection, ready: _Ready) -> _Outcome | Refusal:
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

    def _save_labels(self, connection: sa.Connection, image_id: str, ready: _Ready, base_rev: int) -> None:
        drawn = [
            Annotation(
                new_id(), self.category_ids[a.category.casefold()], a.ops, Source.IMPORTED, self.author
            )
            for a in ready.annotations
        ]
        annotations.save_in(
            connection, image_id, drawn, base_rev=base_rev, state=ImageState.DONE, author=self.author
        )

    def _count(self, ready: _Ready, outcome: _Outcome | Refusal) -> None:
        if isinstance(outcome, Refusal):
            self.refused.append(outcome)
            return
        if outcome == "already there":
            self.already_there += 1
            return
        split = (ready.existing.split if ready.existing else None) or ready.split or "unsplit"
        self.images[split] += 1
        self.annotations[split] += len(ready.annotations)
        self.labels_added += outcome == "labels added"
        self.refused += ready.refused


def _brings_labels(ready: _Ready) -> bool:
    """Whether the photo is there without labels and the source has some."""
    is_open = ready.existing is not None and ready.existing.state is ImageState.UNLABELLED
    return is_open and ready.is_labelled


def _insert(connection: sa.Connection, project_id: str, ready: _Ready) -> str:
    assert ready.photo is not None
    return images.add(connection, project_id, ready.sha256, ready.photo, name=ready.name, split=ready.split)


def _batches(
    store: Store, project_id: str, sources: Sequence[SourceImage]
) -> Generator[list[_Ready | Refusal]]:
    """Give the images in order, made ready by threads; what was ready before a fault comes first."""
    batch: list[_Ready | Refusal] = []
    try:
        for result in _in_order(store, project_id, sources):
            batch.append(result)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except StorageError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _in_order(store: Store, project_id: str, sources: Sequence[SourceImage]) -> Iterator[_Ready | Refusal]:
    waiting: deque[Future[_Ready | Refusal]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="import")
    try:
        for source in sources:
            waiting.append(pool.submit(_ready_or_refused, store, project_id, source))
            if len(waiting) == MAX_WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ready_or_refused(store: Store, project_id: str, source: SourceImage) -> _Ready | Refusal:
    try:
        return _make_ready(store, project_id, source)
    except StorageError:
        raise
    except AppError as error:
        return Refusal(source.name, str(error))


def _make_ready(store: Store, project_id: str, source: SourceImage) -> _Ready:
    try:
        data = source.read()
    except OSError as error:
        raise FormatError(f"The file cannot be read: {error.strerror or error}.") from error
    sha256 = content_sha256(data)
    existing = images.by_sha256(store, project_id, [sha256]).get(sha256)
    photo = None if existing else prepare_photo(data)
    size_wh = existing.size_wh if existing else photo.size_wh if photo else (0, 0)
    is_settled = existing is not None and existing.state is not ImageState.UNLABELLED
    drawn, refused = ((), ()) if is_settled else _usable(source, size_wh)
    if photo is not None:
        images.keep_files(store, sha256, data, photo)
        photo = _emptied(photo)
    return _Ready(
        name=source.name,
        sha256=sha256,
        split=source.split,
        photo=photo,
        existing=existing,
        annotations=drawn,
        is_labelled=source.is_labelled and (bool(drawn) or not refused),
        refused=refused,
    )


def _emptied(photo: PreparedPhoto) -> PreparedPhoto:
    """Let go of the files' bytes; the row needs to know only which there are."""
    return replace(
        photo,
        full=None if photo.full is None else b"",
        view=None if photo.view is None else b"",
        thumbnail=b"",
    )


def _usable(
    source: SourceImage, size_wh: tuple[int, int]
) -> tuple[tuple[SourceAnnotation, ...], tuple[Refusal, ...]]:
    """Tell the annotations that mark something on the photo from those that cannot be used."""
    if source.drawn_size_wh not in (None, size_wh) and source.annotations:
        drawn_wh = source.drawn_size_wh or size_wh
        reason = (
            f"Its {len(source.annotations)} labels were drawn on a picture of {drawn_wh[0]} x {drawn_wh[1]} "
            f"pixels, but the photo has {size_wh[0]} x {size_wh[1]} upright; it was taken without them."
        )
        return (), (Refusal(source.name, reason),)
    taken: list[SourceAnnotation] = []
    refused: list[Refusal] = []
    for annotation in source.annotations:
        fault = _fault(annotation, size_wh)
        if fault is None:
            taken.append(annotation)
        else:
            refused.append(Refusal(source.name, f"{annotation.origin}: {fault}".removeprefix(": ")))
    return tuple(taken), tuple(refused)


def _fault(annotation: SourceAnnotation, size_wh: tuple[int, int]) -> str | None:
    try:
        box, _ = rasterise_box(annotation.ops, (size_wh[1], size_wh[0]))
    except FormatError as error:
        return str(error)
    return None if box.any() else "It covers no pixel of the photo."
