"""What is kept of a training's epochs, in what order, and what becomes of it in trouble."""

import dataclasses
import logging
import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from core.domain.errors import Cancelled, Fenced, StorageError
from core.domain.runs import Epoch, Run, WorkState
from core.storage import lifecycle, runs, versions
from core.storage.lifecycle import RUNS
from core.storage.processes import this_process
from core.storage.runs import ImageRecord
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.training.dataset import prepare_data
from core.training.learner import Learner, build_learner
from core.training.loop import EpochResult
from core.worker.artefacts import run_folder
from core.worker.attempt import Attempt
from core.worker.heartbeat import Silence
from core.worker.keeping import Keeper
from tests.storage.servers import S3, s3_server
from tests.worker.builders import wait_until
from tests.worker.small_runs import (
    SMALL,
    Moments,
    carry_out,
    check_succeeded,
    check_whole,
    claim_of,
)

pytestmark = pytest.mark.acceptance

QueueRun = Callable[..., Run]


class Ear(Silence):
    """A sign of life whose check raises what a test tells it to."""

    def __init__(self) -> None:
        self.heard: Exception | None = None

    def check(self) -> None:
        """Leave if there is reason to."""
        if self.heard:
            raise self.heard


@dataclasses.dataclass
class Kept:
    """An attempt under way, without the training: a learner, and a keeper to hand its epochs to."""

    attempt: Attempt
    learner: Learner
    ear: Ear
    seen: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.attempt.store

    @property
    def rows(self) -> list[int]:
        return [epoch.epoch for epoch in runs.epochs(self.store, self.attempt.run.id)]

    @property
    def workspace(self) -> Path:
        return self.store.home / "cache" / "checkpoints" / self.attempt.run.id

    def keeper(self) -> Keeper:
        return Keeper(self.attempt, self._on_kept)

    def keep(self, keeper: Keeper, epoch: int, records: Callable[[], Sequence[ImageRecord]] = list) -> None:
        figures = {"train_loss": 1.0 / epoch, "val_miou_foreground": epoch / 100}
        keeper.keep(self.learner, EpochResult(epoch, figures, {"train": 1.0, "validate": 1.0}), records)

    def _on_kept(self, epoch: Epoch) -> None:
        self.seen.append((epoch.epoch, runs.get(self.store, self.attempt.run.id).epochs_done))


@pytest.fixture
def kept(store: Store, queue_run: QueueRun, moments: Moments) -> Kept:
    run = queue_run(epochs=9, deterministic=True, **SMALL)
    claim, version = claim_of(store, run), versions.get(store, run.data_version_id)
    lifecycle.start(store, RUNS, claim, this_process())
    reader = versions.reader(store, version.items)
    data = prepare_data(version, run.config, reader, store.home / "cache" / "photos", lambda *_: None)
    ear = Ear()
    return Kept(Attempt(store, claim, run, version, ear), build_learner(run.config, data), ear)


def test_epochs_are_kept_one_after_the_other_and_told_when_their_rows_are_there(kept: Kept) -> None:
    with kept.keeper() as keeper:
        for epoch in (1, 2, 3, 4):
            kept.keep(keeper, epoch)

    assert kept.seen == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert kept.rows == [1, 2, 3, 4]
    assert not kept.workspace.exists()


def test_an_epoch_is_kept_while_the_next_one_is_trained(kept: Kept) -> None:
    is_trained = threading.Event()

    def records() -> list[ImageRecord]:
        assert is_trained.wait(60)
        return []

    with kept.keeper() as keeper:
        kept.keep(keeper, 1, records)
        before = kept.rows
        is_trained.set()

    assert (before, kept.rows) == ([], [1])


FAULTS = [StorageError("The disk is full."), Fenced(), Cancelled()]


def failing(fault: Exception) -> Callable[[], list[ImageRecord]]:
    def records() -> list[ImageRecord]:
        raise fault

    return records


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_what_goes_wrong_in_the_thread_ends_the_training_and_nothing_is_written_after_it(
    kept: Kept, fault: Exception
) -> None:
    with pytest.raises(type(fault)), kept.keeper() as keeper:
        kept.keep(keeper, 1)
        kept.keep(keeper, 2, failing(fault))
        kept.keep(keeper, 3)

    assert kept.rows == [1]
    assert kept.seen == [(1, 1)]
    names = {Path(key).name for key, _ in kept.store.blobs.list(run_folder(kept.attempt.run.id))}
    assert names == {"epoch_001-a1.pt", "epoch_001-a1.json"}
    assert not kept.workspace.exists()


def test_what_goes_wrong_with_the_last_epoch_is_raised_at_the_end(kept: Kept) -> None:
    with pytest.raises(ZeroDivisionError), kept.keeper() as keeper:
        kept.keep(keeper, 1, failing(ZeroDivisionError()))

    assert kept.rows == []


