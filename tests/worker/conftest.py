"""A home with a few drawn photos, and real worker processes that end with the test."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from core.domain.images import Project
from core.domain.labels import Split
from core.domain.runs import Run
from core.domain.training import TrainingConfig
from core.storage import lifecycle, processes, projects, reservations, runs, versions
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.processes import stop
from tests.worker.builders import Workers, add_labelled_photo
from tests.worker.small_runs import Moments, know_small_parts

SPLITS: tuple[Split, ...] = ("train",) * 6 + ("valid",) * 2 + ("test",)


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    """An empty home on SQLite; whatever its rows still run when the test ends is killed."""
    opened = open_store(Settings(home=tmp_path / "home", database_url="", blobs=""))
    yield opened
    for table in (lifecycle.RUNS, lifecycle.JOBS):
        owned = [
            *lifecycle.active(opened, table),
            *reservations.left_behind(opened, table, processes.this_host()),
        ]
        for work in owned:
            if work.process and work.process.pid != os.getpid():
                stop(work.process, 0)
    opened.engine.dispose()


@pytest.fixture
def project(store: Store) -> Project:
    """A project with one category."""
    created = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, created.id, "dent")
    return projects.get(store, created.id)


@pytest.fixture
def queue_run(store: Store, project: Project) -> Callable[..., Run]:
    """Queue a training of a small network on nine drawn photos: six to train on, two, and one."""
    items = [add_labelled_photo(store, project, number, split) for number, split in enumerate(SPLITS)]
    version = versions.freeze(store, project.id, project.categories, items)

    def queue(epochs: int = 2, **changes: object) -> Run:
        small = {"size": 64, "batch_size": 2, "encoder_weights": "none", "threads": 1}
        config = TrainingConfig(epochs=epochs, **(small | changes))
        return runs.create(store, project.id, version.id, config, "test")

    return queue


@pytest.fixture
def workers(store: Store) -> Generator[Workers]:
    """Starts workers, and kills them when the test ends."""
    started = Workers(store)
    yield started
    for process in started.started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    """A small network, and a loss that lets the test act in mid-training (see SMALL)."""
    return know_small_parts(monkeypatch)
