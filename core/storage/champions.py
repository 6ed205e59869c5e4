"""The checkpoint that a project chose, and those it chose before."""

from dataclasses import asdict
from typing import Literal

import sqlalchemy as sa

from core.domain.errors import Conflict
from core.domain.runs import Champion
from core.storage import tables
from core.storage.runs import require_checkpoint
from core.storage.store import Store, new_id


def champion(store: Store, project_id: str) -> Champion | None:
    """Give the project's chosen checkpoint, None where none was chosen yet."""
    with store.read() as connection:
        return next(iter(_champions(connection, project_id, limit=1)), None)


def champions(store: Store, project_id: str) -> list[Champion]:
    """List the checkpoints that a project ever chose, newest first: the first one is its champion."""
    with store.read() as connection:
        return _champions(connection, project_id)


def set_champion(
    store: Store, champion: Champion, *, replacing: Champion | Literal["any"] | None = "any"
) -> None:
    """Make a checkpoint its project's champion; the ones before stay as history.

    Args:
        replacing: the champion that whoever chooses was shown, None where there was none; "any" does
            not look.

    Raises:
        Conflict: somebody made another one champion since; nothing was changed.
        NotFound: the checkpoint was not kept.
    """
    project = sa.select(tables.project.c.id).where(tables.project.c.id == champion.project_id)
    with store.write() as connection:
        connection.execute(project.with_for_update())  # on PostgreSQL two would else look at the same moment
        now = next(iter(_champions(connection, champion.project_id, limit=1)), None)
        if replacing != "any" and now != replacing:
            raise Conflict(_overtaken(connection, now))
        require_checkpoint(connection, champion.run_id, champion.epoch)
        connection.execute(sa.insert(tables.champion).values(id=new_id(), **asdict(champion)))


def _champions(connection: sa.Connection, project_id: str, limit: int | None = None) -> list[Champion]:
    table = tables.champion
    query = sa.select(table).where(table.c.project_id == project_id).order_by(table.c.id.desc()).limit(limit)
    return [
        Champion(row.project_id, row.run_id, row.epoch, row.note, row.author, row.created_at)
        for row in connection.execute(query)
    ]


def _overtaken(connection: sa.Connection, now: Champion | None) -> str:
    if now is None:
        return (
            "Since you looked, the champion was deleted. Nothing was changed; do it again to choose this one."
        )
    name = connection.execute(sa.select(tables.run.c.name).where(tables.run.c.id == now.run_id)).scalar()
    return (
        f"Since you looked, {now.author or 'somebody else'} made epoch {now.epoch} of “{name}” the champion. "
        "Nothing was changed; do it again to replace that one."
    )
