"""Data versions: the labels of a moment, frozen."""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from core.domain.errors import NotFound
from core.domain.labels import Category, annotation_from_json
from core.domain.training import DataVersion, LabelledPhoto, VersionItem
from core.storage import images, tables
from core.storage.blobs import Blobs
from core.storage.store import Store, new_id

T = TypeVar("T")


def freeze(
    store: Store,
    project_id: str,
    categories: Sequence[Category],
    items: Sequence[VersionItem],
    ignored: Sequence[Category] = (),
) -> DataVersion:
    """Keep this list of images with their revisions; the same list twice is the same version.

    Args:
        ignored: categories that are no class of a model: their pixels count nowhere.
    """
    content = {
        "categories": [
            *(asdict(category) for category in categories),
            *(asdict(category) | {"ignored": True} for category in ignored),
        ],
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
    return DataVersion(version_id, project_id, digest, tuple(categories), tuple(items), tuple(ignored))


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
        _categories(row.categories, ignored=False),
        tuple(VersionItem(**value) for value in row.items),
        _categories(row.categories, ignored=True),
    )


def _categories(values: Sequence[Mapping[str, Any]], *, ignored: bool) -> tuple[Category, ...]:
    return tuple(
        Category(**{key: v for key, v in value.items() if key != "ignored"})
        for value in values
        if bool(value.get("ignored")) is ignored
    )


@dataclass(frozen=True)
class Reader:
    """Reads images of a data version: their rows are in memory, their files are read when asked for.

    It can be handed to another process.
    """

    blobs: Blobs
    sizes_wh: Mapping[str, tuple[int, int]] = field(repr=False)  # by image id
    annotations: Mapping[tuple[str, int], bytes] = field(repr=False)  # by image id and revision; packed JSON

    def __call__(self, item: VersionItem) -> LabelledPhoto:
        """Give one image; neither the database nor a file is asked before its ``data`` is."""
        return LabelledPhoto(
            item.image_id,
            partial(_read_original, self.blobs, item.sha256),
            self.sizes_wh[item.image_id],
            tuple(a for a in map(annotation_from_json, self._unpacked(item)) if not a.is_suggestion),
        )

    def _unpacked(self, item: VersionItem) -> list[dict[str, Any]]:
        return json.loads(zlib.decompress(self.annotations[item.image_id, item.rev])) if item.rev else []


def reader(store: Store, items: Sequence[VersionItem]) -> Reader:
    """Read the rows of these images at once: their sizes, and the labels of their revisions.

    A photo deleted from its project since is read all the same: a version does not change.

    Raises:
        NotFound: a row is gone.
    """
    ids = sorted({item.image_id for item in items})
    revisions = sorted({(item.image_id, item.rev) for item in items if item.rev})
    image, labels = tables.image.c, tables.annotation_set.c
    text = sa.cast(labels.annotations, sa.Text)  # decoded, a large version's labels would fill the memory
    with store.read() as connection:
        sizes_wh = {
            row.id: (row.width, row.height)
            for part in _parts(ids)
            for row in connection.execute(
                sa.select(image.id, image.width, image.height).where(image.id.in_(part))
            )
        }
        annotations = {
            (row.image_id, row.rev): zlib.compress(row.text.encode(), level=1)
            for part in _parts(revisions)
            for row in connection.execute(
                sa.select(labels.image_id, labels.rev, text.label("text")).where(
                    sa.tuple_(labels.image_id, labels.rev).in_(part)
                )
            )
        }
    if len(sizes_wh) < len(ids) or len(annotations) < len(revisions):
        raise NotFound("Photos or labels of this data version do not exist any more.")
    return Reader(store.blobs, sizes_wh, annotations)


def read_item(store: Store, item: VersionItem) -> LabelledPhoto:
    """Read one image of a data version, as ``reader`` does for many."""
    return reader(store, [item])(item)


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a sequence so that each part fits into one query: databases bound the number of parameters."""
    return (values[start : start + 500] for start in range(0, len(values), 500))


def _read_original(blobs: Blobs, sha256: str) -> bytes:
    return blobs.local(images.photo_key(sha256, "original")).read_bytes()
