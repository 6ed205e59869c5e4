"""Jobs in every state, and a look at their rows. A job lives as a run does, and needs no project."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.runs import Process, WorkState
from core.storage import jobs, lifecycle, processes, tables
from core.storage.lifecycle import JOBS, Claim, Room
from core.storage.store import Store, new_id

HERE = processes.this_host()
ELSEWHERE = "another-host"
STRANGER = Process(1, 1, "another boot")


def queue_job(store: Store, **columns: Any) -> str:
    """Queue a job that differs from all others."""
    job_id = jobs.create(store, "import", {"number": new_id()}).id
    if columns:
        set_columns(store, job_id, **columns)
    return job_id


def claim_next(store: Store, host: str = HERE, room: Room | None = None) -> Claim:
    """Claim what must be there."""
    claim = lifecycle.claim(store, JOBS, host, room or Room(100))
    assert claim is not None
    return claim


def start_next(store: Store, host: str = HERE, process: Process | None = None) -> Claim:
    """Queue, claim and start a job."""
    queue_job(store)
    claim = claim_next(store, host)
    lifecycle.start(store, JOBS, claim, process or processes.this_process())
    return claim


def row_of(store: Store, work_id: str) -> Any:
    """Give all columns of a job."""
    with store.read() as connection:
        return connection.execute(sa.select(JOBS).where(JOBS.c.id == work_id)).one()


def set_columns(store: Store, work_id: str, **values: Any) -> None:
    """Change columns of a job past all rules."""
    with store.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == work_id).values(values))


def silence(store: Store, work_id: str, seconds: float) -> None:
    """Make the last sign of life that old."""
    set_columns(store, work_id, heartbeat_at=tables.now() - timedelta(seconds=seconds))


def state_of(store: Store, work_id: str) -> WorkState:
    """Give a job's state."""
    return jobs.get(store, work_id).state


def kinds(store: Store, work_id: str) -> list[str]:
    """List what happened to a job."""
    return [event.kind for event in lifecycle.events(store, [work_id])]


def before_next_write(store: Store, act: Callable[[], object]) -> None:
    """Do something once, at the last moment before the next write transaction begins."""
    is_done = False

    def on_connect(connection: sa.Connection) -> None:
        nonlocal is_done
        if not is_done and not connection.get_execution_options().get("is_reader"):
            is_done = True
            act()

    sa.event.listen(store.engine, "engine_connect", on_connect)


def race(target: Callable[..., None], *arguments: tuple[Any, ...]) -> list[Any]:
    """Call a function in a process per tuple of arguments, all at once; give what each put in its queue.

    The function takes a barrier to wait at and the queue before its own arguments.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(len(arguments)), context.Queue()
    racers = [context.Process(target=target, args=(barrier, results, *own)) for own in arguments]
    for racer in racers:
        racer.start()
    answers = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(10)
    return answers
