"""Annotation sets: every save of an image's labels is a new revision, old ones stay."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.labels import (
    MAX_NOTE,
    Annotation,
    AnnotationSet,
    ImageState,
    RleOp,
    annotation_from_json,
    annotation_to_json,
)
from core.storage import images, projects, tables
from core.storage.store import Store

MAX_AUTHOR = 80


def save(
    store: Store,
    image_id: str,
    annotations: Sequence[Annotation],
    *,
    base_rev: int,
    state: ImageState,
    author: str = "",
    note: str | None = None,
) -> AnnotationSet:
    """Save an image's labels as a new revision.

    Args:
        base_rev: the revision that was edited.
        author: cut to 80 characters, as a note is to 1000, without what no database takes.
        note: about the image; None keeps the one that is there.

    Raises:
        Conflict: somebody saved in between; nothing was changed.
        FormatError: a category is not the project's, or a mask is not of the image's size.
    """
    with store.write() as connection:
        return save_in(
            connection, image_id, annotations, base_rev=base_rev, state=state, author=author, note=note
        )


def save_in(
    connection: sa.Connection,
    image_id: str,
    annotations: Sequence[Annotation],
    *,
    base_rev: int,
    state: ImageState,
    author: str = "",
    note: str | None = None,
) -> AnnotationSet:
    """Do what ``save`` does, inside a transaction."""
    image = images.read(connection, image_id)
    known = projects.held_category_ids(connection, image.project_id)
    _check(annotations, known, (image.size_wh[1], image.size_wh[0]))
    rev, moment = base_rev + 1, tables.now()
    author, note = _storable(author, MAX_AUTHOR), _storable(image.note if note is None else note, MAX_NOTE)
    labels = [annotation for annotation in annotations if not annotation.is_suggestion]
    changed = connection.execute(
        sa.update(tables.image)
        .where(tables.image.c.id == image_id, tables.image.c.rev == base_rev)
        .values(
            rev=rev,
            state=state,
            category_ids=sorted({a.category_id for a in labels}),
            annotation_count=len(labels),
            suggestion_count=len(annotations) - len(labels),
            author=author,
            note=note,
        )
    )
    if changed.rowcount == 0:
        raise Conflict("Somebody else saved this photo in the meantime. Nothing was overwritten.")
    connection.execute(
        sa.insert(tables.annotation_set).values(
            image_id=image_id,
            rev=rev,
            annotations=[annotation_to_json(annotation) for annotation in annotations],
            state=state,
            author=author,
            note=note,
            saved_at=moment,
        )
    )
    return AnnotationSet(image_id, rev, tuple(annotations), author, moment.isoformat(), note)


def current(store: Store, image_id: str) -> AnnotationSet:
    """Give an image's newest labels with the suggestions among them, as one goes on drawing on them.

    Revision 0 with none where nothing was saved. Raises NotFound.
    """
    with store.read() as connection:
        image = images.read(connection, image_id)
        if image.rev == 0:
            return AnnotationSet(image_id, 0, ())
        return read(connection, image_id, image.rev, with_suggestions=True)


def read(
    connection: sa.Connection, image_id: str, rev: int, *, with_suggestions: bool = False
) -> AnnotationSet:
    """Give one revision inside a transaction. Raises NotFound.

    Args:
        with_suggestions: those count nowhere, so who measures, trains or exports does not get them.
    """
    table = tables.annotation_set
    query = sa.select(table).where(table.c.image_id == image_id, table.c.rev == rev)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"Revision {rev} of this photo's labels does not exist any more.")
    found = _annotation_set(row)
    if with_suggestions:
        return found
    return replace(found, annotations=tuple(a for a in found.annotations if not a.is_suggestion))


def revisions(
    store: Store, image_id: str, *, limit: int, before: int | None = None
) -> list[tuple[AnnotationSet, ImageState]]:
    """List what was saved of an image, newest first, each with the state it was saved in.

    Args:
        before: only revisions older than this one; None begins with the newest.

    Raises:
        NotFound: the image was deleted.
    """
    table = tables.annotation_set
    query = sa.select(table).where(table.c.image_id == image_id).order_by(table.c.rev.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.rev < before)
    with store.read() as connection:
        images.read(connection, image_id)
        rows = connection.execute(query).all()
    return [(_annotation_set(row), ImageState(row.state)) for row in rows]


def showing(connection: sa.Connection, project_id: str, category_id: int) -> Iterator[AnnotationSet]:
    """Give the newest labels of each image on which a category was drawn or suggested, one by one."""
    table, saved = tables.image.c, tables.annotation_set
    query = sa.select(table.id, table.rev).where(
        table.project_id == project_id,
        ~table.is_deleted,
        images.shows(category_id) | (table.suggestion_count > 0),  # those are not in category_ids
    )
    newest = connection.execute(query.order_by(table.id)).all()
    for start in range(0, len(newest), 100):
        part = [(row.id, row.rev) for row in newest[start : start + 100]]
        rows = connection.execute(
            sa.select(saved).where(sa.tuple_(saved.c.image_id, saved.c.rev).in_(part))
        ).all()
        for row in rows:
            found = _annotation_set(row)
            if any(a.category_id == category_id for a in found.annotations):
                yield found


def _annotation_set(row: Any) -> AnnotationSet:
    drawn = tuple(annotation_from_json(value) for value in row.annotations)
    return AnnotationSet(row.image_id, row.rev, drawn, row.author, row.saved_at.isoformat(), row.note)


def _storable(text: str, limit: int) -> str:
    """Leave out NUL, which PostgreSQL refuses, and halves of surrogate pairs, which are no UTF-8."""
    return text.replace("\0", "").encode(errors="ignore").decode()[:limit].strip()


def _check(annotations: Sequence[Annotation], known: set[int], size_hw: tuple[int, int]) -> None:
    for annotation in annotations:
        if annotation.category_id not in known:
            raise FormatError(
                f"An object is of a class that this project does not have (any more): number "
                f"{annotation.category_id}. Give it another class."
            )
        for op in annotation.ops:
            if isinstance(op, RleOp) and op.size_hw != size_hw:
                raise FormatError(f"A mask is {op.size_hw} pixels, the photo {size_hw} (height, width).")
    if len({annotation.id for annotation in annotations}) != len(annotations):
        raise FormatError("Two annotations carry the same id.")
