"""Curves: what the epochs of some runs tell, as arrays to draw: figures by name, places on x, smoothing."""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from core.domain.labels import Category
from core.domain.runs import Epoch, Run
from core.domain.training import TrainingConfig
from core.services.csv_cells import safe
from core.services.evaluation import best_epoch
from core.services.home import Store
from core.storage import runs, versions
from core.training.sampling import batch_count

Array = NDArray[np.float64]

VALID, TRAIN, WHOLE = "valid", "train", ""
"""The passes of an epoch over validation and training photos; "" is a figure of the epoch as a whole."""

AXES = {"epoch": "Epoch", "step": "Step of the optimiser", "time": "Hours since the start"}
_PREFIXES = (("val_", VALID), ("train_", TRAIN))
_SECONDS = {"validate": VALID, "train": TRAIN}  # the keys of an epoch's durations
_ALL_CLASSES = "*"
_METRICS: Callable[[Epoch], Mapping[str, float | None]] = attrgetter("metrics")
_HELD_IN: Mapping[str, Callable[[Epoch], Mapping[str, float | None]]] = {"seconds": attrgetter("durations")}


@dataclass(frozen=True)
class Title:
    """How a figure is called: a heading, what its axis says, and how a value is written."""

    text: str
    unit: str
    format: str = ".4f"  # as Python and d3 understand it


_TITLES = {
    "miou_foreground": Title("Foreground mIoU", "mIoU, 0 to 1"),
    "dice_foreground": Title("Foreground Dice", "Dice, 0 to 1"),
    "any_iou": Title("Any damage, IoU", "IoU, 0 to 1"),
    "any_dice": Title("Any damage, Dice", "Dice, 0 to 1"),
    "loss": Title("Loss", "loss"),
    "pixel_accuracy": Title("Pixel accuracy", "share of pixels, 0 to 1"),
    "learning_rate": Title("Learning rate", "learning rate", ".3g"),
    "images_per_second": Title("Training speed", "photos per second", ".1f"),
    "seconds": Title("Time per epoch", "seconds", ".1f"),
    "cpu_cores": Title("Processor cores in use", "cores", ".2f"),
    "memory_gib": Title("Memory, the most so far", "GiB", ".2f"),
    "gpu_memory_gib": Title("GPU memory at its peak", "GiB", ".2f"),
}
_OF_A_CLASS = {"iou": "IoU", "dice": "Dice"}


@dataclass(frozen=True)
class VersionFacts:
    """What curves need of a data version: its classes, and on how many photos was trained."""

    categories: tuple[Category, ...]
    train_images: int


@dataclass(frozen=True)
class Curve:
    """A run with its complete epochs, first to last, at least one.

    ``best_row`` is the place in ``epochs`` of the one with the highest validation foreground mIoU, None
    where none is defined; ``steps`` are the optimiser's per epoch. ``keys`` maps the name of a figure
    ("loss", "iou/dent", "seconds") and a pass to the key under which the epochs hold it.
    """

    run: Run
    epochs: Sequence[Epoch]
    best_row: int | None
    categories: tuple[Category, ...]
    steps: int
    keys: Mapping[str, Mapping[str, str]]

    @property
    def best(self) -> Epoch | None:
        """The best epoch."""
        return None if self.best_row is None else self.epochs[self.best_row]


def version_facts(store: Store, version_id: str) -> VersionFacts:
    """Give what curves need of a data version, which never changes. Raises NotFound."""
    version = versions.get(store, version_id)
    return VersionFacts(version.categories, len(version.split(TRAIN)))


def read(store: Store, chosen: Sequence[Run], facts: Mapping[str, VersionFacts]) -> list[Curve]:
    """Read the epochs of some runs at once; runs without a complete epoch are left out.

    Args:
        facts: by data version's id, of all versions that the runs were trained on.
    """
    found = runs.epochs_of(store, [run.id for run in chosen])
    return [_curve(run, found[run.id], facts[run.data_version_id]) for run in chosen if found.get(run.id)]


def labels(listed: Sequence[Run]) -> dict[str, str]:
    """Give each run a name of its own, by id: equal names get the end of the run's id."""
    count = Counter(run.name for run in listed)
    return {r.id: r.name if count[r.name] == 1 else f"{r.name} ({r.id[-4:]})" for r in listed}


