"""Training: freeze the labels, queue a run, follow it, stop it, go on."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.domain.errors import FormatError, NotEnoughLabels, pick
from core.domain.images import Image, ImageFilter
from core.domain.labels import Category, ImageState
from core.domain.runs import Event, Run, WorkState
from core.domain.training import (
    MIN_LABELLED_IMAGES,
    PRESETS,
    DataVersion,
    Preset,
    TrainingConfig,
    VersionItem,
    changed_config,
)
from core.models.registry import ENCODERS, MODELS
from core.services.home import Store
from core.storage import images, lifecycle, projects, runs, versions
from core.training.losses import LOSSES

LOG_TAIL_BYTES = 20_000
MIN_TRAIN_IMAGES = 2  # batch normalisation needs more than one photo in a batch
MAX_CATEGORIES = 254  # a pixel's class index is one byte: 0 is background, 255 “not counted”


@dataclass(frozen=True)
class TrainingData:
    """What a training would use now: the split images, the classes, and what to know about them."""

    categories: tuple[Category, ...]
    items: tuple[VersionItem, ...]
    images_of: dict[str, dict[int, int]]  # split -> category_id -> images that show it
    warnings: tuple[str, ...]


def presets() -> dict[str, Preset]:
    """Give the recipes by name."""
    return PRESETS


def configure(preset: str, changes: Mapping[str, str | int | float | bool]) -> TrainingConfig:
    """Give a preset's configuration with some keys changed.

    Raises:
        UnknownChoice: there is no such preset, key, model, encoder or loss.
        FormatError: a value is of a wrong type or out of its range.
    """
    config = changed_config(pick(PRESETS, preset, kind="preset").config, changes)
    spec = pick(MODELS, config.model, kind="model")
    if config.size % spec.size_multiple:
        raise FormatError(f"size must be a multiple of {spec.size_multiple} for {spec.title}.")
    if config.batch_size < spec.min_batch_size:
        raise FormatError(f"batch_size must be at least {spec.min_batch_size} for {spec.title}.")
    pick(ENCODERS, config.encoder, kind="encoder")
    pick(LOSSES, config.loss, kind="loss")
    return config


def collect(store: Store, project_id: str, config: TrainingConfig) -> TrainingData:
    """Look at what a training would use now, without starting it.

    Images that are done count. Where the images bring a train and a valid split, those in no split
    are left out; where they bring none, ``valid_share`` of them is held out, by a seeded draw.

    Raises:
        NotEnoughLabels: there is nothing to learn from or nothing to measure with.
    """
    everything = images.list_page(store, project_id, ImageFilter())
    done = [image for image in everything if image.is_labelled]
    if len(done) < MIN_LABELLED_IMAGES:
        raise NotEnoughLabels(
            f"Label at least {MIN_LABELLED_IMAGES} photos and mark them as done; {len(done)} so far."
        )
    items, warnings = _split(done, config)
    items = _limited(items, config)
    _require_enough(items)
    shown = {image.id: image.category_ids for image in done}
    images_of = {split: _images_of(items, split, shown) for split in ("train", "valid", "test")}
    if not images_of["train"]:
        raise NotEnoughLabels("No photo in train shows any damage. Label some, or put others into train.")
    known = projects.get(store, project_id).categories
    categories = tuple(c for c in known if _is_used(c, images_of))
    if len(categories) > MAX_CATEGORIES:
        raise FormatError(
            f"A model can tell {MAX_CATEGORIES} classes apart; these photos show {len(categories)}."
        )
    missing = [c.name for c in known if c.category_id not in images_of["train"] and _is_used(c, images_of)]
    warnings += [f"No photo in train shows “{name}”: the model cannot learn it." for name in missing]
    in_progress = sum(image.state is ImageState.IN_PROGRESS for image in everything)
    if in_progress:
        warnings.append(f"{in_progress} photos are not marked as done and are left out.")
    return TrainingData(categories, tuple(items), images_of, tuple(warnings))


def start_run(store: Store, project_id: str, config: TrainingConfig, name: str = "") -> Run:
    """Freeze the labels and queue a run on them.

    Raises:
        NotEnoughLabels: see ``collect``; nothing was queued.
    """
    data = collect(store, project_id, config)
    version = versions.freeze(store, project_id, data.categories, data.items)
    number = len(runs.list_of(store, project_id)) + 1
    title = PRESETS[config.preset].title
    return runs.create(store, project_id, version.id, config, name.strip()[:80] or f"{title} {number}")


def list_runs(store: Store, project_id: str | None = None) -> list[Run]:
    """List runs, newest first; a run whose process is gone is shown as interrupted."""
    lifecycle.sweep(store, lifecycle.RUNS)
    return runs.list_of(store, project_id)


def get_run(store: Store, run_id: str) -> Run:
    """Give one run, swept as in ``list_runs``. Raises NotFound."""
    lifecycle.sweep(store, lifecycle.RUNS)
    return runs.get(store, run_id)


def data_version(store: Store, run: Run) -> DataVersion:
    """Give the labels that a run was trained on. Raises NotFound."""
    return versions.get(store, run.data_version_id)


def cancel(store: Store, run_id: str) -> WorkState | None:
    """Cancel a waiting run at once; ask a running one to stop. None when it was over already."""
    return lifecycle.request_cancel(store, lifecycle.RUNS, runs.get(store, run_id).id)


def resume(store: Store, run_id: str) -> bool:
    """Queue an interrupted, failed or cancelled run again; it goes on from its last complete epoch."""
    return lifecycle.resume(store, lifecycle.RUNS, runs.get(store, run_id).id)


def events(store: Store, run_id: str) -> list[Event]:
    """List what happened to a run, oldest first."""
    return lifecycle.events(store, [run_id])


def log_tail(store: Store, run_id: str) -> str:
    """Give the end of a run's log; empty before it started."""
    path: Path = store.home / "logs" / f"{run_id}.log"
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def seconds_silent(run: Run) -> float | None:
    """Give the seconds since a running run's last sign of life, None for any other."""
    if run.state is not WorkState.RUNNING or run.heartbeat_at is None:
        return None
    return (datetime.now(UTC) - run.heartbeat_at).total_seconds()


