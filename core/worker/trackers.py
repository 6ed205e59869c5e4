"""Those who follow a training from outside: TensorBoard always, MLflow where MLFLOW_TRACKING_URI is set.

The epochs' rows are the truth; a tracker gets a copy after each commit, from a thread of its own. It may
fail or hang: that is said once in the log, the training goes on, and what it missed is sent when it
answers again.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from core.domain.errors import Cancelled, Fenced, OutOfReach, PeerLost
from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion
from core.storage import projects, runs
from core.storage.store import Store
from core.worker.mlflow import open_mlflow
from core.worker.tensorboard import TensorBoard

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
END_SECONDS = 10.0  # for all trackers together to take the last epochs and the verdict
LEAVE_SECONDS = 1.0  # the same where there is no verdict: the next attempt sends what is missing


class Verdict(StrEnum):
    """How a run ended, by the names that MLflow has for it."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Tracker(Protocol):
    """One place that follows a run. All calls come from one thread and may raise anything."""

    name: str

    def follow(self, epochs: Sequence[Epoch]) -> None:
        """Take epochs, in order. After an error the same ones come again, and those since."""
        ...

    def end(self, verdict: str) -> None:
        """Take the run's verdict; after an error it does not come again."""
        ...


def open_trackers(store: Store, run: Run, version: DataVersion, attempt: int) -> "Trackers":
    """Give the trackers of this attempt; they know the epochs done so far.

    Raises:
        NotFound: the project was deleted.
        StorageError: the database cannot be read. No error of a tracker is raised, here or later.
    """
    project = projects.get(store, run.project_id).name
    known = runs.epochs(store, run.id)
    trackers: list[Tracker] = [TensorBoard(store.blobs, run, version, attempt)]
    mlflow = open_mlflow(run, version, project)
    if mlflow is not None:
        trackers.append(mlflow)
    return Trackers(trackers, known)


class Trackers:
    """Hands epochs and the verdict to all trackers while the ``with`` block lasts; never blocks in it.

    The verdict is how the block ends: without an error FINISHED, Cancelled KILLED, another Exception
    FAILED. An attempt that is fenced, stopped from outside, or without its database or peers has none:
    another attempt will go on.
    """

    def __init__(
        self, trackers: Sequence[Tracker], known: Sequence[Epoch], *, end_seconds: float = END_SECONDS
    ) -> None:
        self._feeds = [_Feed(tracker, known) for tracker in trackers]
        self._end_seconds = end_seconds

    def __enter__(self) -> Self:
        for feed in self._feeds:
            feed.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        verdict = _verdict(error)
        for feed in self._feeds:
            feed.end(verdict)
        deadline = time.monotonic() + (self._end_seconds if verdict else LEAVE_SECONDS)
        for feed in self._feeds:
            feed.thread.join(max(0.0, deadline - time.monotonic()))
            if verdict and not feed.has_ended:
                logger.warning("%s did not get all of this run.", feed.name)

    def epoch(self, epoch: Epoch) -> None:
        """Hand over an epoch whose rows are written; any thread may call it."""
        for feed in self._feeds:
            feed.add(epoch)


@dataclass(frozen=True)
class _End:
    """The last thing that comes to a feed."""

    verdict: Verdict | None


class _Feed:
    """Feeds one tracker from a thread of its own. What waits is at most the run's epochs, a few kB each."""

    def __init__(self, tracker: Tracker, known: Sequence[Epoch]) -> None:
        self.name = tracker.name
        self.has_ended = False
        self.thread = threading.Thread(target=self._serve, name=tracker.name, daemon=True)
        self._tracker = tracker
        self._missing = list(known)
        self._news: queue.SimpleQueue[Epoch | _End] = queue.SimpleQueue()
        self._is_out = False

    def add(self, epoch: Epoch) -> None:
        self._news.put(epoch)

    def end(self, verdict: Verdict | None) -> None:
        self._news.put(_End(verdict))

    def _serve(self) -> None:
        end: _End | None = None
        while end is None:
            self._hand_over()
            for item in self._wait():
                if isinstance(item, _End):
                    end = item
                else:
                    self._missing.append(item)
        self.has_ended = self._hand_over(end.verdict)

    def _wait(self) -> list[Epoch | _End]:
        """Wait for news, in an outage only until it is time to try again; give all of it."""
        items: list[Epoch | _End] = []
        with contextlib.suppress(queue.Empty):
            items.append(self._news.get(timeout=RETRY_SECONDS if self._is_out else None))
            while True:
                items.append(self._news.get_nowait())
        return items

    def _hand_over(self, verdict: Verdict | None = None) -> bool:
        """Give the tracker what it misses, and the verdict if there is one; tell whether it took all."""
        try:
            self._tracker.follow(self._missing)
            if verdict is not None:
                self._tracker.end(verdict)
        except Exception as error:  # whatever a library raises: no tracker may end a training
            if not self._is_out:
                logger.warning("%s gets no figures now, the training goes on: %s", self.name, error)
            logger.debug("%s", self.name, exc_info=True)
            self._is_out = True
            return False
        if self._is_out:
            logger.info("%s gets figures again; it has all of them", self.name)
        self._is_out, self._missing = False, []
        return True


def _verdict(error: BaseException | None) -> Verdict | None:
    if error is None:
        return Verdict.FINISHED
    if isinstance(error, Cancelled):
        return Verdict.KILLED
    is_open = isinstance(error, (Fenced, PeerLost, OutOfReach)) or not isinstance(error, Exception)
    return None if is_open else Verdict.FAILED
