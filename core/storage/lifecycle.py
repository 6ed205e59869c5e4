"""Every change of a run's or a job's state: one function per transition, and nothing else writes a state.

Each is one compare-and-set on (id, state, attempt) with an event row in the same transaction; when
nobody is left to be told, somebody else was faster and nothing happens. The states are those of
docs/design.md, "A run's life". ``attempt`` fences: a process whose attempt is over cannot write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.errors import Fenced, NotFound
from core.domain.runs import Event, Process, WorkState
from core.storage import tables
from core.storage.processes import is_alive, this_host
from core.storage.store import Store, new_id

RUNS = tables.run
JOBS = tables.job

LOST_AFTER_SECONDS = 45.0
START_LIMIT_SECONDS = 180.0  # importing torch on a busy machine
GONE_AFTER_SECONDS = 5.0  # of silence, for a process of this host that is dead; its starter may tell better
MAX_CRASHES = 3
MAX_FAILED_STARTS = 5

ACTIVE = (WorkState.DISPATCHED, WorkState.RUNNING)


@dataclass(frozen=True)
class Claim:
    """The right to carry one run or job out once."""

    work_id: str
    attempt: int


@dataclass(frozen=True)
class OwnedWork:
    """A row that a process owns, or has left behind, as the watcher and the sweep see it."""

    claim: Claim
    state: WorkState
    cancel_requested: bool
    host: str
    process: Process | None
    heartbeat_at: datetime | None


def queued_values(priority: int = 0) -> dict[str, Any]:
    """Give the column values of work that waits for its first claim."""
    return {
        "state": WorkState.QUEUED.value,
        "priority": priority,
        "attempt": 0,
        "crashes": 0,
        "failed_starts": 0,
        "cancel_requested": False,
        "progress": {},
        "error": "",
        "created_at": tables.now(),
    }


def claim(store: Store, table: sa.Table, host: str, *, slots: int) -> Claim | None:
    """Take the next queued row for this host if it has a free slot: queued -> dispatched.

    Order: priority descending, then age. A slot is taken while a row is active here or its process
    was not seen gone (``release``); a row waits here as long as its former process is.
    """
    with store.write() as connection:
        if connection.dialect.name == "postgresql":  # two launchers of one host must not count at once
            connection.execute(
                sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"{table.name}@{host}")))
            )
        if _slots_taken(connection, table, host) >= slots:
            return None
        moment = tables.now()
        row = connection.execute(
            sa.select(table.c.id, table.c.attempt)
            .where(table.c.state == WorkState.QUEUED)
            .where(sa.or_(table.c.not_before.is_(None), table.c.not_before <= moment))
            .where(sa.or_(table.c.pid.is_(None), table.c.host != host))
            .order_by(table.c.priority.desc(), table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if row is None:
            return None
        attempt = row.attempt + 1
        is_won = _change(
            connection,
            table,
            row.id,
            row.attempt,
            (WorkState.QUEUED,),
            {
                "state": WorkState.DISPATCHED,
                "attempt": attempt,
                "host": host,
                "pid": None,
                "heartbeat_at": moment,
                "error": "",
            },
            f"attempt {attempt} on {host}",
        )
        return Claim(row.id, attempt) if is_won else None


def record_process(store: Store, table: sa.Table, claim: Claim, process: Process) -> None:
    """Note which process carries the claim out, so that anyone can find and stop it."""
    with store.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.id == claim.work_id, table.c.attempt == claim.attempt, table.c.state.in_(ACTIVE))
            .values(pid=process.pid, pid_started_ticks=process.started_ticks, boot_id=process.boot_id)
        )


def start(store: Store, table: sa.Table, claim: Claim, process: Process) -> None:
    """dispatched -> running, by the process itself.

    Raises:
        Fenced: this attempt is over.
    """
    moment = tables.now()
    values = {
        "state": WorkState.RUNNING,
        "heartbeat_at": moment,
        "started_at": sa.func.coalesce(table.c.started_at, moment),
        "failed_starts": 0,
        "pid": process.pid,
        "pid_started_ticks": process.started_ticks,
        "boot_id": process.boot_id,
    }
    _require(_once(store, table, claim, (WorkState.DISPATCHED,), values, f"attempt {claim.attempt}"))


def beat(store: Store, table: sa.Table, claim: Claim, progress: dict[str, Any] | None = None) -> bool:
    """Give a sign of life, with the progress so far where it changed; tell whether to stop.

    Raises:
        Fenced: this attempt is over.
    """
    values: dict[str, Any] = {"heartbeat_at": tables.now()}
    if progress is not None:
        values["progress"] = progress
    with store.write() as connection:
        changed = connection.execute(
            sa.update(table)
            .where(table.c.id == claim.work_id, table.c.attempt == claim.attempt)
            .where(table.c.state == WorkState.RUNNING)
            .values(values)
        )
        _require(changed.rowcount == 1)
        return bool(
            connection.execute(
                sa.select(table.c.cancel_requested).where(table.c.id == claim.work_id)
            ).scalar_one()
        )


def succeed(store: Store, table: sa.Table, claim: Claim, values: dict[str, Any] | None = None) -> None:
    """running -> succeeded, by the process itself. Raises Fenced when this attempt is over."""
    ended = {"state": WorkState.SUCCEEDED, "ended_at": tables.now(), **(values or {})}
    _require(_once(store, table, claim, (WorkState.RUNNING,), ended, ""))


def fail(store: Store, table: sa.Table, claim: Claim, error: str) -> bool:
    """dispatched or running -> failed: an error of its own, which a new attempt would meet again."""
    ended = {"state": WorkState.FAILED, "ended_at": tables.now(), "error": error}
    return _once(store, table, claim, ACTIVE, ended, error)


def stopped(store: Store, table: sa.Table, claim: Claim) -> bool:
    """dispatched or running -> cancelled, once the process has stopped as asked."""
    ended = {"state": WorkState.CANCELLED, "ended_at": tables.now()}
    return _once(store, table, claim, ACTIVE, ended, "")


def interrupt(store: Store, table: sa.Table, claim: Claim, reason: str, *, is_shutdown: bool = False) -> bool:
    """running -> interrupted: no verdict, it can go on from its last epoch. A shutdown is no crash.

    A cancel that was asked for is granted instead: running -> cancelled.
    """
    with store.write() as connection:
        return _lose(connection, table, claim, WorkState.RUNNING, reason, crashes=0 if is_shutdown else 1)


def put_back(store: Store, table: sa.Table, claim: Claim, reason: str) -> bool:
    """dispatched -> queued, or failed after too many tries: its process never reported.

    A cancel that was asked for is granted instead: dispatched -> cancelled.
    """
    with store.write() as connection:
        return _lose(connection, table, claim, WorkState.DISPATCHED, reason)


def requeue_interrupted(store: Store, table: sa.Table) -> list[str]:
    """interrupted -> queued while the crashes are within the limit, else -> failed; give the queued ids."""
    query = sa.select(table.c.id, table.c.attempt, table.c.crashes, table.c.error).where(
        table.c.state == WorkState.INTERRUPTED
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    if not rows:
        return []
    with store.write() as connection:
        return [row.id for row in rows if _requeue_or_fail(connection, table, row)]


def _requeue_or_fail(connection: sa.Connection, table: sa.Table, row: Any) -> bool:
    before = (WorkState.INTERRUPTED,)
    if row.crashes < MAX_CRASHES:
        values: dict[str, Any] = {"state": WorkState.QUEUED}
        return _change(connection, table, row.id, row.attempt, before, values, "resumes by itself")
    error = f"Stopped {row.crashes} times without an end ({row.error}). Resume it to try again."
    values = {"state": WorkState.FAILED, "ended_at": tables.now(), "error": error}
    _change(connection, table, row.id, row.attempt, before, values, error)
    return False


def resume(store: Store, table: sa.Table, work_id: str) -> bool:
    """interrupted, failed or cancelled -> queued, by the user; crashes count from zero again.

    Raises:
        NotFound: there is no such row.
    """
    with store.write() as connection:
        attempt = _attempt(connection, table, work_id)
        values = {
            "state": WorkState.QUEUED,
            "crashes": 0,
            "failed_starts": 0,
            "cancel_requested": False,
            "ended_at": None,
            "not_before": None,
            "error": "",
        }
        allowed = (WorkState.INTERRUPTED, WorkState.FAILED, WorkState.CANCELLED)
        return _change(connection, table, work_id, attempt, allowed, values, "by the user")


def request_cancel(store: Store, table: sa.Table, work_id: str) -> WorkState | None:
    """Cancel at once what waits; ask what runs to stop. Gives the state after it, None if it was over.

    Raises:
        NotFound: there is no such row.
    """
    with store.write() as connection:
        attempt = _attempt(connection, table, work_id)
        waiting = (WorkState.QUEUED, WorkState.INTERRUPTED)
        ended = {"state": WorkState.CANCELLED, "ended_at": tables.now()}
        if _change(connection, table, work_id, attempt, waiting, ended, "by the user"):
            return WorkState.CANCELLED
        asked = connection.execute(
            sa.update(table)
            .where(table.c.id == work_id, table.c.state.in_(ACTIVE))
            .values(cancel_requested=True)
        )
        if asked.rowcount == 0:
            return None
        _note(connection, work_id, "cancel requested", "")
        state = connection.execute(sa.select(table.c.state).where(table.c.id == work_id)).scalar_one()
        return WorkState(state)


def has_queued(store: Store, table: sa.Table) -> bool:
    """Tell whether a row waits to be claimed, now or after its back-off."""
    query = sa.select(table.c.id).where(table.c.state == WorkState.QUEUED).limit(1)
    with store.read() as connection:
        return connection.execute(query).first() is not None


def active(store: Store, table: sa.Table) -> list[OwnedWork]:
    """List the rows that a process owns now, or should."""
    with store.read() as connection:
        rows = connection.execute(sa.select(table).where(table.c.state.in_(ACTIVE))).all()
    return [_owned(row) for row in rows]


def left_behind(store: Store, table: sa.Table, host: str) -> list[OwnedWork]:
    """List this host's rows that nobody owns any more, but whose last process was not seen gone yet."""
    query = sa.select(table).where(
        table.c.host == host, table.c.pid.is_not(None), table.c.state.not_in(ACTIVE)
    )
    with store.read() as connection:
        return [_owned(row) for row in connection.execute(query)]


