"""Trainings that meet a full disk, or lost and damaged files: what is said, what stays, how they go on."""

import re
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.domain.runs import Epoch, Run, WorkState
from core.storage import images, lifecycle, processes, reservations, runs, tables, versions
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from core.training.checkpoints import load_weights
from core.worker import __main__ as worker
from core.worker.local import classify_exit
from tests.worker.builders import photo_bytes, wait_until
from tests.worker.small_runs import (
    SMALL,
    Killed,
    Moments,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
    check_whole,
    checkpoint_files,
    claim_of,
    fill,
    resume,
    small_disk,
)

pytestmark = pytest.mark.acceptance

QueueRun = Callable[..., Run]
ROOM_BYTES = 120_000  # the pictures of an epoch fit, its checkpoint does not
PICTURE = r"[0-9a-f-]+(_confidence)?\.png"
CHECKPOINT = r"epoch_003-a1\.pt"


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Path]:
    """A disk of 32 MB for a folder of the home that is yet to be made; "" is all of it."""
    folder = tmp_path / "home" / request.param
    with small_disk(folder, "32m"):
        yield folder


def kill() -> None:
    raise Killed


def wait_for_epoch(store: Store, run: Run, epoch: int) -> None:
    wait_until(lambda: runs.get(store, run.id).epochs_done >= epoch)


def unfinished_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]


def check_nothing_is_half_done(store: Store, run: Run, epochs: int) -> None:
    """All rows point at whole files, and there are no halves beside them."""
    assert [epoch.epoch for epoch in runs.epochs(store, run.id)] == list(range(1, epochs + 1))
    for epoch in runs.epochs(store, run.id):
        assert load_weights(store.blobs.local(epoch.checkpoint))[1].epoch == epoch.epoch
        for record in runs.records(store, run.id, epoch.epoch):
            assert store.blobs.exists(record.prediction) and store.blobs.exists(record.confidence)
    assert checkpoint_files(store, run).keys() == set(range(1, epochs + 1))
    assert unfinished_files(store.home) == []
    assert not (store.home / "cache" / "checkpoints" / run.id).exists()


@pytest.mark.parametrize(
    ("disk", "room", "file"),
    [
        pytest.param("blobs", 0, PICTURE, id="pictures"),
        pytest.param("blobs", ROOM_BYTES, CHECKPOINT, id="checkpoint"),
        pytest.param("", ROOM_BYTES, CHECKPOINT, id="all of the home"),
    ],
    indirect=["disk"],
)
def test_a_disk_that_fills_up_fails_the_run_with_a_sentence_and_with_room_it_goes_on(
    disk: Path, room: int, file: str, store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=5, **SMALL)

    def fill_up() -> None:
        wait_for_epoch(store, run, 2)
        fill(disk, leave=room)

    moments.before(fill_up, epoch=3)
    code, failed = carry_out(store, run)

    assert (code, failed.state, failed.epochs_done) == (1, WorkState.FAILED, 2), failed.error
    sentence = rf"{file} could not be saved \(No space left on device\)\..* free some space and try again\."
    assert re.fullmatch(sentence, failed.error, re.IGNORECASE), failed.error
    check_nothing_is_half_done(store, run, epochs=2)

    (disk / "filler").unlink(missing_ok=True)
    code, done = resume(store, run)

    check_succeeded(code, done)
    check_whole(store, run, epochs=5)
    assert [epoch.attempt for epoch in runs.epochs(store, run.id)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("disk", [""], indirect=True)
def test_a_disk_too_full_even_for_the_verdict_leaves_the_run_to_go_on_by_itself(
    disk: Path, store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=4, **SMALL)

    def fill_up() -> None:
        wait_for_epoch(store, run, 2)
        fill(disk, leave=0)

    moments.before(fill_up, epoch=3)
    claim = claim_of(store, run)
    code = worker.carry_out(store, "run", claim)
    (disk / "filler").unlink(missing_ok=True)
    check_nothing_is_half_done(store, run, epochs=2)
    (work,) = lifecycle.active(store, RUNS)
    classify_exit(store, RUNS, work, code)
    reservations.release(store, claim)

    assert lifecycle.requeue_interrupted(store, RUNS) == [run.id]
    assert lifecycle.claim(store, RUNS, processes.this_host(), Room(1)) is None  # not at once
    spare_the_pause(store, run)
    check_succeeded(*carry_out(store, run))
    check_whole(store, run, epochs=4)


def spare_the_pause(store: Store, run: Run) -> None:
    """Have a run start now that is put off after an outage."""
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == run.id).values(not_before=None))


