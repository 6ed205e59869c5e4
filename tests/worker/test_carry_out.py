"""One process for one piece of work: every way it can end, with handlers of three lines."""

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from core.domain.errors import AppError, Cancelled, Fenced, OutOfReach, PeerLost
from core.domain.runs import Job, Run, WorkState
from core.storage import jobs, lifecycle, processes, runs, tables
from core.storage.lifecycle import JOBS, RUNS, Claim, Room
from core.storage.store import Store
from core.worker import __main__ as worker
from core.worker.handlers import HANDLERS
from core.worker.heartbeat import OnProgress
from tests.worker.builders import wait_until
from tests.worker.small_runs import SMALL, Moments, claim_of


def count(_store: Store, _job: Job, on_progress: OnProgress) -> dict[str, Any]:
    on_progress(0.5, "Counting")
    return {"counted": 3}


def go_on(_store: Store, _job: Job, on_progress: OnProgress) -> dict[str, Any]:
    for _ in itertools.count():
        on_progress(0.5, "Going on")
        time.sleep(0.02)
    return {}


def refuse(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    raise AppError("The zip holds no photo. Choose another one.")


def stumble(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    raise ZeroDivisionError("division by zero")


def run_out_of_memory(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    raise MemoryError


def ask_for_cancel(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    lifecycle.request_cancel(store, JOBS, job.id)
    return go_on(store, job, on_progress)


def lose_the_row(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    lifecycle.interrupt(store, JOBS, Claim(job.id, job.attempt), "swept")
    return go_on(store, job, on_progress)


def lose_the_row_and_finish(store: Store, job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    lifecycle.interrupt(store, JOBS, Claim(job.id, job.attempt), "swept")
    return {}


def lose_the_row_and_stumble(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    lose_the_row_and_finish(store, job, on_progress)
    return stumble(store, job, on_progress)


def meet_a_shutdown(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    return {}


def meet_a_shutdown_when_cancelled(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    lifecycle.request_cancel(store, JOBS, job.id)
    return meet_a_shutdown(store, job, on_progress)


def lose_a_peer(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    raise PeerLost("Connection closed by peer.")


def find_the_files_away(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
    raise OutOfReach("The file store does not answer now. Try again later.")


def lose_the_database_and_stumble(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    rename_table(store, "job", "away")
    return stumble(store, job, on_progress)


def rename_table(store: Store, name: str, to: str) -> None:
    with store.write() as connection:
        connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {to}"))


THREE_LINES = (
    count,
    go_on,
    refuse,
    stumble,
    run_out_of_memory,
    ask_for_cancel,
    lose_the_row,
    lose_the_row_and_finish,
    lose_the_row_and_stumble,
    meet_a_shutdown,
    meet_a_shutdown_when_cancelled,
    lose_a_peer,
    find_the_files_away,
    lose_the_database_and_stumble,
)


@pytest.fixture(autouse=True)
def as_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Know the handlers above, and take SIGTERM as the real process does."""
    for handler in THREE_LINES:
        monkeypatch.setitem(HANDLERS, handler.__name__, handler)
    former = signal.signal(signal.SIGTERM, worker.terminate)
    yield
    signal.signal(signal.SIGTERM, former)


def carry_out(store: Store, kind: str) -> tuple[int, Job]:
    """Queue a job of this kind and carry it out in this process."""
    jobs.create(store, kind, {})
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None
    code = worker.carry_out(store, "job", claim, beat_seconds=0.05)
    return code, jobs.get(store, claim.work_id)


def test_a_job_that_is_done_leaves_its_result(store: Store) -> None:
    code, job = carry_out(store, "count")

    assert (code, job.state, job.result, job.progress) == (0, WorkState.SUCCEEDED, {"counted": 3}, 1.0)


def test_a_mistake_of_the_user_leaves_its_sentence(store: Store) -> None:
    code, job = carry_out(store, "refuse")

    assert (code, job.state) == (1, WorkState.FAILED)
    assert job.error == "The zip holds no photo. Choose another one."


def test_a_mistake_of_ours_points_at_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    code, job = carry_out(store, "stumble")

    assert (code, job.state) == (1, WorkState.FAILED)
    assert job.error == "ZeroDivisionError: division by zero: see the log."
    assert "Traceback" in caplog.text


def test_memory_that_ran_out_is_said_in_words(store: Store) -> None:
    _, job = carry_out(store, "run_out_of_memory")

    assert job.error == "The memory ran out. Choose a smaller size or a smaller batch."


def test_an_unknown_kind_fails_with_the_known_ones(store: Store) -> None:
    _, job = carry_out(store, "paint")

    assert job.state is WorkState.FAILED
    assert job.error.startswith("There is no job “paint”. There are: import, ")


def test_a_cancel_stops_the_work(store: Store) -> None:
    code, job = carry_out(store, "ask_for_cancel")

    assert (code, job.state) == (0, WorkState.CANCELLED)


@pytest.mark.parametrize("kind", ["lose_the_row", "lose_the_row_and_finish", "lose_the_row_and_stumble"])
def test_work_whose_row_was_taken_away_leaves_without_a_verdict(store: Store, kind: str) -> None:
    code, job = carry_out(store, kind)

    assert (code, job.state, job.error) == (3, WorkState.INTERRUPTED, "swept")


def test_an_attempt_that_is_over_does_not_even_start(store: Store) -> None:
    jobs.create(store, "count", {})
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None

    assert worker.carry_out(store, "job", Claim(claim.work_id, claim.attempt + 1)) == 3
    assert jobs.get(store, claim.work_id).state is WorkState.DISPATCHED


def test_a_shutdown_leaves_the_work_to_go_on_later_and_is_no_crash(store: Store) -> None:
    code, job = carry_out(store, "meet_a_shutdown")

    assert (code, job.state) == (143, WorkState.INTERRUPTED)
    assert crashes(store, JOBS, job.id) == 0
    assert lifecycle.requeue_interrupted(store, JOBS) == [job.id]


def test_a_shutdown_of_work_that_was_to_be_cancelled_cancels_it(store: Store) -> None:
    code, job = carry_out(store, "meet_a_shutdown_when_cancelled")

    assert (code, job.state) == (143, WorkState.CANCELLED)


def crashes(store: Store, table: sa.Table, work_id: str) -> int:
    with store.read() as connection:
        return connection.execute(sa.select(table.c.crashes).where(table.c.id == work_id)).scalar_one()


def test_a_lost_peer_interrupts_the_work_and_counts_as_a_crash(store: Store) -> None:
    code, job = carry_out(store, "lose_a_peer")

    assert (code, job.state, job.error) == (1, WorkState.INTERRUPTED, "one of its processes was lost")
    assert crashes(store, JOBS, job.id) == 1


def test_an_outage_interrupts_the_work_and_counts_as_no_crash(store: Store) -> None:
    code, job = carry_out(store, "find_the_files_away")

    assert (code, job.state) == (75, WorkState.INTERRUPTED)
    assert job.error == "The file store does not answer now. Try again later."
    assert crashes(store, JOBS, job.id) == 0


@pytest.fixture
def started_by_torchrun(store: Store, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Have torchrun's variables, and our parent in its place, which must not be ended with the test."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    yield
    with store.write() as connection:
        connection.execute(sa.delete(tables.reservation))


@pytest.mark.usefixtures("started_by_torchrun")
def test_a_termination_under_torchrun_may_be_a_lost_peer_and_counts_as_a_crash(store: Store) -> None:
    code, job = carry_out(store, "meet_a_shutdown")

    assert (code, job.state) == (143, WorkState.INTERRUPTED)
    assert job.error == "one of its processes was lost, or it was stopped from outside"
    assert crashes(store, JOBS, job.id) == 1


def test_work_whose_verdict_cannot_be_written_leaves_none(store: Store) -> None:
    jobs.create(store, "lose_the_database_and_stumble", {})
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None

    code = worker.carry_out(store, "job", claim, beat_seconds=60)
    rename_table(store, "away", "job")

    assert (code, jobs.get(store, claim.work_id).state) == (75, WorkState.RUNNING)


def hurry(connection: sqlite3.Connection, _record: object) -> None:
    """Have a connection lose its patience with a locked database soon."""
    connection.execute("pragma busy_timeout=50")


def test_a_verdict_waits_for_a_database_that_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(store.home / "maskwright.sqlite", check_same_thread=False)) as holder:
        holder.isolation_level = None

        def lock_and_refuse(_store: Store, _job: Job, _on_progress: OnProgress) -> dict[str, Any]:
            holder.execute("BEGIN IMMEDIATE")
            unlocking.start()
            raise AppError("The zip holds no photo. Choose another one.")

        def unlock_once_missed() -> None:
            wait_until(lambda: "It is tried again" in caplog.text)
            holder.rollback()

        unlocking = threading.Thread(target=unlock_once_missed)
        event.listen(store.engine, "connect", hurry)
        store.engine.dispose()
        monkeypatch.setitem(HANDLERS, "lock_and_refuse", lock_and_refuse)
        code, job = carry_out(store, "lock_and_refuse")
        unlocking.join()

    assert (code, job.state) == (1, WorkState.FAILED)
    assert job.error == "The zip holds no photo. Choose another one."


def follow(store: Store, run: Run, moments: Moments, fault: BaseException) -> tuple[int, Run]:
    """Have a process follow a training, and meet this fault, while another one leads it."""

    def meet() -> None:
        raise fault

    claim = claim_of(store, run)
    lifecycle.start(store, RUNS, claim, processes.this_process())
    moments.before(meet, epoch=1, batch=2)
    return worker.follow(store, claim), runs.get(store, run.id)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Cancelled(), 0),
        (Fenced(), 0),
        (PeerLost("Connection closed by peer."), 1),
        (OutOfReach("The file store does not answer now. Try again later."), 1),
        (worker.Terminated(), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_a_process_that_follows_leaves_the_verdict_to_the_one_that_leads(
    store: Store, queue_run: Callable[..., Run], moments: Moments, fault: BaseException, code: int
) -> None:
    run = queue_run(epochs=1, **SMALL)

    assert follow(store, run, moments, fault)[0] == code

    led = runs.get(store, run.id)
    assert (led.state, led.error, led.epochs_done) == (WorkState.RUNNING, "", 0)
    assert [event.kind for event in lifecycle.events(store, [run.id])] == ["dispatched", "running"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            AppError("The loss became nan. Lower the learning rate."),
            "The loss became nan. Lower the learning rate.",
        ),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero: see the log."),
        (
            MemoryError(),
            "The memory ran out with batches of 2 images of 64 pixels a side. "
            "Choose a smaller size or crop, or a smaller network.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_process_that_follows_says_why_it_failed_for_the_leader_only_sees_it_gone(
    store: Store, queue_run: Callable[..., Run], moments: Moments, fault: Exception, sentence: str
) -> None:
    run = queue_run(epochs=1, **SMALL)

    code, failed = follow(store, run, moments, fault)

    assert (code, failed.state, failed.error) == (1, WorkState.FAILED, sentence)
