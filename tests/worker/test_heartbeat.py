"""The sign of life: it goes on through trouble, hears a cancel, and ends what is no longer wanted."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import pytest
import sqlalchemy as sa

from core.domain.errors import Cancelled, Fenced
from core.domain.runs import WorkState
from core.storage import jobs, lifecycle, processes
from core.storage.lifecycle import JOBS, Claim, Room
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.heartbeat import EXIT_FENCED, Heartbeat
from tests.worker.builders import wait_until


@pytest.fixture
def claim(store: Store) -> Claim:
    """A job that this process runs."""
    jobs.create(store, "import", {})
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None
    lifecycle.start(store, JOBS, claim, processes.this_process())
    return claim


def last_beat(store: Store) -> float:
    (work,) = lifecycle.active(store, JOBS)
    assert work.heartbeat_at is not None
    return work.heartbeat_at.timestamp()


def rename_table(store: Store, name: str, to: str) -> None:
    with store.write() as connection:
        connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {to}"))


def test_it_beats_while_the_work_says_nothing(store: Store, claim: Claim) -> None:
    before = last_beat(store)

    with Heartbeat(store, JOBS, claim, beat_seconds=0.05):
        wait_until(lambda: last_beat(store) > before + 0.2)


def test_the_newest_progress_is_written(store: Store, claim: Claim) -> None:
    with Heartbeat(store, JOBS, claim, beat_seconds=0.05) as heartbeat:
        heartbeat.report({"share": 0.1, "message": "begins"})
        heartbeat.report({"share": 0.7, "message": "goes on"})
        wait_until(lambda: jobs.get(store, claim.work_id).message == "goes on")


def test_a_cancel_reaches_the_work_at_its_next_check(store: Store, claim: Claim) -> None:
    with Heartbeat(store, JOBS, claim, beat_seconds=0.05) as heartbeat:
        heartbeat.check()

        lifecycle.request_cancel(store, JOBS, claim.work_id)

        wait_until(lambda: heartbeat.is_cancel_requested)
        with pytest.raises(Cancelled):
            heartbeat.check()


def becomes_fenced(heartbeat: Heartbeat) -> bool:
    try:
        heartbeat.check()
    except Fenced:
        return True
    return False


def test_work_that_lost_its_row_is_fenced_at_its_next_check(store: Store, claim: Claim) -> None:
    with Heartbeat(store, JOBS, claim, beat_seconds=0.05) as heartbeat:
        lifecycle.interrupt(store, JOBS, claim, "lost")

        wait_until(lambda: becomes_fenced(heartbeat))


def test_it_survives_a_database_that_is_away_for_a_while(store: Store, claim: Claim) -> None:
    with Heartbeat(store, JOBS, claim, beat_seconds=0.05) as heartbeat:
        rename_table(store, "job", "away")
        time.sleep(0.3)
        rename_table(store, "away", "job")
        back = last_beat(store)

        wait_until(lambda: last_beat(store) > back)
        heartbeat.check()


def test_a_database_that_stays_away_ends_the_work(store: Store, claim: Claim) -> None:
    with Heartbeat(store, JOBS, claim, beat_seconds=0.05, lost_after_seconds=0.2) as heartbeat:
        rename_table(store, "job", "away")

        wait_until(lambda: becomes_fenced(heartbeat))
    rename_table(store, "away", "job")


def hang(settings: Settings, claim: Claim) -> None:
    with Heartbeat(open_store(settings), JOBS, claim, beat_seconds=0.05, leave_seconds=0.2):
        time.sleep(60)


def test_fenced_work_that_hangs_is_ended(store: Store, claim: Claim) -> None:
    lifecycle.interrupt(store, JOBS, claim, "lost")
    settings = Settings(home=store.home, database_url="", blobs="")
    process = multiprocessing.get_context("spawn").Process(target=hang, args=(settings, claim))

    process.start()
    process.join(30)

    assert process.exitcode == EXIT_FENCED


def stall(settings: Settings, claim: Claim) -> None:
    with Heartbeat(open_store(settings), JOBS, claim, beat_seconds=0.05, stalled_after_seconds=1):
        time.sleep(60)


def go_on(settings: Settings, claim: Claim) -> None:
    with Heartbeat(
        open_store(settings), JOBS, claim, beat_seconds=0.05, stalled_after_seconds=2
    ) as heartbeat:
        for _ in range(80):  # twice as long as it may be silent
            time.sleep(0.05)
            heartbeat.check()


def in_a_process(work: Callable[[Settings, Claim], None], store: Store, claim: Claim) -> BaseProcess:
    settings = Settings(home=store.home, database_url="", blobs="")
    process = multiprocessing.get_context("spawn").Process(target=work, args=(settings, claim))
    process.start()
    return process


def test_work_that_hangs_is_ended_and_may_start_again(store: Store, claim: Claim) -> None:
    process = in_a_process(stall, store, claim)
    process.join(30)

    left = jobs.get(store, claim.work_id)
    assert process.exitcode == EXIT_FENCED
    assert (left.state, left.error) == (WorkState.INTERRUPTED, "it made no progress for 0 minutes")
    assert crashes(store, claim) == 1
    assert lifecycle.requeue_interrupted(store, JOBS) == [claim.work_id]


def test_work_that_goes_on_is_not_ended_however_long_it_takes(store: Store, claim: Claim) -> None:
    process = in_a_process(go_on, store, claim)
    process.join(60)

    assert process.exitcode == 0
    assert jobs.get(store, claim.work_id).state is WorkState.RUNNING
    assert crashes(store, claim) == 0


def test_work_that_hangs_and_was_to_be_cancelled_is_cancelled(store: Store, claim: Claim) -> None:
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    process = in_a_process(stall, store, claim)
    process.join(30)

    assert process.exitcode == EXIT_FENCED
    assert jobs.get(store, claim.work_id).state is WorkState.CANCELLED


def test_work_that_hangs_is_ended_even_where_its_row_cannot_be_written(store: Store, claim: Claim) -> None:
    rename_table(store, "job", "away")

    process = in_a_process(stall, store, claim)
    process.join(30)
    rename_table(store, "away", "job")

    assert process.exitcode == EXIT_FENCED
    assert jobs.get(store, claim.work_id).state is WorkState.RUNNING


def crashes(store: Store, claim: Claim) -> int:
    with store.read() as connection:
        return connection.execute(sa.select(JOBS.c.crashes).where(JOBS.c.id == claim.work_id)).scalar_one()