def _split(done: list[Image], config: TrainingConfig) -> tuple[list[VersionItem], list[str]]:
    given = {image.split for image in done}
    if "train" in given and "valid" in given:
        left_out = sum(image.split is None for image in done)
        note = [f"{left_out} labelled photos are in no split and are left out."] if left_out else []
        return [_item(image) for image in done if image.split], note
    free = sorted(
        (image for image in done if image.split in (None, "train", "valid")), key=lambda i: i.sha256
    )
    if len(free) < MIN_LABELLED_IMAGES:
        raise NotEnoughLabels("Put labelled photos into train and at least one into valid.")
    random.Random(config.seed).shuffle(free)
    held_out = {image.id for image in free[: max(1, round(config.valid_share * len(free)))]}
    items = [
        _item(image, "test" if image.split == "test" else "valid" if image.id in held_out else "train")
        for image in done
    ]
    return items, [f"{len(held_out)} of {len(free)} labelled photos are held out for validation."]


def _limited(items: list[VersionItem], config: TrainingConfig) -> list[VersionItem]:
    """Keep at most max_train_images and max_valid_images (0: all), drawn by the seed, in stored order."""
    left_out: set[str] = set()
    for split, maximum in (("train", config.max_train_images), ("valid", config.max_valid_images)):
        ids = sorted(item.image_id for item in items if item.split == split)
        if 0 < maximum < len(ids):
            left_out |= set(ids) - set(random.Random(config.seed).sample(ids, maximum))
    return [item for item in items if item.image_id not in left_out]


def _require_enough(items: list[VersionItem]) -> None:
    train, valid = (sum(item.split == split for item in items) for split in ("train", "valid"))
    if train < MIN_TRAIN_IMAGES or valid < 1:
        raise NotEnoughLabels(
            f"Training needs at least {MIN_TRAIN_IMAGES} photos to learn from and 1 to measure with; "
            f"there are {train} and {valid}. Label more, or move some to the other split."
        )


def _item(image: Image, split: str | None = None) -> VersionItem:
    chosen = split or image.split
    assert chosen in ("train", "valid", "test")
    return VersionItem(image.id, image.sha256, image.rev, chosen, image.group)


def _images_of(items: list[VersionItem], split: str, shown: Mapping[str, tuple[int, ...]]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for item in items:
        if item.split == split:
            for category_id in shown[item.image_id]:
                counts[category_id] = counts.get(category_id, 0) + 1
    return counts


def _is_used(category: Category, images_of: Mapping[str, Mapping[int, int]]) -> bool:
    return any(category.category_id in counts for counts in images_of.values())
