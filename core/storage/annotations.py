"""Annotation sets: every save of an image's labels is a new revision, old ones stay."""

from collections.abc import Sequence

import sqlalchemy as sa

from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.labels import (
    Annotation,
    AnnotationSet,
    ImageState,
    RleOp,
    annotation_from_json,
    annotation_to_json,
)
from core.storage import images, projects, tables
from core.storage.store import Store


def save(
    store: Store,
    image_id: str,
    annotations: Sequence[Annotation],
    *,
    base_rev: int,
    state: ImageState,
    author: str = "",
) -> AnnotationSet:
    """Save an image's labels as a new revision.

    Args:
        base_rev: the revision that was edited.

    Raises:
        Conflict: somebody saved in between; nothing was changed.
        FormatError: a category is not the project's, or a mask is not of the image's size.
    """
    with store.write() as connection:
        return save_in(connection, image_id, annotations, base_rev=base_rev, state=state, author=author)


def save_in(
    connection: sa.Connection,
    image_id: str,
    annotations: Sequence[Annotation],
    *,
    base_rev: int,
    state: ImageState,
    author: str = "",
) -> AnnotationSet:
    """Do what ``save`` does, inside a transaction."""
    image = images.read(connection, image_id)
    known = {c.category_id for c in projects.read(connection, image.project_id).categories}
    _check(annotations, known, (image.size_wh[1], image.size_wh[0]))
    rev, moment = base_rev + 1, tables.now()
    changed = connection.execute(
        sa.update(tables.image)
        .where(tables.image.c.id == image_id, tables.image.c.rev == base_rev)
        .values(
            rev=rev,
            state=state,
            category_ids=sorted({a.category_id for a in annotations}),
            annotation_count=len(annotations),
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
            saved_at=moment,
        )
    )
    return AnnotationSet(image_id, rev, tuple(annotations), author, moment.isoformat())


def current(store: Store, image_id: str) -> AnnotationSet:
    """Give an image's newest labels; revision 0 with none where nothing was saved. Raises NotFound."""
    with store.read() as connection:
        image = images.read(connection, image_id)
        if image.rev == 0:
            return AnnotationSet(image_id, 0, ())
        return read(connection, image_id, image.rev)


def read(connection: sa.Connection, image_id: str, rev: int) -> AnnotationSet:
    """Give one revision inside a transaction. Raises NotFound."""
    table = tables.annotation_set
    query = sa.select(table).where(table.c.image_id == image_id, table.c.rev == rev)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"Revision {rev} of this photo's labels does not exist any more.")
    annotations = tuple(annotation_from_json(value) for value in row.annotations)
    return AnnotationSet(image_id, rev, annotations, row.author, row.saved_at.isoformat())


def _check(annotations: Sequence[Annotation], known: set[int], size_hw: tuple[int, int]) -> None:
    for annotation in annotations:
        if annotation.category_id not in known:
            raise FormatError(f"There is no category {annotation.category_id} in this project.")
        for op in annotation.ops:
            if isinstance(op, RleOp) and op.size_hw != size_hw:
                raise FormatError(f"A mask is {op.size_hw} pixels, the photo {size_hw} (height, width).")
    if len({annotation.id for annotation in annotations}) != len(annotations):
        raise FormatError("Two annotations carry the same id.")
