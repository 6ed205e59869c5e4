"""How far a score could be off: percentile bootstrap intervals over images, or over groups of images.

The images that were measured are taken as a sample of those to come. Many times as many are drawn from
them with replacement, and the score is computed from what was drawn: how much it varies from draw to draw
is about how much it would vary from sample to sample. Photos of one car or claim resemble each other; where
groups are known, whole groups are drawn, as an interval over single photos would be too narrow.

Each draw adds pixel counts up and divides once, exactly as ``core.domain.scores.score`` does: a class in
neither truth nor prediction of a draw is left out of that draw's mean. A difference of two checkpoints is
drawn in pairs, both on the same images each time, because what is hard for one is hard for the other.

Sources: Efron 1979, doi:10.1214/aos/1176344552; Efron & Tibshirani, An Introduction to the Bootstrap, 1993,
chapter 13 (percentile interval); Davison & Hinkley, Bootstrap Methods and their Application, 1997, section
3.8 (whole groups); El Jurdi et al., arXiv 2307.10926 (how many images segmentation needs).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Floats = NDArray[np.float64]
Groups = Sequence[str | None]  # one key per image; None is a group of its own

MIN_GROUPS = 2  # of one group every draw is the same
MEANS = 4  # figures before those per class, see ``_figures``


@dataclass(frozen=True)
class Resampling:
    """How to draw: the share of draws inside an interval, how many draws, from which seed.

    ``cells`` bounds the memory: draws are made in blocks of about 24 bytes for each. It changes no figure.

    Raises:
        ValueError: there is nothing to draw, or no interval of that level.
    """

    level: float = 0.95
    draws: int = 1000
    seed: int = 0
    cells: int = 1 << 20

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.draws < 1 or self.cells < 1:
            raise ValueError(f"a resampling has 0 < level < 1 and at least one draw, got {self}")


BY_DEFAULT = Resampling()


@dataclass(frozen=True)
class Interval:
    """A score of all images, and the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much higher a score of checkpoint A is than B's on the same images, and that interval's ends.

    ``share_not_better`` is the share of the draws in which A is not better: 0..1.
    """

    value: float
    low: float
    high: float
    share_not_better: float

    @property
    def is_tied(self) -> bool:
        """Whether the two cannot be told apart: the interval contains 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Figures(Generic[T]):
    """Something of each score, named and indexed as in ``core.domain.scores.Scores``, background first."""

    miou_foreground: T
    dice_foreground: T
    any_iou: T
    any_dice: T
    iou: tuple[T, ...]
    dice: tuple[T, ...]


@dataclass(frozen=True)
class Intervals:
    """The intervals of one checkpoint's scores over ``images`` images in ``groups`` groups.

    ``rarest`` groups show the rarest of the classes that any group shows, in truth or in prediction, the
    background left out; 0 where none shows any. Where these are few, many draws are without that class, and
    their means are over fewer classes than the score itself.

    None is "not defined": the score itself is not, or fewer than two groups show what it measures, in truth
    or in prediction (then all draws would agree, which says nothing).
    """

    images: int
    groups: int
    rarest: int
    of: Figures[Interval | None]


@dataclass(frozen=True)
class Comparison:
    """Checkpoint A minus B, over ``images`` images in ``groups`` groups; None as in ``Intervals``."""

    images: int
    groups: int
    of: Figures[Difference | None]


@dataclass(frozen=True)
class Ties:
    """The epoch with the highest foreground mIoU, and in order those that cannot be told apart from it."""

    best: int
    others: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Counts:
    """What suffices of each image's confusion matrix, C classes.

    ``pixels`` is float64 (N, 3 C + 1): found, truth and predicted pixels per class, then the pixels that are
    damage in both. Whole numbers all, and exact as such while a sum of them stays below 2 ** 53.
    """

    pixels: Floats = field(repr=False)

    def __len__(self) -> int:
        return len(self.pixels)


def count(matrices: NDArray[np.int64]) -> Counts:
    """Take from confusion matrices what the scores need.

    Args:
        matrices: int64 (N, C, C), C >= 1; per image row truth, column prediction, index 0 background.

    Raises:
        ValueError: the shape is another, or a count is negative.
    """
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] == 0:
        raise ValueError(f"confusion matrices have shape (N, C, C), got {matrices.shape}")
    if matrices.size and matrices.min() < 0:
        raise ValueError("a confusion matrix counts pixels; it has a negative count")
    found = np.diagonal(matrices, axis1=1, axis2=2)
    is_any = matrices[:, 1:, 1:].sum(axis=(1, 2))
    parts = (found, matrices.sum(axis=2), matrices.sum(axis=1), is_any[:, None])
    return Counts(np.concatenate(parts, axis=1).astype(np.float64))


