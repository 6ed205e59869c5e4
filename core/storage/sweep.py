"""Work without a sign of life is taken away from its lost process; for anyone to call, at any time."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from core.domain.runs import WorkState
from core.storage import lifecycle
from core.storage.lifecycle import OwnedWork
from core.storage.processes import is_alive, this_host
from core.storage.store import Store

LOST_AFTER_SECONDS = 45.0
START_LIMIT_SECONDS = 180.0  # importing torch on a busy machine
GONE_AFTER_SECONDS = 5.0  # of silence, for a process of this host that is dead; its starter may tell better
CONFIRM_SECONDS = 6.0  # three beats
CLOCK_SLACK_SECONDS = 10.0


def sweep(store: Store, table: sa.Table) -> list[str]:
    """Take silent rows away from their lost processes; give the ids. Idempotent.

    A row of this host whose process is dead is lost after a few seconds of silence. Any other is first
    suspected, which its next beat takes back, and lost when the suspicion stands for three beats: a
    clock that jumps forward, or a database that was away, costs no healthy run. A beat from the future
    (the clock was put back) is dated now, so that silence is counted from here on. A cancel that was
    asked for is granted; dispatched goes back to the queue; running becomes interrupted.
    """
    with store.read() as connection:
        now = lifecycle.moment(connection)
    works = lifecycle.active(store, table)
    return [work.claim.work_id for work in works if _is_swept(store, table, work, now)]


def _is_swept(store: Store, table: sa.Table, work: OwnedWork, now: datetime) -> bool:
    if work.heartbeat_at is None:
        return False
    if work.heartbeat_at > now + timedelta(seconds=CLOCK_SLACK_SECONDS):
        _mark(store, table, work, heartbeat_at=now)
        return False
    is_gone = work.host == this_host() and (work.process is None or not is_alive(work.process))
    limit = LOST_AFTER_SECONDS if work.state is WorkState.RUNNING else START_LIMIT_SECONDS
    horizon = now - timedelta(seconds=GONE_AFTER_SECONDS if is_gone else limit)
    if work.heartbeat_at >= horizon:
        return False
    if is_gone:
        return lifecycle.declare_lost(store, table, work, "its process is gone", older_than=horizon)
    if work.suspected_at is None or work.suspected_at > now:
        _mark(store, table, work, suspected_at=now)
        return False
    if now - work.suspected_at < timedelta(seconds=CONFIRM_SECONDS):
        return False
    return lifecycle.declare_lost(store, table, work, "no sign of life", older_than=horizon)


def _mark(store: Store, table: sa.Table, work: OwnedWork, **values: datetime) -> None:
    """Note something on a row, unless it beat since."""
    with store.write() as connection:
        connection.execute(
            sa.update(table)
            .where(table.c.id == work.claim.work_id, table.c.attempt == work.claim.attempt)
            .where(table.c.state == work.state, table.c.heartbeat_at == work.heartbeat_at)
            .values(values)
        )
