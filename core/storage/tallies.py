"""Counts of images and of what people saved, made by the database: a project may have ten thousands."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.domain.labels import FINISHED, ImageState
from core.storage import tables
from core.storage.store import Store


@dataclass(frozen=True)
class StateTally:
    """The images of one state in one split ("unsplit" for none).

    ``empty`` counts those without an annotation; for finished ones that means "no damage".
    """

    state: ImageState
    split: str
    images: int
    annotations: int
    suggestions: int
    empty: int


@dataclass(frozen=True)
class AuthorTally:
    """On how many images one person saved labels as finished or reviewed, in all and since a moment."""

    author: str  # "" where nobody was logged in, or from an import
    finished: int
    reviewed: int
    finished_since: int
    reviewed_since: int


def by_state(store: Store, project_id: str) -> list[StateTally]:
    """Count a project's images by state and split."""
    table = tables.image.c
    split = sa.func.coalesce(table.split, "unsplit")
    query = (
        sa.select(
            table.state,
            split.label("split"),
            sa.func.count().label("images"),
            sa.func.sum(table.annotation_count).label("annotations"),
            sa.func.sum(table.suggestion_count).label("suggestions"),
            _count_if(table.annotation_count == 0).label("empty"),
        )
        .where(table.project_id == project_id, ~table.is_deleted)
        .group_by(table.state, split)
        .order_by(table.state, split)
    )
    with store.read() as connection:
        return [
            StateTally(
                ImageState(r.state), r.split, r.images, int(r.annotations), int(r.suggestions), int(r.empty)
            )
            for r in connection.execute(query)
        ]


def by_category(store: Store, project_id: str) -> dict[int, int]:
    """Count the finished images that show each category, by its id; one that none shows is missing."""
    table = tables.image.c
    ids = sa.cast(table.category_ids, sa.Text).label("ids")  # few combinations, however many images
    query = (
        sa.select(ids, sa.func.count().label("images"))
        .where(table.project_id == project_id, ~table.is_deleted, table.state.in_(sorted(FINISHED)))
        .group_by(ids)
    )
    shown: Counter[int] = Counter()
    with store.read() as connection:
        for row in connection.execute(query):
            for category_id in json.loads(row.ids):
                shown[category_id] += row.images
    return dict(shown)


def by_author(store: Store, project_id: str, since: datetime) -> list[AuthorTally]:
    """Count what each person finished; an image counts once for each of those who saved it as finished.

    Finished is saved as done, reviewed is saved as approved or rejected; an image that somebody saved
    as both counts in both. Images that were deleted do not count.
    """
    image, saved = tables.image.c, tables.annotation_set.c
    is_finished = saved.state == ImageState.DONE
    is_reviewed = saved.state.in_([ImageState.APPROVED, ImageState.REJECTED])
    is_recent = saved.saved_at >= since
    query = (
        sa.select(
            saved.author,
            _images_if(is_finished).label("finished"),
            _images_if(is_reviewed).label("reviewed"),
            _images_if(is_finished & is_recent).label("finished_since"),
            _images_if(is_reviewed & is_recent).label("reviewed_since"),
        )
        .join_from(tables.image, tables.annotation_set, saved.image_id == image.id)
        .where(image.project_id == project_id, ~image.is_deleted, is_finished | is_reviewed)
        .group_by(saved.author)
        .order_by(saved.author)
    )
    with store.read() as connection:
        return [AuthorTally(**row) for row in connection.execute(query).mappings()]


def authors(store: Store, project_id: str) -> list[str]:
    """List who saved the newest labels of an image; "" where nobody was logged in."""
    table = tables.image.c
    query = sa.select(table.author).where(table.project_id == project_id, ~table.is_deleted, table.rev > 0)
    with store.read() as connection:
        return sorted(connection.execute(query.distinct()).scalars())


def _count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _images_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.distinct(sa.case((condition, tables.annotation_set.c.image_id))))