def bootstrap(counts: Counts, groups: Groups | None = None, how: Resampling = BY_DEFAULT) -> Intervals:
    """Give the percentile interval of each score.

    With G groups, in the order in which they first appear, draw number b takes the groups
    ``default_rng(how.seed).integers(0, G, (how.draws, G))[b]``. Draws in which a score is not defined, such
    as one without any image of a rare class, are left out of that score's interval. An interval always
    holds its score, see ``_ends``.

    Args:
        groups: a key per image; images of the same key are drawn together. Without it, each alone.

    Raises:
        ValueError: the number of keys is another than that of the images.
    """
    rows = _by_group(counts, groups)
    point = _figures(rows.sum(axis=0))
    drawn = _drawn(len(rows), how, lambda taken: _figures(taken @ rows))
    shown = _shown(rows).sum(axis=0)
    of_classes = shown[MEANS + 1 : MEANS + rows.shape[1] // 3]

    def interval(column: int) -> Interval | None:
        defined = _defined(drawn[:, column])
        if shown[column] < MIN_GROUPS or np.isnan(point[column]) or not defined.size:
            return None
        return Interval(float(point[column]), *_ends(float(point[column]), defined, how.level))

    rarest = int(min(of_classes[of_classes > 0], default=0))
    return Intervals(len(counts), len(rows), rarest, _named(interval, point.size))


def compare(a: Counts, b: Counts, groups: Groups | None = None, how: Resampling = BY_DEFAULT) -> Comparison:
    """Give the interval of each score's difference between two checkpoints, drawn in pairs.

    An interval always holds the difference itself, see ``_ends``.

    Args:
        a: what checkpoint A made of the images.
        b: what B made of the same images, in the same order.
        groups: as for ``bootstrap``, whose draws these are.

    Raises:
        ValueError: A and B have not the same number of images or classes.
    """
    _require_same_shape([a, b])
    rows_a, rows_b = _by_group(a, groups), _by_group(b, groups)
    point = _figures(rows_a.sum(axis=0)) - _figures(rows_b.sum(axis=0))
    drawn = _drawn(len(rows_a), how, lambda taken: _figures(taken @ rows_a) - _figures(taken @ rows_b))
    is_enough = (_shown(rows_a) | _shown(rows_b)).sum(axis=0) >= MIN_GROUPS

    def difference(column: int) -> Difference | None:
        defined = _defined(drawn[:, column])
        if not is_enough[column] or np.isnan(point[column]) or not defined.size:
            return None
        return _difference(float(point[column]), defined, how.level)

    return Comparison(len(a), len(rows_a), _named(difference, point.size))


def tied(
    epochs: Mapping[int, Counts], groups: Groups | None = None, how: Resampling = BY_DEFAULT
) -> Ties | None:
    """Tell which epochs' foreground mIoU cannot be told apart from that of the best one.

    The best is the one with the highest, the earliest of equals. An epoch is tied with it where the interval
    of their difference, drawn in pairs, contains 0. As the best was chosen on the same images, luck is on
    its side: epochs that this tells apart may still be as good.

    Args:
        epochs: what each epoch made of the same images, in the same order, by its number.

    Returns:
        None where no epoch has the figure, or there are fewer than two groups that show any damage.

    Raises:
        ValueError: the epochs have not the same number of images or classes.
    """
    _require_same_shape(list(epochs.values()))
    rows = {epoch: _by_group(counts, groups) for epoch, counts in sorted(epochs.items())}
    points = {epoch: float(_figures(row.sum(axis=0))[0]) for epoch, row in rows.items()}
    measured = [epoch for epoch, point in points.items() if not np.isnan(point)]
    if not measured:
        return None
    best = max(measured, key=points.__getitem__)  # of equals the first, and they are in order
    if _shown(rows[best])[:, 0].sum() < MIN_GROUPS:
        return None

    def mious(taken: Floats) -> Floats:
        return np.stack([_figures(taken @ rows[epoch])[:, 0] for epoch in measured], axis=1)

    drawn = _drawn(len(rows[best]), how, mious)
    ahead = drawn[:, [measured.index(best)]] - drawn

    def is_told_apart(epoch: int) -> bool:
        defined = _defined(ahead[:, measured.index(epoch)])
        return (
            bool(defined.size) and not _difference(points[best] - points[epoch], defined, how.level).is_tied
        )

    return Ties(best, tuple(epoch for epoch in measured if epoch != best and not is_told_apart(epoch)))


def _require_same_shape(all_counts: Sequence[Counts]) -> None:
    shapes = {counts.pixels.shape for counts in all_counts}
    if len(shapes) > 1:
        raise ValueError(f"checkpoints are compared on the same images and classes, got {sorted(shapes)}")


def _by_group(counts: Counts, groups: Groups | None) -> Floats:
    """Add up what belongs together: (G, 3 C + 1), groups in the order in which they first appear."""
    if groups is None:
        return counts.pixels
    if len(groups) != len(counts):
        raise ValueError(f"there are {len(groups)} group keys for {len(counts)} images")
    places: dict[tuple[str, str | int], int] = {}
    index = [
        places.setdefault(("alone", image) if key is None else ("group", key), len(places))
        for image, key in enumerate(groups)
    ]
    rows = np.zeros((len(places), counts.pixels.shape[1]))
    np.add.at(rows, index, counts.pixels)
    return rows


def _drawn(groups: int, how: Resampling, figures: Callable[[Floats], Floats]) -> Floats:
    """Compute figures (B, F) of all draws; they are given how often each takes each group, (block, G)."""
    if groups < MIN_GROUPS:
        return figures(np.zeros((0, groups)))
    return np.concatenate([figures(taken) for taken in _taken(groups, how)])


def _taken(groups: int, how: Resampling) -> Iterator[Floats]:
    generator = np.random.default_rng(how.seed)
    block = max(1, how.cells // groups)
    for start in range(0, how.draws, block):
        draws = min(block, how.draws - start)
        drawn = generator.integers(0, groups, (draws, groups))
        drawn += np.arange(draws)[:, None] * groups  # a row of bins for each draw
        times = np.bincount(drawn.ravel(), minlength=draws * groups)
        yield times.reshape(draws, groups).astype(np.float64)  # floats multiply fast, and exactly here


def _figures(pixels: Floats) -> Floats:
    """Derive the scores of sums (..., 3 C + 1) as (..., 4 + 2 C), in the order of ``Figures``; NaN: none."""
    classes = pixels.shape[-1] // 3
    found, truth, predicted, any_found = np.split(pixels, [classes, 2 * classes, 3 * classes], axis=-1)
    both = truth + predicted
    any_both = both[..., 1:].sum(axis=-1, keepdims=True)
    iou, dice = _ratio(found, both - found), _ratio(2 * found, both)
    means = (_mean(iou[..., 1:]), _mean(dice[..., 1:]))
    of_any = (_ratio(any_found, any_both - any_found), _ratio(2 * any_found, any_both))
    return np.concatenate((*means, *of_any, iou, dice), axis=-1)


def _shown(rows: Floats) -> NDArray[np.bool_]:
    """Tell which groups show what a figure measures, in truth or in prediction: (G, 4 + 2 C)."""
    classes = rows.shape[1] // 3
    per_class = rows[:, classes : 2 * classes] + rows[:, 2 * classes : 3 * classes] > 0
    is_any = per_class[:, 1:].any(axis=1, keepdims=True)
    return np.concatenate((np.repeat(is_any, MEANS, axis=1), per_class, per_class), axis=1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    quotient = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _mean(values: Floats) -> Floats:
    is_defined = ~np.isnan(values)
    total = np.where(is_defined, values, 0.0).sum(axis=-1, keepdims=True)
    return _ratio(total, is_defined.sum(axis=-1, keepdims=True).astype(np.float64))


def _defined(drawn: Floats) -> Floats:
    return drawn[~np.isnan(drawn)]


def _difference(value: float, drawn: Floats, level: float) -> Difference:
    low, high = _ends(value, drawn, level)
    return Difference(value, low, high, share_not_better=float((drawn <= 0).mean()))


def _ends(value: float, drawn: Floats, level: float) -> tuple[float, float]:
    """Give the quantiles between which the level's share of the draws lies, interpolated.

    Where classes are rare the draws lie to one side of the value, as each is without some of them, and may
    leave it out. The nearer end is then the value itself: that only widens the interval, so it holds the
    truth no less often.
    """
    outside = (1 - level) / 2
    low, high = np.quantile(drawn, (outside, 1 - outside))
    return min(float(low), value), max(float(high), value)


def _named(of_column: Callable[[int], T], columns: int) -> Figures[T]:
    """Name what belongs to each column of ``_figures``."""
    miou, dice, any_iou, any_dice, *per_class = (of_column(column) for column in range(columns))
    classes = len(per_class) // 2
    return Figures(miou, dice, any_iou, any_dice, tuple(per_class[:classes]), tuple(per_class[classes:]))
