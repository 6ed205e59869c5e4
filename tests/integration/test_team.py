"""Two worker machines on one database and one bucket: nothing runs twice, no outage costs an epoch."""

import logging
import time
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.domain.runs import Run, WorkState
from core.services import training
from core.storage import lifecycle, runs, tables, workers
from core.storage.lifecycle import RUNS
from core.storage.sweep import LOST_AFTER_SECONDS
from tests.integration.team import MACHINES, Team, gathered, kill_processes_of
from tests.storage.servers import S3, postgres_server, s3_server
from tests.worker.builders import wait_until

pytestmark = pytest.mark.integration

PATIENCE = 400.0
OUTAGE_SECONDS = 20.0


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Generator[S3]:
    """An S3 server of our own, with keys for it in the environment."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with s3_server(monkeypatch) as server:
        yield server


@pytest.fixture
def team(tmp_path: Path, s3: S3) -> Generator[Team]:
    """Two machines, with a database server that may be stopped."""
    with postgres_server() as postgres:
        url = f"{postgres.url}/maskwright"
        server = sa.create_engine(
            f"{postgres.url}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with server.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE maskwright"))
        with gathered(tmp_path, postgres, url, s3) as team:
            yield team


def state_of(team: Team, run: Run) -> WorkState:
    return runs.get(team.store, run.id).state


def epochs_of(team: Team, run: Run) -> list[int]:
    return [epoch.epoch for epoch in runs.epochs(team.store, run.id)]


def kinds(team: Team, run: Run) -> list[str]:
    return [event.kind for event in lifecycle.events(team.store, [run.id])]


def test_two_machines_share_the_queue_and_one_takes_over_when_the_other_dies(team: Team) -> None:
    queued = [team.queue(epochs=1) for _ in range(3)]

    for machine in MACHINES:
        team.start_worker(machine)
    wait_until(lambda: all(state_of(team, run).is_final for run in queued), PATIENCE)

    done = [runs.get(team.store, run.id) for run in queued]
    assert [run.state for run in done] == [WorkState.SUCCEEDED] * 3, team.logs()
    assert [kinds(team, run) for run in queued] == [["dispatched", "running", "succeeded"]] * 3
    assert {run.host for run in done} == set(MACHINES) == {run.machine for run in done}
    assert {worker.host for worker, _ in workers.list_all(team.store)} == set(MACHINES)
    assert all("exported model.onnx" in training.log_tail(team.store, run.id) for run in queued)

    long = team.queue(epochs=400)
    wait_until(lambda: len(epochs_of(team, long)) >= 2, PATIENCE)
    victim = runs.get(team.store, long.id).host
    assert victim is not None
    kill_processes_of(team.folder, victim)
    reached = epochs_of(team, long)
    silence(team, long)
    wait_until(lambda: len(epochs_of(team, long)) > len(reached), PATIENCE)

    resumed = runs.get(team.store, long.id)
    assert (resumed.attempt, resumed.host) == (2, next(name for name in MACHINES if name != victim))
    assert epochs_of(team, long)[: len(reached)] == reached
    assert [e.attempt for e in runs.epochs(team.store, long.id)][: len(reached)] == [1] * len(reached)
    lifecycle.request_cancel(team.store, RUNS, long.id)
    wait_until(lambda: state_of(team, long) is WorkState.CANCELLED, PATIENCE)


def silence(team: Team, run: Run) -> None:
    """Spare the test the wait: the last sign of life is as old as it takes."""
    moment = tables.now() - timedelta(seconds=LOST_AFTER_SECONDS + 5)
    with team.store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == run.id).values(heartbeat_at=moment))


def test_a_run_outlives_an_outage_of_the_bucket_and_one_of_the_database(team: Team) -> None:
    run = team.queue(epochs=20)
    team.start_worker(MACHINES[0])
    wait_until(lambda: len(epochs_of(team, run)) >= 2, PATIENCE)

    team.s3.stop()
    time.sleep(OUTAGE_SECONDS)
    during = epochs_of(team, run)
    team.s3.start()
    wait_until(lambda: len(epochs_of(team, run)) > len(during) + 1, PATIENCE)
    assert state_of(team, run) is WorkState.RUNNING

    team.postgres.stop()
    time.sleep(OUTAGE_SECONDS)
    team.postgres.start()
    wait_until(lambda: state_of(team, run).is_final, PATIENCE)

    done = runs.get(team.store, run.id)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 1), team.logs()
    assert epochs_of(team, run) == list(range(1, 21))
    assert kinds(team, run) == ["dispatched", "running", "succeeded"]
