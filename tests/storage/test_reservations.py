"""Who gets which row, slot and GPU, how long it is held, and who wins a race for it."""

from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy as sa

from core.domain.runs import Process, WorkState
from core.domain.training import TrainingConfig
from core.storage import jobs, lifecycle, processes, projects, reservations, runs, tables, versions
from core.storage.lifecycle import JOBS, RUNS, Claim, Room
from core.storage.settings import Settings
from core.storage.store import Store, new_id, open_store
from tests.builders import project_with
from tests.storage.builders import (
    ELSEWHERE,
    HERE,
    STRANGER,
    claim_next,
    kinds,
    queue_job,
    race,
    set_columns,
    start_next,
    state_of,
)

GPUS = ("GPU-a", "GPU-b")
TWO = Room(2, GPUS, largest=2)


def held(store: Store, host: str = HERE) -> dict[tuple[str, int], list[str]]:
    """Map each (work, attempt) to the GPUs that it holds on a host."""
    table = tables.reservation
    with store.read() as connection:
        rows = connection.execute(sa.select(table).where(table.c.host == host)).all()
    return {(row.work_id, row.attempt): row.gpu_ids for row in rows}


def test_nothing_queued_is_no_claim(store: Store) -> None:
    assert lifecycle.claim(store, JOBS, HERE, Room(1)) is None
    assert not lifecycle.has_queued(store, JOBS)


def test_priority_goes_before_age(store: Store) -> None:
    first, second, urgent = queue_job(store), queue_job(store), queue_job(store, priority=5)

    claimed = [claim_next(store).work_id for _ in range(3)]

    assert claimed == [urgent, first, second]


def test_patient_work_leaves_the_last_slot_to_others(store: Store) -> None:
    long, longer = queue_job(store, priority=-1), queue_job(store, priority=-1)
    assert claim_next(store, room=Room(2)).work_id == long
    assert lifecycle.claim(store, JOBS, HERE, Room(2)) is None

    asked_for = queue_job(store)

    assert claim_next(store, room=Room(2)).work_id == asked_for
    reservations.release(store, Claim(long, 1))
    assert lifecycle.claim(store, JOBS, HERE, Room(2)) is None, "one is free, and it is the last"
    reservations.release(store, Claim(asked_for, 1))
    assert claim_next(store, room=Room(2)).work_id == longer


def test_patient_work_takes_the_only_slot(store: Store) -> None:
    long = queue_job(store, priority=-1)

    assert claim_next(store, room=Room(1)).work_id == long


def test_what_is_prioritised_goes_before_all_that_wait(store: Store) -> None:
    ordinary, urgent, last = queue_job(store), queue_job(store, priority=5), queue_job(store)

    assert lifecycle.prioritise(store, JOBS, last)

    assert [claim_next(store).work_id for _ in range(3)] == [last, urgent, ordinary]
    assert kinds(store, last) == ["prioritised", "dispatched"]


def test_the_one_prioritised_last_goes_first(store: Store) -> None:
    first, second = queue_job(store), queue_job(store)

    for job_id in (first, second):
        lifecycle.prioritise(store, JOBS, job_id)

    assert claim_next(store).work_id == second


def test_what_does_not_exist_is_not_prioritised(store: Store) -> None:
    assert not lifecycle.prioritise(store, JOBS, new_id())


def test_a_host_claims_no_more_than_it_has_slots(store: Store) -> None:
    for _ in range(3):
        queue_job(store)

    here = [lifecycle.claim(store, JOBS, HERE, Room(1)) for _ in range(2)]
    elsewhere = lifecycle.claim(store, JOBS, ELSEWHERE, Room(1))

    assert here[0] is not None and here[1] is None
    assert elsewhere is not None


def test_a_job_waits_behind_no_training(store: Store) -> None:
    project = projects.create(store, "Cars")
    version = versions.freeze(store, project.id, (), ())
    run = runs.create(store, project.id, version.id, TrainingConfig(), "first")
    job_id = queue_job(store)

    training = lifecycle.claim(store, RUNS, HERE, Room(1))
    job = lifecycle.claim(store, JOBS, HERE, Room(1))

    assert training == Claim(run.id, 1)
    assert job == Claim(job_id, 1)


def test_a_slot_stays_taken_until_the_process_is_seen_gone(store: Store) -> None:
    claim = start_next(store)
    lifecycle.succeed(store, JOBS, claim)
    queue_job(store)

    before = lifecycle.claim(store, JOBS, HERE, Room(1))
    left_behind = reservations.left_behind(store, JOBS, HERE)
    reservations.release(store, claim)
    after = lifecycle.claim(store, JOBS, HERE, Room(1))

    assert before is None
    assert [work.claim for work in left_behind] == [claim]
    assert after is not None
    assert reservations.left_behind(store, JOBS, HERE) == []


def test_work_waits_on_its_host_while_its_former_process_is_there_but_not_elsewhere(store: Store) -> None:
    claim = start_next(store)
    lifecycle.interrupt(store, JOBS, claim, "test")
    lifecycle.requeue_interrupted(store, JOBS)

    assert lifecycle.claim(store, JOBS, HERE, Room(5)) is None
    assert claim_next(store, ELSEWHERE) == Claim(claim.work_id, 2)


