"""A training image as it is drawn: shrunk, augmented, cut out, and mixed with others."""

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import pick
from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig, VersionItem
from core.imaging.masks import number_instances
from core.training.augmentation import (
    AUGMENTATIONS,
    AugmentationSpec,
    Pixels,
    Sample,
    augment,
    is_damage,
    mirror_table,
    shrink,
)
from core.training.sampling import class_presence, side_of_epoch

PASTED_SHARE = 0.5  # chance of each region of the other image to be pasted


@dataclass(frozen=True)
class Cache:
    """Photos and labels at the network's size, as memory maps that are only read.

    images: uint8 (N, S, S, 3) RGB; labels: uint8 (N, S, S) class indices, 255 is IGNORED; row i is
    ``items[i]``. instances: uint8 (N, S, S), 0 or the number of a region; None where the network tells
    none apart. mirrored: the class that each class becomes in a mirrored picture; () where all stay.
    """

    items: tuple[VersionItem, ...]
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    instances: NDArray[np.uint8] | None = field(default=None, repr=False)
    mirrored: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, row: int) -> Sample:
        """Give one row."""
        instances = None if self.instances is None else self.instances[row]
        return Sample(self.images[row], self.labels[row], instances)

    @cached_property
    def presence(self) -> NDArray[np.bool_]:
        """Which labels each row shows: bool (N, 256). All labels are read, once."""
        return class_presence(self.labels)

    @cached_property
    def damaged(self) -> NDArray[np.int64]:
        """The rows that show damage."""
        return np.flatnonzero(self.presence[:, 1:IGNORED].any(axis=1))


@dataclass(frozen=True)
class Recipe:
    """What is done to each image of an epoch: brought to ``side``, augmented, cut to ``crop``, mixed."""

    spec: AugmentationSpec
    side: int
    crop: int
    mirror: Pixels | None = field(repr=False)
    cutmix: float
    copy_paste: float


def recipe_of(config: TrainingConfig, epoch: int, mirrored: tuple[int, ...]) -> Recipe:
    """Give what a run does to the images of an epoch (1 is the first).

    Raises:
        UnknownChoice: there is no such policy or model.
    """
    spec = pick(AUGMENTATIONS, config.augmentation, kind="augmentation")
    crop = side_of_epoch(config, epoch)
    side = round(config.size * crop / config.crop) if config.crop else crop
    return Recipe(spec, side, crop, mirror_table(mirrored), config.cutmix, config.copy_paste)


def draw_sample(cache: Cache, row: int, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Draw one training image, with all that is random taken from ``rng``."""
    drawn = _augmented(cache, row, recipe, rng)
    if recipe.copy_paste > rng.random() and cache.damaged.size:
        drawn = copy_paste(drawn, _augmented(cache, int(rng.choice(cache.damaged)), recipe, rng), rng)
    if recipe.cutmix > rng.random():
        drawn = cut_mix(drawn, _augmented(cache, int(rng.integers(len(cache))), recipe, rng), rng)
    return drawn


def cut_mix(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """Put a rectangle of another image, labels and all, into the same place of this one.

    Its area is, before it is clipped to the image, a uniform share of the image's; its proportions
    are the image's and its centre lies anywhere.

    Source: Yun 2019 (CutMix), with alpha = 1.
    """
    side = len(sample.labels)
    half = np.sqrt(rng.random()) * side / 2
    centre = rng.uniform(0, side, size=2)
    low = np.rint(centre - half).clip(0, side).astype(int)
    high = np.rint(centre + half).clip(0, side).astype(int)
    where = np.zeros((side, side), np.bool_)
    where[low[1] : high[1], low[0] : high[0]] = True
    return _pasted(sample, other, where)


def copy_paste(sample: Sample, other: Sample, rng: np.random.Generator) -> Sample:
    """Put regions of damage of another image, labels and all, into the same places of this one.

    Each of its regions is taken with a chance of PASTED_SHARE, at least one. A region is an instance;
    without instances, what hangs together and is of one class. Edges are not blurred.

    Source: Ghiasi 2021 (Simple Copy-Paste).
    """
    regions = _regions(other)
    pixels = np.bincount(regions.ravel())
    numbers = np.flatnonzero(pixels[1:]) + 1
    if numbers.size == 0:
        return sample
    is_taken = np.zeros(len(pixels), np.bool_)
    is_taken[numbers] = rng.random(len(numbers)) < PASTED_SHARE
    is_taken[rng.choice(numbers)] = True
    return _pasted(sample, other, is_taken[regions])


def _augmented(cache: Cache, row: int, recipe: Recipe, rng: np.random.Generator) -> Sample:
    sample = shrink(cache.sample(row), recipe.side)
    return augment(sample, recipe.spec, rng, crop=recipe.crop, mirror=recipe.mirror)


def _regions(sample: Sample) -> NDArray[np.int32]:
    """Number the regions of damage: int32 (S, S), 0 elsewhere."""
    damage = is_damage(sample.labels)
    if sample.instances is not None:
        return np.where(damage, sample.instances, 0).astype(np.int32)
    regions = np.zeros(sample.labels.shape, np.int32)
    last = 0
    for label in np.flatnonzero(np.bincount(sample.labels[damage])):
        count, parts = cv2.connectedComponents((sample.labels == label).astype(np.uint8))
        np.add(parts, last, out=regions, where=parts > 0)
        last += count - 1
    return regions


def _pasted(sample: Sample, other: Sample, where: NDArray[np.bool_]) -> Sample:
    mask = where.view(np.uint8)
    image = np.asarray(cv2.copyTo(other.image, mask, sample.image.copy()), np.uint8)
    labels = np.asarray(cv2.copyTo(other.labels, mask, sample.labels.copy()), np.uint8)
    if sample.instances is None or other.instances is None:
        return Sample(image, labels)
    theirs = np.where(other.instances > 0, other.instances.astype(np.int32) + 256, 0)
    return Sample(image, labels, number_instances(np.where(where, theirs, sample.instances)))
