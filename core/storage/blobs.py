"""Files by key, in a folder or any store that fsspec knows (s3://...).

A key is written whole or not at all: in a folder beside its target and then moved over it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from core.domain.errors import NotFound, StorageError


@dataclass(frozen=True)
class Blobs:
    """A place for files. ``folder`` is set when it is a local folder; else ``url`` is fsspec's."""

    url: str
    cache: Path

    @property
    def folder(self) -> Path | None:
        """The local folder that holds the blobs, None for a remote store."""
        return None if "://" in self.url else Path(self.url)

    def put(self, key: str, data: bytes) -> None:
        """Write ``data`` under ``key``, replacing what was there.

        Raises:
            StorageError: no space left, no permission, or the remote store is out of reach.
        """
        try:
            if self.folder is None:
                self._remote().pipe_file(self._remote_path(key), data)
            else:
                write_atomically(self.folder / _checked(key), data)
        except OSError as error:
            raise StorageError(not_saved(key, error)) from error

    def put_file(self, key: str, path: Path) -> None:
        """Move the finished local file ``path`` to ``key``. Raises StorageError as ``put`` does."""
        try:
            if self.folder is None:
                self._remote().put_file(str(path), self._remote_path(key))
                path.unlink()
                return
            target = self.folder / _checked(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_dev == target.parent.stat().st_dev:
                path.replace(target)
            else:
                write_atomically(target, path.read_bytes())
                path.unlink()
        except OSError as error:
            raise StorageError(not_saved(key, error)) from error

    def get(self, key: str) -> bytes:
        """Read the bytes of ``key``.

        Raises:
            NotFound: there is no such key.
        """
        try:
            if self.folder is None:
                data: bytes = self._remote().cat_file(self._remote_path(key))
                return data
            return (self.folder / _checked(key)).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"The file {key} is not there any more.") from None

    def local(self, key: str) -> Path:
        """Give a local file with the bytes of ``key``; a remote one is fetched once and kept.

        Raises:
            NotFound: there is no such key.
        """
        if self.folder is not None:
            path = self.folder / _checked(key)
        else:
            path = self.cache / _checked(key)
            if not path.exists():
                write_atomically(path, self.get(key))
        if not path.exists():
            raise NotFound(f"The file {key} is not there any more.")
        return path

    def exists(self, key: str) -> bool:
        """Tell whether ``key`` is there."""
        if self.folder is not None:
            return (self.folder / _checked(key)).exists()
        return bool(self._remote().exists(self._remote_path(key)))

    def _remote(self) -> Any:
        filesystem, _ = fsspec.core.url_to_fs(self.url)  # fsspec keeps one instance per URL and process
        return filesystem

    def _remote_path(self, key: str) -> str:
        _, root = fsspec.core.url_to_fs(self.url)
        return f"{root.rstrip('/')}/{_checked(key)}"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its target, flush it to disk, and move it over the target.

    Raises:
        StorageError: no space left, no permission, or a folder is in the way; the old file is whole.
    """
    name: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise StorageError(not_saved(path.name, error)) from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Give the bytes free on the disk that holds ``folder``."""
    return shutil.disk_usage(folder).free


def _checked(key: str) -> str:
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts:
        raise ValueError(f"not a blob key: {key!r}")
    return key


def not_saved(name: str, error: OSError) -> str:
    """Say that a file could not be saved, and what to do."""
    reason = error.strerror or str(error)
    return f"{name} could not be saved ({reason}). Nothing was changed; free some space and try again."
