"""Projects and their images."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.domain.labels import FINISHED, Category, ImageState, Split


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
    ``rev`` counts saved annotation sets, 0 means none. ``category_ids``, ``annotation_count``,
    ``suggestion_count``, ``note`` and ``author`` are of the newest one; the first two leave out
    suggestions, which count nowhere before they are accepted.
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
    suggestion_count: int = 0
    note: str = ""
    author: str = ""  # who saved last; "" where nobody is logged in

    @property
    def is_labelled(self) -> bool:
        """Whether its labels count: training and evaluation use it."""
        return self.state in FINISHED

    @property
    def shows_no_damage(self) -> bool:
        """Whether somebody said that there is nothing to find: labelled, and with no annotation."""
        return self.is_labelled and self.annotation_count == 0


ImageOrder = Literal["imported", "name", "changed"]
"""As they came; by name, numbers by their size; what was saved last first."""


@dataclass(frozen=True)
class ImageFilter:
    """Which images of a project to list; None means any. What is asked must hold together."""

    state: ImageState | frozenset[ImageState] | None = None  # one, or any of several
    split: str | None = None  # train, valid, test or unsplit
    category_id: int | None = None
    name_contains: str | None = None
    author: str | None = None  # who saved the newest revision
    has_annotations: bool | None = None
    has_suggestions: bool | None = None
