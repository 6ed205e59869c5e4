"""Reading the images of a data version without asking database or blobs again and again."""

import dataclasses
import pickle
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from core.domain.errors import NotFound
from core.domain.labels import ImageState, PolygonOp
from core.domain.training import VersionItem
from core.storage import annotations, images, tables, versions
from core.storage.store import Store
from tests.builders import SIZE_WH, add_image, photo_bytes, project_with, square


@contextmanager
def counted_queries(store: Store) -> Generator[list[str]]:
    """Note what the database is asked meanwhile."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield asked
    event.remove(store.engine, "before_cursor_execute", note)


@pytest.fixture
def items(store: Store) -> list[VersionItem]:
    """Six labelled photos, and one that nothing was ever saved for."""
    project = project_with(store, "dent")
    labelled = [add_image(store, project, seed, square(1, x=seed)) for seed in range(6)]
    bare = add_image(store, project, 6, state=ImageState.UNLABELLED)
    return [VersionItem(image.id, image.sha256, image.rev, "train") for image in (*labelled, bare)]


def test_a_version_is_read_in_two_queries_and_its_photos_in_none(
    store: Store, items: list[VersionItem]
) -> None:
    with counted_queries(store) as asked:
        read = versions.reader(store, items)
    assert len(asked) == 2

    with counted_queries(store) as asked:
        photos = [read(item) for item in items for _ in range(3)]
        assert photos[0].data == photo_bytes(0)
    assert asked == []
    assert [photo.image_id for photo in photos[::3]] == [item.image_id for item in items]
    assert {photo.size_wh for photo in photos} == {SIZE_WH}
    assert [len(photo.annotations) for photo in photos[::3]] == [1] * 6 + [0]


def test_a_photo_s_file_is_read_only_where_it_is_asked_for(store: Store, items: list[VersionItem]) -> None:
    read = versions.reader(store, items)
    store.blobs.delete(images.photo_key(items[0].sha256, "original"))

    photo = read(items[0])

    assert photo.annotations[0].ops == square(1, x=0).ops
    with pytest.raises(NotFound, match="not there any more"):
        _ = photo.data


def test_the_labels_are_those_of_the_revision(store: Store, items: list[VersionItem]) -> None:
    hole = PolygonOp(((12.25, 12.5), (14.0, 12.5), (14.0, 15.0)), is_subtract=True)
    outer = square(1)
    later = [square(1, x=50, side=30.5), dataclasses.replace(outer, ops=(*outer.ops, hole), author="bob")]
    annotations.save(store, items[0].image_id, later, base_rev=1, state=ImageState.DONE)
    newer = VersionItem(items[0].image_id, items[0].sha256, 2, "train")

    read = versions.reader(store, [newer, *items])

    assert read(newer).annotations == tuple(later)
    assert read(newer) == versions.read_item(store, newer)
    assert read(items[0]).annotations[0].ops == square(1, x=0).ops


def test_a_deleted_photo_is_read_and_a_lost_one_is_said(store: Store, items: list[VersionItem]) -> None:
    images.delete(store, [items[0].image_id])
    assert versions.reader(store, items)(items[0]).data == photo_bytes(0)

    with store.write() as connection:
        connection.execute(sa.delete(tables.image).where(tables.image.c.id == items[0].image_id))

    with pytest.raises(NotFound, match="do not exist any more"):
        versions.reader(store, items)


def test_more_images_than_a_query_takes_are_read(store: Store, items: list[VersionItem]) -> None:
    project = project_with(store, name="Many")
    with store.write() as connection:
        rows = [_row(project.id, number) for number in range(1201)]
        connection.execute(sa.insert(tables.image), rows)
    many = [VersionItem(row["id"], row["sha256"], 0, "train") for row in rows]

    read = versions.reader(store, [*many, *items])

    assert [read(item).size_wh[0] for item in many] == [row["width"] for row in rows]


def test_a_reader_can_be_handed_to_another_process(store: Store, items: list[VersionItem]) -> None:
    read = pickle.loads(pickle.dumps(versions.reader(store, items)))

    assert read(items[1]).data == photo_bytes(1)
    assert read(items[1]).annotations[0].ops == square(1, x=1).ops


def _row(project_id: str, number: int) -> dict[str, Any]:
    return {
        "id": f"{number:036d}",
        "project_id": project_id,
        "sha256": f"{number:064d}",
        "width": 10 + number,
        "height": 10,
        "phash": "0",
        "name": f"{number}.jpg",
        "media_type": "image/jpeg",
        "has_full": False,
        "has_view": False,
        "split": "train",
        "state": "unlabelled",
        "rev": 0,
        "category_ids": [],
        "annotation_count": 0,
        "is_deleted": False,
        "created_at": tables.now(),
    }


def test_no_image_needs_no_row(store: Store, tmp_path: Path) -> None:
    assert versions.reader(store, []).sizes_wh == {}
