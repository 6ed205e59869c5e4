"""Jobs of the light lane. States are changed in lifecycle alone."""

from typing import Any

import sqlalchemy as sa

from core.domain.errors import NotFound
from core.domain.runs import Job, WorkState
from core.storage import lifecycle, tables
from core.storage.store import Store, new_id


def create(
    store: Store, kind: str, payload: dict[str, Any], project_id: str | None = None, *, priority: int = 0
) -> Job:
    """Queue a job; the same work already waiting or under way is not queued twice."""
    table = tables.job
    with store.write() as connection:
        query = sa.select(table).where(
            table.c.kind == kind,
            table.c.state.in_((WorkState.QUEUED, WorkState.DISPATCHED, WorkState.RUNNING)),
        )
        for row in connection.execute(query):
            if row.payload == payload:
                return _job(row)
        job_id = new_id()
        connection.execute(
            sa.insert(table).values(
                id=job_id,
                project_id=project_id,
                kind=kind,
                payload=payload,
                **lifecycle.queued_values(priority),
            )
        )
    return get(store, job_id)


def get(store: Store, job_id: str) -> Job:
    """Give one job. Raises NotFound."""
    with store.read() as connection:
        row = connection.execute(sa.select(tables.job).where(tables.job.c.id == job_id)).first()
    if row is None:
        raise NotFound("This job does not exist any more.")
    return _job(row)


def list_of(store: Store, project_id: str, *, limit: int = 50, kind: str = "") -> list[Job]:
    """List a project's jobs, newest first; of one kind, or of all."""
    query = sa.select(tables.job).where(tables.job.c.project_id == project_id)
    if kind:
        query = query.where(tables.job.c.kind == kind)
    with store.read() as connection:
        rows = connection.execute(query.order_by(tables.job.c.id.desc()).limit(limit)).all()
    return [_job(row) for row in rows]


def done_alike(store: Store, kind: str, payload: dict[str, Any], *, newest: int = 200) -> list[Job]:
    """List, of the newest jobs of a kind that succeeded, those that did the same; newest first."""
    table = tables.job
    query = sa.select(table).where(table.c.kind == kind, table.c.state == WorkState.SUCCEEDED)
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(newest)).all()
    return [_job(row) for row in rows if row.payload == payload]  # PostgreSQL cannot compare JSON


def waiting(store: Store) -> list[Job]:
    """List the jobs that wait for a worker, in the order in which they are claimed."""
    table = tables.job
    query = sa.select(table).where(table.c.state == WorkState.QUEUED)
    with store.read() as connection:
        rows = connection.execute(query.order_by(table.c.priority.desc(), table.c.id)).all()
    return [_job(row) for row in rows]


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        project_id=row.project_id,
        kind=row.kind,
        payload=row.payload,
        state=WorkState(row.state),
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        progress=float(row.progress.get("share", 0.0)),
        message=str(row.progress.get("message", "")),
        result=row.result,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
