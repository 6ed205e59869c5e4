"""Data versions: the labels of a moment, frozen."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from core.domain.errors import NotFound
from core.domain.labels import Category
from core.domain.training import DataVersion, LabelledPhoto, VersionItem
from core.storage import annotations, images, tables
from core.storage.store import Store, new_id


def freeze(
    store: Store, project_id: str, categories: Sequence[Category], items: Sequence[VersionItem]
) -> DataVersion:
    """Keep this list of images with their revisions; the same list twice is the same version."""
    content = {
        "categories": [asdict(category) for category in categories],
        "items": [asdict(item) for item in items],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    table = tables.data_version
    with store.write() as connection:
        query = sa.select(table.c.id).where(table.c.project_id == project_id, table.c.hash == digest)
        version_id = connection.execute(query).scalar()
        if version_id is None:
            version_id = new_id()
            connection.execute(
                sa.insert(table).values(
                    id=version_id, project_id=project_id, hash=digest, created_at=tables.now(), **content
                )
            )
    return DataVersion(version_id, project_id, digest, tuple(categories), tuple(items))


def get(store: Store, version_id: str) -> DataVersion:
    """Give one data version. Raises NotFound."""
    with store.read() as connection:
        table = tables.data_version
        row = connection.execute(sa.select(table).where(table.c.id == version_id)).first()
    if row is None:
        raise NotFound("The data version of this run was deleted.")
    return DataVersion(
        row.id,
        row.project_id,
        row.hash,
        tuple(Category(**value) for value in row.categories),
        tuple(VersionItem(**value) for value in row.items),
    )


def read_item(store: Store, item: VersionItem) -> LabelledPhoto:
    """Read one image of a data version: its file and the labels of that revision.

    A photo deleted from its project since is read all the same: a version does not change.

    Raises:
        NotFound: its row or its file is gone.
    """
    with store.read() as connection:
        image = images.read(connection, item.image_id, even_deleted=True)
        drawn = annotations.read(connection, item.image_id, item.rev).annotations if item.rev else ()
    data = store.blobs.get(images.photo_key(item.sha256, "original"))
    return LabelledPhoto(item.image_id, data, image.size_wh, drawn)
