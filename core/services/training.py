"""Training: freeze the labels, queue a run, follow it, stop it, go on."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from core.domain.errors import FormatError, NotEnoughLabels, NotFound, listed, pick
from core.domain.images import Image, ImageFilter
from core.domain.labels import Category, ImageState
from core.domain.presets import PRESETS
from core.domain.runs import Event, Run, WorkerInfo, WorkState
from core.domain.splitting import Candidate, class_warnings, held_out, leak_warnings, stratified_share
from core.domain.training import (
    MIN_LABELLED_IMAGES,
    DataVersion,
    TrainingConfig,
    VersionItem,
    changed_config,
)
from core.services import checkpoints, recipes, start_weights, workers
from core.services.home import Store
from core.storage import images, lifecycle, processes, projects, runs, versions
from core.storage.sweep import sweep
from core.training.class_weights import check_class_weights

LOG_TAIL_BYTES = 20_000
MIN_TRAIN_IMAGES = 2  # batch normalisation needs more than one photo in a batch
TOLERATED_SHARE = 0.1  # by which groups may move the held out share without a word
MAX_CATEGORIES = 254  # a pixel's class index is one byte: 0 is background, 255 “not counted”
CHOOSES_PHOTOS = (
    "valid_share",
    "split_by_group",
    "train_share",
    "max_train_images",
    "max_valid_images",
    "ignore_class",
)


@dataclass(frozen=True)
class TrainingData:
    """What a training would use now: the split images, the classes, and what to know about them."""

    categories: tuple[Category, ...]
    items: tuple[VersionItem, ...]
    images_of: dict[str, dict[int, int]]  # split -> category_id -> images that show it
    warnings: tuple[str, ...]
    ignored: tuple[Category, ...] = ()  # no class of the model: its pixels count nowhere


@dataclass(frozen=True)
class Waiting:
    """A queued run, its place in the queue of all projects (1 starts next), and why it waits."""

    run: Run
    position: int
    reason: str


def configure(preset: str, changes: Mapping[str, str | int | float | bool]) -> TrainingConfig:
    """Give a preset's configuration with some keys changed.

    Raises:
        UnknownChoice: there is no such preset, key, model, encoder or loss.
        FormatError: a value is of a wrong type or out of its range.
    """
    return reconfigure(pick(PRESETS, preset, kind="preset").config, changes)


def reconfigure(config: TrainingConfig, changes: Mapping[str, str | int | float | bool]) -> TrainingConfig:
    """Give a configuration with some keys changed; raises as ``configure`` does."""
    config = changed_config(config, changes)
    recipes.check(config)
    return config


def collect(store: Store, project_id: str, config: TrainingConfig) -> TrainingData:
    """Look at what a training would use now, without starting it.

    Images that are done or approved count. Where the images bring a train and a valid split, those in
    no split are left out; where they bring none, ``valid_share`` of them is held out, by a seeded draw
    that keeps classes in proportion and groups together (core/domain/splitting.py).

    Raises:
        NotEnoughLabels: there is nothing to learn from or nothing to measure with.
        UnknownChoice: there is no class of the name that is to be ignored.
        NotFound, FormatError: the checkpoint to start from is not there, or of another network.
    """
    everything = images.list_page(store, project_id, ImageFilter())
    done = [image for image in everything if image.is_labelled]
    if len(done) < MIN_LABELLED_IMAGES:
        raise NotEnoughLabels(
            f"Label at least {MIN_LABELLED_IMAGES} photos and mark them as done; {len(done)} so far."
        )
    known = projects.get(store, project_id).categories
    ignored = _ignored(known, config)
    shown = {image.id: _counting(image.category_ids, ignored) for image in done}
    items, warnings = _split(done, shown, config)
    items, notes = _limited(items, shown, config)
    warnings += notes
    _require_enough(items)
    images_of = {split: _images_of(items, split, shown) for split in ("train", "valid", "test")}
    if not images_of["train"]:
        other = f" other than “{config.ignore_class}”, which is ignored" if ignored else ""
        raise NotEnoughLabels(
            f"No photo in train shows any damage{other}. Label some, or put others into train."
        )
    categories = tuple(c for c in known if _is_used(c, images_of))
    if len(categories) > MAX_CATEGORIES:
        raise FormatError(
            f"A model can tell {MAX_CATEGORIES} classes apart; these photos show {len(categories)}."
        )
    warnings += class_warnings({c.category_id: c.name for c in categories}, images_of)
    warnings += leak_warnings(items, {image.id: image.phash for image in done})
    names = ("background", *(category.name for category in categories))
    check_class_weights(config.class_weights, names, config.background_weight)
    warnings += recipes.check(config)
    start_weights.require(store, config)
    start_note = checkpoints.start_note(store, config, categories)
    warnings += [start_note] if start_note else []
    begun = sum(image.state in (ImageState.IN_PROGRESS, ImageState.REJECTED) for image in everything)
    if begun:
        warnings.append(f"{begun} photos are not marked as done and are left out.")
    return TrainingData(categories, tuple(items), images_of, tuple(warnings), ignored)


def start_run(
    store: Store, project_id: str, config: TrainingConfig, name: str = "", *, priority: int = 0
) -> Run:
    """Freeze the labels and queue a run on them.

    Raises:
        NotEnoughLabels, NotFound, FormatError: see ``collect``; nothing was queued.
    """
    data = collect(store, project_id, config)
    version = versions.freeze(store, project_id, data.categories, data.items, data.ignored)
    number = len(runs.list_of(store, project_id)) + 1
    title = name.strip()[:80] or f"{PRESETS[config.preset].title} {number}"
    return runs.create(store, project_id, version.id, _pinned(store, config), title, priority=priority)


def repeat(
    store: Store, run_id: str, changes: Mapping[str, str | int | float | bool], *, priority: int = 0
) -> Run:
    """Queue a run again: the labels it was trained on, its configuration and seed, with some keys changed.

    Raises:
        NotFound: there is no such run, or its labels or the checkpoint it started from are gone.
        UnknownChoice, FormatError: see ``configure``; or a key would choose other photos.
    """
    original = runs.get(store, run_id)
    config = reconfigure(original.config, changes)
    start_weights.require(store, config)
    moved = [key for key in CHOOSES_PHOTOS if getattr(config, key) != getattr(original.config, key)]
    if moved:
        raise FormatError(
            f"{listed(moved)} would choose other photos, and “{original.name}” is repeated on its own. "
            "Leave it out, or start a new run on the labels of now."
        )
    try:
        version = versions.get(store, original.data_version_id)
    except NotFound:
        raise NotFound(
            f"The labels that “{original.name}” was trained on were deleted, so it cannot be repeated. "
            "Start a new run on the labels of now."
        ) from None
    config, name = _pinned(store, config), _again(store, original)
    return runs.create(store, original.project_id, version.id, config, name, priority=priority)


def list_runs(store: Store, project_id: str | None = None) -> list[Run]:
    """List runs, newest first; a run whose process is gone is shown as interrupted."""
    sweep(store, lifecycle.RUNS)
    return runs.list_of(store, project_id)


def get_run(store: Store, run_id: str) -> Run:
    """Give one run, swept as in ``list_runs``. Raises NotFound."""
    sweep(store, lifecycle.RUNS)
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


def goes_on(run: Run) -> bool:
    """Tell whether a run that was interrupted is queued again by itself."""
    return run.crashes < lifecycle.MAX_CRASHES


def prioritise(store: Store, run_id: str) -> bool:
    """Put a waiting run before all others; False when it does not wait any more."""
    return lifecycle.prioritise(store, lifecycle.RUNS, runs.get(store, run_id).id)


def queue(store: Store) -> list[Waiting]:
    """List the waiting runs of all projects in the order in which they start."""
    everything = list_runs(store)
    queued = sorted((r for r in everything if r.state is WorkState.QUEUED), key=lambda r: (-r.priority, r.id))
    if not queued:
        return []
    seen, under_way = workers.list_all(store), workers.under_way(store)
    claimed = {run.id for taken in under_way.runs.values() for run in taken}  # since the first were read
    queued = [run for run in queued if run.id not in claimed]
    return [
        Waiting(run, position, _reason(run, queued[: position - 1], seen, under_way))
        for position, run in enumerate(queued, start=1)
    ]


def waiting_reason(store: Store, run: Run) -> str:
    """Say why a queued run waits, in one sentence; "" for any other run."""
    return next((waiting.reason for waiting in queue(store) if waiting.run.id == run.id), "")


def events(store: Store, run_id: str) -> list[Event]:
    """List what happened to a run, oldest first."""
    return lifecycle.events(store, [run_id])


def log_tail(store: Store, run_id: str) -> str:
    """Give the end of a run's log; empty before it started.

    Where another machine ran it, that is the copy which the machine keeps in the blob store.
    """
    run = runs.get(store, run_id)
    path = store.home / "logs" / f"{run.id}.log"
    is_ours = (run.machine or run.host) == processes.this_host()
    if not (is_ours and path.exists()):
        try:
            return store.blobs.get(f"runs/{run.id}/log.txt")[-LOG_TAIL_BYTES:].decode(errors="replace")
        except NotFound:
            pass
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")


def seconds_silent(store: Store, run: Run) -> float | None:
    """Give the seconds since a running run's last sign of life (0 or more), None for any other."""
    if run.state is not WorkState.RUNNING or run.heartbeat_at is None:
        return None
    with store.read() as connection:  # the clock that dated it
        now = lifecycle.moment(connection)
    return max(0.0, (now - run.heartbeat_at).total_seconds())


