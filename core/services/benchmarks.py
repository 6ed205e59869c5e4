"""Benchmarks: several presets on the same labels, each with several seeds, as one table."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.errors import FormatError, NotFound
from core.domain.presets import PRESETS
from core.domain.runs import Epoch, Run, WorkState
from core.domain.scores import score
from core.domain.training import TrainingConfig, changed_config
from core.services import evaluation, recipes, training
from core.services.csv_cells import safe
from core.services.home import Store
from core.services.run_table import FIGURES, figure_of
from core.storage import jobs, projects, run_marks, runs, versions

TAG = "benchmark: "  # and the benchmark's name: the tag of its runs
MAX_NAME = 25  # a tag has at most 40 characters
MAX_SEEDS = 10
MAX_RUNS = 200


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds: the mean, the standard deviation (n - 1), and how many there are.

    ``deviation`` is None for a single one: one seed says nothing about the spread.
    """

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """One preset on one project's labels.

    Figures are of each run's best epoch on valid (``miou``, ``dice``, ``any_dice``, ``pixel_accuracy``)
    and of the same epoch on test (``test_miou``), where that was measured; None where no run has one.
    ``minutes``: of the finished runs, by the clock.
    """

    project: str
    preset: str
    runs: tuple[Run, ...]
    figures: dict[str, Spread | None]
    test_miou: Spread | None
    minutes: Spread | None
    data: str  # the id of the data version; rows of others do not compare
    untested: tuple[tuple[Run, int], ...]  # finished runs whose best epoch has test photos and no figure

    @property
    def done(self) -> int:
        """How many runs ended well."""
        return sum(run.state is WorkState.SUCCEEDED for run in self.runs)


@dataclass(frozen=True)
class Plan:
    """What a benchmark would start: runs, and the seconds they take here one after the other.

    ``seconds`` is None where some preset was never measured on this machine.
    """

    runs: int
    seconds: float | None


def names(store: Store) -> list[str]:
    """List the benchmarks there are, the newest first."""
    found: dict[str, None] = {}
    for run in runs.list_of(store):
        for tag in run.tags:
            if tag.startswith(TAG):
                found.setdefault(tag.removeprefix(TAG))
    return list(found)


def configurations(presets: Sequence[str], photos: int) -> dict[str, TrainingConfig]:
    """Give the presets' configurations by name, brought to one budget.

    Args:
        photos: how many photos each is shown in all, in as many epochs as the preset has (an epoch draws
            its share); 0 leaves each preset as it is.

    Raises:
        UnknownChoice: there is no such preset.
    """
    found = {name: training.configure(name, {}) for name in presets}
    if not photos:
        return found
    return {name: _with_budget(config, photos) for name, config in found.items()}


def plan(store: Store, project_ids: Sequence[str], presets: Sequence[str], seeds: int, photos: int) -> Plan:
    """Say what ``start`` would queue with the same arguments.

    Raises:
        NotEnoughLabels, FormatError, ...: as ``training.collect``.
    """
    total: float | None = 0.0
    for project_id in project_ids:
        for config in configurations(presets, photos).values():
            data = training.collect(store, project_id, config)
            splits = [item.split for item in data.items]
            cost = recipes.cost(store, config, len(data.categories))
            if cost is None or total is None:
                total = None
                continue
            megapixels = recipes.mean_megapixels(store, project_id)
            counts = (splits.count("train"), splits.count("valid"))
            total += seeds * recipes.seconds(config, cost, *counts, megapixels=megapixels)
    return Plan(len(project_ids) * len(presets) * seeds, total)


def start(
    store: Store, name: str, project_ids: Sequence[str], presets: Sequence[str], seeds: int, photos: int
) -> list[Run]:
    """Queue every preset on every project's labels of now, once per seed; all seeds see the same photos.

    Args:
        name: of the benchmark, at most MAX_NAME characters; its runs carry it as a tag.
        seeds: 1 to MAX_SEEDS; they are 0, 1, 2, ...
        photos: see ``configurations``.

    Raises:
        FormatError: the name is empty, too long or taken; nothing is chosen; there would be too many runs.
        NotEnoughLabels, NotFound, UnknownChoice: as ``training.start_run``; nothing was queued.
    """
    name = _checked_name(store, name)
    if not project_ids or not presets:
        raise FormatError("Choose at least one preset and one project.")
    count = len(project_ids) * len(presets) * seeds
    if not 1 <= seeds <= MAX_SEEDS or count > MAX_RUNS:
        raise FormatError(
            f"A benchmark has 1 to {MAX_SEEDS} seeds and at most {MAX_RUNS} runs; this would be {count}."
        )
    wanted = configurations(presets, photos)
    for project_id in project_ids:
        for config in wanted.values():
            training.collect(store, project_id, config)  # refuses before anything is queued
    started: list[Run] = []
    for project_id in project_ids:
        for preset, config in wanted.items():
            first = training.start_run(store, project_id, config)
            again = [training.repeat(store, first.id, {"seed": seed}) for seed in range(1, seeds)]
            for seed, run in enumerate([first, *again]):
                run_marks.rename(store, run.id, f"{name}: {PRESETS[preset].title}, seed {seed}")
                run_marks.change_tags(store, run.id, add=[f"{TAG}{name}"], remove=[])
                started.append(runs.get(store, run.id))
    return started