def test_a_pause_does_not_hold_others_up(store: Store) -> None:
    first = queue_job(store)
    lifecycle.put_back(store, JOBS, claim_next(store), "no answer")
    second = queue_job(store)

    assert claim_next(store).work_id == second
    assert state_of(store, first) is WorkState.QUEUED


def test_each_piece_of_work_gets_gpus_of_its_own_until_there_are_none_left(store: Store) -> None:
    for _ in range(3):
        queue_job(store, devices=1)

    first, second = (claim_next(store, room=TWO) for _ in range(2))

    assert lifecycle.claim(store, JOBS, HERE, TWO) is None
    assert held(store) == {(first.work_id, 1): ["GPU-a"], (second.work_id, 1): ["GPU-b"]}
    assert reservations.gpus_in_use(store, HERE) == {"GPU-a": first.work_id, "GPU-b": second.work_id}
    assert reservations.gpus_in_use(store, ELSEWHERE) == {}


def test_an_attempt_sees_what_it_holds(store: Store) -> None:
    queue_job(store, devices=2)
    claim = claim_next(store, room=TWO)

    (work,) = lifecycle.active(store, JOBS)

    assert (work.claim, work.gpu_ids, work.devices) == (claim, GPUS, 2)


def test_work_that_asks_for_no_device_takes_one_gpu_where_there_are_some(store: Store) -> None:
    queue_job(store, devices=0)

    claim = claim_next(store, room=TWO)

    assert held(store) == {(claim.work_id, 1): ["GPU-a"]}


def test_what_needs_two_gpus_waits_at_the_head_and_nobody_overtakes_it(store: Store) -> None:
    queue_job(store, devices=1)
    first = claim_next(store, room=TWO)
    wide, behind = queue_job(store, devices=2), queue_job(store, devices=1)

    while_one_is_busy = lifecycle.claim(store, JOBS, HERE, TWO)
    reservations.release(store, first)
    then = claim_next(store, room=TWO)

    assert while_one_is_busy is None
    assert then.work_id == wide
    assert held(store) == {(wide, 1): list(GPUS)}
    assert lifecycle.claim(store, JOBS, HERE, TWO) is None
    assert state_of(store, behind) is WorkState.QUEUED


def test_what_never_fits_here_is_left_to_other_hosts_and_holds_nobody_up(store: Store) -> None:
    wide, small = queue_job(store, devices=3, priority=9), queue_job(store, devices=1)

    here = claim_next(store, room=TWO)
    elsewhere = claim_next(store, ELSEWHERE, Room(4, (*GPUS, "GPU-c", "GPU-d"), largest=4))

    assert here.work_id == small
    assert elsewhere.work_id == wide


def test_a_machine_without_gpus_gives_a_wide_run_one_slot(store: Store) -> None:
    wide = queue_job(store, devices=2)
    queue_job(store, devices=1)

    claim = claim_next(store, room=Room(1))

    assert claim.work_id == wide
    assert held(store) == {(wide, 1): []}
    assert lifecycle.claim(store, JOBS, HERE, Room(1)) is None


def test_a_gpu_stays_held_by_a_process_that_is_still_there_though_another_host_took_its_work_over(
    store: Store,
) -> None:
    queue_job(store, devices=1)
    old = claim_next(store, room=Room(1, GPUS[:1], largest=1))
    lifecycle.start(store, JOBS, old, processes.this_process())
    lifecycle.interrupt(store, JOBS, old, "no sign of life")
    lifecycle.requeue_interrupted(store, JOBS)
    new = claim_next(store, ELSEWHERE)
    lifecycle.start(store, JOBS, new, STRANGER)
    queue_job(store, devices=1)

    before = lifecycle.claim(store, JOBS, HERE, Room(1, GPUS[:1], largest=1))
    (left,) = reservations.left_behind(store, JOBS, HERE)
    reservations.release(store, old)
    after = lifecycle.claim(store, JOBS, HERE, Room(1, GPUS[:1], largest=1))

    assert before is None
    assert (left.claim, left.is_current, left.gpu_ids) == (old, False, GPUS[:1])
    assert left.process == processes.this_process()
    assert after is not None
    assert (new.work_id, 2) in held(store, ELSEWHERE)


def test_all_processes_of_an_attempt_are_on_record(store: Store) -> None:
    queue_job(store)
    claim = claim_next(store)
    ranks = [Process(12, 3_000_000_000, "boot"), Process(13, 4, "boot")]

    reservations.record_process(store, claim, STRANGER)
    reservations.record_ranks(store, claim, ranks)

    (work,) = lifecycle.active(store, JOBS)
    assert (work.claim, work.process, work.ranks) == (claim, STRANGER, tuple(ranks))
    assert work.processes == (STRANGER, *ranks)


