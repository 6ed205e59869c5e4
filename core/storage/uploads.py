"""What a browser sent, between the page that took it and the job that imports it.

Its place is a folder of this home where the blobs are in the home too: then one machine does it all.
Where they are elsewhere, other machines may do the work, and the place is a folder of keys in the blob
store: a file each by its number, and last ``names.json``, which says what they are called.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from core.domain.errors import NotFound, StorageError
from core.storage.patience import patiently
from core.storage.store import Store, new_id

logger = logging.getLogger(__name__)

FOLDER = "uploads"
NAMES = "names.json"
THREADS = 4  # a small file's transfer is mostly waiting
GONE = (
    "The uploaded files are not there any more: upload them again. If workers on other machines import "
    "them, MASKWRIGHT_BLOBS must name a store that all of them reach."
)


def new_folder(store: Store) -> Path:
    """Make an empty folder for an upload to be written to. Raises OSError."""
    folder = store.home / FOLDER / new_id()
    folder.mkdir(parents=True)
    return folder


def hand_over(store: Store, folder: Path) -> str:
    """Bring a finished upload to where the worker that gets the job can read it.

    Args:
        folder: of ``new_folder``, filled; it is gone afterwards unless it is the place itself.

    Returns:
        Its place: this folder's path, or a folder of keys in the blob store.

    Raises:
        OutOfReach, StorageError: the blob store did not take it; what it took is removed if it can be.
    """
    if store.blobs.folder is not None and store.blobs.folder.is_relative_to(store.home):
        return str(folder)
    place = f"{FOLDER}/{folder.name}"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    keys = [f"{place}/{number}" for number in range(len(paths))]
    try:
        _in_parallel(store.blobs.put_file, keys, paths)
        store.blobs.put(f"{place}/{NAMES}", json.dumps(names).encode())
    except StorageError:
        delete(store, place)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return place


@contextmanager
def opened(store: Store, place: str, check: Callable[[], None] | None = None) -> Generator[Path]:
    """Give a local folder with an upload's files; one that had to be fetched is gone afterwards.

    Args:
        check: called for each file fetched, and while the blob store is out of reach; what it raises
            ends the work.

    Raises:
        NotFound: the upload is not there.
        OutOfReach, StorageError: it cannot be fetched.
    """
    if Path(place).is_absolute():
        if not Path(place).exists():
            raise NotFound(GONE)
        yield Path(place)
        return
    scratch = store.home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=scratch) as name:
        patiently(lambda: _fetch(store, place, Path(name), check), check=check)
        yield Path(name)


def delete(store: Store, place: str) -> None:
    """Remove an upload; what cannot be removed now stays, and the log says so."""
    if Path(place).is_absolute():
        if store.home / FOLDER in Path(place).resolve().parents:  # else it is not ours, whatever is said
            shutil.rmtree(place, ignore_errors=True)
            if Path(place).is_file():
                Path(place).unlink()
        return
    try:
        keys = [key for key, _ in store.blobs.list(place)] if place.startswith(f"{FOLDER}/") else []
        _in_parallel(store.blobs.delete, keys)
    except StorageError as error:
        logger.warning("The upload %s could not be removed: %s", place, error)


def _fetch(store: Store, place: str, folder: Path, check: Callable[[], None] | None) -> None:
    """Fetch what is not in the folder yet."""
    try:
        names: list[str] = json.loads(store.blobs.get(f"{place}/{NAMES}"))
        wanted = {f"{place}/{number}": folder / name for number, name in enumerate(names)}
        left = {key: path for key, path in wanted.items() if not path.exists()}
        _in_parallel(store.blobs.fetch, left.keys(), left.values(), check=check)
    except NotFound:
        raise NotFound(GONE) from None


def _in_parallel(
    act: Callable[..., None], *columns: Iterable[object], check: Callable[[], None] | None = None
) -> None:
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
    try:
        for _ in pool.map(act, *columns):
            if check:
                check()
    finally:
        pool.shutdown(cancel_futures=True)