def release(store: Store, table: sa.Table, claim: Claim) -> None:
    """Free the slot of a row that nobody owns any more, once its process is gone."""
    with store.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.id == claim.work_id, table.c.attempt == claim.attempt)
            .where(table.c.state.not_in(ACTIVE))
            .values(pid=None)
        )


def sweep(store: Store, table: sa.Table) -> list[str]:
    """Take rows without a sign of life away from their lost process; idempotent, for anyone to call.

    A row of this host whose process is dead is lost after a few seconds of silence already. A cancel
    that was asked for is granted; dispatched goes back to the queue; running becomes interrupted.
    The age is checked again inside the UPDATE, so that a beat in between wins.
    """
    swept: list[str] = []
    here = this_host()
    for work in active(store, table):
        is_gone = work.host == here and (work.process is None or not is_alive(work.process))
        limit = LOST_AFTER_SECONDS if work.state is WorkState.RUNNING else START_LIMIT_SECONDS
        horizon = tables.now() - timedelta(seconds=GONE_AFTER_SECONDS if is_gone else limit)
        reason = "its process is gone" if is_gone else "no sign of life"
        is_silent = work.heartbeat_at is not None and work.heartbeat_at < horizon
        if is_silent and declare_lost(store, table, work, reason, older_than=horizon):
            swept.append(work.claim.work_id)
    return swept