def test_a_claim_keeps_the_name_that_its_cluster_will_know_it_by(store: Store) -> None:
    queue_job(store)

    claim = lifecycle.claim(store, JOBS, "ray@cluster", Room(1), submission="mw-7f3a")

    (work,) = lifecycle.active(store, JOBS)
    assert claim is not None
    assert work.submission == f"mw-7f3a-{claim.work_id}-a1"


def test_what_is_held_by_work_under_way_is_not_left_behind(store: Store) -> None:
    start_next(store)
    queue_job(store)
    claim_next(store)

    assert reservations.left_behind(store, JOBS, HERE) == []


def test_what_deleted_work_held_is_left_behind(store: Store) -> None:
    project = project_with(store)
    queue_job(store, project_id=project.id)
    claim = claim_next(store)
    lifecycle.start(store, JOBS, claim, STRANGER)

    projects.discard_if_empty(store, project.id)

    (left,) = reservations.left_behind(store, JOBS, HERE)
    assert (left.claim, left.process, left.is_current) == (claim, STRANGER, False)
    assert reservations.left_behind(store, RUNS, HERE) == []


def claim_all(barrier: Barrier, results: "Queue[list[str]]", settings: Settings, host: str) -> None:
    store = open_store(settings)
    barrier.wait(60)
    won: list[str] = []
    while claim := lifecycle.claim(store, JOBS, host, Room(100)):
        won.append(claim.work_id)
    results.put(won)


@pytest.mark.parametrize("hosts", [(HERE, HERE), (HERE, ELSEWHERE)])
def test_each_row_is_won_once_when_two_processes_race(
    settings: Settings, store: Store, hosts: tuple[str, str]
) -> None:
    queued = [queue_job(store) for _ in range(20)]

    won = race(claim_all, *((settings, host) for host in hosts))

    assert sorted(won[0] + won[1]) == sorted(queued)


def claim_slots(barrier: Barrier, results: "Queue[list[str]]", settings: Settings) -> None:
    store = open_store(settings)
    barrier.wait(60)
    claims = [lifecycle.claim(store, JOBS, HERE, Room(1)) for _ in range(20)]
    results.put([claim.work_id for claim in claims if claim])


def test_two_processes_of_one_host_do_not_both_take_its_last_slot(settings: Settings, store: Store) -> None:
    for _ in range(20):
        queue_job(store)

    won = race(claim_slots, (settings,), (settings,))

    assert len(won[0] + won[1]) == 1


def claim_gpus(barrier: Barrier, results: "Queue[list[str]]", settings: Settings) -> None:
    """Take, look who holds what, and give back, until nothing waits; give the GPUs that two held at once."""
    store = open_store(settings)
    barrier.wait(60)
    twice: list[str] = []
    while claim := lifecycle.claim(store, JOBS, HERE, TWO):
        in_use = [gpu_id for ids in held(store).values() for gpu_id in ids]
        twice += [gpu_id for gpu_id in GPUS if in_use.count(gpu_id) > 1]
        reservations.release(store, claim)
    results.put(twice)


def test_two_processes_of_one_host_never_get_the_same_gpu(settings: Settings, store: Store) -> None:
    rows = [queue_job(store, devices=1) for _ in range(100)]

    twice = race(claim_gpus, (settings,), (settings,))

    assert twice == [[], []]
    assert {state_of(store, row) for row in rows} == {WorkState.DISPATCHED}


def test_a_pause_that_a_clock_put_back_made_endless_is_over(store: Store) -> None:
    job_id = queue_job(store, not_before=tables.now() + lifecycle.MAX_BACK_OFF * 100)

    assert claim_next(store).work_id == job_id


def test_a_pause_that_is_not_over_yet_is_kept(store: Store) -> None:
    job_id = queue_job(store, not_before=tables.now() + lifecycle.MAX_BACK_OFF / 2)

    assert lifecycle.claim(store, JOBS, HERE, Room(1)) is None
    assert lifecycle.has_queued(store, JOBS)

    set_columns(store, job_id, not_before=tables.now() - lifecycle.MAX_BACK_OFF)
    assert claim_next(store).work_id == job_id


def test_a_gpu_that_a_job_borrowed_is_given_to_nobody_else(store: Store) -> None:
    project = projects.create(store, "Cars")
    first, second = (jobs.create(store, "evaluate", {"epoch": n}) for n in (1, 2))
    claims = [lifecycle.claim(store, JOBS, HERE, Room(2)) for _ in (first, second)]
    assert claims[0] is not None and claims[1] is not None
    version = versions.freeze(store, project.id, (), ())
    runs.create(store, project.id, version.id, TrainingConfig(), "a run")

    borrowed = [reservations.borrow_gpu(store, claim, HERE, ("a",)) for claim in claims if claim]
    while_borrowed = lifecycle.claim(store, RUNS, HERE, Room(1, ("a",), largest=1))
    reservations.release(store, claims[0])
    afterwards = lifecycle.claim(store, RUNS, HERE, Room(1, ("a",), largest=1))

    assert borrowed == [("a",), ()]
    assert while_borrowed is None and afterwards is not None
