"""Projects and their images."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.labels import Category, ImageState, Split


@dataclass(frozen=True)
class Project:
    """A set of images with the categories to find on them."""

    id: str
    name: str
    categories: tuple[Category, ...]
    created_at: datetime

    def category(self, category_id: int) -> Category | None:
        """Give the category with this id, None where there is none."""
        return next((c for c in self.categories if c.category_id == category_id), None)


@dataclass(frozen=True)
class Image:
    """One photo of a project, upright (EXIF orientation applied), identified by its file's SHA-256.

    ``name`` is the client's file name with its folders, a label to show and never a path to open.
    ``rev`` counts saved annotation sets, 0 means none; ``category_ids`` and ``annotation_count``
    are of the newest one.
    """

    id: str
    project_id: str
    sha256: str
    size_wh: tuple[int, int]
    phash: str
    name: str
    split: Split | None
    group: str | None
    state: ImageState
    rev: int
    category_ids: tuple[int, ...]
    annotation_count: int
    created_at: datetime

    @property
    def is_labelled(self) -> bool:
        """Whether its labels count: training and evaluation use it."""
        return self.state is ImageState.DONE


@dataclass(frozen=True)
class ImageFilter:
    """Which images of a project to list; None means any."""

    state: ImageState | None = None
    split: str | None = None  # train, valid, test or unsplit
    category_id: int | None = None
    name_contains: str | None = None
