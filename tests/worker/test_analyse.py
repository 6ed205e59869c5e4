"""The kinds of errors of a checkpoint: counted from what a real training and measuring left."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.domain.analysis import ANY, Analysis, unpack
from core.domain.errors import Cancelled, Conflict, NotFound
from core.domain.runs import Run
from core.domain.scores import score
from core.imaging.overlay import encode_grey_png
from core.imaging.reading import decode_grey
from core.services import analysis
from core.storage import runs
from core.storage.store import Store
from core.worker.handlers import HANDLERS
from core.worker.heartbeat import OnProgress
from tests.builders import project_with
from tests.pages.trained import finish_run
from tests.worker.small_runs import SMALL, Moments, carry_out, check_succeeded

QueueRun = Callable[..., Run]


@pytest.fixture
def drawn(store: Store) -> Run:
    """A finished run of two epochs; the predictions of the first lie three pixels beside the truth."""
    return finish_run(store, project_with(store, "dent", "scratch"), epochs=2)


def nothing(_share: float, _message: str) -> None:
    """Be quiet."""


def analysed(store: Store, run: Run, on_progress: OnProgress = nothing) -> dict[str, Any]:
    return HANDLERS["analyse"](store, analysis.analyse(store, run, 1), on_progress)


def kept(store: Store, result: dict[str, Any]) -> Analysis:
    return unpack(store.blobs.get(result["analysis"]))


def predict_nothing(store: Store, run: Run) -> None:
    """Have each prediction show background, sure of itself."""
    for record in runs.records(store, run.id, 1):
        nowhere = np.zeros_like(decode_grey(store.blobs.get(record.prediction)))
        store.blobs.put(record.prediction, encode_grey_png(nowhere))
        store.blobs.put(record.confidence, encode_grey_png(nowhere + 255))


def test_the_counts_give_the_figures_of_a_real_epoch(
    store: Store, queue_run: QueueRun, moments: Moments
) -> None:
    code, run = carry_out(store, queue_run(1, **SMALL))
    check_succeeded(code, run)
    heard: list[float] = []

    result = analysed(store, run, lambda share, _message: heard.append(share))

    found = kept(store, result)
    assert (result["photos"], result["skipped"]) == (2, 0)
    records = runs.records(store, run.id, 1)
    assert [image.image_id for image in found.images] == [record.image_id for record in records]
    for image, record in zip(found.images, records, strict=True):
        # The photos are smaller than the display, so the pixels are the very ones of the epoch.
        expected = score(record.confusion).iou[1]
        assert image.classes[1].errors.iou == (None if np.isnan(expected) else expected)
        assert sum(image.everything.pixels) == record.confusion.sum()
        assert sum(image.everything.right) == np.trace(record.confusion)
    assert heard == sorted(heard) and heard[0] == 0.0
    assert analysis.find(store, run, 1) == found


def test_a_shift_is_an_error_of_the_boundary(store: Store, drawn: Run) -> None:
    found = kept(store, analysed(store, drawn))

    records = runs.records(store, drawn.id, 1)
    confusion = np.sum([record.confusion for record in records], axis=0)
    assert found.total(1).errors.iou == score(confusion).iou[1]
    for index, regions in ((1, 2), (2, 2)):
        counts = found.total(index)
        assert (counts.objects.truths, counts.objects.matches) == (regions, regions)
        assert counts.errors.missed == counts.errors.false == 0
        assert counts.errors.boundary > 0


def test_regions_that_were_not_predicted_are_missed(store: Store, drawn: Run) -> None:
    predict_nothing(store, drawn)

    found = kept(store, analysed(store, drawn))

    total = found.total(ANY)
    truth = sum(int(record.confusion[1:].sum()) for record in runs.records(store, drawn.id, 1))
    assert truth > 0
    assert (total.errors.missed, total.errors.union) == (truth, truth)
    assert (total.objects.matches, total.objects.predictions) == (0, 0)
    assert total.objects.truths == 4
    everywhere = found.reliability(is_foreground=False)
    assert everywhere.expected_error == pytest.approx(truth / sum(everywhere.pixels))
    assert found.reliability(is_foreground=True).expected_error == 1.0


@pytest.mark.parametrize("damage", ["gone", "damaged", "another size"])
def test_a_photo_without_its_pictures_is_left_out_and_counted(store: Store, drawn: Run, damage: str) -> None:
    first, second = runs.records(store, drawn.id, 1)
    if damage == "gone":
        store.blobs.delete(first.prediction)
    else:
        wrong = encode_grey_png(np.zeros((5, 5), np.uint8)) if damage == "another size" else b"no picture"
        store.blobs.put(first.confidence, wrong)

    result = analysed(store, drawn)

    assert (result["photos"], result["skipped"]) == (1, 1)
    found = kept(store, result)
    assert [image.image_id for image in found.images] == [second.image_id]
    assert found.skipped == (first.image_id,)


def test_without_any_picture_the_job_fails_with_a_sentence(store: Store, drawn: Run) -> None:
    for record in runs.records(store, drawn.id, 1):
        store.blobs.delete(record.prediction)

    with pytest.raises(NotFound, match="pictures of epoch 1 are gone"):
        analysed(store, drawn)

    assert analysis.find(store, drawn, 1) is None


def test_counts_of_an_earlier_measuring_are_not_shown_and_go(store: Store, drawn: Run) -> None:
    old = analysed(store, drawn)["analysis"]
    changed = [
        runs.ImageRecord(r.image_id, r.confusion + np.eye(3, dtype=np.int64), r.prediction, r.confidence)
        for r in runs.records(store, drawn.id, 1)
    ]
    runs.set_records(store, drawn.id, 1, "valid", changed)

    assert analysis.find(store, drawn, 1) is None

    new = analysed(store, drawn)["analysis"]
    assert new != old
    assert not store.blobs.exists(old)
    assert analysis.find(store, drawn, 1) is not None


def test_measured_anew_in_between_nothing_is_kept(store: Store, drawn: Run) -> None:
    records = runs.records(store, drawn.id, 1)

    def measure_anew(_share: float, _message: str) -> None:
        runs.set_records(store, drawn.id, 1, "valid", records[:1])

    with pytest.raises(Conflict, match="measured anew"):
        analysed(store, drawn, measure_anew)

    assert list(store.blobs.list(f"runs/{drawn.id}/analyses")) == []


def test_it_can_be_cancelled(store: Store, drawn: Run) -> None:
    def cancel(_share: float, _message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        analysed(store, drawn, cancel)

    assert analysis.find(store, drawn, 1) is None
