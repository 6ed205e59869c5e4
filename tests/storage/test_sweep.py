"""Who is taken for lost and when: silence, death, a clock that jumps, several who sweep at once."""

from datetime import timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from core.domain.runs import WorkState
from core.storage import jobs, lifecycle, reservations, tables
from core.storage.lifecycle import JOBS, Claim
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.storage.sweep import (
    CONFIRM_SECONDS,
    GONE_AFTER_SECONDS,
    LOST_AFTER_SECONDS,
    START_LIMIT_SECONDS,
    sweep,
)
from tests.storage.builders import (
    ELSEWHERE,
    HERE,
    STRANGER,
    before_next_write,
    claim_next,
    kinds,
    queue_job,
    race,
    row_of,
    set_columns,
    silence,
    start_next,
    state_of,
)

HOUR = 3600.0


def ago(seconds: float) -> Any:
    return tables.now() - timedelta(seconds=seconds)


def confirm(store: Store, claim: Claim) -> None:
    """Let the time pass in which a beat would take the suspicion back."""
    suspected = row_of(store, claim.work_id).suspected_at
    assert suspected is not None, "it is not suspected"
    set_columns(store, claim.work_id, suspected_at=suspected - timedelta(seconds=CONFIRM_SECONDS))


def sweep_for_good(store: Store, claim: Claim) -> list[str]:
    """Sweep, wait as long as a suspicion has to stand, and sweep again."""
    assert sweep(store, JOBS) == []
    confirm(store, claim)
    return sweep(store, JOBS)


def silent(store: Store, seconds: float = LOST_AFTER_SECONDS + 1) -> Claim:
    """Start a job of another host, and let it be silent for so long."""
    claim = start_next(store, ELSEWHERE)
    silence(store, claim.work_id, seconds)
    return claim


def test_silent_running_work_is_suspected_first_and_swept_once_it_stays_silent(store: Store) -> None:
    claim = silent(store)

    at_once = [sweep(store, JOBS), sweep(store, JOBS)]
    confirm(store, claim)
    later = [sweep(store, JOBS), sweep(store, JOBS)]

    assert (at_once, later) == ([[], []], [[claim.work_id], []])
    row = row_of(store, claim.work_id)
    assert (row.state, row.crashes, row.error) == ("interrupted", 1, "no sign of life")
    assert kinds(store, claim.work_id) == ["dispatched", "running", "interrupted"]


def test_work_that_beats_is_not_suspected(store: Store) -> None:
    claim = silent(store, LOST_AFTER_SECONDS / 2)

    assert sweep(store, JOBS) == []
    assert row_of(store, claim.work_id).suspected_at is None


def test_a_beat_takes_the_suspicion_back(store: Store) -> None:
    claim = silent(store)
    sweep(store, JOBS)
    confirm(store, claim)

    lifecycle.beat(store, JOBS, claim)

    assert sweep(store, JOBS) == []
    assert row_of(store, claim.work_id).suspected_at is None
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_an_earlier_suspicion_does_not_count_against_later_silence(store: Store) -> None:
    claim = silent(store)
    sweep(store, JOBS)
    confirm(store, claim)
    lifecycle.beat(store, JOBS, claim)
    silence(store, claim.work_id, LOST_AFTER_SECONDS + 1)

    assert sweep(store, JOBS) == []
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_dispatched_work_has_longer_to_report_and_goes_back_to_the_queue(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store, ELSEWHERE)
    silence(store, claim.work_id, START_LIMIT_SECONDS / 2)

    early = sweep(store, JOBS)
    is_suspected_early = row_of(store, claim.work_id).suspected_at is not None
    silence(store, claim.work_id, START_LIMIT_SECONDS + 1)
    late = sweep_for_good(store, claim)

    assert (early, is_suspected_early, late) == ([], False, [claim.work_id])
    row = row_of(store, claim.work_id)
    assert (row.state, row.failed_starts, row.crashes) == ("queued", 1, 0)
    assert row.not_before is not None


