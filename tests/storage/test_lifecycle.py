"""A run's or job's life: each transition, each refusal, and who wins a race."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.errors import Fenced, NotFound
from core.domain.runs import Process, WorkState
from core.storage import jobs, lifecycle, processes, tables
from core.storage.lifecycle import JOBS, Claim
from core.storage.settings import Settings
from core.storage.store import Store, new_id, open_store

HERE = processes.this_host()
ELSEWHERE = "another-host"
STRANGER = Process(1, 1, "another boot")


def queue_job(store: Store, *, priority: int = 0, **payload: Any) -> str:
    """Queue a job that differs from all others."""
    job_id = jobs.create(store, "import", {"number": new_id(), **payload}).id
    set_columns(store, job_id, priority=priority)
    return job_id


def claim_next(store: Store, host: str = HERE, slots: int = 100) -> Claim:
    """Claim what must be there."""
    claim = lifecycle.claim(store, JOBS, host, slots=slots)
    assert claim is not None
    return claim


def start_next(store: Store, host: str = HERE, process: Process | None = None) -> Claim:
    """Queue, claim and start a job."""
    queue_job(store)
    claim = claim_next(store, host)
    lifecycle.start(store, JOBS, claim, process or processes.this_process())
    return claim


def row_of(store: Store, work_id: str) -> Any:
    with store.read() as connection:
        return connection.execute(sa.select(JOBS).where(JOBS.c.id == work_id)).one()


def set_columns(store: Store, work_id: str, **values: Any) -> None:
    with store.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == work_id).values(values))


def silence(store: Store, work_id: str, seconds: float) -> None:
    """Make the last sign of life that old."""
    set_columns(store, work_id, heartbeat_at=tables.now() - timedelta(seconds=seconds))


def state_of(store: Store, work_id: str) -> WorkState:
    return jobs.get(store, work_id).state


def kinds(store: Store, work_id: str) -> list[str]:
    return [event.kind for event in lifecycle.events(store, [work_id])]


def test_a_job_lives_from_queued_to_succeeded_and_each_step_is_an_event(store: Store) -> None:
    job_id = queue_job(store)

    claim = claim_next(store)
    dispatched = state_of(store, job_id)
    lifecycle.start(store, JOBS, claim, processes.this_process())
    running = state_of(store, job_id)
    lifecycle.succeed(store, JOBS, claim, {"result": {"images": 3}})

    assert claim == Claim(job_id, 1)
    assert (dispatched, running) == (WorkState.DISPATCHED, WorkState.RUNNING)
    done = jobs.get(store, job_id)
    assert (done.state, done.result) == (WorkState.SUCCEEDED, {"images": 3})
    assert done.started_at is not None and done.ended_at is not None
    assert kinds(store, job_id) == ["dispatched", "running", "succeeded"]


def test_nothing_queued_is_no_claim(store: Store) -> None:
    assert lifecycle.claim(store, JOBS, HERE, slots=1) is None
    assert not lifecycle.has_queued(store, JOBS)


def test_priority_goes_before_age(store: Store) -> None:
    first, second, urgent = queue_job(store), queue_job(store), queue_job(store, priority=5)

    claimed = [claim_next(store).work_id for _ in range(3)]

    assert claimed == [urgent, first, second]


def test_a_host_claims_no_more_than_it_has_slots(store: Store) -> None:
    for _ in range(3):
        queue_job(store)

    here = [lifecycle.claim(store, JOBS, HERE, slots=1) for _ in range(2)]
    elsewhere = lifecycle.claim(store, JOBS, ELSEWHERE, slots=1)

    assert here[0] is not None and here[1] is None
    assert elsewhere is not None


def test_a_slot_stays_taken_until_the_process_is_seen_gone(store: Store) -> None:
    claim = start_next(store)
    lifecycle.succeed(store, JOBS, claim)
    queue_job(store)

    before = lifecycle.claim(store, JOBS, HERE, slots=1)
    left_behind = lifecycle.left_behind(store, JOBS, HERE)
    lifecycle.release(store, JOBS, claim)
    after = lifecycle.claim(store, JOBS, HERE, slots=1)

    assert before is None
    assert [work.claim for work in left_behind] == [claim]
    assert after is not None
    assert lifecycle.left_behind(store, JOBS, HERE) == []


def test_work_waits_on_its_host_while_its_former_process_is_there_but_not_elsewhere(store: Store) -> None:
    claim = start_next(store)
    lifecycle.interrupt(store, JOBS, claim, "test")
    lifecycle.requeue_interrupted(store, JOBS)

    assert lifecycle.claim(store, JOBS, HERE, slots=5) is None
    assert claim_next(store, ELSEWHERE) == Claim(claim.work_id, 2)


def claim_all(settings: Settings, host: str, results: "multiprocessing.Queue[list[str]]") -> None:
    store = open_store(settings)
    won: list[str] = []
    while claim := lifecycle.claim(store, JOBS, host, slots=100):
        won.append(claim.work_id)
    results.put(won)


@pytest.mark.parametrize("hosts", [(HERE, HERE), (HERE, ELSEWHERE)])
def test_each_row_is_won_once_when_two_processes_race(
    settings: Settings, store: Store, hosts: tuple[str, str]
) -> None:
    queued = [queue_job(store) for _ in range(20)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=claim_all, args=(settings, host, results)) for host in hosts]

    for racer in racers:
        racer.start()
    won = [results.get(timeout=30) for _ in racers]
    for racer in racers:
        racer.join(10)

    assert sorted(won[0] + won[1]) == sorted(queued)


def claim_one(settings: Settings, results: "multiprocessing.Queue[int]") -> None:
    store = open_store(settings)
    results.put(sum(lifecycle.claim(store, JOBS, HERE, slots=1) is not None for _ in range(20)))


def test_two_processes_of_one_host_do_not_both_take_its_last_slot(settings: Settings, store: Store) -> None:
    for _ in range(20):
        queue_job(store)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=claim_one, args=(settings, results)) for _ in range(2)]

    for racer in racers:
        racer.start()
    won = [results.get(timeout=30) for _ in racers]
    for racer in racers:
        racer.join(10)

    assert sum(won) == 1


def test_an_attempt_can_start_only_once(store: Store) -> None:
    claim = start_next(store)

    with pytest.raises(Fenced):
        lifecycle.start(store, JOBS, claim, processes.this_process())


def test_a_stale_attempt_cannot_start(store: Store) -> None:
    queue_job(store)
    stale = claim_next(store)
    lifecycle.put_back(store, JOBS, stale, "slow")
    set_columns(store, stale.work_id, not_before=None)
    fresh = claim_next(store)

    with pytest.raises(Fenced):
        lifecycle.start(store, JOBS, stale, processes.this_process())

    assert fresh.attempt == 2
    assert state_of(store, stale.work_id) is WorkState.DISPATCHED


def test_a_beat_renews_the_sign_of_life_and_writes_the_progress(store: Store) -> None:
    claim = start_next(store)
    silence(store, claim.work_id, 30)

    is_cancelled = lifecycle.beat(store, JOBS, claim, {"share": 0.5, "message": "half"})

    assert not is_cancelled
    assert tables.now() - row_of(store, claim.work_id).heartbeat_at < timedelta(seconds=10)
    job = jobs.get(store, claim.work_id)
    assert (job.progress, job.message) == (0.5, "half")


def test_a_beat_without_progress_leaves_it_as_it_was(store: Store) -> None:
    claim = start_next(store)
    lifecycle.beat(store, JOBS, claim, {"share": 0.5})

    lifecycle.beat(store, JOBS, claim)

    assert jobs.get(store, claim.work_id).progress == 0.5


def test_a_beat_hears_a_cancel(store: Store) -> None:
    claim = start_next(store)

    state = lifecycle.request_cancel(store, JOBS, claim.work_id)

    assert state is WorkState.RUNNING
    assert lifecycle.beat(store, JOBS, claim)


@pytest.mark.parametrize(
    "write",
    [
        lambda store, claim: lifecycle.beat(store, JOBS, claim, {"share": 0.9}),
        lambda store, claim: lifecycle.succeed(store, JOBS, claim, {"result": {}}),
    ],
    ids=["beat", "succeed"],
)
def test_an_attempt_that_is_over_cannot_write(store: Store, write: Callable[[Store, Claim], None]) -> None:
    stale = start_next(store, ELSEWHERE)
    lifecycle.interrupt(store, JOBS, stale, "lost")
    lifecycle.requeue_interrupted(store, JOBS)
    fresh = claim_next(store)
    lifecycle.start(store, JOBS, fresh, processes.this_process())
    before = row_of(store, stale.work_id)

    with pytest.raises(Fenced):
        write(store, stale)

    assert row_of(store, stale.work_id) == before


@pytest.mark.parametrize("end", [lifecycle.stopped, lambda *of: lifecycle.fail(*of, "broken")])
def test_a_verdict_of_an_attempt_that_is_over_changes_nothing(store: Store, end: Callable[..., bool]) -> None:
    claim = start_next(store)
    lifecycle.succeed(store, JOBS, claim)

    assert not end(store, JOBS, claim)
    assert state_of(store, claim.work_id) is WorkState.SUCCEEDED


def test_writes_in_a_transaction_are_fenced(store: Store) -> None:
    claim = start_next(store)

    with store.write() as connection:
        lifecycle.require_running(connection, JOBS, claim)
    with store.write() as connection, pytest.raises(Fenced):
        lifecycle.require_running(connection, JOBS, replace(claim, attempt=2))


def test_a_failure_keeps_its_sentence(store: Store) -> None:
    claim = start_next(store)

    assert lifecycle.fail(store, JOBS, claim, "The zip is broken.")

    job = jobs.get(store, claim.work_id)
    assert (job.state, job.error) == (WorkState.FAILED, "The zip is broken.")
    assert job.ended_at is not None


def test_what_stopped_as_asked_is_cancelled(store: Store) -> None:
    claim = start_next(store)

    assert lifecycle.stopped(store, JOBS, claim)

    assert state_of(store, claim.work_id) is WorkState.CANCELLED


def test_a_crash_is_counted_and_a_shutdown_is_not(store: Store) -> None:
    crashed, shut_down = start_next(store), start_next(store)

    lifecycle.interrupt(store, JOBS, crashed, "killed")
    lifecycle.interrupt(store, JOBS, shut_down, "shutdown", is_shutdown=True)

    assert row_of(store, crashed.work_id).crashes == 1
    assert row_of(store, shut_down.work_id).crashes == 0
    assert state_of(store, shut_down.work_id) is WorkState.INTERRUPTED


def test_an_interruption_after_a_cancel_was_asked_for_grants_it(store: Store) -> None:
    claim = start_next(store)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    lifecycle.interrupt(store, JOBS, claim, "shutdown", is_shutdown=True)

    assert state_of(store, claim.work_id) is WorkState.CANCELLED
    assert lifecycle.requeue_interrupted(store, JOBS) == []


def test_interrupted_work_goes_on_by_itself_until_it_crashed_too_often(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    for _ in range(lifecycle.MAX_CRASHES - 1):
        lifecycle.interrupt(store, JOBS, claim, "killed")
        lifecycle.release(store, JOBS, claim)
        assert lifecycle.requeue_interrupted(store, JOBS) == [claim.work_id]
        claim = claim_next(store, ELSEWHERE)
        lifecycle.start(store, JOBS, claim, STRANGER)
    lifecycle.interrupt(store, JOBS, claim, "killed")

    assert lifecycle.requeue_interrupted(store, JOBS) == []
    assert state_of(store, claim.work_id) is WorkState.FAILED


@pytest.mark.parametrize("end", ["interrupt", "fail", "stopped"])
def test_the_user_may_resume_what_ended_without_success(store: Store, end: str) -> None:
    claim = start_next(store)
    extra = {"interrupt": ["killed"], "fail": ["broken"], "stopped": []}[end]
    getattr(lifecycle, end)(store, JOBS, claim, *extra)
    set_columns(store, claim.work_id, crashes=3, failed_starts=4, cancel_requested=True)

    assert lifecycle.resume(store, JOBS, claim.work_id)

    row = row_of(store, claim.work_id)
    assert (row.state, row.crashes, row.failed_starts) == ("queued", 0, 0)
    assert (row.cancel_requested, row.error, row.ended_at) == (False, "", None)


@pytest.mark.parametrize("steps", ["queued", "dispatched", "running", "succeeded"])
def test_what_is_under_way_or_succeeded_is_not_resumed(store: Store, steps: str) -> None:
    job_id = queue_job(store)
    if steps != "queued":
        claim = claim_next(store)
        if steps != "dispatched":
            lifecycle.start(store, JOBS, claim, processes.this_process())
        if steps == "succeeded":
            lifecycle.succeed(store, JOBS, claim)

    assert not lifecycle.resume(store, JOBS, job_id)
    assert state_of(store, job_id).value == steps


def test_what_never_started_goes_back_with_a_growing_pause(store: Store) -> None:
    job_id = queue_job(store)
    pauses: list[float] = []

    for _ in range(3):
        claim = claim_next(store)
        lifecycle.put_back(store, JOBS, claim, "no answer")
        pauses.append((row_of(store, job_id).not_before - tables.now()).total_seconds())
        assert lifecycle.claim(store, JOBS, HERE, slots=100) is None
        set_columns(store, job_id, not_before=tables.now())

    assert pauses == pytest.approx([1, 2, 4], abs=0.5)
    assert row_of(store, job_id).crashes == 0


def test_what_never_starts_fails_in_the_end(store: Store) -> None:
    job_id = queue_job(store)

    for _ in range(lifecycle.MAX_FAILED_STARTS):
        set_columns(store, job_id, not_before=None)
        lifecycle.put_back(store, JOBS, claim_next(store), "no answer")

    job = jobs.get(store, job_id)
    assert job.state is WorkState.FAILED
    assert job.error == "It could not be started 5 times: no answer."


def test_a_start_that_works_forgets_those_that_did_not(store: Store) -> None:
    job_id = queue_job(store)
    lifecycle.put_back(store, JOBS, claim_next(store), "no answer")
    set_columns(store, job_id, not_before=None)

    lifecycle.start(store, JOBS, claim_next(store), processes.this_process())

    assert row_of(store, job_id).failed_starts == 0


def test_only_dispatched_work_is_put_back(store: Store) -> None:
    claim = start_next(store)

    assert not lifecycle.put_back(store, JOBS, claim, "no answer")
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_a_pause_does_not_hold_others_up(store: Store) -> None:
    first = queue_job(store)
    lifecycle.put_back(store, JOBS, claim_next(store), "no answer")
    second = queue_job(store)

    assert claim_next(store).work_id == second
    assert state_of(store, first) is WorkState.QUEUED


def test_waiting_work_is_cancelled_at_once(store: Store) -> None:
    job_id = queue_job(store)

    assert lifecycle.request_cancel(store, JOBS, job_id) is WorkState.CANCELLED
    assert lifecycle.claim(store, JOBS, HERE, slots=100) is None


def test_interrupted_work_is_cancelled_at_once(store: Store) -> None:
    claim = start_next(store)
    lifecycle.interrupt(store, JOBS, claim, "killed")

    assert lifecycle.request_cancel(store, JOBS, claim.work_id) is WorkState.CANCELLED


def test_dispatched_work_is_asked_to_stop(store: Store) -> None:
    job_id = queue_job(store)
    claim_next(store)

    assert lifecycle.request_cancel(store, JOBS, job_id) is WorkState.DISPATCHED
    assert jobs.get(store, job_id).cancel_requested


def test_finished_work_is_not_cancelled(store: Store) -> None:
    claim = start_next(store)
    lifecycle.succeed(store, JOBS, claim)

    assert lifecycle.request_cancel(store, JOBS, claim.work_id) is None
    assert not jobs.get(store, claim.work_id).cancel_requested


@pytest.mark.parametrize("change", [lifecycle.request_cancel, lifecycle.resume])
def test_what_does_not_exist_is_not_found(store: Store, change: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="This job does not exist any more"):
        change(store, JOBS, new_id())


def test_silent_running_work_is_swept_once(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    silence(store, claim.work_id, lifecycle.LOST_AFTER_SECONDS + 1)

    assert lifecycle.sweep(store, JOBS) == [claim.work_id]
    assert lifecycle.sweep(store, JOBS) == []

    row = row_of(store, claim.work_id)
    assert (row.state, row.crashes, row.error) == ("interrupted", 1, "no sign of life")


def test_work_that_beats_is_not_swept(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    silence(store, claim.work_id, lifecycle.LOST_AFTER_SECONDS - 5)

    assert lifecycle.sweep(store, JOBS) == []
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_dispatched_work_has_longer_to_report_and_goes_back_to_the_queue(store: Store) -> None:
    job_id = queue_job(store)
    claim_next(store, ELSEWHERE)
    silence(store, job_id, lifecycle.LOST_AFTER_SECONDS + 10)

    early = lifecycle.sweep(store, JOBS)
    silence(store, job_id, lifecycle.START_LIMIT_SECONDS + 1)
    late = lifecycle.sweep(store, JOBS)

    assert (early, late) == ([], [job_id])
    row = row_of(store, job_id)
    assert (row.state, row.failed_starts, row.crashes) == ("queued", 1, 0)


def test_a_cancel_is_granted_to_swept_work(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    lifecycle.request_cancel(store, JOBS, claim.work_id)
    silence(store, claim.work_id, lifecycle.LOST_AFTER_SECONDS + 1)

    lifecycle.sweep(store, JOBS)

    assert state_of(store, claim.work_id) is WorkState.CANCELLED


def test_a_cancel_between_the_look_and_the_loss_is_granted(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    (seen,) = lifecycle.active(store, JOBS)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    lifecycle.declare_lost(store, JOBS, seen, "gone")

    assert state_of(store, claim.work_id) is WorkState.CANCELLED


def test_a_beat_between_the_look_and_the_loss_saves_the_work(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    silence(store, claim.work_id, 100)
    (seen,) = lifecycle.active(store, JOBS)
    horizon = tables.now() - timedelta(seconds=50)
    lifecycle.beat(store, JOBS, claim)

    assert not lifecycle.declare_lost(store, JOBS, seen, "gone", older_than=horizon)
    assert state_of(store, claim.work_id) is WorkState.RUNNING


def test_a_dead_process_of_this_host_is_noticed_within_seconds(store: Store) -> None:
    dead, alive = start_next(store, process=STRANGER), start_next(store)
    for claim in (dead, alive):
        silence(store, claim.work_id, lifecycle.GONE_AFTER_SECONDS + 1)

    assert lifecycle.sweep(store, JOBS) == [dead.work_id]

    assert jobs.get(store, dead.work_id).error == "its process is gone"
    assert state_of(store, alive.work_id) is WorkState.RUNNING


def test_a_process_of_another_host_cannot_be_seen_and_is_left_its_time(store: Store) -> None:
    claim = start_next(store, ELSEWHERE, STRANGER)
    silence(store, claim.work_id, lifecycle.GONE_AFTER_SECONDS + 1)

    assert lifecycle.sweep(store, JOBS) == []


def test_a_claim_whose_launcher_died_before_it_started_anything_goes_back(store: Store) -> None:
    job_id = queue_job(store)
    claim_next(store)
    silence(store, job_id, lifecycle.GONE_AFTER_SECONDS + 1)

    assert lifecycle.sweep(store, JOBS) == [job_id]
    assert state_of(store, job_id) is WorkState.QUEUED


def test_the_process_of_a_claim_is_on_record(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store)

    lifecycle.record_process(store, JOBS, claim, STRANGER)

    (work,) = lifecycle.active(store, JOBS)
    assert (work.claim, work.process, work.host) == (claim, STRANGER, HERE)


def test_a_process_is_told_apart_from_a_later_one_with_its_number() -> None:
    ours = processes.this_process()

    assert processes.is_alive(ours)
    assert not processes.is_alive(replace(ours, started_ticks=ours.started_ticks + 1))
    assert not processes.is_alive(replace(ours, boot_id="another boot"))


def test_a_job_that_waits_already_is_not_queued_twice(store: Store) -> None:
    first = jobs.create(store, "export", {"epoch": 1})
    again = jobs.create(store, "export", {"epoch": 1})
    other = jobs.create(store, "export", {"epoch": 2})
    lifecycle.request_cancel(store, JOBS, first.id)
    later = jobs.create(store, "export", {"epoch": 1})

    assert again.id == first.id
    assert len({first.id, other.id, later.id}) == 3
