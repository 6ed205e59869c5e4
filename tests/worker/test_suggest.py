"""Jobs that use a champion on photos nobody labelled: suggestions for all, and how doubted each one is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import Cancelled, NotFound
from core.domain.images import Image, Project
from core.domain.labels import Annotation, ImageState, PolygonOp
from core.domain.runs import Job, Run
from core.domain.training import TrainingConfig
from core.imaging.masks import rasterise
from core.imaging.reading import content_sha256, prepare_photo
from core.inference.suggest import model_name
from core.inference.usefulness import scores_key, unpack
from core.models.registry import MODELS, ModelSpec
from core.services import evaluation, next_useful, suggestions
from core.services.suggestions import Suggestions, Waiting
from core.storage import annotations, images, jobs, lifecycle, projects, runs, versions
from core.storage.store import Store
from core.worker import suggest, usefulness
from core.worker.handlers import HANDLERS
from tests.builders import empty_store
from tests.worker.builders import add_labelled_photo, photo_bytes
from tests.worker.conftest import SPLITS
from tests.worker.small_runs import SMALL, carry_out, check_succeeded, know_small_parts
from tests.worker.test_predict import _build_stubborn, serving

QUICK = {"encoder_learning_rate": 0.01, "decoder_learning_rate": 0.01, "size": 64, "batch_size": 2}
EPOCHS = 12


def silent(share: float, message: str) -> None:
    """Say nothing."""


def train_champion(store: Store, epochs: int, **parts: object) -> Run:
    """Train a small network on dark squares, really, and make its last epoch the champion."""
    created = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, created.id, "dent")
    project = projects.get(store, created.id)
    items = [add_labelled_photo(store, project, number, split) for number, split in enumerate(SPLITS)]
    version = versions.freeze(store, project.id, project.categories, items)
    settings = {**SMALL, **QUICK, "encoder_weights": "none", "threads": 1, **parts}
    config = TrainingConfig(epochs=epochs, **settings)
    code, run = carry_out(store, runs.create(store, project.id, version.id, config, "test"))
    check_succeeded(code, run)
    evaluation.promote(store, run, epochs)
    return run


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with such a champion, exported, to copy."""
    home = tmp_path_factory.mktemp("trained") / "home"
    store = empty_store(home)
    with pytest.MonkeyPatch.context() as patch:
        know_small_parts(patch)
        train_champion(store, EPOCHS)
    store.engine.dispose()
    return home


@pytest.fixture
def store(trained_home: Path, tmp_path: Path) -> Store:
    """A copy of that home."""
    return empty_store(shutil.copytree(trained_home, tmp_path / "home"))


@pytest.fixture
def trained(store: Store) -> Run:
    """The champion's run."""
    return runs.list_of(store)[0]


@pytest.fixture
def project(store: Store, trained: Run) -> Project:
    """Its project."""
    return projects.get(store, trained.project_id)


def add_new(store: Store, project: Project, number: int) -> Image:
    """Add a photo with a dark square that nobody labelled."""
    data = photo_bytes(number, seed=1)
    sha256, photo = content_sha256(data), prepare_photo(data)
    images.keep_files(store, sha256, data, photo)
    with store.write() as connection:
        image_id = images.add(connection, project.id, sha256, photo, name=f"new_{number}.jpg", split=None)
    return images.get(store, image_id)


def job_of(store: Store, kind: str, project: Project) -> Job:
    start = suggestions.start_for_queue if kind == "suggest" else next_useful.prepare
    job = start(store, project.id)
    assert job.kind == kind and kind in HANDLERS
    return job


def test_unlabelled_photos_are_filled_with_what_the_trained_champion_sees(
    store: Store, project: Project, trained: Run
) -> None:
    new = [add_new(store, project, number) for number in range(3)]
    drawn = Annotation("mine", 1, (PolygonOp(((1, 1), (9, 1), (9, 9))),))
    annotations.save(store, new[2].id, [drawn], base_rev=0, state=ImageState.IN_PROGRESS)

    result = suggest.handle(store, job_of(store, "suggest", project), silent)

    assert result == {"photos": 2, "filled": 2, "skipped": 0, "left": 0}
    for number, image in enumerate(new[:2]):
        now = images.get(store, image.id)
        assert (now.state, now.rev, now.annotation_count) == (ImageState.UNLABELLED, 1, 0)
        assert now.suggestion_count >= 1
        assert now.author == model_name(trained.name, trained.epochs_done)
        found = rasterise(annotations.current(store, image.id).annotations[0].ops, (72, 96))
        square = np.zeros((72, 96), np.bool_)
        square[20:50, 8 + 6 * number : 38 + 6 * number] = True
        assert (found & square).sum() / (found | square).sum() > 0.8
    untouched = annotations.current(store, new[2].id)
    assert untouched.rev == 1 and untouched.annotations == (drawn,)


def test_the_job_goes_on_where_it_was_broken_off_and_leaves_rejections_alone(
    store: Store, project: Project, trained: Run
) -> None:
    new = [add_new(store, project, number) for number in range(3)]
    job = job_of(store, "suggest", project)
    told: list[str] = []

    def stop_after_one(share: float, message: str) -> None:
        told.append(message)
        if message == "1 of 3 photos":
            raise Cancelled

    with pytest.raises(Cancelled):
        suggest.handle(store, job, stop_after_one)
    assert [images.get(store, image.id).rev for image in new] == [1, 0, 0]
    assert told[1:] == ["0 of 3 photos", "1 of 3 photos"]

    annotations.save(store, new[1].id, [], base_rev=0, state=ImageState.UNLABELLED)  # all rejected
    assert suggest.handle(store, job, silent)["photos"] == 1
    assert [images.get(store, image.id).rev for image in new] == [1, 1, 1]
    assert suggest.handle(store, job, silent)["photos"] == 0


