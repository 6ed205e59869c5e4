"""What a checkpoint took for what, on the photos of a split: of each photo, of each class, of each pair.

All of it comes from the stored confusion matrices. They are kept here as lists of their cells that are not
zero, for most photos show few of the classes: of 254 classes a photo's whole matrix would be half a megabyte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.domain.images import ImageFilter
from core.domain.labels import Category, Split
from core.domain.runs import Epoch, Run
from core.domain.scores import score
from core.services.home import Store
from core.storage import images, runs
from core.storage.runs import ImageRecord

Cell = tuple[int, int]  # class indices: labelled as, called
Order = Literal["iou", "dice", "any_iou", "missed", "false", "class", "cell"]

AT_ONCE = 4_000_000  # numbers of dense matrices, 32 MB
LARGEST_FIRST = ("missed", "false", "cell")


@dataclass(frozen=True)
class MeasuredPhotos:
    """What a checkpoint made of N photos, of C classes with the background.

    ``scores`` are float64 (N,) each, NaN where not defined: "iou", "dice", "any_iou" as in
    ``evaluation.ImageScore``, and "missed" and "false", shares of the photo.
    The K cells that are not zero: ``photo`` is the place among the N, ``truth`` and ``called`` are class
    indices, ``pixels`` int64; each is (K,).
    ``has_picture`` bool (N,): the prediction was kept, to be looked at.
    ``total`` is the sum of all matrices, int64 (C, C), rows truth; ``shown_on`` (C,) counts the photos whose
    labels show a class. Both hold the ``deleted`` photos too, which are not there to be looked at any more.
    """

    ids: tuple[str, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    scores: Mapping[str, NDArray[np.float64]] = field(repr=False)
    photo: NDArray[np.int64] = field(repr=False)
    truth: NDArray[np.int64] = field(repr=False)
    called: NDArray[np.int64] = field(repr=False)
    pixels: NDArray[np.int64] = field(repr=False)
    has_picture: NDArray[np.bool_] = field(repr=False)
    total: NDArray[np.int64] = field(repr=False)
    shown_on: NDArray[np.int64] = field(repr=False)
    deleted: int

    @property
    def classes(self) -> int:
        """How many classes there are, the background among them."""
        return len(self.total)

    @property
    def measured(self) -> int:
        """How many photos the sums are over."""
        return len(self.ids) + self.deleted


@dataclass(frozen=True)
class Choice:
    """Which photos to list, and which of them first.

    ``by`` "class" needs ``class_index``, "cell" needs ``cell``; ``shows`` is a class that labels or
    prediction show, ``cell`` one that pixels are in. None: whatever they show.
    """

    by: Order = "iou"
    class_index: int | None = None
    shows: int | None = None
    cell: Cell | None = None

    def __post_init__(self) -> None:
        if (self.by == "class" and self.class_index is None) or (self.by == "cell" and self.cell is None):
            raise ValueError(f"photos cannot be sorted by a {self.by} that is not named")


@dataclass(frozen=True)
class ClassScores:
    """How well a class is found; ``pixels`` are labelled with it, on ``photos``. See ``scores.Scores``."""

    category: Category
    photos: int
    pixels: int
    iou: float | None
    dice: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Mistake:
    """Pixels of one class that are called another.

    ``share`` is of the pixels labelled ``truth``; where that is the background, of those that are called
    ``called``.
    """

    truth: int
    called: int
    pixels: int
    share: float


def state(store: Store, run: Run, epoch: Epoch) -> str:
    """Say what ``read`` depends on, in little time: it gives the same as long as this is the same.

    Ids rise with time, so no photo came or went while the number of photos and the newest one stay. What
    was measured changes only when an epoch is measured once more, with pictures of all its photos.
    """
    count = images.count(store, run.project_id, ImageFilter())
    newest = images.list_page(store, run.project_id, ImageFilter(), offset=max(0, count - 1), limit=1)
    pictures = len(runs.picture_keys(store, run.id, epoch.epoch))
    numbers = (str(count), str(pictures))
    return " ".join([epoch.created_at.isoformat(), *numbers, *(image.id for image in newest)])


def read(store: Store, run: Run, epoch: int, split: Split = "valid") -> MeasuredPhotos | None:
    """Give what a checkpoint made of the photos of a split; None where it was not measured on any."""
    records = runs.records(store, run.id, epoch, split)
    if not records:
        return None
    names = {image.id: image.name for image in images.list_page(store, run.project_id, ImageFilter())}
    return gather(records, names)


def gather(records: Sequence[ImageRecord], names: Mapping[str, str]) -> MeasuredPhotos:
    """Put what was made of some photos together.

    Args:
        records: at least one.
        names: by image id, of those photos that are still there.
    """
    classes = len(records[0].confusion)
    photo, truth, called, pixels = _cells([record.confusion for record in records], classes)
    total = _sums(truth * classes + called, pixels, classes * classes).reshape(classes, classes)
    labelled = _sums(photo * classes + truth, pixels, len(records) * classes).reshape(-1, classes)
    is_there = np.array([record.image_id in names for record in records])
    place = np.cumsum(is_there) - 1
    kept = is_there[photo]
    photo, truth, called, pixels = place[photo[kept]], truth[kept], called[kept], pixels[kept]
    present = [record for record in records if record.image_id in names]
    ids = tuple(record.image_id for record in present)
    return MeasuredPhotos(
        ids=ids,
        names=tuple(names[image_id] for image_id in ids),
        scores=_scores(photo, truth, called, pixels, (len(ids), classes)),
        photo=photo,
        truth=truth,
        called=called,
        pixels=pixels,
        has_picture=np.array([record.has_pictures for record in present], bool),
        total=total,
        shown_on=(labelled > 0).sum(axis=0),
        deleted=len(records) - len(ids),
    )


def places(photos: MeasuredPhotos, choice: Choice) -> NDArray[np.int64]:
    """List the places of the photos that are asked for, worst first; those without the figure last.

    Photos that no picture was kept of follow after all others, in the same order.
    """
    asked = np.ones(len(photos.ids), bool)
    if choice.shows is not None:
        asked &= _has(photos, (photos.truth == choice.shows) | (photos.called == choice.shows))
    if choice.cell is not None:
        asked &= _has(photos, _is_in(photos, choice.cell))
    value = figures(photos, choice)
    is_missing = np.isnan(value)
    worst_first = np.where(is_missing, 0, -value if choice.by in LARGEST_FIRST else value)
    wrong = photos.scores["missed"] + photos.scores["false"]
    order = np.lexsort((-wrong, worst_first, is_missing, ~photos.has_picture))
    return order[asked[order]]


def figures(photos: MeasuredPhotos, choice: Choice) -> NDArray[np.float64]:
    """Give what photos are sorted by, float64 (N,); of a cell its pixels, NaN where not defined."""
    if choice.by == "class" and choice.class_index is not None:
        return class_iou(photos, choice.class_index)
    if choice.by == "cell" and choice.cell is not None:
        return _of_photos(photos, _is_in(photos, choice.cell)).astype(np.float64)
    return photos.scores[choice.by]


def class_iou(photos: MeasuredPhotos, class_index: int) -> NDArray[np.float64]:
    """Give the IoU of one class on each photo, float64 (N,); NaN where neither side shows it."""
    is_truth, is_called = photos.truth == class_index, photos.called == class_index
    return _ratio(_of_photos(photos, is_truth & is_called), _of_photos(photos, is_truth | is_called))


def photos_in(photos: MeasuredPhotos) -> NDArray[np.int64]:
    """Count for each cell the photos that have pixels in it and are still there, int64 (C, C)."""
    flat = photos.truth * photos.classes + photos.called
    return np.bincount(flat, minlength=photos.classes**2).reshape(photos.classes, photos.classes)


def class_scores(photos: MeasuredPhotos, categories: Sequence[Category]) -> list[ClassScores]:
    """Give the scores of each class over all photos together, in the categories' order."""
    found = score(photos.total)
    return [
        ClassScores(
            category,
            int(photos.shown_on[i]),
            found.truth_pixels[i],
            _number(found.iou[i]),
            _number(found.dice[i]),
            _number(found.precision[i]),
            _number(found.recall[i]),
        )
        for i, category in enumerate(categories, start=1)
    ]