def declare_lost(
    store: Store, table: sa.Table, work: OwnedWork, reason: str, *, older_than: datetime | None = None
) -> bool:
    """Take one row away from a process that is gone; with ``older_than`` only if it did not beat since."""
    with store.write() as connection:
        return _lose(connection, table, work.claim, work.state, reason, older_than=older_than)


def require_running(connection: sa.Connection, table: sa.Table, claim: Claim) -> None:
    """Fence a write of results inside its own transaction. Raises Fenced when this attempt is over."""
    row = connection.execute(
        sa.select(table.c.id)
        .where(table.c.id == claim.work_id, table.c.attempt == claim.attempt)
        .where(table.c.state == WorkState.RUNNING)
        .with_for_update()
    ).first()
    _require(row is not None)


def events(store: Store, work_ids: Iterable[str]) -> list[Event]:
    """List what happened to some runs or jobs, oldest first."""
    query = sa.select(tables.event).where(tables.event.c.work_id.in_(list(work_ids)))
    with store.read() as connection:
        rows = connection.execute(query.order_by(tables.event.c.id)).all()
    return [Event(row.at, row.kind, row.detail) for row in rows]


def _once(
    store: Store,
    table: sa.Table,
    claim: Claim,
    before: Sequence[WorkState],
    values: dict[str, Any],
    detail: str,
) -> bool:
    with store.write() as connection:
        return _change(connection, table, claim.work_id, claim.attempt, before, values, detail)


