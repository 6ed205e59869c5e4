"""What is said before a run starts about what it will keep, held against what runs do keep."""

from dataclasses import replace

import pytest

from core.domain.images import Project
from core.domain.presets import PRESETS
from core.domain.runs import Run
from core.domain.training import VersionItem
from core.services import every_epoch, storage_need, training
from core.services.storage_need import PictureSize
from core.storage import projects, runs, workers
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.trained import finish_run
from tests.services.reported import worker_report

CONFIG = replace(PRESETS["fast"].config, epochs=10, keep="best:1")


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


@pytest.fixture
def run(store: Store, project: Project) -> Run:
    """A finished run of three epochs with two photos in valid."""
    return finish_run(store, project, epochs=3)


def valid_of(store: Store, run: Run) -> tuple[VersionItem, ...]:
    return training.data_version(store, run).split("valid")


def test_pictures_are_as_large_as_those_of_the_newest_run_that_has_some(
    store: Store, project: Project, run: Run
) -> None:
    bare = training.start_run(store, project.id, CONFIG)
    real = [
        sum(store.blobs.size(key) for key in keys)
        for epoch in (1, 2, 3)
        for keys in runs.picture_keys(store, run.id, epoch).values()
    ]

    size = storage_need.picture_size(store, [bare, run])

    assert size == PictureSize(sum(real) / len(real), run.name)
    need = storage_need.need(store, CONFIG, valid_of(store, run), size).pictures
    assert (need.photos, need.of, need.epochs, need.like) == (2, 2, 10, run.name)
    assert need.total_bytes == round(2 * 10 * size.each_bytes)


@pytest.mark.parametrize(("pictures", "photos"), [(0, 0), (1, 1), (2, 2), (500, 2)])
def test_no_more_photos_count_than_get_pictures(store: Store, run: Run, pictures: int, photos: int) -> None:
    config = replace(CONFIG, pictures=pictures)

    need = storage_need.need(store, config, valid_of(store, run), PictureSize(100, "x")).pictures

    assert (need.photos, need.total_bytes) == (photos, photos * 10 * 100)


def test_pictures_deleted_by_hand_are_not_measured(store: Store, run: Run) -> None:
    for epoch in (1, 2, 3):
        for keys in runs.picture_keys(store, run.id, epoch).values():
            store.blobs.delete(keys[1])

    assert storage_need.picture_size(store, [run]) is None


def test_without_an_earlier_run_the_photos_sizes_say_it(store: Store, project: Project) -> None:
    item = [VersionItem(i.id, i.sha256, i.rev, "valid") for i in (add_image(store, project, 1, square(1)),)]

    need = storage_need.need(store, CONFIG, item, None).pictures

    assert need.like == ""
    assert need.each_bytes == storage_need.MOST_BYTES_PER_PIXEL * 96 * 64
    assert storage_need.need(store, CONFIG, [], None).pictures.total_bytes == 0


def test_the_disk_is_tight_when_both_together_nearly_fill_it(store: Store, run: Run) -> None:
    valid = valid_of(store, run)
    half = PictureSize(0.5 * 10**9 / 2 / CONFIG.epochs, "x")  # 500 MB for two photos
    assert not storage_need.need(store, CONFIG, valid, half).is_tight, "nobody said what is free"
    workers.report(store, worker_report("desk", usage={"free_disk_bytes": 600_000_000}))
    assert not storage_need.need(store, CONFIG, valid, half).is_tight
    workers.report(store, worker_report("desk", usage={"free_disk_bytes": 550_000_000}))

    assert storage_need.need(store, CONFIG, valid, half).is_tight
    assert not storage_need.need(store, replace(CONFIG, pictures=1), valid, half).is_tight


def test_a_test_of_a_run_without_pictures_is_announced_by_the_photos_sizes(store: Store, run: Run) -> None:
    add_image(store, projects.get(store, run.project_id), 8, square(1), split="test")
    again = training.start_run(store, run.project_id, CONFIG)
    tested = replace(run, data_version_id=again.data_version_id)
    measured = every_epoch.need(store, tested)
    for epoch in (1, 2, 3):
        bare = [replace(r, prediction="", confidence="") for r in runs.records(store, run.id, epoch)]
        runs.set_records(store, run.id, epoch, "valid", bare)

    need = every_epoch.need(store, tested)

    assert (need.epochs, need.images) == (measured.epochs, 1)
    assert 0 < measured.bytes < need.bytes == round(3 * storage_need.MOST_BYTES_PER_PIXEL * 96 * 64)