def shares(total: NDArray[np.int64], of: Literal["truth", "called"]) -> NDArray[np.float64]:
    """Divide each row (truth) or each column (called) by its sum; NaN where that is 0."""
    sums = total.sum(axis=1 if of == "truth" else 0, keepdims=True)
    return _ratio(total, np.broadcast_to(sums, total.shape))


def mistakes(total: NDArray[np.int64]) -> list[Mistake]:
    """List all pairs of different classes with pixels, the largest share first."""
    of_truth, of_called = shares(total, "truth"), shares(total, "called")
    found = [
        Mistake(
            int(truth),
            int(called),
            int(total[truth, called]),
            float(of_truth[truth, called] if truth else of_called[truth, called]),
        )
        for truth, called in np.argwhere(total)
        if truth != called
    ]
    return sorted(found, key=lambda m: (m.share, m.truth, m.called), reverse=True)


def _cells(matrices: Sequence[NDArray[np.int64]], classes: int) -> tuple[NDArray[np.int64], ...]:
    """Give photo, truth, called and pixels of all cells that are not zero."""
    step = max(1, AT_ONCE // classes**2)
    parts: list[NDArray[np.int64]] = []
    for start in range(0, len(matrices), step):
        stack = np.stack(matrices[start : start + step])
        photo, truth, called = np.nonzero(stack)
        parts.append(np.stack([photo + start, truth, called, stack[photo, truth, called]]))
    return tuple(np.concatenate(parts, axis=1))


def _scores(
    photo: NDArray[np.int64],
    truth: NDArray[np.int64],
    called: NDArray[np.int64],
    pixels: NDArray[np.int64],
    shape: tuple[int, int],
) -> dict[str, NDArray[np.float64]]:
    """Score each photo as ``scores.score`` does, all at once; ``shape`` is (N, C)."""

    def by_class(index: NDArray[np.int64], of: NDArray[np.bool_] | slice) -> NDArray[np.int64]:
        flat = (photo * shape[1] + index)[of]
        return _sums(flat, pixels[of], shape[0] * shape[1]).reshape(shape)

    true, predicted = by_class(truth, slice(None)), by_class(called, slice(None))
    found = by_class(truth, truth == called)
    all_pixels = np.maximum(1, true.sum(axis=1))
    missed, false = (
        _sums(photo[of], pixels[of], shape[0])
        for of in ((truth > 0) & (called == 0), (truth == 0) & (called > 0))
    )
    true_damage, called_damage = true[:, 1:].sum(axis=1), predicted[:, 1:].sum(axis=1)
    both = true_damage - missed
    return {
        "iou": _means(_ratio(found, true + predicted - found)[:, 1:]),
        "dice": _means(_ratio(2 * found, true + predicted)[:, 1:]),
        "any_iou": _ratio(both, true_damage + called_damage - both),
        "missed": missed / all_pixels,
        "false": false / all_pixels,
    }


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the mean of each row's defined values, (N, C) to (N,); NaN where there is none.

    Rows with equally many defined values are summed together and without gaps: the order of the sums, and
    so the last digit, is that of a mean over one row's defined values alone.
    """
    is_defined = ~np.isnan(values)
    counts = is_defined.sum(axis=1)
    means = np.full(len(values), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows = counts == count
        means[rows] = values[rows][is_defined[rows]].reshape(-1, count).mean(axis=1)
    return means


def _sums(places: NDArray[np.int64], pixels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Add up pixels by place; exact below 2**53 pixels."""
    return np.bincount(places, weights=pixels, minlength=size).astype(np.int64)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    quotient = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def _is_in(photos: MeasuredPhotos, cell: Cell) -> NDArray[np.bool_]:
    return (photos.truth == cell[0]) & (photos.called == cell[1])


def _has(photos: MeasuredPhotos, of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.zeros(len(photos.ids), bool)
    found[photos.photo[of]] = True
    return found


def _of_photos(photos: MeasuredPhotos, of: NDArray[np.bool_]) -> NDArray[np.int64]:
    return _sums(photos.photo[of], photos.pixels[of], len(photos.ids))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
