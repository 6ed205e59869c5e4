"""A database that is of a newer version, or away: nobody dies of it, nothing is lost or begun twice."""

import dataclasses
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.images import ImageFilter, Project
from core.domain.runs import Job, Run, WorkState
from core.storage import images, jobs, lifecycle, processes, projects, reservations, workers
from core.storage.lifecycle import JOBS, Claim, Room
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.heartbeat import EXIT_OTHER_VERSION
from core.worker.launching import Patience
from core.worker.local import LocalLauncher
from core.worker.supervisor import LANES, OUTDATED, Supervisor, open_launchers, run_worker
from tests.storage.servers import Postgres, postgres_server
from tests.worker.builders import Workers, halt, photo_bytes, wait_until

pytestmark = pytest.mark.acceptance

PHOTOS = 100  # so that an import can be met under way
QUICK = Patience(poll=0.1, cancel=1, terminate=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos without labels."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        (folder / f"{number:03d}.jpg").write_bytes(photo_bytes(number % 8, seed=number))
    return folder


def queue_import(store: Store, project: Project, path: Path) -> Job:
    payload = {"path": str(path), "format": "photos", "project_id": project.id, "is_temporary": False}
    return jobs.create(store, "import", payload, project.id)


@pytest.fixture
def queued(store: Store, project: Project, photos: Path) -> Job:
    """An import of one photo that waits."""
    return queue_import(store, project, photos / "000.jpg")


def upgrade(store: Store) -> str:
    """Have a later program upgrade the database; gives the revision to go back to."""
    with store.write() as connection:
        former = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    return former


def set_revision(store: Store, revision: str) -> None:
    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :to"), {"to": revision})


def row_of(store: Store, table: sa.Table, work_id: str) -> dict[str, Any]:
    with store.read() as connection:
        return dict(connection.execute(sa.select(table).where(table.c.id == work_id)).mappings().one())


def claimed(store: Store, table: sa.Table) -> Claim:
    claim = lifecycle.claim(store, table, processes.this_host(), Room(1))
    assert claim is not None
    return claim


def kinds(store: Store, job: Job) -> list[str]:
    return [event.kind for event in lifecycle.events(store, [job.id])]


def state_of(store: Store, job: Job) -> WorkState:
    return jobs.get(store, job.id).state


@pytest.mark.parametrize("kind", ["run", "job"])
def test_a_process_of_an_older_program_refuses_and_touches_nothing(
    store: Store, queue_run: Callable[..., Run], queued: Job, workers: Workers, kind: str
) -> None:
    table = {"run": lifecycle.RUNS, "job": JOBS}[kind]
    queue_run()
    claim = claimed(store, table)
    upgrade(store)
    before = row_of(store, table, claim.work_id)

    process = workers.carry_out(kind, claim)

    assert process.wait(60) == EXIT_OTHER_VERSION
    assert row_of(store, table, claim.work_id) == before
    assert "belongs to another version of Maskwright" in (store.home / "test.log").read_text()


def test_work_that_an_older_program_refused_waits_for_a_newer_one(store: Store, queued: Job) -> None:
    launcher = LocalLauncher(store, LANES["job"], QUICK)
    claimed(store, JOBS)
    former = upgrade(store)
    (work,) = lifecycle.active(store, JOBS)

    launcher.launch(work)
    wait_until(lambda: launcher.watch() or state_of(store, queued) is not WorkState.DISPATCHED)
    refused = jobs.get(store, queued.id)
    set_revision(store, former)
    run_worker(store, once=True, patience=QUICK)

    assert refused.state is WorkState.QUEUED
    assert refused.error == "the database is of another version than the program that was to carry it out"
    assert state_of(store, queued) is WorkState.SUCCEEDED
    assert kinds(store, queued) == ["dispatched", "queued", "dispatched", "running", "succeeded"]


def test_an_older_worker_does_not_even_begin_and_says_what_to_do(store: Store, workers: Workers) -> None:
    upgrade(store)

    worker = workers.start("once=True")

    assert worker.wait(60) == 1
    said = (store.home / "test.log").read_text()
    assert "brought up to date by a newer version of Maskwright. Start that one." in said


def notes(store: Store) -> list[str]:
    return [worker.note for worker, _seconds in workers.list_all(store)]


def test_an_older_worker_takes_nothing_on_says_why_and_goes_on_when_the_versions_agree(
    store: Store, queued: Job
) -> None:
    launchers = open_launchers(store, list(LANES), QUICK)
    supervisor = Supervisor(store, launchers, dataclasses.replace(QUICK, report=0))
    former = upgrade(store)

    supervisor.round()
    seen, said = jobs.get(store, queued.id), notes(store)
    set_revision(store, former)
    wait_until(lambda: supervisor.round() and state_of(store, queued) is WorkState.SUCCEEDED)

    assert (seen.state, seen.attempt, said) == (WorkState.QUEUED, 0, [OUTDATED])
    assert notes(store) == [""]
    assert kinds(store, queued) == ["dispatched", "running", "succeeded"]


def halt_under_way(store: Store, job: Job) -> int:
    """Wait until the job runs, and stop its process in the middle; gives its number."""
    wait_until(lambda: state_of(store, job) is WorkState.RUNNING)
    (work,) = lifecycle.active(store, JOBS)
    assert work.process is not None
    halt(store, work.process)
    assert state_of(store, job) is WorkState.RUNNING
    return work.process.pid


def misses_of(store: Store) -> int:
    return (store.home / "test.log").read_text().count("The database is out of reach")


def rename(store: Store, name: str, to: str) -> None:
    with store.write() as connection:
        connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {to}"))


def test_a_worker_whose_database_is_away_for_a_while_starts_nothing_twice(
    store: Store, project: Project, photos: Path, workers: Workers
) -> None:
    under_way = queue_import(store, project, photos)
    worker = workers.start()
    pid = halt_under_way(store, under_way)
    waiting = [queue_import(store, project, photos / f"00{number}.jpg") for number in range(4)]

    rename(store, "job", "away")
    wait_until(lambda: misses_of(store) >= 5)
    rename(store, "away", "job")
    os.kill(pid, signal.SIGCONT)

    for job in (under_way, *waiting):
        wait_until(lambda job=job: state_of(store, job) is WorkState.SUCCEEDED)
        assert kinds(store, job) == ["dispatched", "running", "succeeded"]
    wait_until(lambda: reservations.left_behind(store, JOBS, processes.this_host()) == [])
    assert worker.poll() is None


@pytest.fixture
def postgres() -> Generator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def shared_store(postgres: Postgres, tmp_path: Path) -> Generator[Store]:
    """A store on a PostgreSQL server that can be stopped."""
    opened = open_store(Settings(home=tmp_path / "shared", database_url=f"{postgres.url}/postgres", blobs=""))
    yield opened
    opened.engine.dispose()


def skip_pauses(store: Store) -> None:
    """Have what an outage interrupted start again at once."""
    with store.write() as connection:
        connection.execute(sa.update(JOBS).values(not_before=None))


@pytest.mark.integration
def test_a_database_server_that_restarts_costs_neither_the_worker_nor_its_work(
    shared_store: Store, postgres: Postgres, photos: Path
) -> None:
    store, workers = shared_store, Workers(shared_store)
    project = projects.create(store, "Cars")
    under_way = queue_import(store, project, photos)
    worker = workers.start()
    try:
        pid = halt_under_way(store, under_way)
        waiting = queue_import(store, project, photos / "000.jpg")
        store.engine.dispose()
        postgres.stop()
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: misses_of(store) >= 3)
        postgres.start()
        wait_until(lambda: skip_pauses(store) or state_of(store, under_way) is WorkState.SUCCEEDED)
        wait_until(lambda: state_of(store, waiting) is WorkState.SUCCEEDED)

        for job in (under_way, waiting):
            done, happened = jobs.get(store, job.id), kinds(store, job)
            assert done.attempt == happened.count("dispatched") == happened.count("running")
        assert images.count(store, project.id, ImageFilter()) == PHOTOS
        assert worker.poll() is None
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
