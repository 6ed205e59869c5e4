"""The sign of life of a run or job: a thread that beats, hands progress over and hears a cancel."""

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.domain.errors import Cancelled, Fenced, StorageError
from core.storage import lifecycle
from core.storage.lifecycle import Claim
from core.storage.store import Store

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, str], None]
"""Called with the share done (0..1) and what is being done; raises Cancelled or Fenced to stop the work."""

BEAT_SECONDS = 2.0
DATABASE_PATIENCE_SECONDS = 600.0  # while it is away nobody else can take the work over either
STALLED_AFTER_SECONDS = 1800.0  # without a single batch; an export and a slow upload take minutes
LEAVE_SECONDS = 60.0  # for the batch under way, before the thread ends the process itself
EXIT_FENCED = 3
EXIT_OUT_OF_REACH = 75  # EX_TEMPFAIL of sysexits.h: the same may work later
PAUSE_SECONDS = 30.0  # before work that an outage ended is started again
EXIT_OTHER_VERSION = 76  # EX_PROTOCOL: another program has to carry it out


class Sign(Protocol):
    """What work under way says of itself, and hears: see Heartbeat."""

    def report(self, progress: dict[str, Any]) -> None:
        """Hand over the newest progress."""
        ...

    def check(self) -> None:
        """Leave if there is reason to."""
        ...


class Silence:
    """The sign of a training's processes after the first: it speaks and hears for all of them."""

    def report(self, progress: dict[str, Any]) -> None:
        """Say nothing."""

    def check(self) -> None:
        """Hear nothing."""


class Heartbeat:
    """Beats from its own thread while the ``with`` block lasts, however long one batch takes.

    The thread survives errors of the database. When the attempt is over, or the database is out of
    reach for longer than anybody waits for it, ``check`` raises Fenced; a process that does not come
    to its next ``check`` is ended with exit code 3. A beating thread does not prove that the work goes
    on: without a ``check`` for ``stalled_after_seconds`` the thread interrupts the work and ends it.
    """

    def __init__(
        self,
        store: Store,
        table: sa.Table,
        claim: Claim,
        *,
        beat_seconds: float = BEAT_SECONDS,
        lost_after_seconds: float = DATABASE_PATIENCE_SECONDS,
        leave_seconds: float = LEAVE_SECONDS,
        stalled_after_seconds: float = STALLED_AFTER_SECONDS,
    ) -> None:
        self._store, self._table, self._claim = store, table, claim
        self._beat_seconds, self._lost_after, self._leave = beat_seconds, lost_after_seconds, leave_seconds
        self._stalled_after, self._checked_at = stalled_after_seconds, time.monotonic()
        self._progress: dict[str, Any] | None = None
        self._done = threading.Event()
        self._is_fenced = threading.Event()
        self._is_cancel_requested = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_done, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(self._beat_seconds)

    @property
    def is_cancel_requested(self) -> bool:
        """Whether the user asked to stop, as of the last beat."""
        return self._is_cancel_requested.is_set()

    def report(self, progress: dict[str, Any]) -> None:
        """Hand over the newest progress; the next beat writes it. The dict must not change afterwards."""
        self._progress = progress

    def check(self) -> None:
        """Leave if there is reason to: call it once per batch.

        Raises:
            Fenced: another attempt owns the row.
            Cancelled: the user asked to stop.
        """
        self._checked_at = time.monotonic()
        if self._is_fenced.is_set():
            raise Fenced
        if self._is_cancel_requested.is_set():
            raise Cancelled

    def _beat_until_done(self) -> None:
        reached_at = looked_at = time.monotonic()
        written: dict[str, Any] | None = None
        while not self._done.is_set():
            now = time.monotonic()
            if now - looked_at > self._stalled_after / 2:  # the machine slept, or this process was halted
                self._checked_at = now
            looked_at = now
            progress = self._progress
            try:
                if lifecycle.beat(
                    self._store, self._table, self._claim, None if progress is written else progress
                ):
                    self._is_cancel_requested.set()
                reached_at, written = time.monotonic(), progress
            except Fenced:
                return self._leave_or_end("another attempt owns this work")
            except (StorageError, SQLAlchemyError) as error:
                logger.warning("No heartbeat could be written: %s", error)
                if time.monotonic() - reached_at > self._lost_after:
                    return self._leave_or_end("the database is out of reach")
            if time.monotonic() - self._checked_at > self._stalled_after:
                self._end_stalled()
            self._done.wait(self._beat_seconds)

    def _end_stalled(self) -> None:
        """Interrupt work that hangs, so that it starts again; a process that hangs cannot do so itself."""
        minutes = self._stalled_after / 60
        reason = f"it made no progress for {minutes:.0f} minutes"
        logger.error("This process is ended: %s.", reason)
        try:
            lifecycle.interrupt(self._store, self._table, self._claim, reason)
        finally:
            os._exit(EXIT_FENCED)

    def _leave_or_end(self, reason: str) -> None:
        if self._done.is_set():  # the verdict was written between two beats
            return
        logger.error("This process leaves: %s.", reason)
        self._is_fenced.set()
        if not self._done.wait(self._leave):
            os._exit(EXIT_FENCED)
