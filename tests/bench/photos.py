"""Photos to measure with: drawn, never real, each one another file."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from core.domain.images import Project
from core.formats import ingest
from core.formats.source import SourceAnnotation, SourceCategory, SourceDataset, SourceImage
from core.imaging.overlay import encode_jpeg
from core.imaging.sample import CATEGORIES, draw_panel
from core.services import projects
from core.storage.store import Store
from tests.builders import photo_bytes, square

CAMERA_WH = (4000, 3000)
SMALL_WH = (96, 64)


def camera_photo(seed: int) -> bytes:
    """Give a 12-megapixel JPEG of some megabytes: a drawn panel, enlarged, with a sensor's noise."""
    panel = draw_panel(seed, 0, (1000, 750)).rgb
    large = cv2.resize(panel, CAMERA_WH, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = np.random.default_rng(seed).normal(0, 6, (CAMERA_WH[1], CAMERA_WH[0], 1)).astype(np.int16)
    return encode_jpeg(np.clip(large + noise, 0, 255).astype(np.uint8), 90)


def fill_with_small_photos(store: Store, name: str, count: int) -> Project:
    """Make a project of small labelled photos, four fifths of them in train."""
    categories = tuple(SourceCategory(category) for category in CATEGORIES)
    sources = tuple(_small(number) for number in range(count))
    project = projects.create(store, name)
    ingest.ingest(store, project.id, SourceDataset(categories, sources))
    return projects.get(store, project.id)


def fill_with_panels(store: Store, name: str, count: int, size_wh: tuple[int, int]) -> Project:
    """Make a project of drawn panels with their damage; the last third is in valid."""
    categories = tuple(SourceCategory(category) for category in CATEGORIES)
    sources = tuple(_panel(number, count, size_wh) for number in range(count))
    project = projects.create(store, name)
    ingest.ingest(store, project.id, SourceDataset(categories, sources))
    return projects.get(store, project.id)


def _small(number: int) -> SourceImage:
    drawn: Sequence[SourceAnnotation] = [
        SourceAnnotation(CATEGORIES[number % len(CATEGORIES)], square(1, 10 + number % 30).ops)
    ]
    return SourceImage(
        name=f"claim_{number // 8:04d}/photo_{number:05d}.jpg",
        read=functools.partial(photo_bytes, number, SMALL_WH),
        split="valid" if number % 5 == 0 else "train",
        annotations=tuple(drawn),
        is_labelled=True,
    )


def _panel(number: int, count: int, size_wh: tuple[int, int]) -> SourceImage:
    panel = draw_panel(number, 0, size_wh)
    data = encode_jpeg(panel.rgb, 92)
    return SourceImage(
        name=f"panel_{number:03d}.jpg",
        read=lambda: data,
        split="valid" if number >= count - count // 3 else "train",
        annotations=tuple(SourceAnnotation(category, ops) for category, ops in panel.regions),
        is_labelled=True,
        drawn_size_wh=size_wh,
    )
