"""Small things that tests of several rooms are made of."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from core.domain.images import Image, Project
from core.domain.labels import Annotation, ImageState, PolygonOp, Source, Split
from core.formats.ingest import add_photo
from core.storage import annotations, images, projects
from core.storage.settings import Settings
from core.storage.store import Store, new_id, open_store

SIZE_WH = (96, 64)


def empty_store(home: Path) -> Store:
    """Open an empty home on SQLite."""
    return open_store(Settings(home=home, database_url="", blobs=""))


def project_with(store: Store, *categories: str, name: str = "Cars") -> Project:
    """Make a project with these categories; their ids are 1, 2, ..."""
    created = projects.create(store, name)
    for category in categories:
        with store.write() as connection:
            projects.add_category(connection, created.id, category)
    return projects.get(store, created.id)


def photo_bytes(seed: int, size_wh: tuple[int, int] = SIZE_WH, kind: str = "JPEG") -> bytes:
    """Encode a smooth random photo; another seed is another photo."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(coarse).resize(size_wh, PillowImage.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def square(category_id: int, x: float = 10, y: float = 10, side: float = 20) -> Annotation:
    """Draw a square annotation."""
    corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
    return Annotation(new_id(), category_id, (PolygonOp(corners),), Source.DRAWN)


def add_image(
    store: Store,
    project: Project,
    seed: int,
    *drawn: Annotation,
    split: Split | None = None,
    state: ImageState = ImageState.DONE,
    name: str = "",
) -> Image:
    """Add a photo; with annotations or a state other than unlabelled it is saved as revision 1."""
    image = add_photo(store, project.id, name or f"photo_{seed}.jpg", photo_bytes(seed))
    images.set_split(store, [image.id], split)
    if drawn or state is not ImageState.UNLABELLED:
        annotations.save(store, image.id, drawn, base_rev=0, state=state)
    return images.get(store, image.id)
