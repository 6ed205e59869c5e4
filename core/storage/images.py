"""Images in the database, their files in the blob store."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from core.domain.errors import NotFound
from core.domain.images import Image, ImageFilter, ImageOrder
from core.domain.labels import ImageState, Split
from core.imaging.reading import PreparedPhoto
from core.storage import tables
from core.storage.store import Store, new_id

Rendition = Literal["original", "full", "view", "thumbnail"]


def photo_key(sha256: str, rendition: Rendition) -> str:
    """Give the blob key of one rendition of a photo."""
    return f"photos/{sha256[:2]}/{sha256}/{rendition}"


def keep_files(store: Store, sha256: str, data: bytes, photo: PreparedPhoto) -> None:
    """Write the original and its renditions; the same photo twice is the same files.

    Raises:
        StorageError: they cannot be written; no row points at what was.
    """
    files: dict[Rendition, bytes | None] = {
        "full": photo.full,
        "view": photo.view,
        "thumbnail": photo.thumbnail,
        "original": data,  # last: where it is, the others are
    }
    if store.blobs.exists(photo_key(sha256, "original")):
        return
    for rendition, content in files.items():
        if content is not None:
            store.blobs.put(photo_key(sha256, rendition), content)


def add(
    connection: sa.Connection,
    project_id: str,
    sha256: str,
    photo: PreparedPhoto,
    *,
    name: str,
    split: Split | None,
    group: str | None = None,
) -> str:
    """Insert an unlabelled image and give its id; its files are kept already."""
    image_id = new_id()
    width, height = photo.size_wh
    connection.execute(
        sa.insert(tables.image).values(
            id=image_id,
            project_id=project_id,
            sha256=sha256,
            width=width,
            height=height,
            phash=photo.phash,
            name=name[-512:],
            media_type=photo.media_type,
            has_full=photo.full is not None,
            has_view=photo.view is not None,
            split=split,
            group=group,
            state=ImageState.UNLABELLED,
            rev=0,
            category_ids=[],
            annotation_count=0,
            is_deleted=False,
            created_at=tables.now(),
        )
    )
    return image_id


def get(store: Store, image_id: str) -> Image:
    """Give one image. Raises NotFound."""
    with store.read() as connection:
        return read(connection, image_id)


def read(connection: sa.Connection, image_id: str, *, even_deleted: bool = False) -> Image:
    """Give one image inside a transaction. Raises NotFound.

    Args:
        even_deleted: data versions go on holding images that were deleted from their project.
    """
    row = connection.execute(sa.select(tables.image).where(tables.image.c.id == image_id)).first()
    if row is None or (row.is_deleted and not even_deleted):
        raise NotFound("This photo does not exist any more.")
    return _image(row)


def list_page(
    store: Store, project_id: str, images: ImageFilter, *, offset: int = 0, limit: int | None = None
) -> list[Image]:
    """List images in the order they came, filtered."""
    query = _filtered(sa.select(tables.image), project_id, images)
    query = query.order_by(tables.image.c.id).offset(offset)
    with store.read() as connection:
        return [_image(row) for row in connection.execute(query.limit(limit))]


def list_ids(
    store: Store, project_id: str, images: ImageFilter, *, order: ImageOrder = "imported"
) -> list[str]:
    """List the ids of images, filtered and in order; ids alone, as a project may have ten thousands."""
    table, saved = tables.image.c, tables.annotation_set.c
    query = _filtered(sa.select(table.id, table.name), project_id, images)
    if order == "changed":
        is_newest = (saved.image_id == table.id) & (saved.rev == table.rev)
        query = query.outerjoin(tables.annotation_set, is_newest)
        query = query.order_by(saved.saved_at.is_(None), saved.saved_at.desc(), table.id)
    else:
        query = query.order_by(table.id)
    with store.read() as connection:
        rows = connection.execute(query).all()
    if order == "name":  # in Python, as databases disagree on how names compare
        rows = sorted(rows, key=lambda row: _natural(row.name))
    return [row.id for row in rows]


def count(store: Store, project_id: str, images: ImageFilter) -> int:
    """Count images, filtered."""
    query = _filtered(sa.select(sa.func.count()).select_from(tables.image), project_id, images)
    with store.read() as connection:
        return connection.execute(query).scalar_one()


def mean_pixels(store: Store, project_id: str) -> float:
    """Give the mean number of pixels of a project's images; 0 where there are none."""
    pixels = sa.func.avg(tables.image.c.width * tables.image.c.height)
    query = _filtered(sa.select(pixels), project_id, ImageFilter())
    with store.read() as connection:
        return float(connection.execute(query).scalar() or 0)