def _lose(
    connection: sa.Connection,
    table: sa.Table,
    claim: Claim,
    before: WorkState,
    reason: str,
    *,
    crashes: int = 1,
    older_than: datetime | None = None,
) -> bool:
    """Change an active row whose process left without a verdict; a cancel asked for by now is granted."""
    row = connection.execute(sa.select(table).where(table.c.id == claim.work_id).with_for_update()).first()
    if row is None:
        return False
    if row.cancel_requested:
        values: dict[str, Any] = {"state": WorkState.CANCELLED, "ended_at": tables.now()}
    elif before is WorkState.RUNNING:
        values = {"state": WorkState.INTERRUPTED, "error": reason, "crashes": row.crashes + crashes}
    elif row.failed_starts + 1 >= MAX_FAILED_STARTS:
        values = {
            "state": WorkState.FAILED,
            "ended_at": tables.now(),
            "failed_starts": row.failed_starts + 1,
            "error": f"It could not be started {MAX_FAILED_STARTS} times: {reason}.",
        }
    else:
        values = {
            "state": WorkState.QUEUED,
            "not_before": tables.now() + timedelta(seconds=2**row.failed_starts),
            "failed_starts": row.failed_starts + 1,
            "error": reason,
        }
    return _change(connection, table, claim.work_id, claim.attempt, (before,), values, reason, older_than)


def _change(
    connection: sa.Connection,
    table: sa.Table,
    work_id: str,
    attempt: int,
    before: Sequence[WorkState],
    values: dict[str, Any],
    detail: str,
    older_than: datetime | None = None,
) -> bool:
    query = sa.update(table).where(
        table.c.id == work_id, table.c.attempt == attempt, table.c.state.in_(before)
    )
    if older_than is not None:
        query = query.where(table.c.heartbeat_at < older_than)
    if connection.execute(query.values(values)).rowcount == 0:
        return False
    _note(connection, work_id, str(values["state"]), detail)
    return True


def _note(connection: sa.Connection, work_id: str, kind: str, detail: str) -> None:
    connection.execute(
        sa.insert(tables.event).values(
            id=new_id(), work_id=work_id, at=tables.now(), kind=kind, detail=detail
        )
    )


def _attempt(connection: sa.Connection, table: sa.Table, work_id: str) -> int:
    attempt = connection.execute(sa.select(table.c.attempt).where(table.c.id == work_id)).scalar()
    if attempt is None:
        raise NotFound(f"This {table.name} does not exist any more.")
    return attempt


def _slots_taken(connection: sa.Connection, table: sa.Table, host: str) -> int:
    is_taken = sa.or_(table.c.state.in_(ACTIVE), table.c.pid.is_not(None))
    query = sa.select(sa.func.count()).select_from(table).where(table.c.host == host, is_taken)
    return connection.execute(query).scalar_one()


def _owned(row: Any) -> OwnedWork:
    process = None if row.pid is None else Process(row.pid, row.pid_started_ticks, row.boot_id)
    return OwnedWork(
        Claim(row.id, row.attempt),
        WorkState(row.state),
        row.cancel_requested,
        row.host,
        process,
        row.heartbeat_at,
    )


def _require(is_ours: bool) -> None:
    if not is_ours:
        raise Fenced
