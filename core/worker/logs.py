"""A run's log for those who cannot see the machine it runs on: copied to the blob store as it grows."""

import contextlib
import logging
import threading
from types import TracebackType
from typing import Self

from core.domain.errors import NotFound, StorageError
from core.storage.store import Store
from core.worker.artefacts import run_folder

logger = logging.getLogger(__name__)

COPY_SECONDS = 5.0
MAX_BYTES = 2_000_000


class LogCopy:
    """Copies the log while the ``with`` block lasts, and once more at its end.

    Where the blob store is a folder of this machine only the last copy is made: the log itself can be
    read. A copy that fails is left for the next one.
    """

    def __init__(self, store: Store, run_id: str, *, seconds: float = COPY_SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._path = store.home / "logs" / f"{run_id}.log"
        self._key = f"{run_folder(run_id)}/log.txt"
        self._former, self._start, self._copied = b"", 0, -1
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._copy_until_done, name="log", daemon=True)

    def __enter__(self) -> Self:
        if not self._is_remote:
            return self
        with contextlib.suppress(NotFound, StorageError):  # what other machines wrote before
            self._former = self._store.blobs.get(self._key)
            self._start = self._path.stat().st_size if self._path.exists() else 0
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._is_remote:
            self._thread.join(self._seconds)
        self._copy()

    @property
    def _is_remote(self) -> bool:
        return self._store.blobs.folder is None

    def _copy_until_done(self) -> None:
        while not self._done.wait(self._seconds):
            self._copy()

    def _copy(self) -> None:
        if not self._path.exists():  # there is none when the process was started by hand
            return
        size = self._path.stat().st_size
        if size == self._copied:
            return
        with self._path.open("rb") as file:
            file.seek(max(self._start, size - MAX_BYTES))
            text = self._former + file.read()
        try:
            self._store.blobs.put(self._key, text[-MAX_BYTES:])
            self._copied = size
        except StorageError as error:
            logger.warning("The log could not be copied: %s", error)
