"""The model card: one page on what a checkpoint is made of, how good it is, and where it fails.

Source of the idea: Mitchell et al., Model Cards for Model Reporting, FAT* 2019, arXiv 1810.03993.
"""

import base64
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import ImageError, NotFound
from core.domain.images import Image, ImageFilter
from core.domain.intervals import Interval
from core.domain.labels import IGNORED, SPLITS, Category, Split
from core.domain.runs import Champion, Epoch, Run
from core.domain.scores import score
from core.domain.training import DataVersion
from core.imaging import reading
from core.imaging.overlay import at_display_size, blend, decode_index_png, encode_jpeg
from core.services import checkpoints, confusions, evaluation, every_epoch, intervals, pictures
from core.services.card_facts import (
    Fact,
    Rate,
    changed_settings,
    configuration_facts,
    data_facts,
    environment_facts,
    figure_text,
    weights_licence,
)
from core.services.evaluation import METRIC, ImageScore
from core.services.home import Store
from core.storage import champions, images, projects, runs, versions

MEASURED: tuple[Split, ...] = ("valid", "test")
SIDE = 480  # px of the longer side of an example
EXAMPLES = 3  # of the best, and of the worst
FEW = 10  # photos of a class, below which its figures say little
LEAST_CONFUSED = 0.01  # of a class's pixels: a confusion worth a sentence
LISTED = 5  # confusions


@dataclass(frozen=True)
class ClassCount:
    """How often the data version's labels show a class, by split."""

    category: Category
    photos: Mapping[Split, int]
    annotations: Mapping[Split, int]


@dataclass(frozen=True)
class ClassFigures:
    """How well a class is found on a split; ``photos`` show it. None: not defined (see ``Scores``)."""

    category: Category
    photos: int
    iou: Rate
    dice: Rate
    precision: Rate
    recall: Rate
    interval: Interval | None  # of the IoU


@dataclass(frozen=True)
class Measured:
    """A checkpoint on the photos of a split, of the added-up confusion matrices.

    ``figures`` are title, value and interval. ``confusion`` is the share of each row's true pixels that is
    called what the column says, background first; None in rows without pixels. Of ``undamaged`` photos
    ``alarmed`` show a damage that is none, on a median share ``alarm_share`` of their pixels.
    """

    split: Split
    photos: int
    groups: int
    figures: tuple[tuple[str, Rate, Interval | None], ...]
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[Rate, ...], ...]
    undamaged: int
    alarmed: int
    alarm_share: Rate


@dataclass(frozen=True)
class Example:
    """A photo with the prediction painted over it, JPEG in base 64."""

    name: str
    iou: Rate
    picture: str


@dataclass(frozen=True)
class Card:
    """All that a model card says; ``html`` and ``markdown`` write it down."""

    project: str
    run: Run
    epoch: Epoch
    epochs: tuple[Epoch, ...]
    best: int | None
    champion: Champion | None  # the entry that made this checkpoint champion, the newest
    is_champion: bool
    written_at: datetime
    data: tuple[Fact, ...]
    classes: tuple[ClassCount, ...]
    configuration: tuple[Fact, ...]
    changes: tuple[tuple[str, str, str], ...]  # setting, value, what the preset says
    measured: tuple[Measured, ...]
    missing: tuple[str, ...]
    failures: tuple[str, ...]
    trust: tuple[str, ...]
    best_examples: tuple[Example, ...]
    worst_examples: tuple[Example, ...]
    pictures_missing: int
    licence: str
    environment: tuple[Fact, ...]


def build(store: Store, run: Run, epoch: int) -> Card:
    """Gather what there is to say of a checkpoint; what is missing is said so, in words.

    Raises:
        NotFound: the run has no such epoch, or its data version or project is gone.
    """
    done = runs.epochs(store, run.id)
    found = next((e for e in done if e.epoch == epoch), None)
    if found is None:
        raise NotFound(f"The run “{run.name}” has no epoch {epoch}.")
    version, project = versions.get(store, run.data_version_id), projects.get(store, run.project_id)
    history = champions.champions(store, run.project_id)
    entry = next((c for c in history if (c.run_id, c.epoch) == (run.id, epoch)), None)
    best = evaluation.best_epoch(done)
    measured: dict[Split, Measured | None] = {
        split: _measured(store, run, epoch, version, split) for split in MEASURED
    }
    kept = {image.id for image in images.list_page(store, run.project_id, ImageFilter())}
    photos = [photo for photo in evaluation.image_scores(store, run, epoch) if photo.has_pictures]
    most, least = _best_and_worst([photo for photo in photos if photo.iou is not None])
    examples = _examples(store, run, epoch, version)
    shown = {photo.image_id: examples(photo) for photo in (*most, *least)}
    return Card(
        project=project.name,
        run=run,
        epoch=found,
        epochs=tuple(_finite(e) for e in done),
        best=best.epoch if best else None,
        champion=entry,
        is_champion=entry is not None and entry is history[0],
        written_at=datetime.now(UTC),
        data=data_facts(version, kept),
        classes=_class_counts(store, version),
        configuration=configuration_facts(run.config),
        changes=changed_settings(store, run.config),
        measured=tuple(m for m in measured.values() if m),
        missing=_missing(version, measured),
        failures=tuple(sentence for m in measured.values() if m for sentence in _failures(m)),
        trust=_trust(store, run, found, done, version, project.categories),
        best_examples=tuple(e for p in most if (e := shown[p.image_id])),
        worst_examples=tuple(e for p in least if (e := shown[p.image_id])),
        pictures_missing=sum(e is None for e in shown.values()),
        licence=weights_licence(store, run.config),
        environment=environment_facts(store, run, found),
    )


