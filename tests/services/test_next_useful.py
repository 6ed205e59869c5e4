"""The queue in the order in which labelling helps most, from what the champion measured."""

import numpy as np
import pytest

from core.domain.errors import NotFound
from core.domain.images import Image, Project
from core.domain.labels import ImageState
from core.domain.runs import Run
from core.inference.usefulness import Usefulness, pack, scores_key
from core.services import evaluation, next_useful
from core.services.next_useful import NOT_MEASURED
from core.services.suggestions import NO_CHAMPION
from core.storage import images
from core.storage.store import Store
from tests.builders import add_image, project_with
from tests.services.championed import crown


def keep(store: Store, run: Run, **known: tuple[Image, float, float]) -> None:
    """Keep what a champion would have measured: name=(photo, doubt, how it looks)."""
    measured = {
        image.sha256: Usefulness(doubt, np.full(96, look, np.float32), np.zeros(32, np.float32))
        for image, doubt, look in known.values()
    }
    store.blobs.put(scores_key(run.id, 1), pack(measured))


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


def add(store: Store, project: Project, seed: int, state: ImageState = ImageState.UNLABELLED) -> Image:
    return add_image(store, project, seed, state=state)


def test_doubted_and_unlike_photos_come_first_with_their_reason(store: Store, project: Project) -> None:
    run = crown(store, project)
    easy, hard, copy, other = (add(store, project, 20 + i) for i in range(4))
    finished = add(store, project, 30, ImageState.DONE)
    keep(
        store,
        run,
        easy=(easy, 0.05, 0.4),
        hard=(hard, 0.9, 0.9),
        copy=(copy, 0.8, 0.897),
        other=(other, 0.6, 0.5),
        finished=(finished, 0.9, 0.1),
    )
    ids = [image.id for image in (easy, hard, copy, other)]

    found = next_useful.order(store, project.id, ids)

    assert found.ids == (hard.id, other.id, easy.id, copy.id)
    assert found.trouble == "" and found.unmeasured == 0
    assert found.reason(hard.id) == "doubt 0.90, unlike the ones before"
    assert found.reason(copy.id) == "doubt 0.80, like the ones before"
    assert next_useful.order(store, project.id, ids[::-1]).ids == found.ids, "however they were sorted"


def test_unmeasured_photos_follow_and_then_the_finished_ones(store: Store, project: Project) -> None:
    run = crown(store, project)
    done, new, hard, rejected = (
        add(store, project, 20, ImageState.DONE),
        add(store, project, 21),
        add(store, project, 22),
        add(store, project, 23, ImageState.REJECTED),
    )
    keep(store, run, hard=(hard, 0.9, 0.9), done=(done, 0.99, 0.1), rejected=(rejected, 0.5, 0.2))
    ids = [image.id for image in (done, new, hard, rejected)]

    found = next_useful.order(store, project.id, ids)

    assert found.ids == (hard.id, rejected.id, new.id, done.id)
    assert found.unmeasured == 1
    assert found.reason(new.id) == found.reason(done.id) == ""


def test_what_was_deleted_or_is_unknown_stays_at_the_end(store: Store, project: Project) -> None:
    run = crown(store, project)
    gone, hard = add(store, project, 20), add(store, project, 21)
    keep(store, run, hard=(hard, 0.9, 0.9), gone=(gone, 0.95, 0.1))
    images.delete(store, [gone.id])

    assert next_useful.order(store, project.id, [gone.id, "unknown", hard.id]).ids == (
        hard.id,
        gone.id,
        "unknown",
    )


def test_without_a_champion_or_figures_the_queue_stays_as_it_is_and_says_why(
    store: Store, project: Project
) -> None:
    ids = [add(store, project, 20).id, add(store, project, 21).id]

    assert next_useful.order(store, project.id, ids) == next_useful.Order(tuple(ids), trouble=NO_CHAMPION)
    with pytest.raises(NotFound, match="no champion"):
        next_useful.prepare(store, project.id)

    run = crown(store, project)
    for damaged in (None, b"no archive"):
        if damaged:
            store.blobs.put(scores_key(run.id, 1), damaged)
        found = next_useful.order(store, project.id, ids)
        assert (found.ids, found.unmeasured, found.trouble) == (tuple(ids), 2, NOT_MEASURED)
    assert next_useful.order(store, project.id, []).trouble == ""


def test_the_job_that_measures_is_queued_once(store: Store, project: Project) -> None:
    run = crown(store, project)

    first, second = (next_useful.prepare(store, project.id) for _ in range(2))

    assert first.id == second.id and first.kind == "score_unlabelled"
    assert (first.payload["run_id"], first.payload["epoch"]) == (run.id, 1)
    assert evaluation.job(store, first.id).payload["limit"] == next_useful.MAX_PHOTOS
