"""Runs: what an epoch leaves, fenced; figures per image; the champion."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from core.domain.errors import Conflict, Fenced, NotFound
from core.domain.images import Project
from core.domain.runs import Champion, Epoch, Run, WorkState
from core.domain.training import TrainingConfig
from core.storage import champions, lifecycle, processes, projects, reservations, runs, tables, versions
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.runs import ImageRecord
from core.storage.store import Store


@pytest.fixture
def project(store: Store) -> Project:
    return projects.create(store, "Cars")


@pytest.fixture
def run(store: Store, project: Project) -> Run:
    version = versions.freeze(store, project.id, (), ())
    return runs.create(store, project.id, version.id, TrainingConfig(epochs=5, seed=3), "first")


@pytest.fixture
def claim(store: Store, run: Run) -> Claim:
    """The run, under way in this process."""
    claim = lifecycle.claim(store, RUNS, processes.this_host(), Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    return claim


def epoch_of(claim: Claim, number: int, loss: float = 1.0) -> Epoch:
    key = f"runs/{claim.work_id}/epoch_{number:03d}-a{claim.attempt}.pt"
    metrics = {"train_loss": loss, "val_miou_foreground": None}
    return Epoch(claim.work_id, number, claim.attempt, metrics, {"train": 2.5}, key, tables.now())


def add_epochs(store: Store, claim: Claim, count: int) -> None:
    for number in range(1, count + 1):
        runs.add_epoch(store, claim, epoch_of(claim, number), [])


def interrupt_and_go_on(store: Store, claim: Claim) -> Claim:
    """Crash a run, and start its next attempt."""
    lifecycle.interrupt(store, RUNS, claim, "killed")
    reservations.release(store, claim)
    assert lifecycle.requeue_interrupted(store, RUNS) == [claim.work_id]
    after = lifecycle.claim(store, RUNS, processes.this_host(), Room(1))
    assert after is not None
    lifecycle.start(store, RUNS, after, processes.this_process())
    return after


def record_of(image_id: str, cell: int = 1) -> ImageRecord:
    return ImageRecord(
        image_id, np.array([[cell, 0], [2, 2**40]], np.int64), f"{image_id}.png", f"{image_id}_c.png"
    )


def test_a_run_is_read_back_as_it_was_queued(store: Store, project: Project, run: Run) -> None:
    assert run.state is WorkState.QUEUED
    assert run.config == TrainingConfig(epochs=5, seed=3)
    assert runs.get(store, run.id) == run
    assert runs.list_of(store) == runs.list_of(store, project.id) == [run]


def test_a_run_is_found_by_the_end_of_its_id(store: Store, run: Run) -> None:
    assert runs.get(store, run.id[-8:]) == run
    for wanted in (run.id[-5:], "nothing-like-it", "%%%%%%"):
        with pytest.raises(NotFound):
            runs.get(store, wanted)


def test_an_epoch_brings_its_row_its_figures_and_the_count_together(store: Store, claim: Claim) -> None:
    epoch, records = epoch_of(claim, 1), [record_of("a"), record_of("b")]

    runs.add_epoch(store, claim, epoch, records)

    assert runs.epochs(store, claim.work_id) == [epoch]
    assert runs.get(store, claim.work_id).epochs_done == 1
    kept = runs.records(store, claim.work_id, 1)
    assert [(r.image_id, r.prediction, r.confidence) for r in kept] == [
        ("a", "a.png", "a_c.png"),
        ("b", "b.png", "b_c.png"),
    ]
    np.testing.assert_array_equal(kept[0].confusion, records[0].confusion)


def test_a_repeated_epoch_replaces_what_an_earlier_attempt_left_from_there_on(
    store: Store, claim: Claim
) -> None:
    for number in (1, 2, 3):
        runs.add_epoch(store, claim, epoch_of(claim, number, loss=1.0), [record_of("a", number)])

    runs.add_epoch(store, claim, epoch_of(claim, 2, loss=9.0), [record_of("b")])

    assert [(e.epoch, e.metrics["train_loss"]) for e in runs.epochs(store, claim.work_id)] == [
        (1, 1.0),
        (2, 9.0),
    ]
    assert [r.image_id for r in runs.records(store, claim.work_id, 2)] == ["b"]
    assert runs.records(store, claim.work_id, 3) == []
    assert runs.get(store, claim.work_id).epochs_done == 2


def test_an_epoch_knows_the_size_of_its_checkpoint(store: Store, claim: Claim) -> None:
    epoch = replace(epoch_of(claim, 1), checkpoint_bytes=3 << 32)

    runs.add_epoch(store, claim, epoch, [])

    assert runs.epochs(store, claim.work_id) == [epoch]
    assert runs.kept_bytes(store) == {claim.work_id: 3 << 32}


def test_a_run_that_makes_progress_may_be_interrupted_without_end(store: Store, claim: Claim) -> None:
    for number in range(1, lifecycle.MAX_CRASHES + 3):
        runs.add_epoch(store, claim, epoch_of(claim, number), [])
        claim = interrupt_and_go_on(store, claim)

    assert runs.get(store, claim.work_id).state is WorkState.RUNNING
    assert runs.get(store, claim.work_id).crashes == 1


def test_a_run_that_makes_none_is_not(store: Store, claim: Claim) -> None:
    runs.add_epoch(store, claim, epoch_of(claim, 1), [])
    for _ in range(lifecycle.MAX_CRASHES - 1):
        claim = interrupt_and_go_on(store, claim)

    lifecycle.interrupt(store, RUNS, claim, "killed")

    assert lifecycle.requeue_interrupted(store, RUNS) == []
    assert runs.get(store, claim.work_id).state is WorkState.FAILED


def test_checkpoints_that_are_given_up_leave_their_figures(store: Store, claim: Claim) -> None:
    added = [replace(epoch_of(claim, number), checkpoint_bytes=10) for number in (1, 2, 3)]
    for epoch in added:
        runs.add_epoch(store, claim, epoch, [record_of("a")])

    runs.give_up_checkpoints(store, claim.work_id, [1, 2])

    given_up = [replace(epoch, checkpoint="", checkpoint_bytes=None) for epoch in added[:2]]
    assert runs.epochs(store, claim.work_id) == [*given_up, added[2]]
    assert len(runs.records(store, claim.work_id, 1)) == 1
    assert runs.kept_bytes(store) == {claim.work_id: 10}


def test_what_others_point_at_is_pinned(store: Store, project: Project, claim: Claim) -> None:
    add_epochs(store, claim, 6)
    run = runs.get(store, claim.work_id)
    for epoch in (1, 4):
        config = TrainingConfig(start_from=f"{run.id}/{epoch}")
        runs.create(store, project.id, run.data_version_id, config, "from it")
    for epoch in (2, 3):
        champions.set_champion(store, Champion(project.id, run.id, epoch, "", "Ana", tables.now()))

    assert runs.pinned_epochs(store, run.id) == {1, 2, 3, 4}
    assert list(runs.give_up_checkpoints(store, run.id, range(1, 7))) == [5, 6]


def test_what_was_given_up_can_be_neither_champion_nor_start(
    store: Store, project: Project, claim: Claim
) -> None:
    add_epochs(store, claim, 2)
    run = runs.get(store, claim.work_id)
    runs.give_up_checkpoints(store, run.id, [1], claim=claim)

    with pytest.raises(NotFound, match="The checkpoint of epoch 1 was not kept"):
        champions.set_champion(store, Champion(project.id, run.id, 1, "", "Ana", tables.now()))
    with pytest.raises(NotFound, match="The checkpoint of epoch 1 was not kept"):
        config = TrainingConfig(start_from=f"{run.id}/1")
        runs.create(store, project.id, run.data_version_id, config, "from it")

    assert champions.champion(store, project.id) is None
    assert runs.list_of(store) == [runs.get(store, run.id)]


def test_an_attempt_that_is_over_gives_nothing_up(store: Store, claim: Claim) -> None:
    add_epochs(store, claim, 2)
    lifecycle.interrupt(store, RUNS, claim, "killed")

    with pytest.raises(Fenced):
        runs.give_up_checkpoints(store, claim.work_id, [1], claim=claim)

    assert all(epoch.checkpoint for epoch in runs.epochs(store, claim.work_id))


def test_a_run_pins_where_it_starts_until_it_has_an_epoch_of_its_own(
    store: Store, project: Project, claim: Claim
) -> None:
    add_epochs(store, claim, 1)
    run = runs.get(store, claim.work_id)
    config = TrainingConfig(start_from=f"{run.id}/1")
    later = runs.create(store, project.id, run.data_version_id, config, "from it")
    started = lifecycle.claim(store, RUNS, "another-host", Room(1))
    assert started is not None and started.work_id == later.id
    lifecycle.fail(store, RUNS, started, "broken, but it may be resumed")
    before = runs.pinned_epochs(store, run.id)

    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == later.id).values(epochs_done=1))

    assert (before, runs.pinned_epochs(store, run.id)) == ({1}, set())


def test_a_run_asks_for_its_devices_and_knows_where_it_is(store: Store, project: Project) -> None:
    version = versions.freeze(store, project.id, (), ())
    run = runs.create(store, project.id, version.id, TrainingConfig(devices=2), "wide", priority=3)
    claim = lifecycle.claim(store, RUNS, "garage", Room(2, ("a", "b"), largest=2))
    assert claim == Claim(run.id, 1)

    lifecycle.start(store, RUNS, claim, processes.this_process())

    (work,) = lifecycle.active(store, RUNS)
    assert (work.devices, work.gpu_ids) == (2, ("a", "b"))
    started = runs.get(store, run.id)
    assert (started.priority, started.host, started.machine) == (3, "garage", processes.this_host())


def test_an_attempt_that_is_over_adds_no_epoch(store: Store, claim: Claim) -> None:
    runs.add_epoch(store, claim, epoch_of(claim, 1), [record_of("a")])
    stale = replace(claim, attempt=claim.attempt - 1)

    with pytest.raises(Fenced):
        runs.add_epoch(store, stale, epoch_of(stale, 1, loss=9.0), [record_of("b")])

    assert [e.metrics["train_loss"] for e in runs.epochs(store, claim.work_id)] == [1.0]
    assert [r.image_id for r in runs.records(store, claim.work_id, 1)] == ["a"]


def test_an_interrupted_run_adds_no_epoch_and_notes_no_device(store: Store, claim: Claim) -> None:
    lifecycle.interrupt(store, RUNS, claim, "swept")

    with pytest.raises(Fenced):
        runs.add_epoch(store, claim, epoch_of(claim, 1), [])
    with pytest.raises(Fenced):
        runs.set_device(store, claim, "CPU")

    assert runs.epochs(store, claim.work_id) == []


def test_a_run_notes_its_device(store: Store, claim: Claim) -> None:
    runs.set_device(store, claim, "CPU")

    assert runs.get(store, claim.work_id).device == "CPU"


def test_an_evaluation_replaces_the_figures_of_its_split_only(store: Store, claim: Claim) -> None:
    runs.add_epoch(store, claim, epoch_of(claim, 1), [record_of("a")])
    runs.set_records(store, claim.work_id, 1, "test", [record_of("t")])

    runs.set_records(store, claim.work_id, 1, "test", [record_of("u"), record_of("v")])

    assert [r.image_id for r in runs.records(store, claim.work_id, 1, "test")] == ["u", "v"]
    assert [r.image_id for r in runs.records(store, claim.work_id, 1)] == ["a"]


def test_one_image_is_followed_through_the_epochs(store: Store, claim: Claim) -> None:
    for number in (1, 2, 3):
        runs.add_epoch(store, claim, epoch_of(claim, number), [record_of("a", number), record_of("b")])

    followed = runs.records_of_image(store, claim.work_id, "a")

    assert {epoch: int(record.confusion[0, 0]) for epoch, record in followed.items()} == {1: 1, 2: 2, 3: 3}


def test_an_exported_model_belongs_to_its_epoch(store: Store, claim: Claim) -> None:
    runs.add_epoch(store, claim, epoch_of(claim, 1), [])
    before = runs.onnx_key(store, claim.work_id, 1)

    runs.set_onnx_key(store, claim.work_id, 1, "runs/x.onnx")

    assert (before, runs.onnx_key(store, claim.work_id, 1)) == (None, "runs/x.onnx")
    assert runs.onnx_key(store, claim.work_id, 2) is None


def test_the_newest_champion_counts(store: Store, project: Project, run: Run, claim: Claim) -> None:
    add_epochs(store, claim, 4)
    first = Champion(project.id, run.id, 1, "", "Ana", tables.now())
    second = replace(first, epoch=4, note="better on scratches")
    assert champions.champion(store, project.id) is None

    champions.set_champion(store, first)
    champions.set_champion(store, second)

    assert champions.champion(store, project.id) == second


def test_of_many_who_choose_at_the_same_moment_one_wins(
    store: Store, project: Project, run: Run, claim: Claim
) -> None:
    add_epochs(store, claim, 4)
    ready, outcomes = threading.Barrier(4), []

    def choose(epoch: int) -> None:
        chosen = Champion(project.id, run.id, epoch, "", f"tab {epoch}", tables.now())
        ready.wait()
        try:
            champions.set_champion(store, chosen, replacing=None)
            outcomes.append(epoch)
        except Conflict as conflict:
            outcomes.append(str(conflict))

    tabs = [threading.Thread(target=choose, args=(epoch,)) for epoch in (1, 2, 3, 4)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()

    (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
    told = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert [c.epoch for c in champions.champions(store, project.id)] == [winner]
    assert len(told) == 3
    assert all(f"tab {winner} made epoch {winner}" in sentence for sentence in told)


def test_the_epochs_of_several_runs_come_as_those_of_one(store: Store, run: Run, claim: Claim) -> None:
    add_epochs(store, claim, 3)

    assert runs.epochs_of(store, [run.id, "no such run"]) == {run.id: runs.epochs(store, run.id)}
    assert [epoch.epoch for epoch in runs.epochs(store, run.id)] == [1, 2, 3]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)  # PostgreSQL takes no NaN in JSON
def test_a_figure_that_is_no_number_stops_no_list(store: Store, run: Run, claim: Claim) -> None:
    runs.add_epoch(store, claim, epoch_of(claim, 1, loss=math.nan), [])

    (epoch,) = runs.epochs_of(store, [run.id])[run.id]

    loss = epoch.metrics["train_loss"]
    assert loss is not None and math.isnan(loss)
