"""Files by key, in a folder or in an S3 bucket.

A key is written whole or not at all: in a folder beside its target and then moved over it.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from core.domain.errors import NotFound, StorageError
from core.storage import copies
from core.storage.remote import PART_BYTES, missing, open_s3, spoken_errors, upload_seconds

_BESIDE = (".", ".part")  # how the names of unfinished files begin and end


@dataclass(frozen=True)
class Blobs:
    """A place for files: an absolute folder, or s3://bucket/prefix.

    All that asks an S3 store may raise OutOfReach (it does not answer now; the same call may do later)
    and StorageError (no bucket, no access), besides what is said below.
    """

    url: str
    cache: Path  # where copies of an S3 store's files are kept
    cache_bytes: int = 20 * 10**9

    @property
    def folder(self) -> Path | None:
        """The local folder that holds the blobs, None for an S3 store."""
        return None if "://" in self.url else Path(self.url)

    def put(self, key: str, data: bytes) -> None:
        """Write ``data`` under ``key``, replacing what was there.

        Raises:
            StorageError: no space left, or no permission.
        """
        if self.folder is not None:
            write_atomically(self.folder / _checked(key), data)
            return
        with self._s3(key) as (filesystem, path):
            filesystem.pipe_file(path, data, chunksize=PART_BYTES, timeout=upload_seconds(len(data)))
        self._copy(key).unlink(missing_ok=True)

    def put_file(self, key: str, path: Path) -> None:
        """Move the finished local file ``path`` to ``key``; it stays where it is when that fails.

        Raises:
            StorageError: as ``put`` does, or there is no such file.
        """
        try:
            size = path.stat().st_size
            if self.folder is not None:
                _move(path, self.folder / _checked(key))
                return
            with self._s3(key) as (filesystem, target):
                seconds = upload_seconds(size)
                filesystem.put_file(str(path), target, chunksize=PART_BYTES, timeout=seconds)
            self._copy(key).unlink(missing_ok=True)
            path.unlink()
        except OSError as error:
            raise StorageError(not_saved(key, error)) from error

    def get(self, key: str) -> bytes:
        """Read the bytes of ``key``. Raises NotFound."""
        if self.folder is not None:
            try:
                return self._existing(key).read_bytes()
            except FileNotFoundError:
                raise missing(key) from None
        with self._s3(key) as (filesystem, path):
            data: bytes = filesystem.cat_file(path, max_concurrency=1)  # else it asks for the size first
        return data

    def fetch(self, key: str, path: Path) -> None:
        """Write the bytes of ``key`` to the local file ``path``, part by part, replacing it whole.

        Raises:
            NotFound: there is no such key.
            StorageError: ``path`` cannot be written.
        """
        source = self._existing(key) if self.folder is not None else None
        with replacing(path) as beside:
            if source is not None:
                shutil.copyfile(source, beside)
                return
            with self._s3(key) as (filesystem, remote):
                filesystem.get_file(remote, str(beside))

    def local(self, key: str) -> Path:
        """Give a local file with the bytes of ``key``, to be opened at once; a remote one is fetched.

        Raises:
            NotFound: there is no such key.
        """
        if self.folder is not None:
            return self._existing(key)
        path = self._copy(key)
        if not copies.touch(path):
            self.fetch(key, path)
            copies.trim(self.cache, self.cache_bytes, path.stat().st_size)
        return path

    def exists(self, key: str) -> bool:
        """Tell whether ``key`` is there."""
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def size(self, key: str) -> int:
        """Give the number of bytes of ``key``. Raises NotFound."""
        if self.folder is not None:
            return self._existing(key).stat().st_size
        with self._s3(key) as (filesystem, path):
            about = filesystem.info(path)
        if about["type"] != "file":
            raise missing(key)
        return int(about["size"])

    def delete(self, key: str) -> None:
        """Remove ``key``; nothing happens where it is not there.

        Raises:
            StorageError: no permission.
        """
        if self.folder is None:
            with self._s3(key) as (filesystem, path):
                filesystem.rm_file(path)
            self._copy(key).unlink(missing_ok=True)
            return
        try:
            (self.folder / _checked(key)).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise StorageError(f"{key} could not be deleted ({error.strerror}).") from error

    def list(self, prefix: str) -> Sequence[tuple[str, datetime]]:
        """List the keys below the folder ``prefix`` at any depth, as they are now; "" is all.

        Returns:
            Each key with the time (UTC) at which it was written, sorted.
        """
        if self.folder is not None:
            return sorted(_files(self.folder, prefix))
        folder = f"/{_checked(prefix)}" if prefix else ""
        with spoken_errors(self.url, prefix):
            filesystem, root = open_s3(self.url)
            found: dict[str, dict[str, Any]] = filesystem.find(f"{root}{folder}", detail=True)
        return sorted(
            (name.removeprefix(f"{root}/"), about["LastModified"].astimezone(UTC))
            for name, about in found.items()
            if about["type"] == "file" and not name.endswith("/")  # consoles make folders of empty keys
        )

    def _existing(self, key: str) -> Path:
        assert self.folder is not None
        path = self.folder / _checked(key)
        if not path.is_file():
            raise missing(key)
        return path

    def _copy(self, key: str) -> Path:
        return copies.place_of(self.cache, _checked(key))

    @contextmanager
    def _s3(self, key: str) -> Generator[tuple[Any, str]]:
        """Give the file system and the key's path in it; what they raise becomes a sentence."""
        name = _checked(key)
        with spoken_errors(self.url, key):
            filesystem, root = open_s3(self.url)
            yield filesystem, f"{root}/{name}"


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a path beside ``path`` to write to; it is flushed to disk and moved over ``path`` at the end.

    Raises:
        StorageError: no space left, no permission, or a folder is in the way; the old file is whole.
    """
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_BESIDE[0], suffix=_BESIDE[1])
        os.close(handle)
        beside = Path(name)
        yield beside
        _flush(beside)
        beside.replace(path)
    except OSError as error:
        raise StorageError(not_saved(path.name, error)) from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its target, flush it to disk, and move it over the target.

    Raises:
        StorageError: no space left, no permission, or a folder is in the way; the old file is whole.
    """
    with replacing(path) as beside:
        beside.write_bytes(data)


def not_saved(name: str, error: OSError) -> str:
    """Say that a file could not be saved, and what to do."""
    reason = error.strerror or str(error)
    return f"{name} could not be saved ({reason}). Nothing was changed; free some space and try again."


def free_bytes(folder: Path) -> int:
    """Give the bytes free on the disk that holds ``folder``."""
    return shutil.disk_usage(folder).free


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _flush(path)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target) as beside:  # on another disk
            shutil.copyfile(path, beside)
        path.unlink()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _files(root: Path, prefix: str) -> Generator[tuple[str, datetime]]:
    for path in (root / _checked(prefix) if prefix else root).rglob("*"):
        is_unfinished = path.name.startswith(_BESIDE[0]) and path.name.endswith(_BESIDE[1])
        try:
            if path.is_file() and not is_unfinished:
                yield (
                    path.relative_to(root).as_posix(),
                    datetime.fromtimestamp(path.stat().st_mtime, UTC),
                )
        except FileNotFoundError:  # deleted meanwhile
            continue


def _checked(key: str) -> str:
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts:
        raise ValueError(f"not a blob key: {key!r}")
    return key