def phashes(store: Store, project_id: str) -> dict[str, str]:
    """Map all images of a project, deleted ones too, to their perceptual hashes."""
    table = tables.image.c
    with store.read() as connection:
        rows = connection.execute(sa.select(table.id, table.phash).where(table.project_id == project_id))
        return {row.id: row.phash for row in rows}


def by_sha256(store: Store, project_id: str, sha256s: Sequence[str]) -> dict[str, Image]:
    """Find the project's images with these contents, by SHA-256."""
    found: dict[str, Image] = {}
    with store.read() as connection:
        for start in range(0, len(sha256s), 500):  # databases bound the number of parameters
            query = sa.select(tables.image).where(
                tables.image.c.project_id == project_id,
                ~tables.image.c.is_deleted,
                tables.image.c.sha256.in_(sha256s[start : start + 500]),
            )
            found |= {row.sha256: _image(row) for row in connection.execute(query)}
    return found


def set_split(store: Store, image_ids: Sequence[str], split: Split | None) -> None:
    """Put images into a split, or into none."""
    with store.write() as connection:
        connection.execute(
            sa.update(tables.image).where(tables.image.c.id.in_(image_ids)).values(split=split)
        )


def delete(store: Store, image_ids: Sequence[str]) -> None:
    """Take images out of the project; rows, labels and files stay for the data versions that hold them."""
    with store.write() as connection:
        connection.execute(
            sa.update(tables.image).where(tables.image.c.id.in_(image_ids)).values(is_deleted=True)
        )


def rendition(store: Store, image_id: str, wanted: Rendition) -> tuple[str, str]:
    """Give the blob key and media type of an upright picture of an image.

    ``full`` is the original where a browser shows that as it is; ``view`` is ``full`` where that
    is no larger than 2048 px. ``original`` is the file as it came.

    Raises:
        NotFound: the image does not exist any more.
    """
    table = tables.image.c
    with store.read() as connection:
        query = sa.select(table.sha256, table.media_type, table.has_full, table.has_view)
        row = connection.execute(query.where(table.id == image_id, ~table.is_deleted)).first()
    if row is None:
        raise NotFound("This photo does not exist any more.")
    if wanted == "view" and not row.has_view:
        wanted = "full"
    if wanted == "full" and not row.has_full:
        wanted = "original"
    media_type = row.media_type if wanted == "original" else "image/jpeg"
    return photo_key(row.sha256, wanted), media_type


def _filtered(query: Any, project_id: str, images: ImageFilter) -> Any:
    table = tables.image.c
    query = query.where(table.project_id == project_id, ~table.is_deleted)
    if images.state is not None:
        states = images.state if isinstance(images.state, frozenset) else {images.state}
        query = query.where(table.state.in_(sorted(states)))
    if images.split == "unsplit":
        query = query.where(table.split.is_(None))
    elif images.split is not None:
        query = query.where(table.split == images.split)
    if images.author is not None:
        query = query.where(table.author == images.author)
    if images.has_annotations is not None:
        query = query.where((table.annotation_count > 0) == images.has_annotations)
    if images.has_suggestions is not None:
        query = query.where((table.suggestion_count > 0) == images.has_suggestions)
    if images.name_contains:
        query = query.where(table.name.icontains(images.name_contains, autoescape=True))
    if images.category_id is not None:
        query = query.where(shows(images.category_id))
    return query


def shows(category_id: int) -> sa.ColumnElement[bool]:
    """Give the condition that the newest labels of an image show a category."""
    # JSON text of a list of integers: [3, 14]; the borders keep 1 from matching 14.
    text = sa.func.replace(sa.cast(tables.image.c.category_ids, sa.Text), " ", "")
    edges = sa.func.replace(sa.func.replace(text, "[", ","), "]", ",")
    return edges.contains(f",{category_id},")


def _natural(name: str) -> list[tuple[int, str]]:
    """Make IMG_2 come before IMG_10, whatever the letter case."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if at % 2 else (-1, part) for at, part in enumerate(parts)]


def _image(row: Any) -> Image:
    return Image(
        id=row.id,
        project_id=row.project_id,
        sha256=row.sha256,
        size_wh=(row.width, row.height),
        phash=row.phash,
        name=row.name,
        split=row.split,
        group=row.group,
        state=ImageState(row.state),
        rev=row.rev,
        category_ids=tuple(row.category_ids),
        annotation_count=row.annotation_count,
        created_at=row.created_at,
        suggestion_count=row.suggestion_count,
        note=row.note,
        author=row.author,
    )
