"""What the network will see: training photos as a configuration changes them, with their labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.labels import IGNORED
from core.domain.training import DataVersion, TrainingConfig
from core.imaging.overlay import blend
from core.models.preprocessing import network_image
from core.services.home import Store
from core.services.training import TrainingData
from core.storage import versions
from core.training.dataset import network_labels, preview_rows, truth_of

OPACITY = 0.45


def preview(
    store: Store, project_id: str, data: TrainingData, config: TrainingConfig, *, seed: int, count: int
) -> list[NDArray[np.uint8]]:
    """Draw training photos that show damage, changed as the last epoch changes them; labels lie over them.

    Args:
        data: what ``training.collect`` gave for the configuration.
        seed: another one draws other changes of the same photos.
        count: how many, at most as many as there are photos in train.

    Returns:
        uint8 (S, S, 3) each.

    Raises:
        ImageError: a photo cannot be read.
        UnknownChoice: there is no such model or policy.
    """
    items = [item for item in data.items if item.split == "train"]
    chosen = [item for item in items if item.rev][:count] or items[:count]
    version = DataVersion("", project_id, "", data.categories, tuple(chosen), data.ignored)
    read = versions.reader(store, chosen)
    photos = [read(item) for item in chosen]
    images = np.stack([network_image(photo.data, config.size) for photo in photos])
    labels = np.stack([network_labels(truth_of(photo, version.class_index), config.size) for photo in photos])
    names = [category.name for category in data.categories]
    seen = preview_rows(config, names, images, labels, seed, len(chosen))
    colors = _colors([category.color for category in data.categories])
    return [
        blend(rgb, label_map, colors, OPACITY, outline=True) for rgb, label_map in zip(*seen, strict=True)
    ]


def _colors(classes: Sequence[str]) -> list[str]:
    """Give a colour per label; what is no class is ignored, and white."""
    return ["#000000", *classes, *["#FFFFFF"] * (IGNORED - len(classes))]
