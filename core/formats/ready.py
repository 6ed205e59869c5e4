"""Make images ready to be taken: read, check and keep their files in threads, and check their labels."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from core.domain.errors import AppError, FormatError, OutOfReach, StorageError
from core.domain.images import Image
from core.domain.labels import ImageState, Split
from core.formats.source import Refusal, SourceAnnotation, SourceImage
from core.imaging.masks import rasterise_box
from core.imaging.reading import PreparedPhoto, content_sha256, prepare_photo
from core.storage import images
from core.storage.patience import patiently
from core.storage.store import Store

THREADS = 3  # decoding and hashing leave Python's lock; a third one covers the waits for the disk
MAX_WAITING = 4
BATCH = 16  # images a transaction


@dataclass(frozen=True)
class Ready:
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


def batches(
    store: Store, project_id: str, sources: Sequence[SourceImage], check: Callable[[], None]
) -> Generator[list[Ready | Refusal]]:
    """Give the images in order, made ready by threads; what was ready before a fault comes first.

    Args:
        check: called while the database or the blob store is out of reach; what it raises ends the wait.
    """
    batch: list[Ready | Refusal] = []
    try:
        for result in _in_order(store, project_id, sources, check):
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


def _in_order(
    store: Store, project_id: str, sources: Sequence[SourceImage], check: Callable[[], None]
) -> Iterator[Ready | Refusal]:
    waiting: deque[tuple[Future[Ready | Refusal], Callable[[], Ready | Refusal]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="import")
    try:
        for source in sources:
            make = partial(_ready_or_refused, store, project_id, source)
            waiting.append((pool.submit(make), make))
            if len(waiting) == MAX_WAITING:
                yield _result(*waiting.popleft(), check)
        while waiting:
            yield _result(*waiting.popleft(), check)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(
    future: Future[Ready | Refusal], make: Callable[[], Ready | Refusal], check: Callable[[], None]
) -> Ready | Refusal:
    """Wait for a thread's result; what was out of reach for it is tried again here, where it can be ended."""
    try:
        return future.result()
    except OutOfReach:
        return patiently(make, check=check)


def _ready_or_refused(store: Store, project_id: str, source: SourceImage) -> Ready | Refusal:
    try:
        return make_ready(store, project_id, source)
    except StorageError:
        raise
    except AppError as error:
        return Refusal(source.name, str(error))


def make_ready(store: Store, project_id: str, source: SourceImage) -> Ready:
    """Read, check and keep one image's files; one that the project has already is only looked up.

    Raises:
        ImageError: it is no photo that can be used.
        FormatError: its file cannot be read.
        StorageError: its files cannot be kept.
    """
    try:
        data = source.read()
    except OSError as error:
        raise FormatError(f"The file cannot be read: {error.strerror or error}.") from error
    sha256 = content_sha256(data)
    existing = images.by_sha256(store, project_id, [sha256]).get(sha256)
    known = existing or prepare_photo(data)
    is_settled = existing is not None and existing.state is not ImageState.UNLABELLED
    drawn, refused = ((), ()) if is_settled else _usable(source, known.size_wh)
    if isinstance(known, PreparedPhoto):
        images.keep_files(store, sha256, data, known)
    return Ready(
        name=source.name,
        sha256=sha256,
        split=source.split,
        photo=_emptied(known) if isinstance(known, PreparedPhoto) else None,
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