def table(store: Store, name: str) -> list[Row]:
    """Give a benchmark's rows, by project, the best preset first; archived runs are left out."""
    titles = {project.id: project.name for project in projects.list_all(store)}
    members: dict[tuple[str, str, str], list[Run]] = {}
    for run in training.list_runs(store):
        if f"{TAG}{name}" in run.tags and not run.is_archived:
            key = (titles.get(run.project_id, "?"), run.config.preset, run.data_version_id)
            members.setdefault(key, []).append(run)
    rows = [_row(store, *key, found) for key, found in members.items()]
    return sorted(rows, key=lambda row: (row.project, -_mean_of(row)))


def measure_all(store: Store, rows: Sequence[Row]) -> list[str]:
    """Queue the measuring of every finished run's best epoch on test; say which could not be, and why."""
    refused: list[str] = []
    for run, epoch in (wanted for row in rows for wanted in row.untested):
        try:
            evaluation.evaluate(store, run, epoch, "test")
        except NotFound as error:
            refused.append(f"{run.name}: {error}")
    return refused


def is_under_way(store: Store, name: str) -> bool:
    """Tell whether some of a benchmark's runs or tests is not over yet."""
    members = [run for run in runs.list_of(store) if f"{TAG}{name}" in run.tags and not run.is_archived]
    return any(not run.state.is_final for run in members) or _are_tested(store, members)


def is_testing(store: Store, rows: Sequence[Row]) -> bool:
    """Tell whether some run's best epoch is being measured on test."""
    return _are_tested(store, [run for row in rows for run in row.runs])


def _are_tested(store: Store, found: Sequence[Run]) -> bool:
    members, project_ids = {run.id for run in found}, {run.project_id for run in found}
    return any(
        job.payload.get("run_id") in members and not job.state.is_final
        for project_id in project_ids
        for job in jobs.list_of(store, project_id, limit=2 * MAX_RUNS, kind="evaluate")
    )


def as_csv(rows: Sequence[Row]) -> str:
    """Give the table as CSV, means and deviations in columns of their own."""
    file = io.StringIO()
    writer = csv.writer(file)
    keys = [*FIGURES, "test_miou", "minutes"]
    writer.writerow(
        ["project", "preset", "runs", "done", *(f"{key}_{part}" for key in keys for part in ("mean", "sd"))]
    )
    for row in rows:
        spreads = [*row.figures.values(), row.test_miou, row.minutes]
        cells = [cell for s in spreads for cell in ((s.mean, s.deviation) if s else (None, None))]
        writer.writerow([safe(row.project), row.preset, len(row.runs), row.done, *cells])
    return file.getvalue()


def spread(values: Sequence[float]) -> Spread | None:
    """Give mean and standard deviation of some figures; None where there are none."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def _checked_name(store: Store, name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME or "," in name:
        raise FormatError(f"A benchmark needs a name of 1 to {MAX_NAME} characters without a comma.")
    if name.casefold() in (known.casefold() for known in names(store)):
        raise FormatError(f"There is a benchmark “{name}” already. Choose another name.")
    return name


def _with_budget(config: TrainingConfig, photos: int) -> TrainingConfig:
    return changed_config(config, {"epoch_images": max(config.batch_size, round(photos / config.epochs))})


def _row(store: Store, project: str, preset: str, data: str, members: Sequence[Run]) -> Row:
    done = [run for run in members if run.state is WorkState.SUCCEEDED]
    epochs = runs.epochs_of(store, [run.id for run in done])
    best = {run.id: evaluation.best_epoch(epochs.get(run.id, [])) for run in done}
    found = [(run, epoch) for run in done if (epoch := best[run.id]) is not None]
    figures = {
        key: spread([v for _, epoch in found if (v := figure_of(epoch, key)) is not None]) for key in FIGURES
    }
    has_photos = bool(done) and any(item.split == "test" for item in versions.get(store, data).items)
    tested = {run.id: _on_test(store, run, epoch) for run, epoch in found} if has_photos else {}
    untested = [(run, epoch.epoch) for run, epoch in found if has_photos and tested[run.id] is None]
    values = [v for v in tested.values() if v is not None and not math.isnan(v)]
    minutes = [
        (run.ended_at - run.started_at).total_seconds() / 60
        for run in done
        if run.ended_at is not None and run.started_at is not None
    ]
    return Row(
        project, preset, tuple(members), figures, spread(values), spread(minutes), data, tuple(untested)
    )


def _on_test(store: Store, run: Run, epoch: Epoch) -> float | None:
    """Give a checkpoint's foreground mIoU on test, NaN where not defined; None where it was not measured."""
    found = runs.summed_matrices(store, run.id, "test", epochs=(epoch.epoch,)).get(epoch.epoch)
    return score(found[0]).miou_foreground if found else None


def _mean_of(row: Row) -> float:
    miou = row.figures["miou"]
    return miou.mean if miou else -1.0
