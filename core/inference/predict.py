"""A model and a photo become a label map, its confidence, single regions and what can be read off them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.domain.labels import IGNORED, Category
from core.domain.scores import Scores, score
from core.imaging.confusion import confusion_matrix
from core.imaging.overlay import at_display_size
from core.imaging.reading import decode_rgb
from core.inference.outputs import Outputs, Predictor
from core.inference.regions import (
    LEAST_SHARE,
    Regions,
    find_centres,
    in_pixels_of,
    regions_by_centres,
    regions_by_components,
)
from core.models.preprocessing import network_image, to_input
from core.models.upsampling import predict_map

ToldApart = Literal["model", "connected", "no_centre"]
"""How regions were told apart: by the model; as connected pixels of a class, since the model gives classes
alone; or as such since it found no region's centre in this photo."""


@dataclass(frozen=True)
class Prediction:
    """What a model sees on one photo.

    label_map: uint8 (H, W) class indices, 0 is background. confidence: uint8 (h, w), the long side
    at most 1024: the winning class's probability times 255. size_wh: (W, H) of the label map.
    regions: the single ones of at least LEAST_SHARE of the image, largest first, in pixels of the label
    map; counted at (h, w), which is the size of their number map.
    """

    label_map: NDArray[np.uint8] = field(repr=False)
    confidence: NDArray[np.uint8] = field(repr=False)
    size_wh: tuple[int, int]
    regions: Regions
    told_apart: ToldApart


@dataclass(frozen=True)
class Comparison:
    """A label map against the truth: int64 (C, C) pixel counts, rows = truth, and their scores."""

    confusion: NDArray[np.int64] = field(repr=False)
    scores: Scores


def predict(
    model: Predictor, photo: bytes | NDArray[np.uint8], *, size_wh: tuple[int, int] | None = None
) -> Prediction:
    """Predict one photo.

    Args:
        photo: an image file, or upright RGB uint8 (H, W, 3). Give the file where there is one: its
            pixels then reach the network exactly as in training, and large JPEGs decode faster.
        size_wh: the size of the label map, such as that of a preview. None means the photo's own;
            for a file that costs decoding it at full size, which a caller who knows it can save.

    Raises:
        ImageError: the file is not a photo that can be read.
    """
    if isinstance(photo, bytes):
        size_wh = size_wh or _size_wh(decode_rgb(photo))
        photo = network_image(photo, model.preprocessing.size)
    width, height = size_wh or _size_wh(photo)
    outputs = model.outputs(to_input(photo, model.preprocessing))
    label_map, confidence = predict_map(outputs.logits, (height, width))
    regions, told_apart = _regions(outputs, at_display_size(label_map), confidence)
    in_photo = in_pixels_of(regions, (width, height))
    return Prediction(label_map, confidence, (width, height), in_photo, told_apart)


def shares(label_map: NDArray[np.uint8], categories: Sequence[Category]) -> dict[str, float]:
    """Give each category's share of the image by its name, 0..1; background is what is left.

    Args:
        label_map: uint8 (H, W); index i is ``categories[i - 1]``.
    """
    pixels = confusion_matrix(label_map, label_map, len(categories) + 1).diagonal()  # quicker than bincount
    found: dict[str, float] = {}
    for index, category in enumerate(categories, start=1):
        found[category.name] = found.get(category.name, 0.0) + int(pixels[index]) / label_map.size
    return found


def compare(label_map: NDArray[np.uint8], truth: NDArray[np.uint8], *, num_classes: int | None) -> Comparison:
    """Compare a prediction with the truth of the same photo.

    Args:
        label_map, truth: uint8 (H, W), of one shape. Where truth is IGNORED nothing is counted.
        num_classes: classes of both, background included. None where their classes differ: then
            every foreground class counts as "any damage", and the matrix is 2 x 2.

    Raises:
        ValueError: the shapes differ, or an index is not below ``num_classes``.
    """
    is_counted = truth != IGNORED
    if not is_counted.all():
        truth, label_map = truth[is_counted][None], label_map[is_counted][None]
    if num_classes is None:
        label_map, truth = (label_map > 0).astype(np.uint8), (truth > 0).astype(np.uint8)
    confusion = confusion_matrix(truth, label_map, num_classes or 2)
    return Comparison(confusion, score(confusion))


def _regions(
    outputs: Outputs, label_map: NDArray[np.uint8], confidence: NDArray[np.uint8]
) -> tuple[Regions, ToldApart]:
    if outputs.centres is None or outputs.offsets is None:
        return regions_by_components(label_map, confidence), "connected"
    if label_map.any() and not find_centres(outputs.centres)[1].size:
        return regions_by_components(label_map, confidence), "no_centre"
    regions = regions_by_centres(
        label_map, outputs.logits, outputs.centres, outputs.offsets, least_share=LEAST_SHARE
    )
    return regions, "model"


def _size_wh(rgb: NDArray[np.uint8]) -> tuple[int, int]:
    return rgb.shape[1], rgb.shape[0]
