"""How much each class counts in the loss. Free of torch: the web process checks settings with it."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError, listed

_BETA = 0.9999  # Cui et al. 2019: the largest of those they compare


def class_weights(
    setting: str, pixels: NDArray[np.int64], names: Sequence[str], background_weight: float = 1.0
) -> NDArray[np.float32]:
    """Give the weight of each class.

    They are scaled to a mean of 1 over the classes that occur, and background's is multiplied by
    background_weight after that. Only their ratios matter: each loss divides by their sum. A class that no
    image shows has no measure of its own and gets the largest weight of those that occur, so that it
    counts as a rare one where it turns up later, in validation.

    Args:
        setting: how; a key of WEIGHTINGS, or by hand: "dent=2,scratch=1.5" leaves all others at 1, and
            "1,2,1.5" names all channels in order, background first. By hand a class that does not occur
            keeps what was written.
        pixels: int64 (images, C), of each training image; see ``count_class_pixels``.
        names: of all C channels, background first.

    Returns:
        float32 (C,), finite and not negative.

    Raises:
        FormatError: the setting cannot be read or does not suit the names, or no class that occurs has a
            weight above 0.
    """
    if pixels.ndim != 2 or pixels.shape[1] != len(names):
        raise ValueError(f"pixels must have shape (images, {len(names)}), got {pixels.shape}")
    occurs = pixels.sum(axis=0) > 0
    if not occurs.any():
        occurs[:] = True
    weighting = WEIGHTINGS.get(setting.strip())
    weights = np.array(_by_hand(setting, names)) if weighting is None else _of_counts(weighting, pixels)
    weights = weights / (weights[occurs].mean() or 1.0)
    weights[0] *= background_weight
    if not weights[occurs].any():
        raise FormatError(
            f"Nothing is left to learn: class_weights “{setting}” and background_weight "
            f"{background_weight:g} give 0 to every class that the training photos show."
        )
    return weights.astype(np.float32)


def check_class_weights(setting: str, names: Sequence[str], background_weight: float = 1.0) -> None:
    """Check a setting before there is anything to count.

    Args:
        names: of all channels, background first.

    Raises:
        FormatError: it cannot be read, does not suit the names, or leaves no class a weight.
    """
    class_weights(setting, np.zeros((0, len(names)), np.int64), names, background_weight)


def count_class_pixels(labels: Iterable[NDArray[np.uint8]], num_classes: int) -> NDArray[np.int64]:
    """Count the pixels of each class in each image.

    Args:
        labels: per image class indices (H, W); those from num_classes on are ignored pixels.

    Returns:
        int64 (images, num_classes).
    """
    counts = [np.bincount(image.ravel(), minlength=256)[:num_classes] for image in labels]
    return np.array(counts, np.int64).reshape(-1, num_classes)


def _of_counts(
    weighting: Callable[[NDArray[np.int64]], NDArray[np.float64]], pixels: NDArray[np.int64]
) -> NDArray[np.float64]:
    occurs = pixels.sum(axis=0) > 0
    weights = np.ones(pixels.shape[1])
    if occurs.any():
        weights[occurs] = weighting(pixels[:, occurs])
        weights[~occurs] = weights[occurs].max()
    return weights


# Each takes the pixels (images, K) of the K classes that occur and gives their weights (K,) up to a factor.


def _equal(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.ones(pixels.shape[1])


def _inverse(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """One over the class's pixels."""
    return 1 / pixels.sum(axis=0)


def _median(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median frequency balancing: median of all frequencies over the class's.

    A class's frequency is its pixels over all counted pixels of the images that show it.
    Source: Eigen and Fergus 2015, arXiv 1411.4734.
    """
    image_sizes = pixels.sum(axis=1)
    frequencies = pixels.sum(axis=0) / (image_sizes[:, None] * (pixels > 0)).sum(axis=0)
    return np.median(frequencies) / frequencies


def _effective(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """One over the effective number (1 - beta^n) / (1 - beta) of the n images that show the class.

    Of images, not pixels: with beta 0.9999 any class of more than a few 10,000 pixels would count alike.
    Source: Cui et al. 2019, arXiv 1901.05555.
    """
    images = (pixels > 0).sum(axis=0)
    return (1 - _BETA) / (1 - _BETA**images)


WEIGHTINGS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "none": _equal,
    "inverse": _inverse,
    "median": _median,
    "effective": _effective,
}


def _by_hand(setting: str, names: Sequence[str]) -> list[float]:
    parts = [part.strip() for part in setting.split(",")]
    if any("=" in part for part in parts):
        return _by_name(parts, names)
    values = [_weight(part, setting) for part in parts]
    if len(values) != len(names):
        raise FormatError(
            f"class_weights needs {len(names)} numbers, one for each of {listed(names)}; "
            f"“{setting}” has {len(values)}."
        )
    return values


def _by_name(parts: Sequence[str], names: Sequence[str]) -> list[float]:
    given: dict[str, float] = {}
    for part in parts:
        name, _, value = (text.strip() for text in part.rpartition("="))
        if name not in names:
            raise FormatError(f"class_weights names no class with “{part}”. There are: {listed(names)}.")
        if name in given:
            raise FormatError(f"class_weights names “{name}” twice.")
        given[name] = _weight(value, part)
    return [given.get(name, 1.0) for name in names]


def _weight(text: str, setting: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= 0:
        return value
    raise FormatError(
        f"class_weights must be one of {listed(WEIGHTINGS)}, or numbers from 0 on, by name such as "
        f"dent=2,scratch=1.5 or one for each class such as 1,2,1.5; not “{setting}”."
    )
