"""Two worker machines that share a PostgreSQL database and an S3 bucket: two homes, two names."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from core.domain.runs import Run
from core.domain.training import TrainingConfig
from core.storage import projects, runs, versions
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.launching import ROOT
from tests.storage.servers import S3, Postgres
from tests.worker.builders import SERVE, add_labelled_photo
from tests.worker.conftest import SPLITS

MACHINES = ("alder", "birch")
SMALL = {"size": 64, "batch_size": 2, "encoder_weights": "none", "threads": 1, "keep": "best:1"}


@dataclass
class Team:
    """What the machines share, and the workers started on them. ``store`` is the web machine's."""

    store: Store
    folder: Path
    postgres: Postgres
    s3: S3
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, machine: str) -> dict[str, str]:
        """Give the variables of a worker there; it has a home of its own."""
        return {
            **os.environ,
            "MASKWRIGHT_HOST": machine,
            "MASKWRIGHT_HOME": str(self.folder / machine),
            "MASKWRIGHT_DATABASE_URL": self.store.engine.url.render_as_string(hide_password=False),
            "MASKWRIGHT_BLOBS": self.store.blobs.url,
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def start_worker(self, machine: str) -> None:
        home = self.folder / machine
        home.mkdir(exist_ok=True)
        with (home / "worker.log").open("ab") as log:
            self.workers[machine] = subprocess.Popen(
                [sys.executable, "-c", SERVE.format(options="")],
                cwd=ROOT,
                env=self.environment(machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def queue(self, epochs: int) -> Run:
        """Queue a training on the photos of the project."""
        (project,) = projects.list_all(self.store)
        with self.store.read() as connection:
            version = connection.execute(sa.text("SELECT id FROM data_version")).scalar_one()
        return runs.create(self.store, project.id, version, TrainingConfig(epochs=epochs, **SMALL), "shared")

    def logs(self) -> str:
        """Give all that was said, for a failing test's message."""
        return "\n".join(path.read_text() for path in sorted(self.folder.rglob("*.log")))


@contextmanager
def gathered(folder: Path, postgres: Postgres, database_url: str, s3: S3) -> Generator[Team]:
    """Open the shared store with a project of drawn photos; stop all that was started at the end."""
    settings = Settings(home=folder / "web", database_url=database_url, blobs=s3.make_bucket())
    store = open_store(settings)
    project = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, project.id, "dent")
    project = projects.get(store, project.id)
    items = [add_labelled_photo(store, project, number, split) for number, split in enumerate(SPLITS)]
    versions.freeze(store, project.id, project.categories, items)
    team = Team(store, folder, postgres, s3)
    try:
        yield team
    finally:
        for worker in team.workers.values():
            worker.kill()
            worker.wait()
        kill_processes_of(folder)
        store.engine.dispose()


def kill_processes_of(folder: Path, machine: str = "") -> None:
    """Kill what works for one of the machines, or for any of them: a power cut there."""
    mark = f"MASKWRIGHT_HOME={folder / machine}".encode()
    for path in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if mark in (path / "environ").read_bytes() and int(path.name) != os.getpid():
                os.kill(int(path.name), signal.SIGKILL)
