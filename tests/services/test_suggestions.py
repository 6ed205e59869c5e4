"""Suggestions on the canvas: from the exported champion at once, else by a worker's job; every refusal."""

import numpy as np
import pytest

from core.domain.errors import AppError, FormatError, ImageError, NotFound
from core.domain.labels import ImageState
from core.domain.runs import Run, WorkState
from core.imaging.masks import rasterise
from core.inference.outputs import Outputs, outputs_to_npz
from core.services import suggestions
from core.services.suggestions import NO_CHAMPION, NOTHING_FOUND, Suggestions, Waiting
from core.storage import annotations, images, jobs, lifecycle, processes, projects, runs, tables
from core.storage.lifecycle import JOBS, Room
from core.storage.store import Store
from tests.builders import project_with, square
from tests.inference.exported import BLUE, RED, painted
from tests.services.championed import add_painted, crown

SIZE_WH = (640, 480)
DENT, SCRATCH = 1, 2
LEFT, OTHER = (8, 16, 28, 48), (44, 8, 60, 20)
PHOTO = painted(SIZE_WH, (RED, LEFT), (BLUE, OTHER))


def test_the_champions_prediction_comes_as_annotations_and_nothing_is_saved(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = crown(store, project)
    image = add_painted(store, project, "door.png", PHOTO)

    found = suggestions.for_photo(store, image.id)

    assert isinstance(found, Suggestions)
    assert [a.category_id for a in found.annotations] == [DENT, SCRATCH]
    assert all(a.is_suggestion and a.author == f"{run.name}, epoch 1" for a in found.annotations)
    assert rasterise(found.annotations[0].ops, (480, 640))[240, 180]
    assert found.said == ()
    assert images.get(store, image.id).rev == 0
    answer = suggestions.to_json(found)
    assert [value["source"] for value in answer["annotations"]] == ["suggested", "suggested"]


def test_what_people_drew_stays_and_old_suggestions_do_not_hide_new_ones(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    crown(store, project)
    image = add_painted(store, project, "door.png", PHOTO)
    first = suggestions.for_photo(store, image.id)
    assert isinstance(first, Suggestions)
    mine = square(DENT, 440, 60, 160)
    annotations.save(store, image.id, [mine, *first.annotations], base_rev=0, state=ImageState.IN_PROGRESS)

    found = suggestions.for_photo(store, image.id)

    assert isinstance(found, Suggestions)
    assert [a.category_id for a in found.annotations] == [DENT]
    assert found.said == ("Left out: one region on what is drawn already.",)


def test_where_the_champion_finds_nothing_that_is_said(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    crown(store, project)

    found = suggestions.for_photo(store, add_painted(store, project, "plain.png", painted(SIZE_WH)).id)

    assert found == Suggestions((), (NOTHING_FOUND,))


def test_classes_that_came_or_went_since_are_named(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    crown(store, project)
    image = add_painted(store, project, "door.png", PHOTO)
    with store.write() as connection:
        projects.add_category(connection, project.id, "rust")
        projects.remove_category(connection, project.id, SCRATCH)

    found = suggestions.for_photo(store, image.id)

    assert isinstance(found, Suggestions)
    assert [a.category_id for a in found.annotations] == [DENT]
    assert found.said == (
        "Left out: “scratch”, which the project has no more.",
        "The champion does not know “rust”.",
    )


def test_without_a_champion_there_is_a_reason(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    image = add_painted(store, project, "door.png", PHOTO)

    assert suggestions.trouble(store, project.id) == NO_CHAMPION
    with pytest.raises(NotFound, match="no champion yet"):
        suggestions.for_photo(store, image.id)
    with pytest.raises(NotFound, match="no champion yet"):
        suggestions.start_for_queue(store, project.id)

    crown(store, project)
    assert suggestions.trouble(store, project.id) == ""


def test_a_deleted_photo_a_damaged_one_and_a_dot(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    crown(store, project)
    gone, damaged = (add_painted(store, project, f"{i}.png", PHOTO[:, i:]) for i in (1, 2))
    dot = add_painted(store, project, "dot.png", np.array([[RED]], np.uint8))
    images.delete(store, [gone.id])
    store.blobs.put(images.photo_key(damaged.sha256, "original"), b"no photo")

    with pytest.raises(NotFound, match="does not exist any more"):
        suggestions.for_photo(store, gone.id)
    with pytest.raises(ImageError):
        suggestions.for_photo(store, damaged.id)
    found = suggestions.for_photo(store, dot.id)
    assert isinstance(found, Suggestions)
    assert rasterise(found.annotations[0].ops, (1, 1)).all()


def test_a_damaged_export_is_told_of_and_a_missing_one_is_made_again(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = crown(store, project)
    store.blobs.put(f"runs/{run.id}/x.pt", b"weights")
    image = add_painted(store, project, "door.png", PHOTO)
    key = runs.onnx_key(store, run.id, 1)
    assert key is not None
    store.blobs.put(key, b"no model")

    with pytest.raises(FormatError, match="damaged"):
        suggestions.for_photo(store, image.id)

    store.blobs.delete(key)
    waiting = suggestions.for_photo(store, image.id)
    assert isinstance(waiting, Waiting)
    assert waiting.message == "The champion is being prepared for predictions. No worker is running."
    exports = jobs.list_of(store, project.id, kind="export")
    assert exports[0].payload == {"run_id": run.id, "epoch": 1}

    fail_next(store, "The checkpoint is damaged.")
    with pytest.raises(AppError, match="The checkpoint is damaged"):
        suggestions.for_photo(store, image.id, is_again=True)


def fail_next(store: Store, reason: str) -> None:
    """Carry out all jobs that wait with a failure."""
    while lifecycle.has_queued(store, JOBS):
        claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
        assert claim is not None
        lifecycle.start(store, JOBS, claim, processes.this_process())
        lifecycle.fail(store, JOBS, claim, reason)


@pytest.fixture
def unexported(store: Store) -> tuple[Run, str]:
    """A champion that cannot be exported, and a photo."""
    project = project_with(store, "dent", "scratch")
    run = crown(store, project)
    runs.set_export_refusal(store, run.id, 1, "It cannot be written as ONNX.")
    with store.write() as connection:
        connection.execute(tables.epoch.update().values(onnx=None))
    fail_next(store, "promoting queued an export")
    return run, add_painted(store, project, "door.png", PHOTO).id


def test_a_champion_that_cannot_be_exported_is_asked_through_a_worker(
    store: Store, unexported: tuple[Run, str]
) -> None:
    _, image_id = unexported

    first, second = (suggestions.for_photo(store, image_id, is_again=again) for again in (False, True))

    assert isinstance(first, Waiting) and first == second
    (job,) = [job for job in jobs.waiting(store) if job.kind == "predict"]
    pixels = np.load(store.blobs.local(job.payload["image"]))
    red, green, blue = pixels
    logits = np.stack([0 * red, 4 * (red - green) - 1, 4 * (blue - green) - 1])
    store.blobs.put(job.payload["outputs"], outputs_to_npz(Outputs(logits)))

    found = suggestions.for_photo(store, image_id, is_again=True)

    assert isinstance(found, Suggestions)
    assert [a.category_id for a in found.annotations] == [DENT, SCRATCH]
    assert store.blobs.list(f"predictions/{job.payload['run_id']}/exchange") == []


def test_a_workers_failure_is_told_once_and_the_next_question_tries_anew(
    store: Store, unexported: tuple[Run, str]
) -> None:
    _, image_id = unexported
    assert isinstance(suggestions.for_photo(store, image_id), Waiting)
    fail_next(store, "The checkpoint is damaged.")

    with pytest.raises(AppError, match="The checkpoint is damaged"):
        suggestions.for_photo(store, image_id, is_again=True)
    assert isinstance(suggestions.for_photo(store, image_id), Waiting)
    assert [job.kind for job in jobs.waiting(store)] == ["predict"]


def test_the_queue_is_filled_by_one_job(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = crown(store, project)

    first, second = (suggestions.start_for_queue(store, project.id) for _ in range(2))

    assert first.id == second.id and first.state is WorkState.QUEUED
    assert first.payload == {
        "project_id": project.id,
        "run_id": run.id,
        "epoch": 1,
        "limit": suggestions.MAX_PHOTOS,
    }
