"""Which checkpoints stay: what a run's ``keep`` promises, what others need, and no leftovers."""

import dataclasses
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch
from sqlalchemy import event

from core.domain.runs import Champion, Run, WorkState
from core.storage import champions, lifecycle, processes, reservations, runs, tables
from core.storage.blobs import Blobs
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from core.worker.artefacts import checkpoint_key, predictions_folder, run_folder
from tests.worker.builders import Workers, wait_until
from tests.worker.small_runs import (
    SMALL,
    Killed,
    Moments,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
    check_whole,
    checkpoint_files,
)

pytestmark = pytest.mark.acceptance

QueueRun = Callable[..., Run]


def kill() -> None:
    raise Killed


def best_of(store: Store, run: Run) -> int:
    """Give the epoch with the highest figure, the first one of equals."""
    figures = {e.epoch: e.metrics["val_miou_foreground"] or 0.0 for e in runs.epochs(store, run.id)}
    return max(figures, key=lambda epoch: (figures[epoch], -epoch))


def promised(store: Store, run: Run) -> set[int]:
    """Give the epochs whose checkpoints the run's ``keep`` promises, once all are trained."""
    last, best = run.config.epochs, best_of(store, run)
    return {
        "all": set(range(1, last + 1)),
        "every:2": set(range(2, last + 1, 2)) | {best, last},
        "best:1": {best, last},
    }[run.config.keep]


def check_kept(store: Store, run: Run, *, others: set[int] | None = None) -> None:
    """Check that exactly what is promised, and ``others``, is there in rows and files; figures of all."""
    check_whole(store, run, epochs=run.config.epochs, kept=promised(store, run) | (others or set()))
    assert all(epoch.metrics["val_loss"] is not None for epoch in runs.epochs(store, run.id))


@pytest.mark.parametrize("keep", ["all", "every:2", "best:1"])
def test_exactly_the_promised_checkpoints_stay_and_all_pictures_and_figures(
    store: Store, queue_run: QueueRun, moments: Moments, keep: str
) -> None:
    run = queue_run(epochs=5, keep=keep, **SMALL)

    check_succeeded(*carry_out(store, run))

    check_kept(store, run)


@pytest.mark.parametrize("keep", ["every:2", "best:1"])
def test_a_run_killed_in_every_epoch_goes_on_each_time_and_keeps_what_is_promised(
    store: Store, queue_run: QueueRun, moments: Moments, keep: str
) -> None:
    run = queue_run(epochs=5, keep=keep, **SMALL)
    for done in range(1, 5):
        moments.before(kill, epoch=2, batch=2)
        assert carry_out_until_killed(store, run).epochs_done == done

    check_succeeded(*carry_out(store, run))

    check_kept(store, run)
    assert [epoch.attempt for epoch in runs.epochs(store, run.id)] == [1, 2, 3, 4, 5]


@dataclasses.dataclass(frozen=True)
class DyingBlobs(Blobs):
    """A place for files whose process is killed when it is about to delete a checkpoint."""

    def delete(self, key: str) -> None:
        """Remove ``key``, unless it is weights."""
        if key.endswith(".pt"):
            raise Killed
        super().delete(key)


def make_worst(store: Store, run: Run, epoch: int) -> None:
    """Give an epoch, as soon as its row is there, a figure with which it is given up after the next one."""
    wait_until(lambda: runs.get(store, run.id).epochs_done >= epoch)
    table = tables.epoch
    of_epoch = (table.c.run_id == run.id, table.c.epoch == epoch)
    with store.write() as connection:
        metrics = connection.execute(sa.select(table.c.metrics).where(*of_epoch)).scalar_one()
        worst = metrics | {"val_miou_foreground": -1.0}
        connection.execute(sa.update(table).where(*of_epoch).values(metrics=worst))


@pytest.mark.parametrize("epoch", [2, 4], ids=["in the middle", "after the last epoch"])
def test_a_death_between_a_checkpoints_row_and_its_files_leaves_no_file_for_ever(
    store: Store, queue_run: QueueRun, moments: Moments, epoch: int
) -> None:
    run = queue_run(epochs=4, keep="best:1", **SMALL)
    dying = dataclasses.replace(store, blobs=DyingBlobs(store.blobs.url, store.blobs.cache))
    moments.before(kill, epoch=epoch, batch=2)
    carry_out_until_killed(store, run)
    moments.before(lambda: make_worst(store, run, epoch - 1), epoch=1, batch=3)

    killed = carry_out_until_killed(dying, run)
    row = runs.epochs(store, run.id)[epoch - 2]
    left = checkpoint_files(store, run)[row.epoch]

    assert (killed.epochs_done, row.checkpoint, len(left)) == (epoch, "", 2)
    check_succeeded(*carry_out(store, run))
    check_kept(store, run)


@contextmanager
def dying_at(store: Store, statement: str) -> Generator[None]:
    """Have the process killed when it is about to send such a statement to the database."""

    def die(_connection: object, _cursor: object, sent: str, *_: object) -> None:
        if sent.startswith(statement):
            raise Killed

    event.listen(store.engine, "before_cursor_execute", die)
    yield
    event.remove(store.engine, "before_cursor_execute", die)


def test_a_death_after_the_last_epochs_row_keeps_no_more_than_is_promised(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=3, keep="best:1", **SMALL)
    moments.before(kill, epoch=3, batch=2)
    carry_out_until_killed(store, run)
    moments.before(lambda: make_worst(store, run, 2), epoch=1, batch=3)

    with dying_at(store, "UPDATE epoch SET checkpoint"):
        killed = carry_out_until_killed(store, run)

    assert killed.epochs_done == 3
    assert runs.epochs(store, run.id)[1].checkpoint
    check_succeeded(*carry_out(store, run))
    check_kept(store, run)


