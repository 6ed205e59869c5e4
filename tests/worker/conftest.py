"""A home with a few drawn photos, and real worker processes that end with the test."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from core.domain.images import Project
from core.domain.labels import Annotation, ImageState, PolygonOp, Split
from core.domain.runs import Process, Run
from core.domain.training import TrainingConfig, VersionItem
from core.imaging.reading import content_sha256, prepare_photo
from core.storage import annotations, images, lifecycle, processes, projects, runs, versions
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.processes import stop
from core.worker.supervisor import ROOT, child_environment

SPLITS: tuple[Split, ...] = ("train",) * 6 + ("valid",) * 2 + ("test",)


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    """An empty home on SQLite; whatever its rows still run when the test ends is killed."""
    opened = open_store(Settings(home=tmp_path / "home", database_url="", blobs=""))
    yield opened
    for table in (lifecycle.RUNS, lifecycle.JOBS):
        owned = [
            *lifecycle.active(opened, table),
            *lifecycle.left_behind(opened, table, processes.this_host()),
        ]
        for work in owned:
            if work.process:
                stop(work.process, 0)
    opened.engine.dispose()


@pytest.fixture
def project(store: Store) -> Project:
    """A project with one category."""
    created = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, created.id, "dent")
    return projects.get(store, created.id)


def photo_bytes(number: int) -> bytes:
    """Draw a light photo of 96 x 72 px with a dark square, as JPEG; each number is another one."""
    pixels = np.full((72, 96, 3), 200, np.uint8)
    pixels[:, :, 0] += np.random.default_rng(number).integers(0, 20, (72, 96), dtype=np.uint8)
    left = 8 + 6 * number
    pixels[20:50, left : left + 30] = (60, 20, 20)
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def add_labelled_photo(store: Store, project: Project, number: int, split: Split) -> VersionItem:
    """Add a photo with its square labelled."""
    data = photo_bytes(number)
    sha256, photo = content_sha256(data), prepare_photo(data)
    images.keep_files(store, sha256, data, photo)
    with store.write() as connection:
        image_id = images.add(connection, project.id, sha256, photo, name=f"{number}.jpg", split=split)
    left = 8.0 + 6 * number
    square = PolygonOp(((left, 20.0), (left + 30, 20.0), (left + 30, 50.0), (left, 50.0)))
    label = Annotation("a", project.categories[0].category_id, (square,))
    annotations.save(store, image_id, [label], base_rev=0, state=ImageState.DONE)
    return VersionItem(image_id, sha256, 1, split)


@pytest.fixture
def queue_run(store: Store, project: Project) -> Callable[..., Run]:
    """Queue a training of a small network on nine drawn photos: six to train on, two, and one."""
    items = [add_labelled_photo(store, project, number, split) for number, split in enumerate(SPLITS)]
    version = versions.freeze(store, project.id, project.categories, items)

    def queue(epochs: int = 2, **changes: object) -> Run:
        config = TrainingConfig(
            size=64, epochs=epochs, batch_size=2, encoder_weights="none", threads=1, **changes
        )
        return runs.create(store, project.id, version.id, config, "test")

    return queue


@dataclass
class Workers:
    """Worker processes of one home."""

    store: Store
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start ``run_worker`` in a process of its own."""
        code = (
            "import sys; from core.storage.store import open_store; "
            "from core.worker.supervisor import Patience, run_worker; "
            f"run_worker(open_store(), patience=Patience(poll=0.1, cancel=4, terminate=1), {', '.join(arguments)})"
        )
        return self._spawn([sys.executable, "-c", code])

    def carry_out(self, kind: str, claim: lifecycle.Claim) -> subprocess.Popen[bytes]:
        """Start the process of one claim, as a supervisor does."""
        words = [sys.executable, "-m", "core.worker", kind, claim.work_id, "--attempt", str(claim.attempt)]
        return self._spawn(words)

    def _spawn(self, words: list[str]) -> subprocess.Popen[bytes]:
        with (self.store.home / "test.log").open("ab") as log:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=child_environment(self.store),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process


@pytest.fixture
def workers(store: Store) -> Generator[Workers]:
    """Starts workers, and kills them when the test ends."""
    started = Workers(store)
    yield started
    for process in started.started:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_until(is_true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to become true; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def kill(process: Process) -> None:
    """Kill a process that the store names."""
    os.kill(process.pid, signal.SIGKILL)