def names(curves: Sequence[Curve]) -> list[str]:
    """List the figures that the epochs of these runs hold, in the order in which one looks at them.

    First those of the whole photo, then "iou/*" and "dice/*" for all classes of a run in one picture,
    then those of single classes, by the class's name.
    """
    held = dict.fromkeys(name for curve in curves for name in curve.keys)
    whole = [name for name in _TITLES if name in held]
    other = sorted(name for name in held if name not in _TITLES and "/" not in name)
    single = [name for name in held if "/" in name]  # IoU first, as in each curve
    families = dict.fromkeys(f"{name.partition('/')[0]}/{_ALL_CLASSES}" for name in single)
    return [*whole, *other, *families, *single]


def title(name: str) -> Title:
    """Say what a figure is called."""
    if name in _TITLES:
        return _TITLES[name]
    figure, _, category = name.partition("/")
    figure = _OF_A_CLASS.get(figure, figure.replace("_", " "))
    if not category:
        return Title(figure[:1].upper() + figure[1:], figure, ".4g")
    text = f"{figure} per class" if category == _ALL_CLASSES else f"{figure} of {category}"
    return Title(text, f"{figure}, 0 to 1")


def is_family(name: str) -> bool:
    """Tell whether a name stands for one line per class of a run."""
    return name.endswith(f"/{_ALL_CLASSES}")


def members(curve: Curve, family: str) -> list[tuple[Category, str]]:
    """List the classes of a run with the names of their figures, such as "iou/dent" of "iou/*"."""
    figure = family.partition("/")[0]
    named = [(category, f"{figure}/{category.name}") for category in curve.categories]
    return [(category, name) for category, name in named if name in curve.keys]


def values(curve: Curve, name: str, part: str) -> Array | None:
    """Give a figure per epoch, float64 (E,); NaN where it is not defined. None: the run does not hold it.

    Args:
        part: the pass, VALID, TRAIN or WHOLE.
    """
    key = curve.keys.get(name, {}).get(part)
    if key is None:
        return None
    held = _HELD_IN.get(name, _METRICS)
    return np.array([held(epoch).get(key) for epoch in curve.epochs], np.float64)  # None becomes NaN


def figures_of(curve: Curve, epoch: Epoch) -> list[tuple[str, str, float | None]]:
    """List all figures of one epoch: name, pass, and value, None where it is not defined."""
    return [
        (name, part, _HELD_IN.get(name, _METRICS)(epoch).get(key))
        for name, keys in curve.keys.items()
        for part, key in keys.items()
    ]


def told(curve: Curve, epoch: Epoch) -> list[str]:
    """Put all figures of one epoch that are defined into words: "Loss: 0.4000 valid, 0.3333 train"."""
    found: dict[str, list[str]] = {}
    for name, part, value in figures_of(curve, epoch):
        if value is not None:
            found.setdefault(name, []).append(f"{value:{title(name).format}} {part}".rstrip())
    return [f"{title(name).text}: {', '.join(words)}" for name, words in found.items()]


def places(curve: Curve, axis: str) -> Array:
    """Give where each epoch stands on x: its number, the optimiser's steps done, or hours.

    Hours pass on the clock, pauses of an interrupted run included, from when its first epoch began.
    They never fall, though a worker's clock may.

    Args:
        axis: a key of AXES.
    """
    numbers = np.array([epoch.epoch for epoch in curve.epochs], np.float64)
    if axis == "epoch":
        return numbers
    if axis == "step":
        return numbers * curve.steps
    assert axis == "time", axis
    ended = np.array([epoch.created_at.timestamp() for epoch in curve.epochs])
    began = ended[0] - sum(curve.epochs[0].durations.values())
    return np.maximum.accumulate(ended - began) / 3600


