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
from core.storage.processes import this_host
from core.storage.store import Store, new_id

RUNS = tables.run
JOBS = tables.job

MAX_CRASHES = 3  # without a complete epoch in between
MAX_FAILED_STARTS = 5
MAX_BACK_OFF = timedelta(seconds=120)  # a start is never put off for longer

ACTIVE = (WorkState.DISPATCHED, WorkState.RUNNING)


@dataclass(frozen=True)
class Claim:
    """The right to carry one run or job out once."""

    work_id: str
    attempt: int


@dataclass(frozen=True)
class Room:
    """What a host offers a lane: GPUs by id where it has some, else ``slots`` pieces of work at once.

    ``largest`` is the most devices that one piece of work may have here; more waits for another host.
    """

    slots: int
    gpu_ids: tuple[str, ...] = ()
    largest: int = 64


@dataclass(frozen=True)
class OwnedWork:
    """An attempt that a process owns, or has left behind, as the watcher and the sweep see it.

    ``process`` leads; ``ranks`` are those of its processes that have sessions of their own.
    """

    claim: Claim
    state: WorkState
    cancel_requested: bool
    host: str
    process: Process | None
    heartbeat_at: datetime | None
    suspected_at: datetime | None = None
    ranks: tuple[Process, ...] = ()
    submission: str | None = None
    gpu_ids: tuple[str, ...] = ()
    devices: int = 0
    is_current: bool = True  # False: a newer attempt owns the row

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes that are known of it."""
        return ((self.process,) if self.process else ()) + self.ranks


def moment(connection: sa.Connection) -> datetime:
    """Give this moment by the clock that all who share the database share."""
    if connection.dialect.name == "postgresql":
        return connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return tables.now()


def queued_values(priority: int = 0, devices: int = 0) -> dict[str, Any]:
    """Give the column values of work that waits for its first claim."""
    return {
        "state": WorkState.QUEUED.value,
        "priority": priority,
        "devices": devices,
        "attempt": 0,
        "crashes": 0,
        "failed_starts": 0,
        "cancel_requested": False,
        "progress": {},
        "error": "",
        "created_at": tables.now(),
    }


def claim(
    store: Store, table: sa.Table, host: str, room: Room, *, submission: str | None = None
) -> Claim | None:
    """Take the next queued row for this host if there is room: queued -> dispatched, with a reservation.

    Order: priority descending, then age. Where the first one does not fit now it waits, and nobody
    overtakes it; what can never fit here is left to other hosts. A row waits here as long as the
    processes of a former attempt of it are not seen gone (``reservations.release``). What takes long and
    nobody waits for has a priority below 0: it leaves the last of several slots to others.

    Args:
        submission: beginning of the name that a cluster will know the attempt by; kept with the claim.
    """
    with store.write() as connection:
        lock_host(connection, host)
        now = moment(connection)
        row = connection.execute(_next_queued(table, host, room, now)).first()
        if row is None:
            return None
        gpu_ids = _reserved(connection, table, host, room, row.devices, is_patient=row.priority < 0)
        if gpu_ids is None:
            return None
        attempt = row.attempt + 1
        values: dict[str, Any] = {
            "state": WorkState.DISPATCHED,
            "attempt": attempt,
            "host": host,
            "machine": None,
            "heartbeat_at": now,
            "suspected_at": None,
            "error": "",
        }
        detail = f"attempt {attempt} on {host}"
        if not _change(connection, table, row.id, row.attempt, (WorkState.QUEUED,), values, detail):
            return None
        connection.execute(
            sa.insert(tables.reservation).values(
                work_id=row.id,
                attempt=attempt,
                lane=table.name,
                host=host,
                gpu_ids=list(gpu_ids),
                submission=f"{submission}-{row.id}-a{attempt}" if submission else None,
                ranks=[],
            )
        )
        return Claim(row.id, attempt)


def lock_host(connection: sa.Connection, host: str) -> None:
    """Have this transaction count alone what is reserved on a host: SQLite's writers are alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"host {host}"))))


