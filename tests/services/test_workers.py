"""Who is there to work, why what waits does, and how to start another worker."""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.errors import FormatError, OutOfReach
from core.domain.images import Project
from core.domain.runs import Run, WorkerInfo
from core.domain.training import TrainingConfig
from core.domain.version import VERSION
from core.services import training, workers
from core.storage import jobs, lifecycle, processes, reservations, tables
from core.storage import workers as reported
from core.storage.blobs import Blobs
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.services.reported import worker_report

CONFIG = TrainingConfig()
RAY_AWAY = "The Ray cluster at http://head:8265 does not answer."


@pytest.fixture
def project(store: Store) -> Project:
    """A project that can be trained on."""
    made = project_with(store, "dent")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, made, seed, square(1), split=split)
    return made


@pytest.fixture
def queue_run(store: Store, project: Project) -> Callable[..., Run]:
    """Queue a run on so many devices."""

    def queued(devices: int = 1, **changes: Any) -> Run:
        return training.start_run(store, project.id, replace(CONFIG, devices=devices, **changes))

    return queued


def last_seen(store: Store, host: str, seconds: float) -> None:
    """Date a worker's report back."""
    with store.write() as connection:
        connection.execute(
            sa.update(tables.worker)
            .where(tables.worker.c.host == host)
            .values(heartbeat_at=tables.now() - timedelta(seconds=seconds))
        )


def claimed(store: Store, host: str, room: Room) -> Claim:
    """Take the next run for a host and let it run."""
    claim = lifecycle.claim(store, RUNS, host, room)
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    return claim


def test_workers_that_are_here_come_first_and_a_silent_one_is_away(store: Store) -> None:
    for host in ("alpha", "beta", "gamma"):
        reported.report(store, worker_report(host))
    last_seen(store, "alpha", 31)
    last_seen(store, "beta", 29)

    seen = workers.list_all(store)

    assert [(w.info.host, w.is_here) for w in seen] == [("beta", True), ("gamma", True), ("alpha", False)]
    assert seen[2].seconds_since >= 31


@pytest.mark.parametrize(
    ("report", "lane", "sentence"),
    [
        (worker_report("desk"), "run", ""),
        (worker_report("desk", lanes=("job",)), "job", ""),
        (None, "run", "No worker is running."),
        (
            worker_report("desk", lanes=("job",)),
            "run",
            "The workers that are here carry out jobs only, no trainings.",
        ),
        (
            worker_report("desk", lanes=("run",)),
            "job",
            "The workers that are here carry out trainings only, no jobs.",
        ),
        (
            worker_report("desk", version="0.0.9", note="Another version."),
            "run",
            f"The worker on desk has version 0.0.9. Restart it with version {VERSION}.",
        ),
        (worker_report("ray@head", note=RAY_AWAY), "run", RAY_AWAY),
    ],
)
def test_why_nobody_takes_work_on(store: Store, report: WorkerInfo | None, lane: str, sentence: str) -> None:
    if report:
        reported.report(store, report)

    assert workers.trouble(store, lane) == sentence


def test_a_worker_that_went_away_serves_nobody(store: Store, queue_run: Callable[..., Run]) -> None:
    reported.report(store, worker_report("desk"))
    run = queue_run()
    assert training.waiting_reason(store, run) == "It starts in a moment."

    last_seen(store, "desk", 60)

    assert training.waiting_reason(store, run) == "No worker is running."