@pytest.mark.parametrize("disk", ["cache"], indirect=True)
def test_a_disk_too_full_for_the_prepared_photos_is_a_sentence(
    disk: Path, store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=1, **SMALL)
    fill(disk, leave=40_960)  # the files can be made, and not be filled

    code, failed = carry_out(store, run)

    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error.startswith("The photos could not be prepared for training in ")
    assert "6 images of 64 x 64 pixels need 0.1 MB, and 0.0 MB are free. Make room" in failed.error
    (disk / "filler").unlink(missing_ok=True)
    check_succeeded(*resume(store, run))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty_without_description(path: Path) -> None:
    path.write_bytes(b"")
    path.with_suffix(".json").unlink()


DAMAGES = [cut_off, change_a_byte, Path.unlink, empty_without_description]


def damage(store: Store, epoch: Epoch, how: Callable[[Path], object]) -> None:
    assert store.blobs.folder is not None
    how(store.blobs.folder / epoch.checkpoint)


def run_killed_after(store: Store, queue_run: QueueRun, moments: Moments, epochs: int) -> Run:
    """Train a run of two epochs more up to this epoch."""
    run = queue_run(epochs=epochs + 2, **SMALL)
    moments.before(kill, epoch=epochs + 1, batch=2)
    killed = carry_out_until_killed(store, run)
    assert killed.epochs_done == epochs
    return killed


@pytest.mark.parametrize("how", DAMAGES)
def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before(
    store: Store, queue_run: QueueRun, moments: Moments, how: Callable[[Path], object]
) -> None:
    run = run_killed_after(store, queue_run, moments, epochs=3)
    before = runs.epochs(store, run.id)
    damage(store, before[-1], how)

    check_succeeded(*carry_out(store, run))

    check_whole(store, run, epochs=5)
    after = runs.epochs(store, run.id)
    assert [epoch.attempt for epoch in after] == [1, 1, 2, 2, 2]
    assert after[:2] == before[:2]
    assert after[2].metrics["train_loss"] == pytest.approx(before[2].metrics["train_loss"], rel=1e-3)


def test_a_run_with_several_damaged_checkpoints_trains_all_after_the_last_whole_one(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = run_killed_after(store, queue_run, moments, epochs=3)
    for epoch in runs.epochs(store, run.id)[1:]:
        damage(store, epoch, cut_off)

    check_succeeded(*carry_out(store, run))

    check_whole(store, run, epochs=5)
    assert [epoch.attempt for epoch in runs.epochs(store, run.id)] == [1, 2, 2, 2, 2]


def test_a_run_without_any_usable_checkpoint_says_so_and_keeps_its_figures(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = run_killed_after(store, queue_run, moments, epochs=2)
    before = runs.epochs(store, run.id)
    for epoch, how in zip(before, (cut_off, Path.unlink), strict=True):
        damage(store, epoch, how)

    code, failed = carry_out(store, run)

    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error == "No checkpoint of this run can be used any more. Start a new run like it."
    assert runs.epochs(store, run.id) == before


def test_a_best_epoch_that_was_damaged_since_does_not_spoil_the_run(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = run_killed_after(store, queue_run, moments, epochs=2)
    best = runs.epochs(store, run.id)[0]
    with store.write() as connection:
        of_best = (tables.epoch.c.run_id == run.id, tables.epoch.c.epoch == best.epoch)
        metrics = best.metrics | {"val_miou_foreground": 1.0}
        connection.execute(sa.update(tables.epoch).where(*of_best).values(metrics=metrics))
    damage(store, best, change_a_byte)

    check_succeeded(*carry_out(store, run))

    assert runs.onnx_key(store, run.id, best.epoch) is None
    assert runs.onnx_key(store, run.id, 4) is not None
    assert len(runs.epochs(store, run.id)) == 4


def test_a_run_whose_data_version_was_deleted_says_so(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=1, **SMALL)
    with closing(sqlite3.connect(store.home / "maskwright.sqlite")) as connection, connection:
        connection.execute("DELETE FROM data_version")  # this connection keeps no foreign keys

    code, failed = carry_out(store, run)

    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error == "The data version of this run was deleted."


def test_a_photo_whose_file_is_lost_is_named_and_the_run_goes_on_when_it_is_there_again(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = queue_run(epochs=1, **SMALL)
    lost = versions.get(store, run.data_version_id).split("train")[3]
    original = images.photo_key(lost.sha256, "original")
    data = store.blobs.get(original)
    store.blobs.delete(original)

    code, failed = carry_out(store, run)
    store.blobs.put(original, data)

    assert data == photo_bytes(3)
    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error == (
        "Photos of this run are not in the file store any more: 3.jpg. Delete them from the project, "
        "import them again, and resume this run."
    )
    check_succeeded(*resume(store, run))


def test_photos_that_were_prepared_before_they_were_lost_are_not_missed(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    run = run_killed_after(store, queue_run, moments, epochs=1)
    for item in versions.get(store, run.data_version_id).items:
        store.blobs.delete(images.photo_key(item.sha256, "original"))

    check_succeeded(*carry_out(store, run))

    check_whole(store, run, epochs=3)
    assert asdict(runs.get(store, run.id).config) == asdict(run.config)
