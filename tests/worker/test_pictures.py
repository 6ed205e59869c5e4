"""Pictures of validation photos stay bounded: which photos get some, and who copes with those without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.domain.analysis import unpack
from core.domain.errors import NotFound
from core.domain.images import Project
from core.domain.labels import Annotation, ImageState, PolygonOp
from core.domain.runs import Run, WorkState
from core.domain.training import TrainingConfig, VersionItem
from core.formats.ingest import add_photo
from core.services import analysis, evaluation, model_card, storage_need
from core.storage import annotations, projects, runs, versions
from core.storage.store import Store
from core.worker.artefacts import run_folder
from core.worker.handlers import HANDLERS
from tests.worker.builders import Workers, add_labelled_photo
from tests.worker.small_runs import (
    SMALL,
    Killed,
    Moments,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
)

VALID = 6  # one of them shows a scratch, one no damage, the others a dent
QueueRun = Callable[..., Run]


@pytest.fixture
def items(store: Store, project: Project) -> list[VersionItem]:
    """Six photos to train on and VALID to measure with; the last two are the scratch and no damage."""
    with store.write() as connection:
        projects.add_category(connection, project.id, "scratch")
    added = [add_labelled_photo(store, project, n, "train" if n < 6 else "valid") for n in range(6 + VALID)]
    corners = ((5.0, 5.0), (25.0, 5.0), (25.0, 15.0), (5.0, 15.0))
    scratch = Annotation("b", 2, (PolygonOp(corners),))
    for item, drawn in ((added[-2], [scratch]), (added[-1], [])):
        annotations.save(store, item.image_id, drawn, base_rev=1, state=ImageState.DONE)
    return [*added[:-2], *(replace(item, rev=2) for item in added[-2:])]


@pytest.fixture
def queue(store: Store, project: Project, items: list[VersionItem], moments: Moments) -> QueueRun:
    """Queue a training of the small network on these photos."""
    known = projects.get(store, project.id).categories
    version = versions.freeze(store, project.id, known, items)

    def queued(epochs: int = 1, **changes: object) -> Run:
        small = {"size": 64, "batch_size": 2, "encoder_weights": "none", "threads": 1, **SMALL}
        config = TrainingConfig(epochs=epochs, **(small | changes))
        return runs.create(store, project.id, version.id, config, "test")

    return queued


def trained(store: Store, run: Run) -> Run:
    code, done = carry_out(store, run)
    check_succeeded(code, done)
    return done


def pictured(store: Store, run: Run, epoch: int) -> set[str]:
    """Give the photos with pictures of an epoch, once it is sure that all photos were measured."""
    assert len(runs.records(store, run.id, epoch)) == VALID
    return set(runs.picture_keys(store, run.id, epoch))


def picture_files(store: Store, run: Run) -> set[str]:
    return {key for key, _ in store.blobs.list(f"{run_folder(run.id)}/predictions")}


def analysed(store: Store, run: Run) -> dict[str, object]:
    return HANDLERS["analyse"](store, analysis.analyse(store, run, 1), lambda _share, _message: None)


def test_some_photos_get_pictures_and_all_are_measured(store: Store, queue: QueueRun) -> None:
    some, everything = (trained(store, queue(pictures=number)) for number in (3, 500))

    named = [key for keys in runs.picture_keys(store, some.id, 1).values() for key in keys]
    assert len(pictured(store, some, 1)) == 3 and len(named) == 2 * 3
    assert picture_files(store, some) == set(named)
    assert len(pictured(store, everything, 1)) == VALID
    figures = [runs.epochs(store, run.id)[-1].metrics["val_miou_foreground"] for run in (some, everything)]
    assert figures[0] == figures[1]
    for ours, theirs in zip(*(runs.records(store, run.id, 1) for run in (some, everything)), strict=True):
        np.testing.assert_array_equal(ours.confusion, theirs.confusion)


def test_runs_of_other_seeds_show_the_same_photos_and_each_class(
    store: Store, queue: QueueRun, items: list[VersionItem]
) -> None:
    first, second = (trained(store, queue(pictures=3, seed=seed)) for seed in (0, 7))

    chosen = pictured(store, first, 1)
    assert pictured(store, second, 1) == chosen
    scratch, undamaged = items[-2], items[-1]
    assert {scratch.image_id, undamaged.image_id} < chosen


def test_without_pictures_all_is_measured_and_nothing_kept(store: Store, queue: QueueRun) -> None:
    run = trained(store, queue(pictures=0))

    assert pictured(store, run, 1) == picture_files(store, run) == set()
    assert runs.epochs(store, run.id)[0].metrics["val_loss"] is not None
    with pytest.raises(NotFound, match="No pictures were kept of epoch 1"):
        analysed(store, run)
    card = model_card.build(store, run, 1)
    assert (card.best_examples, card.worst_examples, card.pictures_missing) == ((), (), 0)
    assert storage_need.picture_size(store, [run]) is None


def killed_after_an_epoch(store: Store, queue: QueueRun, moments: Moments, pictures: int) -> Run:
    def kill() -> None:
        raise Killed

    moments.before(kill, epoch=2, batch=2)  # the first epoch's rows are written by then
    return carry_out_until_killed(store, queue(2, pictures=pictures))


def test_a_run_that_goes_on_stays_with_its_photos(store: Store, queue: QueueRun, moments: Moments) -> None:
    run = killed_after_an_epoch(store, queue, moments, pictures=3)
    assert run.epochs_done == 1

    check_succeeded(*carry_out(store, run))

    assert pictured(store, run, 1) == pictured(store, run, 2)
    assert len(picture_files(store, run)) == 2 * 2 * 3, "nothing of the killed attempt is left"


def test_a_run_of_a_program_that_kept_all_pictures_goes_on_so(
    store: Store, queue: QueueRun, moments: Moments
) -> None:
    run = killed_after_an_epoch(store, queue, moments, pictures=3)
    prediction, confidence = next(iter(runs.picture_keys(store, run.id, 1).values()))
    folder, as_by_older = prediction.rsplit("/", 1)[0], []
    for record in runs.records(store, run.id, 1):
        keys = f"{folder}/{record.image_id}.png", f"{folder}/{record.image_id}_confidence.png"
        for key, source in zip(keys, (prediction, confidence), strict=True):
            store.blobs.put(key, store.blobs.get(source))
        as_by_older.append(runs.ImageRecord(record.image_id, record.confusion, *keys))
    runs.set_records(store, run.id, 1, "valid", as_by_older)

    check_succeeded(*carry_out(store, run))

    assert len(pictured(store, run, 1)) == len(pictured(store, run, 2)) == VALID


def test_measuring_an_epoch_anew_does_not_widen_what_the_next_ones_keep(
    store: Store, queue: QueueRun, moments: Moments
) -> None:
    run = killed_after_an_epoch(store, queue, moments, pictures=3)
    began_with = pictured(store, run, 1)
    job = evaluation.evaluate(store, run, 1, "valid")
    HANDLERS["evaluate"](store, job, lambda _share, _message: None)
    assert len(pictured(store, run, 1)) == VALID

    check_succeeded(*carry_out(store, run))

    assert pictured(store, run, 2) == began_with


def test_photos_without_pictures_are_listed_last_and_can_be_predicted(store: Store, queue: QueueRun) -> None:
    run = trained(store, queue(2, pictures=2))
    chosen = pictured(store, run, 1)

    scores = evaluation.image_scores(store, run, 1)

    assert [score.has_pictures for score in scores] == [True] * 2 + [False] * (VALID - 2)
    assert {score.image_id for score in scores[:2]} == chosen
    bare = scores[-1].image_id
    shown = evaluation.epoch_pictures(store, run, bare)
    assert [(p.epoch, p.prediction_link, p.confidence_link) for p in shown] == [(1, "", ""), (2, "", "")]
    others = {image.id for image in evaluation.labelled_images(store, run, run.project_id)}
    assert others & {score.image_id for score in scores} == {score.image_id for score in scores[2:]}
    assert evaluation.look(store, run, 2, bare).picture.prediction_link


def test_errors_and_examples_are_of_the_photos_with_pictures(store: Store, queue: QueueRun) -> None:
    run = trained(store, queue(pictures=3))

    result = analysed(store, run)

    assert (result["photos"], result["skipped"], result["unpictured"]) == (3, 0, VALID - 3)
    found = unpack(store.blobs.get(str(result["analysis"])))
    assert {counts.image_id for counts in found.images} == pictured(store, run, 1)
    assert (found.skipped, found.unpictured) == ((), VALID - 3)
    card = model_card.build(store, run, 1)
    assert len(card.best_examples) + len(card.worst_examples) <= 3 and card.pictures_missing == 0
    assert [measured.photos for measured in card.measured] == [VALID]


def test_a_next_run_takes_about_what_was_said(
    store: Store, queue: QueueRun, items: list[VersionItem]
) -> None:
    first = trained(store, queue(2, pictures=2))
    run = queue(3, pictures=4, seed=1)
    valid = [item for item in items if item.split == "valid"]
    size = storage_need.picture_size(store, [run, first])
    assert size is not None and size.like == first.name

    said = storage_need.need(store, run.config, valid, size).pictures

    assert (said.photos, said.of, said.epochs) == (4, VALID, 3)
    trained(store, run)
    real = sum(store.blobs.size(key) for key in picture_files(store, run))
    assert real / 2 < said.total_bytes < 2 * real


def test_what_is_said_of_real_photos_is_near_the_truth(
    store: Store, project: Project, moments: Moments, shared_data: Path
) -> None:
    items: list[VersionItem] = []
    for number, path in enumerate(sorted((shared_data / "car_damage" / "valid").glob("*.jpg"))[:12]):
        image = add_photo(store, project.id, path.name, path.read_bytes())
        corners = ((100.0, 100.0), (300.0, 100.0), (300.0, 250.0), (100.0, 250.0))
        drawn = [Annotation("a", 1, (PolygonOp(corners),))]
        annotations.save(store, image.id, drawn, base_rev=0, state=ImageState.DONE)
        items.append(VersionItem(image.id, image.sha256, 1, "train" if number < 6 else "valid"))
    version = versions.freeze(store, project.id, project.categories, items)
    small = {"size": 64, "batch_size": 2, "encoder_weights": "none", "threads": 1, "pictures": 5, **SMALL}
    configs = [TrainingConfig(epochs=2, seed=seed, **small) for seed in (0, 1)]

    size, said, real = None, [], []
    for config in configs:
        said.append(storage_need.need(store, config, version.split("valid"), size).pictures.total_bytes)
        run = trained(store, runs.create(store, project.id, version.id, config, "real"))
        real.append(sum(store.blobs.size(key) for key in picture_files(store, run)))
        size = storage_need.picture_size(store, [run])

    assert real[0] <= said[0], "an upper guess, before anything was measured"
    assert real[1] / 2 < said[1] < 2 * real[1], (said, real)


@pytest.mark.acceptance
def test_processes_of_a_team_agree_on_the_photos(
    store: Store, project: Project, items: list[VersionItem], workers: Workers
) -> None:
    version = versions.freeze(store, project.id, projects.get(store, project.id).categories, items)
    config = TrainingConfig(
        epochs=2, size=64, batch_size=4, encoder_weights="none", threads=1, devices=2, pictures=3
    )
    run = runs.create(store, project.id, version.id, config, "team")

    assert workers.start("once=True").wait(240) == 0

    done = runs.get(store, run.id)
    assert done.state is WorkState.SUCCEEDED, done.error
    assert len(pictured(store, run, 1)) == 3 and pictured(store, run, 1) == pictured(store, run, 2)
    assert len(picture_files(store, run)) == 2 * 2 * 3
