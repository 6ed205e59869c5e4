"""One run on several devices: torchrun's processes, killed, cancelled, and what each may write."""

import os
import signal
from collections.abc import Callable

import pytest

from core.domain.runs import Process, Run, WorkState
from core.storage import lifecycle, processes, reservations, runs
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from tests.worker.builders import Workers, wait_until

pytestmark = pytest.mark.acceptance

PATIENCE = 240.0  # two processes import torch twice over on two cores


def ranks_of(store: Store, run: Run) -> tuple[Process, ...]:
    found = [work.ranks for work in lifecycle.active(store, RUNS) if work.claim.work_id == run.id]
    return found[0] if found else ()


def test_a_run_on_two_devices_survives_the_death_of_one_process(
    store: Store, queue_run: Callable[..., Run], workers: Workers
) -> None:
    run = queue_run(epochs=6, devices=2, batch_size=4, deterministic=True)
    workers.start("once=True")
    wait_until(lambda: runs.get(store, run.id).epochs_done >= 1, PATIENCE)
    first = ranks_of(store, run)

    os.kill(first[1].pid, signal.SIGKILL)
    wait_until(lambda: runs.get(store, run.id).attempt == 2, PATIENCE)
    assert not any(processes.is_alive(process) for process in first)
    wait_until(lambda: runs.get(store, run.id).state.is_final, PATIENCE)

    done = runs.get(store, run.id)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 2), done.error
    assert "2 processes" in done.device
    assert len(first) == 2 and len({process.pid for process in first}) == 2
    assert [epoch.epoch for epoch in runs.epochs(store, run.id)] == list(range(1, 7))
    assert all(len(runs.records(store, run.id, epoch)) == 2 for epoch in range(1, 7))
    events = [event.detail for event in lifecycle.events(store, [run.id]) if event.kind == "interrupted"]
    assert len(events) == 1


def test_a_cancel_and_a_kill_of_torchrun_leave_no_process_behind(
    store: Store, queue_run: Callable[..., Run], workers: Workers
) -> None:
    run = queue_run(epochs=10_000, devices=2, batch_size=4)
    workers.start()
    wait_until(lambda: runs.get(store, run.id).progress.get("phase") == "training", PATIENCE)
    (work,) = lifecycle.active(store, RUNS)
    assert work.process is not None

    os.kill(work.process.pid, signal.SIGKILL)  # torchrun alone: the kernel takes its ranks along
    wait_until(lambda: not any(processes.is_alive(rank) for rank in work.ranks), 20)
    wait_until(lambda: runs.get(store, run.id).attempt == 2, PATIENCE)
    wait_until(lambda: runs.get(store, run.id).progress.get("phase") == "training", PATIENCE)
    second = ranks_of(store, run)
    lifecycle.request_cancel(store, RUNS, run.id)
    wait_until(lambda: runs.get(store, run.id).state.is_final, PATIENCE)

    assert runs.get(store, run.id).state is WorkState.CANCELLED
    wait_until(lambda: reservations.left_behind(store, RUNS, processes.this_host()) == [])
    assert not any(processes.is_alive(process) for process in second)
