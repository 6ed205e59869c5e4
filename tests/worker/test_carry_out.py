"""One process for one piece of work: every way it can end, with handlers of three lines."""

import itertools
import os
import signal
import time
from collections.abc import Generator
from typing import Any

import pytest

from core.domain.errors import AppError
from core.domain.runs import Job, WorkState
from core.storage import jobs, lifecycle, processes
from core.storage.lifecycle import JOBS, Claim, Room
from core.storage.store import Store
from core.worker import __main__ as worker
from core.worker.handlers import HANDLERS
from core.worker.heartbeat import OnProgress


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


def test_a_cancel_stops_the_work_within_seconds(store: Store) -> None:
    began = time.monotonic()

    code, job = carry_out(store, "ask_for_cancel")

    assert (code, job.state) == (0, WorkState.CANCELLED)
    assert time.monotonic() - began < 5


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
    assert lifecycle.requeue_interrupted(store, JOBS) == [job.id]


def test_a_shutdown_of_work_that_was_to_be_cancelled_cancels_it(store: Store) -> None:
    code, job = carry_out(store, "meet_a_shutdown_when_cancelled")

    assert (code, job.state) == (143, WorkState.CANCELLED)
