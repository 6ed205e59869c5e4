"""What attempts hold on a host, from their claim until their processes were seen gone.

GPU memory is free when the process is gone, not when it wrote its verdict; so a reservation outlives
the attempt's ownership of its row, and even a newer attempt on another host.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from core.domain.runs import Process
from core.storage import tables
from core.storage.lifecycle import (
    ACTIVE,
    Claim,
    OwnedWork,
    held_columns,
    lock_host,
    owned_work,
    row_columns,
)
from core.storage.store import Store

HELD = tables.reservation


def record_process(store: Store, claim: Claim, process: Process) -> None:
    """Note which process leads the attempt, so that anyone can find and stop it."""
    with store.write() as connection:
        connection.execute(
            sa.update(HELD)
            .where(HELD.c.work_id == claim.work_id, HELD.c.attempt == claim.attempt)
            .values(pid=process.pid, pid_started_ticks=process.started_ticks, boot_id=process.boot_id)
        )


def record_ranks(store: Store, claim: Claim, ranks: Sequence[Process]) -> None:
    """Note the processes of an attempt that have sessions of their own, as torchrun gives them."""
    with store.write() as connection:
        connection.execute(
            sa.update(HELD)
            .where(HELD.c.work_id == claim.work_id, HELD.c.attempt == claim.attempt)
            .values(ranks=[[rank.pid, rank.started_ticks, rank.boot_id] for rank in ranks])
        )


def left_behind(store: Store, table: sa.Table, host: str) -> list[OwnedWork]:
    """List this host's attempts that own no row any more, but whose processes were not seen gone yet.

    The row may be gone itself, with its project.
    """
    is_current = HELD.c.attempt == table.c.attempt
    is_over = sa.or_(table.c.id.is_(None), ~is_current, table.c.state.not_in(ACTIVE))
    query = (
        sa.select(
            *(HELD.c.work_id.label("id"), HELD.c.attempt, HELD.c.host, is_current.label("is_current")),
            *row_columns(table),
            *held_columns(),
        )
        .select_from(HELD.outerjoin(table, table.c.id == HELD.c.work_id))
        .where(HELD.c.lane == table.name, HELD.c.host == host, is_over)
    )
    with store.read() as connection:
        return [owned_work(row, is_current=bool(row.is_current)) for row in connection.execute(query)]


def release(store: Store, claim: Claim) -> None:
    """Free what an attempt held, once its processes are gone."""
    with store.write() as connection:
        connection.execute(
            sa.delete(HELD).where(HELD.c.work_id == claim.work_id, HELD.c.attempt == claim.attempt)
        )


def borrow_gpu(store: Store, claim: Claim, host: str, gpu_ids: Sequence[str]) -> tuple[str, ...]:
    """Reserve one of these GPUs for an attempt that holds none, if one is free; () where none is."""
    with store.write() as connection:
        lock_host(connection, host)
        held = connection.execute(sa.select(HELD.c.gpu_ids).where(HELD.c.host == host)).scalars()
        in_use = {gpu_id for ids in held for gpu_id in ids}
        free = [gpu_id for gpu_id in gpu_ids if gpu_id not in in_use][:1]
        if free:
            connection.execute(
                sa.update(HELD)
                .where(HELD.c.work_id == claim.work_id, HELD.c.attempt == claim.attempt)
                .values(gpu_ids=free)
            )
        return tuple(free)


def gpus_in_use(store: Store, host: str) -> dict[str, str]:
    """Map each GPU of a host that something holds to the id of the run or job that does."""
    query = sa.select(HELD.c.work_id, HELD.c.gpu_ids).where(HELD.c.host == host)
    with store.read() as connection:
        return {gpu_id: row.work_id for row in connection.execute(query) for gpu_id in row.gpu_ids}
