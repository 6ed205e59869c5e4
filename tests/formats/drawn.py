"""Labelled photos to write in the formats of labelling tools, and what of them has to come back."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import AppError
from core.domain.images import ImageFilter
from core.domain.labels import BrushOp, Op, PolygonOp, RleOp, Split
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.imaging.masks import encode_rle, rasterise
from core.storage import annotations, images, projects
from core.storage.store import Store
from tests.formats.builders import SIZE_WH, photo, put

SIZE_HW = (SIZE_WH[1], SIZE_WH[0])
SQUARE = PolygonOp(((5, 5), (15, 5), (15, 15), (5, 15)))  # 10 x 10 pixels
HOLE = PolygonOp(((8, 8), (12, 8), (12, 12), (8, 12)), is_subtract=True)  # 4 x 4 pixels
FAR = PolygonOp(((20, 5), (30, 5), (30, 15)))
BEYOND = PolygonOp(((30, 20), (60, 20), (60, 50), (30, 50)))  # leaves the photo
STROKE = BrushOp(((3, 20), (30, 25)), 2.5)


def noise() -> RleOp:
    """A mask of many small parts and holes."""
    return RleOp(SIZE_HW, encode_rle(np.random.default_rng(0).random(SIZE_HW) > 0.6))


def labelled(
    name: str, seed: int, *drawn: tuple[str, tuple[Op, ...]], split: Split | None = None
) -> SourceImage:
    """Give a labelled photo; another seed is another photo."""
    return SourceImage(
        name=name,
        read=partial(photo, seed),
        split=split,
        annotations=tuple(SourceAnnotation(category, ops) for category, ops in drawn),
        is_labelled=True,
        drawn_size_wh=SIZE_WH,
    )


def damage(*, with_splits: bool = False) -> SourceDataset:
    """Regions with holes, parts, strokes and overlaps, a photo without damage, and a class without a use."""
    return SourceDataset(
        categories=(SourceCategory("dent"), SourceCategory("Kratzer & Riß"), SourceCategory("rust")),
        images=(
            labelled(
                "a/1.jpg",
                1,
                ("dent", (SQUARE, HOLE)),
                ("Kratzer & Riß", (SQUARE, FAR)),
                ("dent", (FAR,)),
                split="train" if with_splits else None,
            ),
            labelled("b/1.jpg", 2, ("dent", (noise(),)), ("dent", (BEYOND,))),
            labelled("größe 1.JPG", 3, split="valid" if with_splits else None),
            labelled("c.jpg", 4, ("Kratzer & Riß", (STROKE,)), split="test" if with_splits else None),
        ),
    )


def masks_of(image: SourceImage) -> list[tuple[str, np.ndarray]]:
    """Give the class and the mask of each region, in painting order."""
    return [(a.category, rasterise(a.ops, SIZE_HW)) for a in image.annotations]


def areas(image: SourceImage) -> list[tuple[str, int]]:
    """Give the class and the pixels of each region, in painting order."""
    return [(category, int(mask.sum())) for category, mask in masks_of(image)]


def kept(store: Store, project_id: str) -> list[tuple[object, ...]]:
    """Give all that matters of a project's labels, images by content."""
    names = {c.category_id: c.name for c in projects.get(store, project_id).categories}
    rows: list[tuple[object, ...]] = []
    for image in sorted(images.list_page(store, project_id, ImageFilter()), key=lambda i: i.sha256):
        drawn = annotations.current(store, image.id).annotations
        size_hw = image.size_wh[1], image.size_wh[0]
        masks = [(names[a.category_id], encode_rle(rasterise(a.ops, size_hw))) for a in drawn]
        rows.append((image.sha256, image.split, image.state, masks))
    return rows


def files_in(folder: Path) -> list[str]:
    """List the files of an export, the hidden list of them aside."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith("."))


def check_replacing(write_dataset: Callable[..., None], folder: Path, name: str, content: str) -> None:
    """Check that an export replaces an earlier one, but never a file of labels that is the user's own."""
    ours, mixed = folder / "ours", folder / "mixed"
    write_dataset(damage(with_splits=True), ours)
    put(ours / "notes.md", "mine")
    write_dataset(damage(), ours)
    write_dataset(damage(), folder / "new")
    put(mixed / name, content)

    assert files_in(ours) == sorted([*files_in(folder / "new"), "notes.md"])
    with pytest.raises(AppError, match=rf"annotations that come from elsewhere \({name}\)"):
        write_dataset(damage(), mixed)
    assert files_in(mixed) == [name]
    assert (mixed / name).read_text() == content
