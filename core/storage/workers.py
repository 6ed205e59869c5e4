"""The workers as they report themselves: what they offer, what they use, when they were last seen."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.domain.runs import Gpu, WorkerInfo
from core.storage import lifecycle, tables
from core.storage.store import Store

TABLE = tables.worker
FORGOTTEN_AFTER = timedelta(days=7)


def report(store: Store, worker: WorkerInfo) -> None:
    """Keep a worker's newest report, dated by the database; workers not seen for a week are forgotten."""
    with store.write() as connection:
        now = lifecycle.moment(connection)
        values = {**asdict(worker), "lanes": list(worker.lanes), "heartbeat_at": now}
        values["gpus"] = [asdict(gpu) for gpu in worker.gpus]
        changed = connection.execute(sa.update(TABLE).where(TABLE.c.host == worker.host).values(values))
        if changed.rowcount == 0:
            connection.execute(sa.insert(TABLE).values(values))
        connection.execute(sa.delete(TABLE).where(TABLE.c.heartbeat_at < now - FORGOTTEN_AFTER))


def leave(store: Store, host: str, started_at: datetime) -> None:
    """Forget a worker that ends in order.

    Args:
        started_at: its own; the report of another one that speaks for the same host stays.
    """
    with store.write() as connection:
        own = (TABLE.c.host == host, TABLE.c.started_at == started_at)
        connection.execute(sa.delete(TABLE).where(*own))


def list_all(store: Store) -> list[tuple[WorkerInfo, float]]:
    """List the workers by name, each with the seconds since it was last seen (0 or more)."""
    with store.read() as connection:
        now = lifecycle.moment(connection)
        rows = connection.execute(sa.select(TABLE).order_by(TABLE.c.host)).all()
    return [(_worker(row), max(0.0, (now - row.heartbeat_at).total_seconds())) for row in rows]


def _worker(row: Any) -> WorkerInfo:
    return WorkerInfo(
        row.host,
        row.version,
        tuple(row.lanes),
        row.slots,
        tuple(Gpu(**gpu) for gpu in row.gpus),
        row.largest,
        row.usage,
        row.note,
        row.started_at,
        row.heartbeat_at,
    )