def _next_queued(table: sa.Table, host: str, room: Room, now: datetime) -> sa.Select[Any, Any, Any, Any]:
    held = tables.reservation
    is_held_here = sa.exists().where(held.c.work_id == table.c.id, held.c.host == host)
    is_due = sa.or_(
        table.c.not_before.is_(None),
        table.c.not_before <= now,
        table.c.not_before > now + MAX_BACK_OFF,  # the clock was put back
    )
    return (
        sa.select(table.c.id, table.c.attempt, table.c.devices, table.c.priority)
        .where(table.c.state == WorkState.QUEUED, is_due, ~is_held_here, table.c.devices <= room.largest)
        .order_by(table.c.priority.desc(), table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=table)
    )


def _reserved(
    connection: sa.Connection, table: sa.Table, host: str, room: Room, devices: int, *, is_patient: bool
) -> tuple[str, ...] | None:
    """Choose the GPUs for so many devices, () where the host has none; None when there is no room."""
    held = tables.reservation
    query = sa.select(held.c.lane, held.c.gpu_ids).where(held.c.host == host)
    taken = connection.execute(query).all()
    if not room.gpu_ids:
        slots = max(1, room.slots - 1) if is_patient and table is JOBS else room.slots
        return () if sum(row.lane == table.name for row in taken) < slots else None
    in_use = {gpu_id for row in taken for gpu_id in row.gpu_ids}  # a job may have borrowed one
    free = [gpu_id for gpu_id in room.gpu_ids if gpu_id not in in_use]
    return tuple(free[: max(1, devices)]) if len(free) >= max(1, devices) else None


def start(store: Store, table: sa.Table, claim: Claim, process: Process) -> None:
    """dispatched -> running, by the process itself; ``process`` is the one to signal.

    Raises:
        Fenced: this attempt is over.
    """
    held = tables.reservation
    with store.write() as connection:
        now = moment(connection)
        values = {
            "state": WorkState.RUNNING,
            "heartbeat_at": now,
            "suspected_at": None,
            "started_at": sa.func.coalesce(table.c.started_at, now),
            "failed_starts": 0,
            "error": "",
            "machine": this_host(),
        }
        before, detail = (WorkState.DISPATCHED,), f"attempt {claim.attempt}"
        _require(_change(connection, table, claim.work_id, claim.attempt, before, values, detail))
        connection.execute(
            sa.update(held)
            .where(held.c.work_id == claim.work_id, held.c.attempt == claim.attempt)
            .values(pid=process.pid, pid_started_ticks=process.started_ticks, boot_id=process.boot_id)
        )


def wait_on(store: Store, table: sa.Table, claim: Claim, note: str = "") -> bool:
    """Give a sign of life for a dispatched attempt that a cluster has in its own queue.

    Args:
        note: what the user should know of the wait; shown until the attempt runs.
    """
    with store.write() as connection:
        changed = connection.execute(
            sa.update(table)
            .where(table.c.id == claim.work_id, table.c.attempt == claim.attempt)
            .where(table.c.state == WorkState.DISPATCHED)
            .values(heartbeat_at=moment(connection), suspected_at=None, error=note)
        )
        return changed.rowcount == 1


def beat(store: Store, table: sa.Table, claim: Claim, progress: dict[str, Any] | None = None) -> bool:
    """Give a sign of life, with the progress so far where it changed; tell whether to stop.

    Raises:
        Fenced: this attempt is over.
    """
    values: dict[str, Any] = {"suspected_at": None}
    if progress is not None:
        values["progress"] = progress
    with store.write() as connection:
        values["heartbeat_at"] = moment(connection)
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
    ended = {"state": WorkState.SUCCEEDED, **(values or {})}
    _require(_once(store, table, claim, (WorkState.RUNNING,), ended, ""))


