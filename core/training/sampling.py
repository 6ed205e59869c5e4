"""What an epoch is made of: which images, how often, and at which size."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models.registry import MODELS, size_multiple

_SIDE_STEP = 32  # pixels by which progressive sides grow, at least
IMAGES_PER_DEVICE = 2  # of a batch, at least: batch normalisation fails on one


def drawn_images(images: int, config: TrainingConfig) -> int:
    """Give the number of images that an epoch draws from so many."""
    return config.epoch_images or images


def batch_count(images: int, config: TrainingConfig) -> int:
    """Give the number of batches of an epoch that draws from so many images."""
    full, rest = divmod(drawn_images(images, config), config.batch_size)
    return max(1, full + (rest >= IMAGES_PER_DEVICE * config.devices))


def class_presence(labels_nhw: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which labels each label map shows: bool (N, 256). Maps are read one after the other."""
    return np.array([np.bincount(labels.ravel(), minlength=256) > 0 for labels in labels_nhw], np.bool_)


def image_weights(presence: NDArray[np.bool_], balance: float) -> NDArray[np.float64]:
    """Give the share of an epoch's draws that each image gets: (N,), the sum is 1.

    (1 - balance) / N + balance * r_i / sum(r), where r_i = max over the classes c of image i of
    sqrt(1 / f_c) and f_c is the share of images that show c; 1 where an image shows no class. These
    are the repeat factors of Gupta 2019 (LVIS), r_c = max(1, sqrt(t / f_c)), with t = 1.

    Args:
        presence: bool (N, 256); background (0) and IGNORED count as no class.
        balance: 0..1.
    """
    shown = presence[:, 1:IGNORED]
    frequency = shown.mean(axis=0)
    factors = 1 / np.sqrt(np.where(frequency > 0, frequency, 1.0))
    repeats = np.where(shown, factors, 1.0).max(axis=1)
    return (1 - balance) / len(presence) + balance * repeats / repeats.sum()


def epoch_order(
    images: int, config: TrainingConfig, epoch: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Give the rows that an epoch draws, in order: a function of (seed, epoch) and the weights.

    Args:
        images: how many there are.
        epoch: 1 is the first.
        weights: share of the draws per image, the sum is 1. Each image comes floor(draws * weight)
            times or once more, on average draws * weight times. None: all alike, and each comes once
            before any comes a second time.
    """
    draws, rng = drawn_images(images, config), np.random.default_rng((config.seed, epoch))
    if weights is None:
        rounds = math.ceil(draws / images)
        return np.concatenate([rng.permutation(images) for _ in range(rounds)])[:draws]
    whole, part = np.divmod(draws * weights, 1)
    times = whole.astype(np.int64)
    times += _chosen(part, draws - int(times.sum()), rng)
    return rng.permutation(np.repeat(np.arange(images), times))


def side_of_epoch(config: TrainingConfig, epoch: int) -> int:
    """Give the side of the squares that an epoch trains on.

    That is ``crop``, or ``size`` where there is none. With ``progressive`` it grows from half of that
    to all of it in steps of what the network takes, 32 pixels or more, which share the run's epochs
    evenly (a run of fewer epochs than steps leaves the first ones out); the image that a crop is cut
    from shrinks in the same measure.

    Args:
        epoch: 1 is the first.

    Raises:
        UnknownChoice: there is no such model.
    """
    full = config.crop or config.size
    if not config.progressive:
        return full
    step = max(_SIDE_STEP, size_multiple(config.model, config.encoder))
    smallest = max(MODELS[config.model].min_size, math.ceil(full / 2 / step) * step)
    sides = [*range(smallest, full, step), full]
    return sides[math.ceil(min(epoch, config.epochs) * len(sides) / config.epochs) - 1]


def _chosen(part: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose so many rows, each with the probability that is its part: systematic sampling.

    Source: Madow 1949.
    """
    order = rng.permutation(len(part))
    steps = np.cumsum(part[order])
    places = np.searchsorted(steps, rng.random() + np.arange(count), side="right")
    chosen = np.zeros(len(part), np.int64)
    np.add.at(chosen, order[np.minimum(places, len(part) - 1)], 1)
    return chosen