def _finite(epoch: Epoch) -> Epoch:
    """Take figures that are no numbers, as of a loss that overflowed, for not defined."""
    metrics = {k: v if v is not None and math.isfinite(v) else None for k, v in epoch.metrics.items()}
    return dataclasses.replace(epoch, metrics=metrics)


def _measured(store: Store, run: Run, epoch: int, version: DataVersion, split: Split) -> Measured | None:
    matrices = runs.matrices(store, run.id, split, epochs=[epoch]).get(epoch)
    if not matrices:
        return None
    stack = np.stack(list(matrices.values()))
    total, bounds = stack.sum(axis=0), intervals.of_checkpoint(store, run, epoch, split)
    scores, of = score(total), bounds.of
    damage, called = stack[:, 1:].sum(axis=(1, 2)), stack[:, 0, 1:].sum(axis=1)
    is_undamaged = (damage == 0) & (stack[:, 0].sum(axis=1) > 0)
    is_alarmed = is_undamaged & (called > 0)
    shares = called[is_alarmed] / stack[is_alarmed].sum(axis=(1, 2))
    return Measured(
        split=split,
        photos=len(stack),
        groups=bounds.groups,
        figures=(
            ("Foreground mIoU", _rate(scores.miou_foreground), of.miou_foreground),
            ("Foreground Dice", _rate(scores.dice_foreground), of.dice_foreground),
            ("Any damage against none, Dice", _rate(scores.any_dice), of.any_dice),
            ("Any damage against none, IoU", _rate(scores.any_iou), of.any_iou),
            ("Pixel accuracy, background included", _rate(scores.pixel_accuracy), None),
        ),
        classes=tuple(
            ClassFigures(
                category,
                int((stack[:, i].sum(axis=1) > 0).sum()),
                _rate(scores.iou[i]),
                _rate(scores.dice[i]),
                _rate(scores.precision[i]),
                _rate(scores.recall[i]),
                of.iou[i],
            )
            for i, category in enumerate(version.categories, start=1)
        ),
        confusion=tuple(tuple(_rate(float(v)) for v in row) for row in confusions.shares(total, "truth")),
        undamaged=int(is_undamaged.sum()),
        alarmed=int(is_alarmed.sum()),
        alarm_share=float(np.median(shares)) if shares.size else None,
    )


def _rate(value: float) -> Rate:
    return None if math.isnan(value) else value


def _missing(version: DataVersion, measured: Mapping[Split, Measured | None]) -> tuple[str, ...]:
    said: list[str] = []
    for split, found in measured.items():
        photos = len(version.split(split))
        if not photos:
            said.append(f"There was no labelled photo in {split}.")
        elif found is None:
            how = "" if split == "valid" else " The Test page does that."
            said.append(f"This epoch was not measured on {split}, of {photos:,} labelled photos.{how}")
        elif found.photos < photos:
            said.append(f"Only {found.photos:,} of the {photos:,} photos of {split} were measured.")
    return tuple(said)


def _failures(found: Measured) -> list[str]:
    """Say what is found worst, what is taken for what, and what is too rare to know."""
    names = ["background", *(c.category.name for c in found.classes)]
    ranked = sorted((c for c in found.classes if c.iou is not None), key=lambda c: c.iou or 0.0)
    weakest = ", ".join(f"“{c.category.name}” ({figure_text(c.iou)})" for c in ranked[:3])
    said = [f"Found worst on {found.split}, by IoU: {weakest}."] if weakest else []
    confused = [
        (share, truth, called)
        for truth, row in enumerate(found.confusion)
        for called, share in enumerate(row)
        if truth and called != truth and share is not None and share >= LEAST_CONFUSED
    ]
    parts = [
        f"{share:.0%} of “{names[truth]}” {f'called “{names[called]}”' if called else 'missed'}"
        for share, truth, called in sorted(confused, reverse=True)[:LISTED]
    ]
    if parts:
        said.append(f"Most frequent mistakes on {found.split}, by pixels: {', '.join(parts)}.")
    if few := [f"“{c.category.name}” ({c.photos})" for c in found.classes if c.photos < FEW]:
        said.append(
            f"Fewer than {FEW} photos of {found.split} show {', '.join(few)}: figures of so few say little."
        )
    return said