def test_a_limit_bounds_the_job_and_bad_photos_are_skipped(
    store: Store, project: Project, trained: Run
) -> None:
    damaged, gone, fine, beyond = (add_new(store, project, number) for number in range(4))
    store.blobs.put(images.photo_key(damaged.sha256, "original"), b"no photo")
    store.blobs.delete(images.photo_key(gone.sha256, "original"))
    job = job_of(store, "suggest", project)
    job.payload["limit"] = 3

    result = suggest.handle(store, job, silent)

    assert result == {"photos": 3, "filled": 1, "skipped": 2, "left": 1}
    assert images.get(store, fine.id).suggestion_count and images.get(store, beyond.id).rev == 0


def test_suggestions_of_an_older_champion_are_replaced(
    store: Store, project: Project, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_small_parts(monkeypatch)  # the other epoch is still to be exported
    image = add_new(store, project, 0)
    suggest.handle(store, job_of(store, "suggest", project), silent)
    evaluation.promote(store, trained, 11)

    assert suggest.handle(store, job_of(store, "suggest", project), silent)["filled"] == 1

    current = annotations.current(store, image.id)
    assert current.rev == 2
    assert {a.author for a in current.annotations} == {model_name(trained.name, 11)}


def test_suggestions_that_a_person_has_sorted_out_are_not_replaced(
    store: Store, project: Project, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_small_parts(monkeypatch)
    image = add_new(store, project, 0)
    suggest.handle(store, job_of(store, "suggest", project), silent)
    found = annotations.current(store, image.id).annotations
    twice = [*found, replace(found[0], id="second")]
    author = model_name(trained.name, trained.epochs_done)
    annotations.save(store, image.id, twice, base_rev=1, state=ImageState.UNLABELLED, author=author)
    annotations.save(store, image.id, found, base_rev=2, state=ImageState.UNLABELLED)  # one rejected
    evaluation.promote(store, trained, 11)

    assert suggest.handle(store, job_of(store, "suggest", project), silent)["photos"] == 0
    assert annotations.current(store, image.id).annotations == found


def test_photos_are_measured_once_for_each_champion_and_then_ordered(
    store: Store, project: Project, trained: Run
) -> None:
    new = [add_new(store, project, number) for number in range(3)]
    job = job_of(store, "score_unlabelled", project)

    first = usefulness.handle(store, job, silent)
    again = usefulness.handle(store, job, silent)

    assert first == {"measured": 12, "known": 0, "skipped": 0, "left": 0}, "three new ones, nine labelled"
    assert again == {"measured": 0, "known": 12, "skipped": 0, "left": 0}
    kept = unpack(store.blobs.get(scores_key(trained.id, trained.epochs_done)))
    assert {image.sha256 for image in new} <= set(kept)
    assert all(0 <= one.doubt <= 1 for one in kept.values())
    ids = [image.id for image in new]
    found = next_useful.order(store, project.id, ids)
    assert sorted(found.ids) == sorted(ids) and set(found.picks) == set(ids)


def test_measuring_goes_on_where_it_was_broken_off(store: Store, project: Project, trained: Run) -> None:
    new = [add_new(store, project, number) for number in range(3)]
    store.blobs.put(images.photo_key(new[0].sha256, "original"), b"no photo")
    job = job_of(store, "score_unlabelled", project)
    job.payload["labelled_limit"] = 0

    def stop_after_two(share: float, message: str) -> None:
        if message == "2 of 3 photos":
            raise Cancelled

    with pytest.raises(Cancelled):
        usefulness.handle(store, job, stop_after_two)

    result = usefulness.handle(store, job, silent)
    assert result == {"measured": 1, "known": 1, "skipped": 1, "left": 0}


def test_a_checkpoint_that_is_gone_is_a_sentence(store: Store, project: Project, trained: Run) -> None:
    add_new(store, project, 0)
    jobs_of_both = [job_of(store, kind, project) for kind in ("suggest", "score_unlabelled")]
    row = evaluation.epochs(store, trained.id)[-1]
    key = runs.onnx_key(store, trained.id, row.epoch)
    assert key is not None
    store.blobs.delete(key)
    store.blobs.delete(row.checkpoint)

    for job in jobs_of_both:
        with pytest.raises(NotFound):
            HANDLERS[job.kind](store, job, silent)


def test_a_champion_that_cannot_be_exported_suggests_through_workers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_small_parts(monkeypatch)
    monkeypatch.setitem(MODELS, "stubborn", ModelSpec("Stubborn", _build_stubborn, ("plain",)))
    store = empty_store(tmp_path / "other")
    run = train_champion(store, 6, model="stubborn")
    project = projects.get(store, run.project_id)
    image = add_new(store, project, 2)
    for job in jobs.waiting(store):
        HANDLERS[job.kind](store, job, silent)  # the export that promoting queued, and its refusal
        lifecycle.request_cancel(store, lifecycle.JOBS, job.id)

    with serving(store):
        assert isinstance(suggestions.for_photo(store, image.id), Waiting)
    on_canvas = suggestions.for_photo(store, image.id, is_again=True)
    suggest.handle(store, job_of(store, "suggest", project), silent)

    assert isinstance(on_canvas, Suggestions)
    in_queue = annotations.current(store, image.id).annotations
    assert [a.ops for a in on_canvas.annotations] == [a.ops for a in in_queue] != []
