"""A run's or job's life: each transition, each refusal, and what they leave in the row."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from core.domain.errors import Fenced, NotFound
from core.domain.runs import WorkState
from core.storage import jobs, lifecycle, processes, reservations, tables
from core.storage.lifecycle import JOBS, Claim, Room
from core.storage.store import Store, new_id
from tests.storage.builders import (
    ELSEWHERE,
    HERE,
    STRANGER,
    claim_next,
    kinds,
    queue_job,
    row_of,
    set_columns,
    silence,
    start_next,
    state_of,
)

Q, D, R = WorkState.QUEUED, WorkState.DISPATCHED, WorkState.RUNNING
S, F, C = WorkState.SUCCEEDED, WorkState.FAILED, WorkState.CANCELLED
I = WorkState.INTERRUPTED  # noqa: E741


def job_in(store: Store, state: WorkState) -> Claim:
    """Bring a job of its own into a state; give its newest attempt."""
    job_id = queue_job(store)
    if state is Q:
        return Claim(job_id, 0)
    claim = claim_next(store)
    if state is not D:
        lifecycle.start(store, JOBS, claim, processes.this_process())
    if state is S:
        lifecycle.succeed(store, JOBS, claim)
    if state is F:
        lifecycle.fail(store, JOBS, claim, "broken")
    if state is C:
        lifecycle.stopped(store, JOBS, claim)
    if state is I:
        lifecycle.interrupt(store, JOBS, claim, "killed")
    return claim


def lose(store: Store, claim: Claim) -> bool:
    work = [work for work in lifecycle.active(store, JOBS) if work.claim == claim]
    return bool(work) and lifecycle.declare_lost(store, JOBS, work[0], "gone")


def is_done(change: Callable[[], object]) -> bool:
    """Tell whether a change happened; what raises Fenced is refused, and what gives None is not."""
    try:
        return change() is not False
    except Fenced:
        return False


def here(store: Store, _claim: Claim) -> bool:
    return lifecycle.claim(store, JOBS, HERE, Room(100)) is not None


CHANGES: dict[str, tuple[Callable[[Store, Claim], object], dict[WorkState, WorkState]]] = {
    "claim": (here, {Q: D}),
    "start": (lambda s, c: lifecycle.start(s, JOBS, c, STRANGER), {D: R}),
    "wait_on": (lambda s, c: lifecycle.wait_on(s, JOBS, c), {D: D}),
    "beat": (lambda s, c: lifecycle.beat(s, JOBS, c) is False or None, {R: R}),
    "succeed": (lambda s, c: lifecycle.succeed(s, JOBS, c), {R: S}),
    "fail": (lambda s, c: lifecycle.fail(s, JOBS, c, "broken"), {D: F, R: F}),
    "stopped": (lambda s, c: lifecycle.stopped(s, JOBS, c), {D: C, R: C}),
    "interrupt": (lambda s, c: lifecycle.interrupt(s, JOBS, c, "killed"), {R: I}),
    "put_back": (lambda s, c: lifecycle.put_back(s, JOBS, c, "no answer"), {D: Q}),
    "declare_lost": (lose, {D: Q, R: I}),
    "requeue": (lambda s, _: lifecycle.requeue_interrupted(s, JOBS) != [], {I: Q}),
    "resume": (lambda s, c: lifecycle.resume(s, JOBS, c.work_id), {I: Q, F: Q, C: Q}),
    "prioritise": (lambda s, c: lifecycle.prioritise(s, JOBS, c.work_id), {Q: Q}),
    "request_cancel": (
        lambda s, c: lifecycle.request_cancel(s, JOBS, c.work_id) is not None,
        {Q: C, I: C, D: D, R: R},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_made_from_its_states_and_leaves_every_other_as_it_is(store: Store, name: str) -> None:
    change, allowed = CHANGES[name]

    for state in WorkState:
        claim = job_in(store, state)
        before, events = row_of(store, claim.work_id), kinds(store, claim.work_id)

        done = is_done(lambda claim=claim: change(store, claim))

        after = row_of(store, claim.work_id)
        assert done == (state in allowed), state
        assert after.state == allowed.get(state, state)
        if not done:
            assert (after, kinds(store, claim.work_id)) == (before, events), state
        if after.state == Q:
            lifecycle.request_cancel(store, JOBS, claim.work_id)  # so that the next one is alone


@pytest.mark.parametrize("name", ["start", "wait_on", "beat", "succeed", "fail", "stopped", "interrupt"])
def test_an_attempt_that_is_over_changes_nothing(store: Store, name: str) -> None:
    change, allowed = CHANGES[name]

    for state in allowed:
        claim = job_in(store, state)
        before = row_of(store, claim.work_id)

        assert not is_done(lambda claim=claim: change(store, replace(claim, attempt=claim.attempt - 1)))
        assert row_of(store, claim.work_id) == before


@pytest.mark.parametrize(
    ("state", "name"), [(D, "put_back"), (D, "declare_lost"), (R, "declare_lost"), (R, "interrupt")]
)
def test_a_cancel_that_was_asked_for_is_granted_to_what_stops_for_another_reason(
    store: Store, state: WorkState, name: str
) -> None:
    claim = job_in(store, state)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    assert is_done(lambda: CHANGES[name][0](store, claim))

    assert state_of(store, claim.work_id) is C
    assert lifecycle.requeue_interrupted(store, JOBS) == []


def test_a_job_lives_from_queued_to_succeeded_and_each_step_is_an_event(store: Store) -> None:
    job_id = queue_job(store)

    claim = claim_next(store)
    lifecycle.start(store, JOBS, claim, processes.this_process())
    lifecycle.succeed(store, JOBS, claim, {"result": {"images": 3}})

    assert claim == Claim(job_id, 1)
    done = jobs.get(store, job_id)
    assert (done.state, done.result) == (S, {"images": 3})
    assert done.started_at is not None and done.ended_at is not None
    assert done.started_at <= done.ended_at
    assert kinds(store, job_id) == ["dispatched", "running", "succeeded"]


def test_a_start_notes_the_machine_and_the_process(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store, ELSEWHERE)

    lifecycle.start(store, JOBS, claim, STRANGER)

    assert row_of(store, claim.work_id).machine == HERE
    (work,) = lifecycle.active(store, JOBS)
    assert (work.host, work.process, work.state) == (ELSEWHERE, STRANGER, R)


def test_a_later_attempt_keeps_the_first_start(store: Store) -> None:
    claim = start_next(store)
    first = row_of(store, claim.work_id).started_at
    lifecycle.interrupt(store, JOBS, claim, "killed")
    lifecycle.requeue_interrupted(store, JOBS)
    reservations.release(store, claim)

    lifecycle.start(store, JOBS, claim_next(store), processes.this_process())

    assert row_of(store, claim.work_id).started_at == first


def test_a_beat_renews_the_sign_of_life_and_writes_the_progress(store: Store) -> None:
    claim = start_next(store)
    silence(store, claim.work_id, 30)
    set_columns(store, claim.work_id, suspected_at=tables.now())

    is_cancelled = lifecycle.beat(store, JOBS, claim, {"share": 0.5, "message": "half"})

    assert not is_cancelled
    row = row_of(store, claim.work_id)
    assert tables.now() - row.heartbeat_at < timedelta(seconds=25)
    assert row.suspected_at is None
    job = jobs.get(store, claim.work_id)
    assert (job.progress, job.message) == (0.5, "half")


def test_a_beat_without_progress_leaves_it_as_it_was(store: Store) -> None:
    claim = start_next(store)
    lifecycle.beat(store, JOBS, claim, {"share": 0.5})

    lifecycle.beat(store, JOBS, claim)

    assert jobs.get(store, claim.work_id).progress == 0.5


def test_a_beat_hears_a_cancel(store: Store) -> None:
    claim = start_next(store)

    assert lifecycle.request_cancel(store, JOBS, claim.work_id) is R

    assert lifecycle.beat(store, JOBS, claim)


def test_what_a_cluster_has_in_its_own_queue_gives_a_sign_of_life(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store)
    silence(store, claim.work_id, 1000)

    assert lifecycle.wait_on(store, JOBS, claim)

    assert tables.now() - row_of(store, claim.work_id).heartbeat_at < timedelta(seconds=900)


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
    assert (job.state, job.error) == (F, "The zip is broken.")
    assert job.ended_at is not None


def test_finished_work_wins_over_a_late_cancel(store: Store) -> None:
    claim = start_next(store)
    lifecycle.request_cancel(store, JOBS, claim.work_id)

    lifecycle.succeed(store, JOBS, claim)

    assert state_of(store, claim.work_id) is S


def test_a_crash_is_counted_and_a_shutdown_is_not(store: Store) -> None:
    crashed, shut_down = start_next(store), start_next(store)

    lifecycle.interrupt(store, JOBS, crashed, "killed")
    lifecycle.interrupt(store, JOBS, shut_down, "shutdown", is_crash=False)

    assert row_of(store, crashed.work_id).crashes == 1
    assert row_of(store, shut_down.work_id).crashes == 0
    assert state_of(store, shut_down.work_id) is I


def test_interrupted_work_goes_on_by_itself_until_it_crashed_too_often(store: Store) -> None:
    claim = start_next(store, ELSEWHERE)
    for _ in range(lifecycle.MAX_CRASHES - 1):
        lifecycle.interrupt(store, JOBS, claim, "killed")
        reservations.release(store, claim)
        assert lifecycle.requeue_interrupted(store, JOBS) == [claim.work_id]
        claim = claim_next(store, ELSEWHERE)
        lifecycle.start(store, JOBS, claim, STRANGER)
    lifecycle.interrupt(store, JOBS, claim, "killed")

    assert lifecycle.requeue_interrupted(store, JOBS) == []

    job = jobs.get(store, claim.work_id)
    assert (job.state, job.attempt) == (F, lifecycle.MAX_CRASHES)
    assert job.error == "Stopped 3 times without an end (killed). Resume it to try again."


def test_a_cancel_between_interruption_and_queue_is_not_undone(store: Store) -> None:
    claim = job_in(store, I)

    assert lifecycle.request_cancel(store, JOBS, claim.work_id) is C

    assert lifecycle.requeue_interrupted(store, JOBS) == []
    assert state_of(store, claim.work_id) is C


@pytest.mark.parametrize("state", [I, F, C])
def test_the_user_may_resume_what_ended_without_success(store: Store, state: WorkState) -> None:
    claim = job_in(store, state)
    set_columns(store, claim.work_id, crashes=3, failed_starts=4, cancel_requested=True, error="x")

    assert lifecycle.resume(store, JOBS, claim.work_id)

    row = row_of(store, claim.work_id)
    assert (row.state, row.crashes, row.failed_starts, row.attempt) == ("queued", 0, 0, 1)
    assert (row.cancel_requested, row.error, row.ended_at, row.not_before) == (False, "", None, None)


def test_what_never_started_goes_back_with_a_growing_pause(store: Store) -> None:
    job_id = queue_job(store)
    pauses: list[float] = []

    for _ in range(3):
        claim = claim_next(store)
        reservations.release(store, claim)
        lifecycle.put_back(store, JOBS, claim, "no answer")
        put_back = lifecycle.events(store, [job_id])[-1].at
        pauses.append((row_of(store, job_id).not_before - put_back).total_seconds())
        assert lifecycle.claim(store, JOBS, HERE, Room(100)) is None
        set_columns(store, job_id, not_before=tables.now() - timedelta(seconds=1))

    assert pauses == pytest.approx([1, 2, 4], abs=0.5)
    assert row_of(store, job_id).crashes == 0


def test_what_never_starts_fails_in_the_end(store: Store) -> None:
    job_id = queue_job(store)

    for _ in range(lifecycle.MAX_FAILED_STARTS):
        set_columns(store, job_id, not_before=None)
        claim = claim_next(store)
        lifecycle.put_back(store, JOBS, claim, "no answer")
        reservations.release(store, claim)

    job = jobs.get(store, job_id)
    assert (job.state, job.error) == (F, "It could not be started 5 times: no answer.")
    assert job.ended_at is not None


def test_a_cluster_that_is_away_or_full_costs_no_try(store: Store) -> None:
    job_id = queue_job(store, failed_starts=lifecycle.MAX_FAILED_STARTS - 1)

    for _ in range(3):
        set_columns(store, job_id, not_before=None)
        claim = claim_next(store)
        reservations.release(store, claim)
        assert lifecycle.put_back(store, JOBS, claim, "the cluster is full", is_free=True)

    row = row_of(store, job_id)
    assert (row.state, row.failed_starts) == ("queued", lifecycle.MAX_FAILED_STARTS - 1)
    assert row.not_before is not None


def test_a_start_that_works_forgets_those_that_did_not(store: Store) -> None:
    job_id = queue_job(store, failed_starts=3)

    lifecycle.start(store, JOBS, claim_next(store), processes.this_process())

    assert row_of(store, job_id).failed_starts == 0


def test_dispatched_work_is_asked_to_stop(store: Store) -> None:
    claim = job_in(store, D)

    assert lifecycle.request_cancel(store, JOBS, claim.work_id) is D

    assert jobs.get(store, claim.work_id).cancel_requested


def test_a_cancel_that_meets_a_change_under_way_waits_and_answers_for_what_came_of_it(store: Store) -> None:
    claim = job_in(store, D)
    answers: list[WorkState | None] = []
    cancel = threading.Thread(
        target=lambda: answers.append(lifecycle.request_cancel(store, JOBS, claim.work_id))
    )

    with store.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == claim.work_id).values(state=Q))
        cancel.start()
        cancel.join(0.3)  # as long as it takes to get to the row; it cannot end before this transaction
    cancel.join(30)

    assert answers == [C]
    assert state_of(store, claim.work_id) is C


@pytest.mark.parametrize("change", [lifecycle.request_cancel, lifecycle.resume])
def test_what_does_not_exist_is_not_found(store: Store, change: Callable[..., object]) -> None:
    with pytest.raises(NotFound, match="This job does not exist any more"):
        change(store, JOBS, new_id())


def test_events_are_in_the_order_of_what_happened(store: Store) -> None:
    claim = start_next(store)
    lifecycle.interrupt(store, JOBS, claim, "killed")
    lifecycle.resume(store, JOBS, claim.work_id)

    happened = lifecycle.events(store, [claim.work_id])

    assert [(event.kind, event.detail) for event in happened] == [
        ("dispatched", f"attempt 1 on {HERE}"),
        ("running", "attempt 1"),
        ("interrupted", "killed"),
        ("queued", "by the user"),
    ]
    assert [event.at for event in happened] == sorted(event.at for event in happened)


def test_a_job_that_waits_already_is_not_queued_twice(store: Store) -> None:
    first = jobs.create(store, "export", {"epoch": 1})
    again = jobs.create(store, "export", {"epoch": 1})
    other = jobs.create(store, "export", {"epoch": 2})
    lifecycle.request_cancel(store, JOBS, first.id)
    later = jobs.create(store, "export", {"epoch": 1})

    assert again.id == first.id
    assert len({first.id, other.id, later.id}) == 3


def test_a_process_is_told_apart_from_a_later_one_with_its_number() -> None:
    ours = processes.this_process()

    assert processes.is_alive(ours)
    assert not processes.is_alive(replace(ours, started_ticks=ours.started_ticks + 1))
    assert not processes.is_alive(replace(ours, boot_id="another boot"))