def test_the_trainings_own_error_stands_above_that_of_the_thread(kept: Kept) -> None:
    with pytest.raises(Cancelled), kept.keeper() as keeper:
        kept.keep(keeper, 1, failing(StorageError("The disk is full.")))
        raise Cancelled


def test_an_attempt_that_is_over_writes_no_epoch_any_more(kept: Kept) -> None:
    with pytest.raises(Fenced), kept.keeper() as keeper:
        kept.keep(keeper, 1)
        wait_until(lambda: kept.rows == [1])
        lifecycle.interrupt(kept.store, RUNS, kept.attempt.claim, "swept")
        kept.keep(keeper, 2)
        kept.keep(keeper, 3)

    assert kept.rows == [1]


def test_a_tracker_hears_of_no_epoch_whose_rows_are_not_there(kept: Kept) -> None:
    with pytest.raises(Fenced), kept.keeper() as keeper:
        lifecycle.interrupt(kept.store, RUNS, kept.attempt.claim, "swept")
        kept.keep(keeper, 1)

    assert kept.seen == []


@pytest.fixture
def locked(kept: Kept) -> Generator[sqlite3.Connection]:
    """Hold the database against all writers, who lose their patience soon."""

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("pragma busy_timeout=50")

    event.listen(kept.store.engine, "connect", hurry)
    kept.store.engine.dispose()
    with closing(sqlite3.connect(kept.store.home / "maskwright.sqlite", check_same_thread=False)) as holder:
        holder.isolation_level = None
        holder.execute("BEGIN IMMEDIATE")
        yield holder
        holder.rollback()


def test_a_database_out_of_reach_for_a_while_delays_and_loses_nothing(
    kept: Kept, locked: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def unlock_once_missed() -> None:
        wait_until(lambda: "It is tried again" in caplog.text)
        locked.rollback()

    unlocking = threading.Thread(target=unlock_once_missed)
    unlocking.start()
    with kept.keeper() as keeper:
        for epoch in (1, 2, 3):
            kept.keep(keeper, epoch)
    unlocking.join()

    assert kept.rows == [1, 2, 3]
    assert kept.seen == [(1, 1), (2, 2), (3, 3)]
    assert "In reach again" in caplog.text


@pytest.mark.parametrize("reason", [Cancelled(), Fenced()], ids=lambda reason: type(reason).__name__)
def test_a_reason_to_leave_is_heard_while_the_database_is_waited_for(
    kept: Kept, locked: sqlite3.Connection, caplog: pytest.LogCaptureFixture, reason: Exception
) -> None:
    with pytest.raises(type(reason)), kept.keeper() as keeper:
        kept.keep(keeper, 1)
        wait_until(lambda: "It is tried again" in caplog.text)
        kept.ear.heard = reason
        kept.keep(keeper, 2)

    assert kept.rows == []


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Store]:
    """A home on SQLite, its blobs in a folder; in the tests that ask for a server they are there."""
    blobs = request.getfixturevalue("s3").make_bucket() if "s3" in request.fixturenames else ""
    opened = open_store(Settings(home=tmp_path / "home", database_url="", blobs=blobs))
    yield opened
    opened.engine.dispose()


@pytest.mark.integration
def test_a_file_store_that_is_away_for_a_while_delays_and_loses_nothing(
    s3: S3, store: Store, queue_run: QueueRun, moments: Moments, caplog: pytest.LogCaptureFixture
) -> None:
    run = queue_run(epochs=4, **SMALL)

    def stop_for_a_while() -> None:
        wait_until(lambda: runs.get(store, run.id).epochs_done >= 1)
        s3.stop()
        starting.start()

    def start_once_missed() -> None:
        wait_until(lambda: "It is tried again" in caplog.text)
        s3.start()

    starting = threading.Thread(target=start_once_missed)
    moments.before(stop_for_a_while, epoch=2, batch=3)

    check_succeeded(*carry_out(store, run))

    starting.join()
    check_whole(store, run, epochs=4)
    assert {epoch.attempt for epoch in runs.epochs(store, run.id)} == {1}


@pytest.mark.integration
def test_a_cancel_is_heard_while_the_file_store_is_away(
    s3: S3, store: Store, queue_run: QueueRun, moments: Moments, caplog: pytest.LogCaptureFixture
) -> None:
    run = queue_run(epochs=4, **SMALL)

    def cancel_once_missed() -> None:
        wait_until(lambda: "It is tried again" in caplog.text)
        lifecycle.request_cancel(store, RUNS, run.id)

    cancelling = threading.Thread(target=cancel_once_missed)
    moments.before(s3.stop, epoch=1, batch=3)
    moments.before(cancelling.start, epoch=2)

    code, cancelled = carry_out(store, run)

    cancelling.join()
    assert (code, cancelled.state, cancelled.epochs_done) == (0, WorkState.CANCELLED, 0)
    assert runs.epochs(store, run.id) == []