def fail(store: Store, table: sa.Table, claim: Claim, error: str) -> bool:
    """dispatched or running -> failed: an error of its own, which a new attempt would meet again."""
    return _once(store, table, claim, ACTIVE, {"state": WorkState.FAILED, "error": error}, error)


def stopped(store: Store, table: sa.Table, claim: Claim) -> bool:
    """dispatched or running -> cancelled, once the process has stopped as asked."""
    return _once(store, table, claim, ACTIVE, {"state": WorkState.CANCELLED}, "")


def interrupt(
    store: Store,
    table: sa.Table,
    claim: Claim,
    reason: str,
    *,
    is_crash: bool = True,
    pause_seconds: float = 0.0,
) -> bool:
    """running -> interrupted: no verdict, it can go on from its last epoch.

    A cancel that was asked for is granted instead: running -> cancelled.

    Args:
        is_crash: it counts as one; a shutdown and an outage do not.
        pause_seconds: how long it is not started again.
    """
    loss = _Loss(reason, 1 if is_crash else 0, pause_seconds)
    with store.write() as connection:
        return _lose(connection, table, claim, WorkState.RUNNING, loss)


def put_back(store: Store, table: sa.Table, claim: Claim, reason: str, *, is_free: bool = False) -> bool:
    """dispatched -> queued, or failed after too many tries: its process never reported.

    A cancel that was asked for is granted instead: dispatched -> cancelled.

    Args:
        is_free: it is not the work's fault and counts as no try: its cluster is away or full.
    """
    with store.write() as connection:
        return _lose(connection, table, claim, WorkState.DISPATCHED, _Loss(reason, 0 if is_free else 1))


def prioritise(store: Store, table: sa.Table, work_id: str) -> bool:
    """Put a queued row before all others; False when it does not wait any more."""
    waits = table.c.state == WorkState.QUEUED
    with store.write() as connection:
        highest = connection.execute(sa.select(sa.func.max(table.c.priority)).where(waits)).scalar()
        changed = connection.execute(
            sa.update(table).where(table.c.id == work_id, waits).values(priority=(highest or 0) + 1)
        )
        if changed.rowcount == 1:
            _note(connection, work_id, "prioritised", "by the user")
        return changed.rowcount == 1


def requeue_interrupted(store: Store, table: sa.Table) -> list[str]:
    """interrupted -> queued while the crashes are within the limit, else -> failed; give the queued ids."""
    columns = (table.c.id, table.c.attempt, table.c.crashes, table.c.error)
    # In one order for all, or two who do this at once wait for each other's rows.
    query = sa.select(*columns).where(table.c.state == WorkState.INTERRUPTED).order_by(table.c.id)
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
    values = {"state": WorkState.FAILED, "error": error}
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
        ended = {"state": WorkState.CANCELLED}
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


def has_queued(store: Store, table: sa.Table, *, largest: int = Room.largest) -> bool:
    """Tell whether a row waits to be claimed that asks for no more devices, now or after its back-off."""
    waits = sa.and_(table.c.state == WorkState.QUEUED, table.c.devices <= largest)
    query = sa.select(table.c.id).where(waits).limit(1)
    with store.read() as connection:
        return connection.execute(query).first() is not None


def active(store: Store, table: sa.Table) -> list[OwnedWork]:
    """List the rows that a process owns now, or should."""
    held = tables.reservation
    of_attempt = sa.and_(held.c.work_id == table.c.id, held.c.attempt == table.c.attempt)
    query = (
        sa.select(table.c.id, table.c.attempt, table.c.host, *row_columns(table), *held_columns())
        .select_from(table.outerjoin(held, of_attempt))
        .where(table.c.state.in_(ACTIVE))
    )
    with store.read() as connection:
        return [owned_work(row) for row in connection.execute(query)]


