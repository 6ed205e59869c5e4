"""A network that cannot be exported says so, and predicts in a worker all the same."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.domain.errors import AppError
from core.domain.runs import Run, WorkState
from core.imaging.overlay import decode_index_png
from core.models.preprocessing import network_image, to_input
from core.models.registry import MODELS, ModelSpec
from core.models.upsampling import predict_map
from core.services import evaluation, prediction, predictors
from core.storage import jobs, lifecycle, processes, reservations, runs
from core.storage.lifecycle import JOBS, Room
from core.storage.store import Store
from core.training.checkpoints import load_weights
from core.worker import __main__ as worker
from tests.worker.builders import photo_bytes, wait_until
from tests.worker.small_runs import SMALL, Moments, Small, carry_out, check_succeeded

QueueRun = Callable[..., Run]


class Stubborn(Small):
    """Goes one of two ways by what it sees, which no graph can express."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.mean() > -100 else super().forward(-images)


def _build_stubborn(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    return Stubborn(num_classes)


@pytest.fixture
def trained(store: Store, queue_run: QueueRun, moments: Moments, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished run of such a network."""
    monkeypatch.setitem(MODELS, "stubborn", ModelSpec("Stubborn", _build_stubborn, ("plain",)))
    code, run = carry_out(store, queue_run(1, **{**SMALL, "model": "stubborn"}))
    check_succeeded(code, run)
    return run


@contextmanager
def serving(store: Store) -> Generator[None]:
    """Carry out the next job in this process as soon as there is one."""

    def serve() -> None:
        wait_until(lambda: lifecycle.has_queued(store, JOBS))
        claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
        assert claim is not None
        worker.carry_out(store, "job", claim)
        reservations.release(store, claim)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()


def test_a_network_that_cannot_be_exported_predicts_in_a_worker(store: Store, trained: Run) -> None:
    assert runs.onnx_key(store, trained.id, 1) is None
    assert "cannot be written as ONNX" in predictors.note(store, trained, 1)
    assert predictors.is_ready(store, trained.id, 1)

    with serving(store):
        found = prediction.predict_photo(store, trained, 1, "new.jpg", photo_bytes(7))

    model, meta = load_weights(store.blobs.local(evaluation.epochs(store, trained.id)[0].checkpoint))
    pixels = network_image(photo_bytes(7), meta.card.preprocessing.size)
    with torch.inference_mode():
        logits = model(torch.from_numpy(to_input(pixels, meta.card.preprocessing))[None])[0]
    expected, _ = predict_map(np.ascontiguousarray(logits.numpy()), (72, 96))
    mask = decode_index_png(prediction.mask_png(store, found))
    assert mask.shape == (72, 96)
    np.testing.assert_array_equal(mask, expected)
    left = [key for key, _ in store.blobs.list(f"predictions/{trained.id}/exchange")]
    assert left == [], "what the processes exchanged is gone"


def test_a_labelled_photo_is_compared_by_a_worker_too(store: Store, trained: Run) -> None:
    image = evaluation.labelled_images(store, trained, trained.project_id)[0]
    with serving(store):
        look = evaluation.look(store, trained, 1, image.id)

    assert look.picture.iou is not None and 0 <= look.picture.iou <= 1


def test_an_export_on_demand_notes_the_refusal_and_succeeds(store: Store, trained: Run) -> None:
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE epoch SET export_refusal = NULL")
    assert not predictors.is_ready(store, trained.id, 1)

    with serving(store):
        job = evaluation.prepare(store, trained, 1)

    assert jobs.get(store, job.id).state is WorkState.SUCCEEDED
    assert predictors.is_ready(store, trained.id, 1)


def test_without_a_worker_a_prediction_ends_with_a_sentence(
    store: Store, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictors, "START_SECONDS", 0.3)

    with pytest.raises(AppError, match=r"none did so within .* seconds\. No worker is running"):
        prediction.predict_photo(store, trained, 1, "new.jpg", photo_bytes(7))

    (job,) = jobs.list_of(store, trained.project_id)
    assert job.state is WorkState.CANCELLED, "no worker takes it on later"


def test_a_failed_prediction_says_why(store: Store, trained: Run) -> None:
    store.blobs.delete(evaluation.epochs(store, trained.id)[0].checkpoint)

    with serving(store), pytest.raises(AppError) as failure:
        prediction.predict_photo(store, trained, 1, "new.jpg", photo_bytes(7))

    assert str(failure.value), "a sentence"
    assert jobs.list_of(store, trained.project_id)[0].state is WorkState.FAILED