def _trust(
    store: Store, run: Run, epoch: Epoch, done: Sequence[Epoch], version: DataVersion, now: Sequence[Category]
) -> tuple[str, ...]:
    """Say what the figures cannot be trusted for, and what is not as it was."""
    said = [*every_epoch.leaks(store, run)]
    if not said and len({item.split for item in version.items}) > 1:
        said.append("No photos that look almost the same were found in two splits, nor a group beside train.")
    best = evaluation.best_epoch(done)
    if best is not None and best.epoch != epoch.epoch:
        said.append(
            f"The validation photos choose epoch {best.epoch}, with {figure_text(best.metrics[METRIC])}, and "
            "not this one."
        )
    said += [f"On test: {warning}" for warning in every_epoch.warnings(run, every_epoch.measured(store, run))]
    if lost := checkpoints.given_up(run, epoch.epoch, done):
        said.append(lost)
    elif not store.blobs.exists(epoch.checkpoint):
        said.append("The file of this checkpoint is not where it was kept any more.")
    return (*said, *_classes_since(version, now))


def _classes_since(version: DataVersion, now: Sequence[Category]) -> list[str]:
    then = {c.category_id: c.name for c in (*version.categories, *version.ignored)}
    today = {c.category_id: c.name for c in now}
    parts = [f"“{name}” is new" for key, name in today.items() if key not in then]
    parts += [f"“{name}” is gone" for key, name in then.items() if key not in today]
    parts += [f"“{n}” is now called “{today[k]}”" for k, n in then.items() if today.get(k, n) != n]
    return [f"The project's classes have changed since: {', '.join(parts)}."] if parts else []


def _class_counts(store: Store, version: DataVersion) -> tuple[ClassCount, ...]:
    read = versions.reader(store, version.items)
    photos: Counter[tuple[int, Split]] = Counter()
    drawn: Counter[tuple[int, Split]] = Counter()
    for item in version.items:
        shown = Counter(annotation.category_id for annotation in read(item).annotations)
        for category_id, times in shown.items():
            photos[category_id, item.split] += 1
            drawn[category_id, item.split] += times
    return tuple(ClassCount(c, _by_split(photos, c), _by_split(drawn, c)) for c in version.categories)


def _by_split(counts: Counter[tuple[int, Split]], category: Category) -> dict[Split, int]:
    return {split: counts[category.category_id, split] for split in SPLITS}


def _best_and_worst(photos: Sequence[ImageScore]) -> tuple[list[ImageScore], list[ImageScore]]:
    """Take the best ones, best first, and the worst ones, worst first, none twice; given worst first."""
    best = min(EXAMPLES, (len(photos) + 1) // 2)
    return list(reversed(photos[len(photos) - best :])), list(photos[: min(EXAMPLES, len(photos) - best)])


def _examples(
    store: Store, run: Run, epoch: int, version: DataVersion
) -> Callable[[ImageScore], Example | None]:
    """Give what paints a photo's prediction over it; None where the photo or its prediction is gone."""
    keys = runs.picture_keys(store, run.id, epoch)
    revs = {item.image_id: item.rev for item in version.items}

    def example(photo: ImageScore) -> Example | None:
        try:
            image = images.get(store, photo.image_id)
            truth = pictures.truth_map(store, image, revs[image.id], version)
            labels = decode_index_png(store.blobs.get(keys[image.id][0]))
            jpeg = encode_jpeg(_painted(store, image, labels, truth, version), 80)
        except (NotFound, ImageError):
            return None
        return Example(photo.name.rsplit("/", 1)[-1], photo.iou, base64.b64encode(jpeg).decode())

    return example


def _painted(
    store: Store,
    image: Image,
    labels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    version: DataVersion,
) -> NDArray[np.uint8]:
    """Paint predicted classes over a photo of at most SIDE px, and a white line around the true damage."""
    scale = min(1.0, SIDE / max(image.size_wh))
    size_wh = (max(1, round(image.size_wh[0] * scale)), max(1, round(image.size_wh[1] * scale)))
    key, _ = images.rendition(store, image.id, "view")
    rgb = reading.decode_rgb(store.blobs.get(key), at_least=min(size_wh))
    is_damage = ((truth > 0) & (truth != IGNORED)).astype(np.uint8)
    small, found, damage = (
        np.asarray(cv2.resize(pixels, size_wh, interpolation=how), np.uint8)
        for pixels, how in (
            (rgb, cv2.INTER_AREA),
            (labels, cv2.INTER_NEAREST_EXACT),
            (at_display_size(is_damage), cv2.INTER_NEAREST_EXACT),
        )
    )
    painted = blend(small, found, ["#000000", *(c.color for c in version.categories)], 0.5)
    return blend(painted, damage, ["#000000", "#FFFFFF"], 0, outline=True)