def declare_lost(
    store: Store,
    table: sa.Table,
    work: OwnedWork,
    reason: str,
    *,
    older_than: datetime | None = None,
    is_crash: bool = True,
    pause_seconds: float = 0.0,
) -> bool:
    """Take one row away from a process that is gone; see ``interrupt``.

    Args:
        older_than: only if it did not beat since.
    """
    loss = _Loss(reason, 1 if is_crash else 0, pause_seconds)
    with store.write() as connection:
        return _lose(connection, table, work.claim, work.state, loss, older_than)


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
        rows = connection.execute(query.order_by(tables.event.c.at, tables.event.c.id)).all()
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


@dataclass(frozen=True)
class _Loss:
    """Why an attempt left without a verdict, how many crashes or failed starts it is, and for how long."""

    reason: str
    count: int
    pause_seconds: float = 0.0


def _lose(
    connection: sa.Connection,
    table: sa.Table,
    claim: Claim,
    before: WorkState,
    loss: _Loss,
    older_than: datetime | None = None,
) -> bool:
    """Change an active row whose process left without a verdict; a cancel asked for by now is granted."""
    row = connection.execute(sa.select(table).where(table.c.id == claim.work_id).with_for_update()).first()
    if row is None:
        return False
    starts = row.failed_starts + loss.count
    pause = (
        loss.pause_seconds if before is WorkState.RUNNING else max(loss.pause_seconds, 2.0**row.failed_starts)
    )
    values: dict[str, Any] = {
        "error": loss.reason,
        "not_before": moment(connection) + timedelta(seconds=pause) if pause else None,
    }
    if row.cancel_requested:
        values = {"state": WorkState.CANCELLED}
    elif before is WorkState.RUNNING:
        values |= {"state": WorkState.INTERRUPTED, "crashes": row.crashes + loss.count}
    elif starts >= MAX_FAILED_STARTS:
        error = f"It could not be started {MAX_FAILED_STARTS} times: {loss.reason}."
        values = {"state": WorkState.FAILED, "failed_starts": starts, "error": error}
    else:
        values |= {"state": WorkState.QUEUED, "failed_starts": starts}
    return _change(
        connection, table, claim.work_id, claim.attempt, (before,), values, loss.reason, older_than
    )


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
    """Compare and set; a final state is dated by the clock that ``start`` dated the beginning by."""
    if values["state"].is_final:
        values = {**values, "ended_at": moment(connection)}
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
            id=new_id(), work_id=work_id, at=moment(connection), kind=kind, detail=detail
        )
    )


def _attempt(connection: sa.Connection, table: sa.Table, work_id: str) -> int:
    """Give a row's attempt, and keep its state as it is until the transaction ends."""
    query = sa.select(table.c.attempt).where(table.c.id == work_id).with_for_update()
    attempt = connection.execute(query).scalar()
    if attempt is None:
        raise NotFound(f"This {table.name} does not exist any more.")
    return attempt


def row_columns(table: sa.Table) -> tuple[sa.ColumnElement[Any], ...]:
    """List what ``owned_work`` reads of a run or job."""
    names = ("state", "cancel_requested", "heartbeat_at", "suspected_at", "devices")
    return tuple(table.c[name] for name in names)


def held_columns() -> tuple[sa.ColumnElement[Any], ...]:
    """List what ``owned_work`` reads of a reservation."""
    names = ("pid", "pid_started_ticks", "boot_id", "ranks", "submission", "gpu_ids")
    return tuple(tables.reservation.c[name] for name in names)


def owned_work(row: Any, *, is_current: bool = True) -> OwnedWork:
    """Read a row of ``active`` or ``reservations.left_behind``; of deleted work only that is there."""
    return OwnedWork(
        Claim(row.id, row.attempt),
        WorkState(row.state or WorkState.CANCELLED),
        bool(row.cancel_requested),
        row.host,
        None if row.pid is None else Process(row.pid, row.pid_started_ticks, row.boot_id),
        row.heartbeat_at,
        row.suspected_at,
        tuple(Process(*rank) for rank in row.ranks or ()),
        row.submission,
        tuple(row.gpu_ids or ()),
        row.devices or 0,
        is_current,
    )


def _require(is_ours: bool) -> None:
    if not is_ours:
        raise Fenced