def choose(store: Store, run: Run, epoch: int) -> None:
    """Make an epoch its project's champion as soon as its row is there."""
    wait_until(lambda: runs.get(store, run.id).epochs_done >= epoch)
    champions.set_champion(store, Champion(run.project_id, run.id, epoch, "looks best", "Ada", tables.now()))


def test_a_champion_chosen_in_mid_run_is_kept(store: Store, queue_run: QueueRun, moments: Moments) -> None:
    run = queue_run(epochs=5, keep="best:1", **SMALL)
    for epoch in (1, 2, 3):
        moments.before(lambda epoch=epoch: choose(store, run, epoch), epoch=epoch + 1, batch=3)

    check_succeeded(*carry_out(store, run))

    assert len({1, 2, 3} - promised(store, run)) >= 2
    check_kept(store, run, others={1, 2, 3})


def test_an_epoch_that_another_run_is_yet_to_start_from_is_kept_and_it_really_does(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=5, keep="best:1", **SMALL)
    still = {"encoder_learning_rate": 0.0, "decoder_learning_rate": 1e-9, "weight_decay": 0.0}
    heirs: dict[int, Run] = {}

    def name(epoch: int) -> None:
        wait_until(lambda: runs.get(store, run.id).epochs_done >= epoch)
        heirs[epoch] = queue_run(epochs=1, seed=7, start_from=f"{run.id}/{epoch}", **SMALL, **still)

    for epoch in (1, 2, 3):
        moments.before(lambda epoch=epoch: name(epoch), epoch=epoch + 1, batch=3)
    check_succeeded(*carry_out(store, run))
    check_kept(store, run, others={1, 2, 3})
    for heir in heirs.values():
        check_succeeded(*carry_out(store, heir))

    for epoch, heir in heirs.items():
        torch.testing.assert_close(weights(store, heir, 1), weights(store, run, epoch), atol=1e-5, rtol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(weights(store, run, 1), weights(store, run, 2), atol=1e-5, rtol=0)


def weights(store: Store, run: Run, epoch: int) -> dict[str, torch.Tensor]:
    """Read an epoch's weights, without what batch normalisation counted of the photos."""
    checkpoint = runs.epochs(store, run.id)[epoch - 1].checkpoint
    state = torch.load(store.blobs.local(checkpoint), weights_only=True)["model"]
    return {name: value for name, value in state.items() if "running" not in name and "num_" not in name}


def put_leftovers(store: Store, run: Run, attempt: int, epoch: int) -> set[str]:
    """Put what an attempt leaves that was killed before an epoch's row was written."""
    checkpoint = checkpoint_key(run.id, epoch, attempt)
    folder = predictions_folder(run.id, epoch, attempt)
    keys = {checkpoint, checkpoint.replace(".pt", ".json"), f"{folder}/x.png", f"{folder}/x_confidence.png"}
    for key in keys:
        store.blobs.put(key, b"left over")
    workspace = store.home / "cache" / "checkpoints" / run.id
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / Path(checkpoint).name).write_bytes(b"left over")
    (workspace / f".{Path(checkpoint).name}.1.tmp").write_bytes(b"left o")
    return keys


def contents(store: Store, run: Run) -> dict[str, bytes]:
    return {key: store.blobs.get(key) for key, _ in store.blobs.list(run_folder(run.id))}


def test_what_killed_attempts_left_is_gone_after_the_next_one_and_nothing_else(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    other = queue_run(epochs=1, **SMALL)
    check_succeeded(*carry_out(store, other))
    beside = put_leftovers(store, other, attempt=1, epoch=9)
    run = queue_run(epochs=4, **SMALL)
    moments.before(kill, epoch=3, batch=2)
    carry_out_until_killed(store, run)
    before = {key: data for key, data in contents(store, run).items() if "epoch_00" in key}
    put_leftovers(store, run, attempt=1, epoch=3)
    put_leftovers(store, run, attempt=1, epoch=4)

    check_succeeded(*carry_out(store, run))

    check_whole(store, run, epochs=4)
    after = contents(store, run)
    of_rows = {key for key in before if "epoch_003" not in key}
    assert len(of_rows) == 2 * (2 + 4)
    assert {key: after[key] for key in of_rows} == {key: before[key] for key in of_rows}
    assert beside <= contents(store, other).keys()
    assert not (store.home / "cache" / "checkpoints" / run.id).exists()


def test_a_run_whose_processes_are_killed_in_each_epoch_keeps_its_promise_and_leaves_nothing(
    store: Store, queue_run: QueueRun, workers: Workers
) -> None:
    run = queue_run(epochs=4, keep="best:1")
    worker = workers.start("once=True")
    for done in (1, 2, 3):
        wait_until(lambda done=done: runs.get(store, run.id).epochs_done >= done, 180)
        (work,) = lifecycle.active(store, RUNS)
        assert work.process is not None
        os.kill(work.process.pid, signal.SIGKILL)
        wait_until(lambda attempt=work.claim.attempt: runs.get(store, run.id).attempt > attempt, 60)

    assert worker.wait(240) == 0

    done = runs.get(store, run.id)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 4), done.error
    check_kept(store, run)
    assert not (store.home / "cache" / "checkpoints" / run.id).exists()
    assert reservations.left_behind(store, RUNS, processes.this_host()) == []
