"""A training in a real process: killed and resumed, cancelled; what it leaves, and what is made of it."""

import dataclasses
import io
import json
import os
import signal
from collections.abc import Callable

import numpy as np
import onnxruntime
from PIL import Image as Picture

from core.domain.runs import Process, Run, WorkState
from core.domain.scores import score
from core.imaging.masks import decode_rle
from core.storage import jobs, lifecycle, runs, versions
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from core.worker.handlers import HANDLERS
from tests.worker.builders import Workers, wait_until

EPOCHS = 5
PROGRESS = {"phase", "epoch", "epochs", "batch", "batches", "images_per_second", "eta_seconds"}


def process_of(store: Store, run: Run) -> Process:
    (work,) = lifecycle.active(store, RUNS)
    assert work.process is not None and work.claim.work_id == run.id
    return work.process


def test_a_killed_training_goes_on_after_its_last_complete_epoch_and_leaves_all_it_should(
    store: Store, queue_run: Callable[..., Run], workers: Workers
) -> None:
    run = queue_run(epochs=EPOCHS)
    worker = workers.start("once=True")
    wait_until(lambda: runs.get(store, run.id).epochs_done >= 1, 120)
    os.kill(process_of(store, run).pid, signal.SIGKILL)
    wait_until(lambda: runs.get(store, run.id).epochs_done == EPOCHS, 120)
    os.kill(process_of(store, run).pid, signal.SIGKILL)  # when only the export is missing

    assert worker.wait(180) == 0

    done = runs.get(store, run.id)
    assert (done.state, done.attempt, done.epochs_done) == (WorkState.SUCCEEDED, 3, EPOCHS), done.error
    assert done.device
    check_epochs(store, run)
    check_pictures(store, run)
    check_run_folder(store, run)
    check_exports(store, run)
    check_evaluation(store, run)


def check_epochs(store: Store, run: Run) -> None:
    """No gap, no duplicate; each epoch is of the attempt that trained it, none of the one that exported."""
    epochs = runs.epochs(store, run.id)
    attempts = [epoch.attempt for epoch in epochs]
    assert [epoch.epoch for epoch in epochs] == list(range(1, EPOCHS + 1))
    assert attempts[0] == 1 and attempts[-1] == 2 and attempts == sorted(attempts)
    for epoch in epochs:
        assert epoch.checkpoint == f"runs/{run.id}/epoch_{epoch.epoch:03d}-a{epoch.attempt}.pt"
        described = json.loads(store.blobs.get(epoch.checkpoint.replace(".pt", ".json")))
        assert described["epoch"] == epoch.epoch
        assert epoch.metrics["train_loss"] is not None and epoch.durations["train"] > 0


def check_pictures(store: Store, run: Run) -> None:
    """The figures kept per photo add up to those of the epoch."""
    version = versions.get(store, run.data_version_id)
    for epoch in runs.epochs(store, run.id):
        records = runs.records(store, run.id, epoch.epoch)
        assert [r.image_id for r in records] == sorted(i.image_id for i in version.split("valid"))
        total = np.sum([record.confusion for record in records], axis=0)
        assert score(total).pixel_accuracy == epoch.metrics["val_pixel_accuracy"]
        for record in records:
            for key in (record.prediction, record.confidence):
                picture = Picture.open(io.BytesIO(store.blobs.get(key)))
                assert (picture.mode, picture.size) == ("L", (96, 72))


def check_run_folder(store: Store, run: Run) -> None:
    """The folder says what was trained on what."""
    config, dataset = (
        json.loads(store.blobs.get(f"runs/{run.id}/{name}.json")) for name in ("config", "dataset")
    )
    assert config == dataclasses.asdict(run.config)
    assert [image["split"] for image in dataset["images"]].count("train") == 6
    first = dataset["annotations"][0]
    mask = decode_rle(first["segmentation"]["counts"], (72, 96))
    assert mask[20:50, 8:38].all() and mask.sum() == first["area"] == 900
    assert first["bbox"] == [8, 20, 30, 30]
    log = store.blobs.get(f"runs/{run.id}/log.txt").decode()
    assert "going on after epoch" in log and log.rstrip().endswith("succeeded")


def check_exports(store: Store, run: Run) -> None:
    """The best and the last epoch can predict without torch."""
    epochs = runs.epochs(store, run.id)
    best = max(epochs, key=lambda e: (e.metrics["val_miou_foreground"] or 0.0, -e.epoch))
    exported = {e.epoch for e in epochs if runs.onnx_key(store, run.id, e.epoch)}
    assert exported == {best.epoch, EPOCHS}
    key = runs.onnx_key(store, run.id, EPOCHS)
    assert key == epochs[-1].checkpoint.replace(".pt", ".onnx")
    session = onnxruntime.InferenceSession(store.blobs.get(key), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"image": np.zeros((1, 3, 64, 64), np.float32)})[0]
    assert np.asarray(logits).shape == (1, 2, 64, 64)


def check_evaluation(store: Store, run: Run) -> None:
    """Measured again on its own validation photos, a checkpoint gets the very figures of its epoch."""
    last = runs.epochs(store, run.id)[-1]
    before = [record.confusion for record in runs.records(store, run.id, EPOCHS)]
    heard: list[float] = []
    payload = {"run_id": run.id, "epoch": EPOCHS, "split": "valid", "masks": True}

    result = HANDLERS["evaluate"](
        store, jobs.create(store, "evaluate", payload), lambda share, _message: heard.append(share)
    )

    assert result["images"] == 2
    assert result["pixel_accuracy"] == last.metrics["val_pixel_accuracy"]
    assert result["iou"] == {"dent": last.metrics["val_iou/1"]}
    records = runs.records(store, run.id, EPOCHS)
    np.testing.assert_array_equal([record.confusion for record in records], before)
    for record in records:
        mask = Picture.open(io.BytesIO(store.blobs.get(result["masks"][record.image_id])))
        shown = Picture.open(io.BytesIO(store.blobs.get(record.prediction)))
        assert (mask.mode, mask.size) == ("P", (96, 72))
        np.testing.assert_array_equal(np.asarray(mask), np.asarray(shown))
    assert heard[-1] == 1.0


def test_a_cancelled_training_stops_within_seconds(
    store: Store, queue_run: Callable[..., Run], workers: Workers
) -> None:
    run = queue_run(epochs=10_000)
    claim = lifecycle.claim(store, RUNS, "here", Room(1))
    assert claim is not None
    process = workers.carry_out("run", claim)
    wait_until(lambda: runs.get(store, run.id).progress.get("phase") in ("training", "validating"), 120)

    progress = runs.get(store, run.id).progress
    lifecycle.request_cancel(store, RUNS, run.id)

    assert process.wait(20) == 0
    stopped = runs.get(store, run.id)
    assert stopped.state is WorkState.CANCELLED
    assert set(progress) == PROGRESS
    assert stopped.epochs_done == len(runs.epochs(store, run.id))