def test_a_run_that_no_machine_can_hold_says_so_and_holds_up_nobody(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    reported.report(store, worker_report("box", gpus=2))
    reported.report(store, worker_report("small", gpus=1))
    wide, narrow = queue_run(devices=4), queue_run()

    reasons = {waiting.run.id: waiting.reason for waiting in training.queue(store)}

    assert reasons[wide.id].startswith("It wants 4 devices on one machine; no machine that is here has more")
    assert reasons[narrow.id] == "It starts in a moment."


def test_runs_wait_behind_others_and_for_free_gpus(store: Store, queue_run: Callable[..., Run]) -> None:
    reported.report(store, worker_report("box", gpus=2))
    running = queue_run()
    claimed(store, "box", Room(2, ("box-0", "box-1"), 2))
    pair, single = queue_run(devices=2), queue_run()

    reasons = [(waiting.position, waiting.run.id, waiting.reason) for waiting in training.queue(store)]

    assert reasons == [
        (1, pair.id, "It waits for 2 free GPUs on one machine; 1 is free now."),
        (2, single.id, "Behind 1 other."),
    ]
    training.prioritise(store, single.id)
    claimed(store, "box", Room(2, ("box-0", "box-1"), 2))
    training.cancel(store, pair.id)
    third = queue_run()
    assert training.waiting_reason(store, third) == "All GPUs are busy."
    assert training.waiting_reason(store, running) == "", "it does not wait"


def test_a_run_claimed_while_the_queue_is_read_does_not_wait_for_itself(
    store: Store, queue_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported.report(store, worker_report("desk"))
    first, second = queue_run(), queue_run()
    before = training.list_runs(store)
    claimed(store, "desk", Room(1))
    monkeypatch.setattr(training, "list_runs", lambda store: before)

    assert [(waiting.run.id, waiting.reason) for waiting in training.queue(store)] == [
        (second.id, f"Busy with “{first.name}”.")
    ]


def test_a_machine_without_gpus_names_what_it_is_busy_with(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    reported.report(store, worker_report("desk"))
    queue_run()
    claim = claimed(store, "desk", Room(1))
    waiting = queue_run()
    assert training.waiting_reason(store, waiting) == "Busy with “Fast 1”."

    lifecycle.succeed(store, RUNS, claim)
    reservations.release(store, claim)

    assert training.waiting_reason(store, waiting) == "It starts in a moment."


def test_a_run_that_could_not_be_started_says_why_it_is_tried_again(
    store: Store, queue_run: Callable[..., Run]
) -> None:
    reported.report(store, worker_report("desk"))
    run = queue_run()
    claim = lifecycle.claim(store, RUNS, "desk", Room(1))
    assert claim is not None
    lifecycle.put_back(store, RUNS, claim, "its process left without a result")
    reservations.release(store, claim)

    reason = training.waiting_reason(store, training.get_run(store, run.id))

    assert reason == "It is tried again in a moment: its process left without a result."


def test_gpus_are_offered_by_workers_that_are_here_alone(store: Store) -> None:
    reported.report(store, worker_report("desk"))
    assert workers.most_devices(store) == 1

    reported.report(store, worker_report("box", gpus=4))
    reported.report(store, worker_report("older", gpus=8, version="0.0.9", note="Another version."))
    assert workers.most_devices(store) == 4

    last_seen(store, "box", 60)
    assert workers.most_devices(store) == 1


def test_what_is_under_way_is_listed_by_host(store: Store, queue_run: Callable[..., Run]) -> None:
    reported.report(store, worker_report("box", gpus=2))
    run = queue_run(devices=2)
    claimed(store, "box", Room(2, ("box-0", "box-1"), 2))
    job = jobs.create(store, "import", {"path": "x"}, run.project_id)
    waiting = jobs.create(store, "export", {"run_id": run.id, "epoch": 1}, run.project_id)
    assert lifecycle.claim(store, lifecycle.JOBS, "desk", Room(1)) is not None

    found = workers.under_way(store)

    assert [r.id for r in found.runs["box"]] == [run.id]
    assert found.gpus["box"] == {"box-0": run.id, "box-1": run.id}
    assert [j.id for j in found.jobs.get("desk", [])] == [job.id]
    assert [j.id for j in workers.waiting_jobs(store)] == [waiting.id]


@pytest.mark.parametrize(
    ("database", "blobs", "shown", "is_shared"),
    [
        (
            "postgresql+psycopg://maskwright:s3cret@db.example:5433/cars?password=s3cret",
            "s3://key:s3cret@bucket/cars",
            "MASKWRIGHT_DATABASE_URL='postgresql://maskwright:PASSWORD@db.example:5433/cars' \\\n"
            "MASKWRIGHT_BLOBS='s3://bucket/cars' \\\npython -m core worker",
            True,
        ),
        (
            "postgresql+psycopg://maskwright@127.0.0.1/cars",
            "s3://bucket",
            "MASKWRIGHT_DATABASE_URL='postgresql://maskwright@DATABASE_HOST/cars'",
            False,
        ),
        ("sqlite:////data/x.sqlite", "/data/blobs", "postgresql://USER:PASSWORD@DATABASE_HOST/", False),
    ],
)
def test_the_command_for_another_machine_holds_no_secret(
    store: Store, database: str, blobs: str, shown: str, is_shared: bool
) -> None:
    elsewhere = Store(store.home, sa.create_engine(database), Blobs(blobs, store.home / "cache"))

    commands = workers.start_commands(elsewhere)

    assert shown in commands.elsewhere
    assert commands.is_shared is is_shared
    assert "s3cret" not in commands.elsewhere + commands.here
    assert commands.here == f"MASKWRIGHT_HOME='{store.home.resolve()}' python -m core worker"


def test_who_waits_starts_no_worker_where_another_machine_serves(store: Store) -> None:
    reported.report(store, worker_report("box", gpus=1, lanes=("run",)))
    answers = iter(range(3))

    last = workers.wait(store, lambda: next(answers), lambda answer: answer == 2, lane="run")

    assert last == 2
    assert not (store.home / "logs" / "worker.log").exists()


@pytest.mark.parametrize("where", ["poll", "on_poll"])
def test_who_waits_outlasts_a_database_that_does_not_answer(
    store: Store, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    reported.report(store, worker_report("box"))
    faults = {where: OutOfReach("The database does not answer now.")}

    def poll() -> str:
        if "poll" in faults:
            raise faults.pop("poll")
        return "done"

    def on_poll(_answer: str) -> None:
        if "on_poll" in faults:
            raise faults.pop("on_poll")

    assert workers.wait(store, poll, lambda answer: answer == "done", on_poll) == "done"

    assert caplog.text.count("The database does not answer now.") == 1


@contextmanager
def locked(store: Store, seconds: float) -> Generator[None]:
    """Hold the home's lock as a worker that started so long ago."""
    path = store.home / workers.LOCK
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        since = time.time() - seconds
        os.utime(path, (since, since))
        yield


def test_a_worker_of_this_home_that_serves_another_lane_is_said_to_be_in_the_way(store: Store) -> None:
    reported.report(store, worker_report("desk", lanes=("run",)))
    without_one = workers.obstacle(store, "job")

    with locked(store, seconds=0):
        just_started = workers.obstacle(store, "job")
    with locked(store, seconds=60):
        in_the_way, other_lane = workers.obstacle(store, "job"), workers.obstacle(store, "run")
        reported.report(store, worker_report("box"))
        served_elsewhere = workers.obstacle(store, "job")

    assert in_the_way.startswith(
        "The workers that are here carry out trainings only, no jobs. The job waits until one takes it on: "
        f"start the worker of {store.home} again"
    )
    assert (without_one, just_started, other_lane, served_elsewhere) == ("", "", "", "")


@pytest.mark.parametrize(
    ("setting", "lanes"), [("1", ("run", "job")), ("0", ()), ("job", ("job",)), ("run", ("run",))]
)
def test_the_app_s_own_worker_serves_what_is_set(setting: str, lanes: tuple[str, ...]) -> None:
    assert workers.embedded_lanes(setting) == lanes


def test_a_lane_that_does_not_exist_is_refused() -> None:
    with pytest.raises(FormatError, match="must be 1, 0, job or run, not “train”"):
        workers.embedded_lanes("train")
