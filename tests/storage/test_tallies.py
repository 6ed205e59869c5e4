"""Counts that the database makes, against counting the same rows one by one."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from core.domain.images import ImageFilter, Project
from core.domain.labels import SPLITS, ImageState, Source, Split
from core.storage import annotations, images, projects, tables, tallies
from core.storage.store import Store
from core.storage.tallies import AuthorTally
from tests.builders import project_with, square
from tests.storage.test_projects_images_annotations import PHOTO

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MORNING = NOON.replace(hour=7)


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, *(f"class {n}" for n in range(1, 13)))


def add(store: Store, project: Project, name: str) -> str:
    with store.write() as connection:
        return images.add(connection, project.id, name, PHOTO, name=name, split=None)


def save(store: Store, image_id: str, state: str, author: str, at: datetime) -> None:
    rev = images.get(store, image_id).rev
    annotations.save(store, image_id, [], base_rev=rev, state=ImageState(state), author=author)
    with store.write() as connection:
        table = tables.annotation_set
        of_it = (table.c.image_id == image_id, table.c.rev == rev + 1)
        connection.execute(sa.update(table).where(*of_it).values(saved_at=at))


def test_an_empty_project_counts_nothing(store: Store, project: Project) -> None:
    assert tallies.by_state(store, project.id) == []
    assert tallies.by_category(store, project.id) == {}
    assert tallies.by_author(store, project.id, NOON) == []
    assert tallies.authors(store, project.id) == []


def test_counts_are_those_of_the_rows(store: Store, project: Project) -> None:
    draw = np.random.default_rng(7)
    states = list(ImageState)
    for number in range(40):
        image_id = add(store, project, f"{number}")
        splits: list[Split | None] = [*SPLITS, None]
        images.set_split(store, [image_id], splits[draw.integers(4)])
        ids = draw.integers(1, 13, draw.integers(0, 4))
        drawn = [square(int(n), side=5) for n in ids]
        guesses = [Source.SUGGESTED] * int(draw.integers(0, 2))
        drawn += [square(1, side=4) for _ in guesses]
        drawn = [
            type(a)(a.id, a.category_id, a.ops, Source.SUGGESTED) if at >= len(ids) else a
            for at, a in enumerate(drawn)
        ]
        annotations.save(store, image_id, drawn, base_rev=0, state=states[draw.integers(5)])
        if number % 10 == 0:
            images.delete(store, [image_id])

    rows = images.list_page(store, project.id, ImageFilter())
    found = tallies.by_state(store, project.id)

    assert len(rows) == 36
    counted = Counter((row.state, row.split or "unsplit") for row in rows)
    assert {(t.state, t.split): t.images for t in found} == counted
    for tally in found:
        of_it = [r for r in rows if (r.state, r.split or "unsplit") == (tally.state, tally.split)]
        assert tally.annotations == sum(r.annotation_count for r in of_it)
        assert tally.suggestions == sum(r.suggestion_count for r in of_it)
        assert tally.empty == sum(r.annotation_count == 0 for r in of_it)
    shown = Counter(i for row in rows if row.is_labelled for i in row.category_ids)
    assert tallies.by_category(store, project.id) == shown


def test_who_did_how_many_photos_today_and_in_all(store: Store, project: Project) -> None:
    one, two, three, gone = (add(store, project, name) for name in ("1", "2", "3", "4"))
    save(store, one, "in_progress", "Ana", MORNING)
    save(store, one, "done", "Ana", MORNING)
    save(store, one, "done", "Ana", NOON)  # the same photo twice is one photo
    save(store, two, "done", "Ana", MORNING)
    save(store, two, "rejected", "Bob", NOON)
    save(store, two, "done", "Ana", NOON)
    save(store, two, "approved", "Bob", NOON)
    save(store, three, "unlabelled", "", NOON)
    save(store, gone, "done", "Ana", NOON)
    images.delete(store, [gone])

    assert tallies.by_author(store, project.id, NOON) == [
        AuthorTally("Ana", finished=2, reviewed=0, finished_since=2, reviewed_since=0),
        AuthorTally("Bob", finished=0, reviewed=1, finished_since=0, reviewed_since=1),
    ]
    assert tallies.authors(store, project.id) == ["", "Ana", "Bob"]


def test_other_projects_do_not_count(store: Store, project: Project) -> None:
    other = projects.create(store, "Bikes")
    save(store, add(store, other, "1"), "done", "Ana", NOON)

    assert tallies.by_author(store, project.id, MORNING) == []
    assert tallies.by_state(store, project.id) == []
