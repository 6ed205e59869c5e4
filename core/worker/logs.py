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
MARK_BYTES = 500  # some lines, each with its time: no other place of a log reads the same


class LogCopy:
    """Copies the log while the ``with`` block lasts, and once more at its end.

    What the copy holds of earlier attempts, on this machine or others, stays before it. Where the blob
    store is a folder only the last copy is made: on its machine the log itself can be read. A copy that
    fails is left for the next one.
    """

    def __init__(self, store: Store, run_id: str, *, seconds: float = COPY_SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._path = store.home / "logs" / f"{run_id}.log"
        self._key = f"{run_folder(run_id)}/log.txt"
        self._former: bytes | None = None  # what the copy held before; not known yet
        self._start, self._copied = 0, -1
        self._one_at_a_time = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._copy_until_done, name="log", daemon=True)

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, StorageError):
            self._begin()
        if self._store.blobs.folder is None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(self._seconds)
        self._copy()

    def _copy_until_done(self) -> None:
        while not self._done.wait(self._seconds):
            self._copy()

    def _copy(self) -> None:
        with self._one_at_a_time:
            try:
                self._bring_up_to_date()
            except (OSError, StorageError) as error:
                logger.warning("The log could not be copied: %s", error)

    def _bring_up_to_date(self) -> None:
        if not self._path.exists():  # there is none when the process was started by hand
            return
        size = self._path.stat().st_size
        if size == self._copied:
            return
        former = self._begin() if self._former is None else self._former
        text = former + self._read(self._start)[1]
        self._store.blobs.put(self._key, text[-MAX_BYTES:])
        self._copied = size

    def _begin(self) -> bytes:
        """Read what the copy holds, and see from where on it lacks this machine's log."""
        try:
            former = self._store.blobs.get(self._key)
        except NotFound:
            former = b""
        if self._path.exists():
            start, log = self._read(0)
            self._start = start + unseen(former, log)
        self._former = former
        return former

    def _read(self, start: int) -> tuple[int, bytes]:
        """Give the log from ``start`` on, of a long one the end, and where that begins."""
        with self._path.open("rb") as file:
            start = file.seek(max(start, self._path.stat().st_size - MAX_BYTES))
            return start, file.read()


def unseen(copy: bytes, log: bytes) -> int:
    """Give the place in a log from which on a copy lacks it.

    The copy goes on where it ends with something of the log: an earlier attempt's last words may have
    come after its last copy. Where another machine's log ends it, it has all of this one or nothing.
    """
    mark = copy[-MARK_BYTES:]
    place = log.rfind(mark)
    if mark and place >= 0:
        return place + len(mark)
    return len(log) if log and log[:MARK_BYTES] in copy else 0
