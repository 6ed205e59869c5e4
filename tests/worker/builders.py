"""Drawn photos, waiting, and worker processes of their own."""

import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image as Picture

from core.domain.images import Project
from core.domain.labels import Annotation, ImageState, PolygonOp, Split
from core.domain.runs import Process
from core.domain.training import VersionItem
from core.imaging.reading import content_sha256, prepare_photo
from core.storage import annotations, images
from core.storage.lifecycle import Claim
from core.storage.store import Store
from core.worker.launching import ROOT, child_environment

SERVE = """
from core.storage.store import open_store
from core.worker.launching import Patience
from core.worker.supervisor import run_worker
run_worker(open_store(), patience=Patience(poll=0.1, cancel=1, terminate=1), {options})
"""


def photo_bytes(number: int, seed: int = 0) -> bytes:
    """Draw a light photo of 96 x 72 px with a dark square, as JPEG; each number and seed is another one."""
    pixels = np.full((72, 96, 3), 200, np.uint8)
    pixels[:, :, 0] += np.random.default_rng((number, seed)).integers(0, 20, (72, 96), dtype=np.uint8)
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


@dataclass
class Workers:
    """Worker processes of one home."""

    store: Store
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, options: str = "") -> subprocess.Popen[bytes]:
        """Start an impatient ``run_worker`` in a process of its own, with these keyword arguments."""
        return self._spawn([sys.executable, "-c", SERVE.format(options=options)])

    def carry_out(self, kind: str, claim: Claim) -> subprocess.Popen[bytes]:
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


def wait_until(is_true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to become true; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def halt(store: Store, process: Process) -> None:
    """Stop a process without ending it, but not inside a transaction: that locks all other writers out."""

    def is_halted() -> bool:
        os.kill(process.pid, signal.SIGSTOP)
        if _can_write(store):
            return True
        os.kill(process.pid, signal.SIGCONT)
        return False

    wait_until(is_halted)


def _can_write(store: Store) -> bool:
    database = store.engine.url.database
    if store.engine.dialect.name != "sqlite" or database is None:  # a server locks rows only
        return True
    connection = sqlite3.connect(database, timeout=1, isolation_level=None)
    try:
        connection.execute("begin immediate")
        connection.execute("rollback")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def kill(process: Process) -> None:
    """Kill a process that the store names."""
    os.kill(process.pid, signal.SIGKILL)