def test_a_start_takes_the_suspicion_back(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store, ELSEWHERE)
    silence(store, claim.work_id, START_LIMIT_SECONDS + 1)
    sweep(store, JOBS)
    confirm(store, claim)

    lifecycle.start(store, JOBS, claim, STRANGER)

    assert sweep(store, JOBS) == []
    assert row_of(store, claim.work_id).suspected_at is None


def test_what_waits_in_a_clusters_queue_is_not_swept(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store, "ray@cluster")
    silence(store, claim.work_id, START_LIMIT_SECONDS + 1)
    sweep(store, JOBS)
    confirm(store, claim)

    lifecycle.wait_on(store, JOBS, claim)

    assert sweep(store, JOBS) == []
    assert state_of(store, claim.work_id) is WorkState.DISPATCHED


def test_a_cancel_is_granted_to_swept_work(store: Store) -> None:
    claim = silent(store)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    sweep_for_good(store, claim)

    assert state_of(store, claim.work_id) is WorkState.CANCELLED


def test_a_cancel_between_the_look_and_the_loss_is_granted(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    (seen,) = lifecycle.active(store, JOBS)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    lifecycle.declare_lost(store, JOBS, seen, "gone")

    assert state_of(store, claim.work_id) is WorkState.CANCELLED


def test_a_start_between_the_look_and_the_loss_saves_the_work(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store)
    (seen,) = lifecycle.active(store, JOBS)
    lifecycle.start(store, JOBS, claim, STRANGER)

    assert not lifecycle.declare_lost(store, JOBS, seen, "gone")
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_a_newer_attempt_is_not_lost_with_the_one_before(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    (seen,) = lifecycle.active(store, JOBS)
    lifecycle.declare_lost(store, JOBS, seen, "gone")
    lifecycle.requeue_interrupted(store, JOBS)
    lifecycle.start(store, JOBS, claim_next(store), STRANGER)

    assert not lifecycle.declare_lost(store, JOBS, seen, "gone")
    assert (state_of(store, claim.work_id), row_of(store, claim.work_id).crashes) == (WorkState.RUNNING, 1)


def test_a_dead_process_of_this_host_is_noticed_at_once_after_a_few_seconds_of_silence(store: Store) -> None:
    dead, alive = start_next(store, process=STRANGER), start_next(store)
    silence(store, dead.work_id, -GONE_AFTER_SECONDS)  # so that a slow machine does not spoil it
    before = sweep(store, JOBS)
    for claim in (dead, alive):
        silence(store, claim.work_id, GONE_AFTER_SECONDS + 1)

    assert (before, sweep(store, JOBS)) == ([], [dead.work_id])

    assert jobs.get(store, dead.work_id).error == "its process is gone"
    row = row_of(store, alive.work_id)
    assert (row.state, row.suspected_at) == ("running", None)


def test_a_living_process_of_this_host_that_stays_silent_is_lost_like_any_other(store: Store) -> None:
    claim = start_next(store)
    silence(store, claim.work_id, LOST_AFTER_SECONDS + 1)

    assert sweep_for_good(store, claim) == [claim.work_id]
    assert state_of(store, claim.work_id) is WorkState.INTERRUPTED


def test_a_process_of_another_host_cannot_be_seen_and_is_left_its_time(store: Store) -> None:
    claim = start_next(store, ELSEWHERE, STRANGER)
    silence(store, claim.work_id, GONE_AFTER_SECONDS + 1)

    assert sweep(store, JOBS) == []
    assert row_of(store, claim.work_id).suspected_at is None


def test_a_claim_whose_launcher_died_before_it_started_anything_goes_back(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store)
    silence(store, claim.work_id, GONE_AFTER_SECONDS + 1)

    assert sweep(store, JOBS) == [claim.work_id]

    assert state_of(store, claim.work_id) is WorkState.QUEUED
    assert [left.claim for left in reservations.left_behind(store, JOBS, HERE)] == [claim]


def test_a_clock_put_forward_costs_no_work_that_goes_on_beating(store: Store) -> None:
    claim = silent(store, HOUR)

    first = sweep(store, JOBS)
    lifecycle.beat(store, JOBS, claim)
    second = sweep(store, JOBS)

    assert (first, second) == ([], [])
    assert (state_of(store, claim.work_id), row_of(store, claim.work_id).crashes) == (WorkState.RUNNING, 0)


def test_a_clock_put_back_costs_nothing_and_silence_counts_from_then_on(store: Store) -> None:
    claim = silent(store, -HOUR)

    sweep(store, JOBS)
    dated = row_of(store, claim.work_id).heartbeat_at
    silence(store, claim.work_id, LOST_AFTER_SECONDS + 1)

    assert abs(dated - tables.now()) < timedelta(minutes=10)
    assert sweep_for_good(store, claim) == [claim.work_id]


def test_a_dead_process_of_this_host_is_noticed_though_the_clock_was_put_back(store: Store) -> None:
    claim = start_next(store, process=STRANGER)
    silence(store, claim.work_id, -HOUR)

    first = sweep(store, JOBS)
    heartbeat = row_of(store, claim.work_id).heartbeat_at
    set_columns(store, claim.work_id, heartbeat_at=heartbeat - timedelta(seconds=GONE_AFTER_SECONDS))

    assert (first, sweep(store, JOBS)) == ([], [claim.work_id])


def test_a_suspicion_from_the_future_is_dated_anew(store: Store) -> None:
    claim = silent(store)
    set_columns(store, claim.work_id, suspected_at=ago(-HOUR))

    assert sweep_for_good(store, claim) == [claim.work_id]


@pytest.mark.parametrize(
    ("seconds", "suspected_for"),
    [(LOST_AFTER_SECONDS + 1, None), (LOST_AFTER_SECONDS + 1, CONFIRM_SECONDS + 1), (-HOUR, None)],
    ids=["suspected", "lost", "dated"],
)
def test_a_beat_between_the_look_and_the_sweep_saves_the_work(
    store: Store, seconds: float, suspected_for: float | None
) -> None:
    claim = silent(store, seconds)
    set_columns(store, claim.work_id, suspected_at=suspected_for and ago(suspected_for))
    beats: list[Any] = []

    def beat() -> None:
        lifecycle.beat(store, JOBS, claim)
        beats.append(row_of(store, claim.work_id))

    before_next_write(store, beat)

    assert sweep(store, JOBS) == []
    assert [row_of(store, claim.work_id)] == beats


@pytest.mark.parametrize("state", ["queued", "interrupted", "succeeded"])
def test_what_no_process_owns_is_not_swept(store: Store, state: str) -> None:
    claim = silent(store, HOUR)
    set_columns(store, claim.work_id, state=state)
    before = row_of(store, claim.work_id)

    assert sweep(store, JOBS) == []
    assert row_of(store, claim.work_id) == before


def sweep_often(barrier: Barrier, results: "Queue[list[str]]", settings: Settings) -> None:
    store = open_store(settings)
    barrier.wait(60)
    results.put([work_id for _ in range(10) for work_id in sweep(store, JOBS)])


def test_two_who_sweep_at_once_take_each_row_away_once(settings: Settings, store: Store) -> None:
    claims = [start_next(store, process=STRANGER) for _ in range(10)]
    claims += [start_next(store, ELSEWHERE) for _ in range(10)]
    for claim in claims:
        silence(store, claim.work_id, LOST_AFTER_SECONDS + 1)
        set_columns(store, claim.work_id, suspected_at=ago(CONFIRM_SECONDS + 1))

    swept = race(sweep_often, (settings,), (settings,))

    assert sorted(swept[0] + swept[1]) == sorted(claim.work_id for claim in claims)
    assert {row_of(store, claim.work_id).crashes for claim in claims} == {1}
    assert {tuple(kinds(store, claim.work_id)) for claim in claims} == {
        ("dispatched", "running", "interrupted")
    }