def _pinned(store: Store, config: TrainingConfig) -> TrainingConfig:
    """Name the checkpoint to start from by the run's whole id: then it is kept until this run is over."""
    start = checkpoints.start_point(store, config)
    return config if start is None else replace(config, start_from=f"{start[0].id}/{start[1]}")


def _again(store: Store, original: Run) -> str:
    """Name a repetition: "Fast 1 again", "Fast 1 again 2"."""
    taken = {run.name for run in runs.list_of(store, original.project_id)}
    first = f"{original.name[:70]} again"
    others = (f"{first} {number}" for number in itertools.count(2))
    return first if first not in taken else next(name for name in others if name not in taken)


def _reason(
    run: Run, before: Sequence[Run], seen: Sequence[workers.Worker], under_way: workers.UnderWay
) -> str:
    serving = [worker for worker in seen if worker.serves("run")]
    if not serving:
        return workers.nobody_serves(seen, "run")
    wanted = max(1, run.config.devices)
    fitting = [worker.info for worker in serving if wanted <= worker.info.largest]
    if not fitting:
        most = max(worker.info.largest for worker in serving)
        return f"It wants {wanted} devices on one machine; no machine that is here has more than {most}."
    largest = max(info.largest for info in fitting)
    ahead = sum(other.config.devices <= largest for other in before)
    if ahead:
        return f"Behind {ahead} other{'s' if ahead > 1 else ''}."
    free = {info.host: _free(info, under_way) for info in fitting}
    if any(count >= wanted for count in free.values()):
        return f"It is tried again in a moment: {run.error}." if run.error else "It starts in a moment."
    if not any(info.gpus for info in fitting):
        busy = [other.name for info in fitting for other in under_way.runs.get(info.host, [])]
        return f"Busy with {', '.join(f'“{name}”' for name in busy) or 'another training'}."
    if wanted == 1:
        return "All GPUs are busy."
    most = max(free.values())
    return f"It waits for {wanted} free GPUs on one machine; {most} {'is' if most == 1 else 'are'} free now."


