"""How far a checkpoint's figures could be off, and which checkpoints cannot be told apart."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, NotFound
from core.domain.intervals import Comparison, Counts, Intervals, Ties, bootstrap, count, tied
from core.domain.intervals import compare as compare_counts
from core.domain.labels import Split
from core.domain.runs import Run
from core.domain.training import DataVersion
from core.services.evaluation import METRIC
from core.services.home import Store
from core.storage import runs, versions

# Ties are looked for among so many matrices at most, a second's work: 200 epochs of 300 photos.
MAX_MATRICES = 60_000
MATRICES_AT_ONCE = 6_000  # in memory; of twenty classes these are 20 MB

Matrices = dict[str, NDArray[np.int64]]  # by image id


def of_checkpoint(store: Store, run: Run, epoch: int, split: Split = "valid") -> Intervals:
    """Give the intervals of a checkpoint's scores over the photos of a split, whole groups drawn.

    Raises:
        NotFound: the checkpoint was not measured on that split.
    """
    measured = _measured(store, run, epoch, split)
    images = list(measured)
    return bootstrap(_counts(measured, images), _groups(versions.get(store, run.data_version_id), images))


def tied_epochs(store: Store, run: Run, split: Split = "valid") -> Ties | None:
    """Tell which epochs of a run cannot be told apart from its best one on the photos of a split.

    Epochs that were not measured on all of them are left out. Where all epochs together have more than
    ``MAX_MATRICES`` figures, only those with the highest foreground mIoU on validation are compared, as
    many as that allows.

    Returns:
        None where no epoch has the figure, or fewer than two photos or groups show any damage.
    """
    version = versions.get(store, run.data_version_id)
    images = [item.image_id for item in version.split(split)]
    size = max(1, len(images))
    best_first = sorted(runs.epochs(store, run.id), key=lambda epoch: -(epoch.metrics.get(METRIC) or 0.0))
    chosen = [epoch.epoch for epoch in best_first[: max(2, MAX_MATRICES // size)]]
    epochs: dict[int, Counts] = {}
    for part in _parts(chosen, max(1, MATRICES_AT_ONCE // size)):
        for epoch, measured in runs.matrices(store, run.id, split, epochs=part).items():
            if measured.keys() == set(images):
                epochs[epoch] = _counts(measured, images)
    return tied(epochs, _groups(version, images))


def compare(store: Store, a: tuple[Run, int], b: tuple[Run, int], split: Split = "valid") -> Comparison:
    """Compare two checkpoints, A minus B, on the photos that both measured with the same labels.

    A and B are a run and one of its epochs each. Their classes may be in another order, and of those photos
    that were labelled anew between the two runs none counts.

    Raises:
        NotFound: one was not measured on that split, or no photo is left to compare them on.
        AppError: the two know different classes.
    """
    of_a, of_b = (_measured(store, run, epoch, split) for run, epoch in (a, b))
    version_a, version_b = (versions.get(store, run.data_version_id) for run, _ in (a, b))
    labels_b = {(item.image_id, item.rev) for item in version_b.items}
    shared = [
        item.image_id
        for item in version_a.items
        if (item.image_id, item.rev) in labels_b and item.image_id in of_a and item.image_id in of_b
    ]
    if not shared:
        raise NotFound(f"“{a[0].name}” and “{b[0].name}” were measured on no photo with the same labels.")
    order = _same_classes(version_a, version_b)
    in_order = {image: of_b[image][np.ix_(order, order)] for image in shared}
    return compare_counts(_counts(of_a, shared), _counts(in_order, shared), _groups(version_a, shared))


def measured_on(store: Store, run: Run, split: Split) -> str:
    """Sum up, as a hash, what a run's figures of a split are of: photos, revisions of labels, classes.

    Where it is the same, figures of two runs of a project compare. Classes are told by their ids: a renamed
    one is the same.
    """
    version = versions.get(store, run.data_version_id)
    classes = [sorted(c.category_id for c in of) for of in (version.categories, version.ignored)]
    labels = sorted((item.image_id, item.rev) for item in version.split(split))
    return hashlib.sha256(json.dumps([classes, labels]).encode()).hexdigest()


def _measured(store: Store, run: Run, epoch: int, split: Split) -> Matrices:
    measured = runs.matrices(store, run.id, split, epochs=[epoch]).get(epoch)
    if not measured:
        raise NotFound(f"Epoch {epoch} of “{run.name}” was not measured on {split} photos.")
    return measured


def _counts(measured: Matrices, images: Sequence[str]) -> Counts:
    return count(np.stack([measured[image] for image in images]))


def _groups(version: DataVersion, images: Sequence[str]) -> list[str | None]:
    keys = {item.image_id: item.group or None for item in version.items}
    return [keys.get(image) for image in images]


def _same_classes(a: DataVersion, b: DataVersion) -> list[int]:
    """Give for each channel of A, background first, the channel of B with the same category."""
    ids_a, ids_b = ([category.category_id for category in version.categories] for version in (a, b))
    ignored_a, ignored_b = ({category.category_id for category in version.ignored} for version in (a, b))
    if set(ids_a) != set(ids_b) or ignored_a != ignored_b:
        raise AppError("The two runs know different classes, so their figures cannot be compared.")
    return [0, *(1 + ids_b.index(category_id) for category_id in ids_a)]


def _parts(epochs: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (epochs[start : start + size] for start in range(0, len(epochs), size))
