"""Every checkpoint of a run on the photos kept for testing: once each, whatever breaks off in between."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.domain.errors import AppError, Cancelled, NotFound
from core.domain.runs import Job, Run
from core.domain.scores import score
from core.services import checkpoints, evaluation, every_epoch
from core.storage import jobs, runs
from core.storage.store import Store
from core.worker.handlers import HANDLERS
from core.worker.heartbeat import OnProgress
from tests.worker.small_runs import SMALL, Moments, carry_out, check_succeeded

QueueRun = Callable[..., Run]
EPOCHS = 3


@pytest.fixture
def trained(store: Store, queue_run: QueueRun, moments: Moments) -> Run:
    """A finished run of three epochs; one photo is kept for testing."""
    code, run = carry_out(store, queue_run(EPOCHS, **SMALL))
    check_succeeded(code, run)
    return run


def nothing(_share: float, _message: str) -> None:
    """Be quiet."""


def carried_out(store: Store, job: Job, on_progress: OnProgress = nothing) -> dict[str, Any]:
    return HANDLERS["evaluate_every"](store, job, on_progress)


def test_every_epoch_is_measured_as_one_alone_is(store: Store, trained: Run) -> None:
    heard: list[tuple[float, str]] = []
    assert every_epoch.need(store, trained).epochs == (1, 2, 3)

    job = every_epoch.measure(store, trained)
    result = carried_out(store, job, lambda share, message: heard.append((share, message)))

    assert result == {"measured": [1, 2, 3], "failed": {}}
    found = every_epoch.measured(store, trained)
    assert [(epoch.epoch, epoch.images) for epoch in found] == [(1, 1), (2, 1), (3, 1)]
    alone = jobs.create(
        store, "evaluate", {"run_id": trained.id, "epoch": 2, "split": "test", "masks": False}
    )
    figures = HANDLERS["evaluate"](store, alone, nothing)
    assert found[1].scores.pixel_accuracy == figures["pixel_accuracy"]
    assert [epoch.valid for epoch in found] == [
        epoch.metrics[evaluation.METRIC] for epoch in evaluation.epochs(store, trained.id)
    ]
    best = evaluation.best_epoch(evaluation.epochs(store, trained.id))
    assert [epoch.epoch for epoch in found if epoch.is_best_on_valid] == [best.epoch if best else 0]
    shares = [share for share, _ in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert heard[0][1] == "Epoch 1, 1 of 3"
    need = every_epoch.need(store, trained)
    assert (need.epochs, need.images, need.bytes) == ((), 1, 0)
    for record in runs.records(store, trained.id, 3, "test"):
        assert store.blobs.exists(record.prediction) and store.blobs.exists(record.confidence)


def test_a_job_that_was_broken_off_goes_on(store: Store, trained: Run) -> None:
    job = every_epoch.measure(store, trained)

    def stop_in_the_second(_share: float, message: str) -> None:
        if message.startswith("Epoch 2"):
            raise Cancelled

    with pytest.raises(Cancelled):
        carried_out(store, job, stop_in_the_second)
    before = runs.records(store, trained.id, 1, "test")
    assert every_epoch.need(store, trained).epochs == (2, 3)
    written = dict(store.blobs.list(f"runs/{trained.id}/evaluations"))

    carried_out(store, job)

    assert [epoch.epoch for epoch in every_epoch.measured(store, trained)] == [1, 2, 3]
    after = dict(store.blobs.list(f"runs/{trained.id}/evaluations"))
    assert after[before[0].prediction] == written[before[0].prediction], "the first was not done again"


def test_a_damaged_checkpoint_does_not_keep_the_others(store: Store, trained: Run) -> None:
    first, second, _ = evaluation.epochs(store, trained.id)
    store.blobs.put(first.checkpoint, b"no checkpoint")
    store.blobs.delete(second.checkpoint)

    result = carried_out(store, every_epoch.measure(store, trained))

    assert result["measured"] == [3]
    assert set(result["failed"]) == {"1", "2"} and all(result["failed"].values())
    assert every_epoch.need(store, trained).epochs == (1, 2)


def test_with_no_whole_checkpoint_the_job_fails_with_the_reason(store: Store, trained: Run) -> None:
    for epoch in evaluation.epochs(store, trained.id):
        store.blobs.put(epoch.checkpoint, b"no checkpoint")

    with pytest.raises(AppError, match=r"epoch_001.*cannot be used"):
        carried_out(store, every_epoch.measure(store, trained))


def test_an_empty_split_is_refused(store: Store, trained: Run) -> None:
    assert checkpoints.kept_epochs(store, trained.id)
    with pytest.raises(NotFound, match="no labelled photo in nowhere"):
        every_epoch.measure(store, trained, "nowhere")  # pyright: ignore[reportArgumentType]


def with_test(store: Store, run: Run, epoch: int, found: int) -> None:
    """Have the test photo of an epoch be half right, or as right as said, of 100 pixels of damage."""
    (item,) = [i for i in evaluation.versions.get(store, run.data_version_id).items if i.split == "test"]
    matrix = np.array([[900, 0], [100 - found, found]], np.int64)
    runs.set_records(store, run.id, epoch, "test", [runs.ImageRecord(item.image_id, matrix, "p", "c")])


def test_the_best_on_test_is_not_to_be_reported(store: Store, trained: Run) -> None:
    best = evaluation.best_epoch(evaluation.epochs(store, trained.id))
    assert best is not None
    other = 1 if best.epoch != 1 else 2
    with_test(store, trained, best.epoch, 50)
    with_test(store, trained, other, 75)

    found = every_epoch.measured(store, trained)

    assert [epoch.scores.miou_foreground for epoch in found if epoch.epoch == other] == [0.75]
    (warning,) = every_epoch.warnings(trained, found)
    assert f"Epoch {other} of {trained.name} is the best here by 0.250" in warning
    assert f"Epoch {best.epoch} is the one" in warning and "its 0.500" in warning
    with_test(store, trained, best.epoch, 80)
    assert every_epoch.warnings(trained, every_epoch.measured(store, trained)) == []
    assert score(np.array([[900, 0], [20, 80]])).miou_foreground == 0.8
