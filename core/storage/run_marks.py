"""What people write on a run: its name, tags, a note, and whether it is out of sight."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from core.domain.errors import AppError, Conflict, NotFound
from core.domain.runs import MAX_NOTE_LENGTH, tidy_tags
from core.storage import tables
from core.storage.store import Store


def rename(store: Store, run_id: str, name: str) -> None:
    """Give a run another name.

    Raises:
        AppError: the name is empty or too long.
        NotFound: the run is gone.
    """
    name = " ".join(name.replace("\0", "").split())
    if not 1 <= len(name) <= 80:
        raise AppError("A run needs a name of 1 to 80 characters.")
    with store.write() as connection:
        _mark(connection, [run_id], name=name)


def change_tags(store: Store, run_id: str, *, add: Sequence[str], remove: Sequence[str]) -> None:
    """Put tags on a run and take others off; what somebody else changed meanwhile stays.

    Raises:
        AppError: see ``tidy_tags``; nothing was changed.
        NotFound: the run is gone.
    """
    table = tables.run
    with store.write() as connection:
        query = sa.select(table.c.tags).where(table.c.id == run_id).with_for_update()
        left = [tag for tag in connection.execute(query).scalar() or () if tag not in remove]
        _mark(connection, [run_id], tags=tidy_tags([*left, *add]))


def set_note(store: Store, run_id: str, note: str, *, shown: str, author: str = "") -> None:
    """Replace a run's note, as long as it is still the one that its writer was shown.

    Raises:
        AppError: the note is too long.
        Conflict: somebody wrote another one meanwhile; nothing was changed.
        NotFound: the run is gone.
    """
    note = note.replace("\0", "").strip()
    if len(note) > MAX_NOTE_LENGTH:
        raise AppError(f"A note has at most {MAX_NOTE_LENGTH:,} characters; this one has {len(note):,}.")
    table = tables.run
    with store.write() as connection:
        query = sa.select(table.c.note, table.c.note_author).where(table.c.id == run_id).with_for_update()
        kept = connection.execute(query).first()
        if kept is not None and kept.note not in (shown, note):
            raise Conflict(
                f"{kept.note_author or 'Somebody else'} changed this note in the meantime. "
                "Nothing was overwritten."
            )
        _mark(connection, [run_id], note=note, note_author=author[:80])


def set_archived(store: Store, run_ids: Sequence[str], *, is_archived: bool) -> None:
    """Put runs out of sight, or back. Raises NotFound when none of them is there any more."""
    with store.write() as connection:
        _mark(connection, run_ids, is_archived=is_archived)


def _mark(connection: sa.Connection, run_ids: Sequence[str], **values: Any) -> None:
    update = sa.update(tables.run).where(tables.run.c.id.in_(run_ids)).values(**values)
    if not connection.execute(update).rowcount:
        raise NotFound("This run does not exist any more.")