def _free(info: WorkerInfo, under_way: workers.UnderWay) -> int:
    """Count what is free on a worker: GPUs, or places where it has none."""
    if info.gpus:
        taken = under_way.gpus.get(info.host, {})
        return sum(gpu.id not in taken for gpu in info.gpus)
    places = info.slots - len(under_way.runs.get(info.host, []))
    return info.largest if places > 0 else 0


def _ignored(known: Sequence[Category], config: TrainingConfig) -> tuple[Category, ...]:
    if not config.ignore_class:
        return ()
    return (pick({category.name: category for category in known}, config.ignore_class, kind="class"),)


def _counting(category_ids: Sequence[int], ignored: Sequence[Category]) -> tuple[int, ...]:
    return tuple(i for i in category_ids if i not in {category.category_id for category in ignored})


def _split(
    done: list[Image], shown: Mapping[str, tuple[int, ...]], config: TrainingConfig
) -> tuple[list[VersionItem], list[str]]:
    given = {image.split for image in done}
    if "train" in given and "valid" in given:
        left_out = sum(image.split is None for image in done)
        note = [f"{left_out} labelled photos are in no split and are left out."] if left_out else []
        return [_item(image) for image in done if image.split], note
    free = [image for image in done if image.split != "test"]
    if len(free) < MIN_LABELLED_IMAGES:
        raise NotEnoughLabels("Put labelled photos into train and at least one into valid.")
    candidates = [Candidate(image.sha256, shown[image.id], image.group) for image in free]
    drawn = held_out(candidates, config.valid_share, config.seed, by_group=config.split_by_group)
    items = [
        _item(image, "test" if image.split == "test" else "valid" if image.sha256 in drawn else "train")
        for image in done
    ]
    notes = [f"{len(drawn)} of {len(free)} labelled photos are held out for validation."]
    is_by_group = config.split_by_group and any(image.group for image in free)
    if is_by_group and abs(len(drawn) - config.valid_share * len(free)) > max(1, TOLERATED_SHARE * len(free)):
        notes.append(f"{config.valid_share:.0%} were asked for, but photos of a group stay together.")
    return items, notes


def _limited(
    items: list[VersionItem], shown: Mapping[str, tuple[int, ...]], config: TrainingConfig
) -> tuple[list[VersionItem], list[str]]:
    """Keep train_share, and at most max_train_images and max_valid_images (0: all), in stored order."""
    left_out: set[str] = set()
    notes: list[str] = []
    for split, share, maximum in (
        ("train", config.train_share, config.max_train_images),
        ("valid", 1.0, config.max_valid_images),
    ):
        candidates = [Candidate(i.sha256, shown[i.image_id]) for i in items if i.split == split]
        if candidates and (share < 1 or 0 < maximum < len(candidates)):
            drawn = stratified_share(candidates, share, config.seed, at_most=maximum)
            left_out |= {candidate.key for candidate in candidates} - drawn
            notes.append(f"{len(drawn)} of {len(candidates)} photos in {split} are used.")
    return [item for item in items if item.sha256 not in left_out], notes


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