def smooth(values: Array, weight: float) -> Array:
    """Smooth along the last axis by an exponential moving average that is not drawn towards zero.

    s_n = sum over i <= n of w^(n-i) v_i / sum over i <= n of w^(n-i), over the values that are defined:
    an average with m_n = w m_(n-1) + (1 - w) v_n, divided by 1 - w^n as Adam's moments are (Kingma and
    Ba 2015, section 3), which is what TensorBoard draws. Where a value is NaN so is the result, and the
    average goes on after it as if it had not been.

    Args:
        values: (..., E).
        weight: w, 0 (nothing changes) up to but not 1.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"a weight of smoothing lies in 0..1, 1 left out, got {weight}")
    smoothed = np.full_like(values, np.nan)
    total, share = np.zeros(values.shape[:-1]), np.zeros(values.shape[:-1])
    for place in range(values.shape[-1]):
        value = values[..., place]
        is_defined = np.isfinite(value)
        total = np.where(is_defined, weight * total + value, total)
        share = np.where(is_defined, weight * share + 1, share)
        smoothed[..., place] = np.where(is_defined, total / np.maximum(share, 1), np.nan)
    return smoothed


def steps_per_epoch(config: TrainingConfig, train_images: int) -> int:
    """Count the optimiser's steps of an epoch, each of ``accumulate`` batches, the last of fewer."""
    images = max(train_images, config.expand_to)
    return math.ceil(batch_count(images, config) / config.accumulate)


def as_csv(curves: Sequence[Curve], chosen: Sequence[str]) -> str:
    """Write figures as a table: one row per run and epoch, as measured, empty where not defined.

    Args:
        chosen: names of figures; of "iou/*" the columns of all classes are written.
    """
    columns = _columns(curves, chosen)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = [f"{title(name).text}, {part}".rstrip(", ") for name, part in columns]
    writer.writerow(["run", "run id", "epoch", "step", "hours", "best", *map(safe, heads)])
    for curve in curves:
        found = [values(curve, name, part) for name, part in columns]
        cells = [[""] * len(curve.epochs) if v is None else _cells(v) for v in found]
        steps, hours = places(curve, "step"), places(curve, "time")
        for row, epoch in enumerate(curve.epochs):
            is_best = "best" if row == curve.best_row else ""
            place = [epoch.epoch, int(steps[row]), f"{hours[row]:.5f}", is_best]
            writer.writerow([safe(curve.run.name), curve.run.id, *place, *(column[row] for column in cells)])
    return file.getvalue()


def _columns(curves: Sequence[Curve], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """List the figures and passes that at least one run holds, each once."""
    columns: dict[tuple[str, str], None] = {}
    for wanted in chosen:
        for curve in curves:
            single = [name for _, name in members(curve, wanted)] if is_family(wanted) else [wanted]
            for name in single:
                columns |= dict.fromkeys((name, part) for part in curve.keys.get(name, {}))
    return list(columns)


def _cells(column: Array) -> list[str]:
    return ["" if math.isnan(value) else repr(value) for value in column.tolist()]


def _curve(run: Run, epochs: Sequence[Epoch], facts: VersionFacts) -> Curve:
    best = best_epoch(epochs)
    return Curve(
        run,
        epochs,
        None if best is None else next(row for row, epoch in enumerate(epochs) if epoch is best),
        facts.categories,
        steps_per_epoch(run.config, facts.train_images),
        _keys(epochs, facts.categories),
    )


def _keys(epochs: Sequence[Epoch], categories: Sequence[Category]) -> dict[str, dict[str, str]]:
    """Sort the keys that the first and the last epoch hold by figure and pass, in the order of titles."""
    category_names = {str(category.category_id): category.name for category in categories}
    keys: dict[str, dict[str, str]] = {}
    for key in epochs[0].metrics | epochs[-1].metrics:
        prefix, part = next(((p, part) for p, part in _PREFIXES if key.startswith(p)), ("", WHOLE))
        figure, _, category_id = key.removeprefix(prefix).partition("/")
        name = f"{figure}/{category_names.get(category_id, category_id)}" if category_id else figure
        keys.setdefault(name, {})[part] = key
    for key in epochs[0].durations | epochs[-1].durations:
        keys.setdefault("seconds", {})[_SECONDS.get(key, key)] = key
    order = [*_TITLES, *_OF_A_CLASS]  # others come last, as they are
    rank = {name: place for place, name in enumerate(order)}
    by_pass = {VALID: 0, TRAIN: 1}
    return {
        name: dict(sorted(keys[name].items(), key=lambda item: by_pass.get(item[0], len(by_pass))))
        for name in sorted(keys, key=lambda name: rank.get(name.partition("/")[0], len(order)))
    }
