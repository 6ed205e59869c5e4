"""Photos with coloured damage and networks small enough to train in a second, for every process of a test."""

import cv2
import numpy as np
import torch
from torch import nn

from core.domain.labels import Annotation, Category, PolygonOp
from core.domain.training import DataVersion, LabelledPhoto, TrainingConfig, VersionItem
from core.models.registry import EncoderSpec, ModelSpec

CATEGORIES = (Category(7, "dent", "#E69F00"), Category(3, "scratch", "#56B4E9"))
COLORS_RGB = {7: (230, 30, 30), 3: (30, 30, 230)}
SIZE_WH = (150, 100)  # neither square nor the network's size


class Photos:
    """Reads the photos of a version, and counts how often."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, item: VersionItem) -> LabelledPhoto:
        self.reads += 1
        return labelled_photo(item.image_id)


def labelled_photo(image_id: str) -> LabelledPhoto:
    """Draw a grey photo with one dent and one scratch at places that the id decides."""
    rng = np.random.default_rng(int(image_id))
    pixels = rng.integers(90, 130, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)
    annotations: list[Annotation] = []
    for category_id, color in COLORS_RGB.items():
        x, y = (int(rng.integers(0, side - 50)) for side in SIZE_WH)
        points = ((x, y), (x + 45, y + 3), (x + 42, y + 45), (x + 2, y + 40))
        cv2.fillPoly(pixels, [np.array(points, np.int32)], color)
        ops = (PolygonOp(tuple((float(px), float(py)) for px, py in points)),)
        annotations.append(Annotation(f"{image_id}-{category_id}", category_id, ops))
    data = cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes()
    return LabelledPhoto(image_id, lambda: data, SIZE_WH, tuple(annotations))


def version_of(train: int, valid: int) -> DataVersion:
    """Freeze so many photos, named by their number: those to train on come first."""
    items = tuple(
        VersionItem(str(i), f"{i:064d}", 1, "train" if i < train else "valid") for i in range(train + valid)
    )
    return DataVersion("v1", "p1", "hash-of-v1", CATEGORIES, items)


def config_of(model: str) -> TrainingConfig:
    """Configure a run of one of NETS."""
    return TrainingConfig(
        model=model,
        encoder="plain",
        encoder_weights="none",
        size=64,
        epochs=4,
        batch_size=2,
        encoder_learning_rate=1e-2,
        decoder_learning_rate=1e-2,
        threads=1,
        deterministic=True,
    )


class ThreeLayers(nn.Module):
    """An encoder of two layers, dropout so that torch's random state matters, and a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(16, num_classes, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))


def _build_three_layers(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    return ThreeLayers(num_classes)


def _build_two_layers(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build what treats each image for itself: without dropout and normalisation."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))


class TwoOutputs(nn.Module):
    """A net whose answer is the second of its guesses; the first one is learnt from as well."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.guess = nn.Conv2d(3, num_classes, 3, padding=1)
        self.answer = nn.Conv2d(num_classes, num_classes, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        guess = self.guess(images)
        answer = self.answer(guess)
        return (answer, guess) if self.training else answer


def _build_two_outputs(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    return TwoOutputs(num_classes)


NETS = {
    "two_outputs": ModelSpec("Two outputs", _build_two_outputs, ("plain", "other")),
    "three_layers": ModelSpec("Three layers", _build_three_layers, ("plain", "other")),
    "two_layers": ModelSpec("Two layers", _build_two_layers, ("plain", "other")),
}
PLAIN_ENCODERS = {"plain": EncoderSpec("Plain"), "other": EncoderSpec("Other")}


def ignore(*_: object) -> None:
    """A listener that does nothing."""
