"""Finished epochs are kept while the next one is trained: the files first, then the rows that point at them.

A death in between leaves files that no row points at, and the epoch is trained again; the next attempt
deletes them.
"""

import logging
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from core.domain.runs import Epoch
from core.domain.training import retention
from core.storage import runs, tables
from core.storage.patience import patiently
from core.storage.runs import ImageRecord
from core.training.checkpoints import save_checkpoint
from core.training.learner import Learner
from core.training.loop import EpochResult
from core.worker.artefacts import checkpoint_key, run_folder
from core.worker.attempt import Attempt

logger = logging.getLogger(__name__)

METRIC = "val_miou_foreground"
_OF_EPOCH = re.compile(r"(?:predictions/)?epoch_(\d+)-a(\d+)(?:[./]|$)")

Records = Callable[[], Sequence[ImageRecord]]
OnKept = Callable[[Epoch], None]
"""Called with each epoch once its rows are written."""


class Keeper:
    """Keeps epoch after epoch in a thread of its own, one at a time and in order.

    What goes wrong there is raised by the next ``keep`` or at the end of the ``with`` block: Fenced,
    Cancelled, StorageError. A store that is out of reach is waited for, ten minutes long.
    """

    def __init__(self, attempt: Attempt, on_kept: OnKept) -> None:
        self._attempt, self._on_kept = attempt, on_kept
        self._workspace = attempt.store.home / "cache" / "checkpoints" / attempt.run.id
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        shutil.rmtree(self._workspace, ignore_errors=True)  # of an attempt that was killed
        self._workspace.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait()
        except BaseException:
            if error is None:
                raise
            logger.exception("the last epoch could not be kept")
        finally:
            self._thread.shutdown()
            shutil.rmtree(self._workspace, ignore_errors=True)

    def keep(self, learner: Learner, result: EpochResult, records: Records) -> None:
        """Save the weights as they are now; the rest happens while the next epoch is trained.

        Args:
            records: gives what the epoch made of each photo, once its pictures are written.
        """
        self._wait()
        key = checkpoint_key(self._attempt.run.id, result.epoch, self._attempt.number)
        path = self._workspace / Path(key).name
        run = self._attempt.run
        about = {"run_id": run.id, "name": run.name, "epoch": result.epoch, "metrics": result.metrics}
        save_checkpoint(path, learner, result.epoch, about)
        self._pending = self._thread.submit(self._commit, path, key, result, records)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _commit(self, path: Path, key: str, result: EpochResult, records: Records) -> None:
        store, check = self._attempt.store, self._attempt.sign.check
        pictures = records()
        size = path.stat().st_size
        description = f"{key.removesuffix('.pt')}.json"
        patiently(lambda: store.blobs.put_file(key, path), check=check)
        patiently(lambda: store.blobs.put_file(description, path.with_suffix(".json")), check=check)
        epoch = Epoch(
            self._attempt.run.id,
            result.epoch,
            self._attempt.number,
            result.metrics,
            result.durations,
            key,
            tables.now(),
            size,
        )
        patiently(lambda: runs.add_epoch(store, self._attempt.claim, epoch, pictures), check=check)
        patiently(lambda: prune(self._attempt), check=check)
        self._on_kept(epoch)


def prune(attempt: Attempt) -> None:
    """Give up the checkpoints that the run's ``keep`` does not keep and nobody needs.

    The row first, then the files: a row never points at a file that is gone. What a death in between
    leaves is deleted when the run ends.
    """
    store, run, check = attempt.store, attempt.run, attempt.sign.check
    epochs = {epoch.epoch: epoch for epoch in runs.epochs(store, run.id) if epoch.checkpoint}
    kept = retention(run.config.keep).kept({n: e.metrics.get(METRIC) for n, e in epochs.items()})
    if not (asked := sorted(epochs.keys() - kept)):
        return
    given_up = runs.give_up_checkpoints(store, run.id, asked, claim=attempt.claim)
    for checkpoint in given_up.values():
        for key in (checkpoint, f"{checkpoint.removesuffix('.pt')}.json"):
            patiently(lambda key=key: store.blobs.delete(key), check=check)
    if given_up:  # else others need all of them
        logger.info("gave up the checkpoints of epochs %s", sorted(given_up))


def clear_up(attempt: Attempt) -> None:
    """Finish what killed attempts began: give up what is not kept, and delete what no row points at."""
    if attempt.number > 1:
        prune(attempt)
        delete_unreferenced(attempt)


def delete_unreferenced(attempt: Attempt, *, own: bool = False) -> None:
    """Delete the files of earlier attempts' epochs that no row points at; our own too, when all are kept."""
    store, run = attempt.store, attempt.run
    folder = f"{run_folder(run.id)}/"
    known = {(epoch.epoch, epoch.attempt): epoch for epoch in runs.epochs(store, run.id)}
    for key, _modified in store.blobs.list(folder):
        found = _OF_EPOCH.match(key.removeprefix(folder))
        if found is None or int(found[2]) >= attempt.number + own:
            continue
        epoch = known.get((int(found[1]), int(found[2])))
        is_weights = key.endswith((".pt", ".json"))
        if epoch is None or (is_weights and not epoch.checkpoint):
            store.blobs.delete(key)
