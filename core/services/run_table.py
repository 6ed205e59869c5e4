"""The table of a project's runs: figures, search, marks, and what tells runs apart."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.domain.runs import Epoch, Run, WorkState
from core.services import evaluation, training
from core.services.csv_cells import safe
from core.services.home import Store
from core.storage import run_marks, runs

Value = str | int | float | bool

HASH_SHOWN = 7
ID_SHOWN = 8  # the end of a run's id: its beginning is a time
MIN_RUNS = 8  # fewer say nothing about a setting
TICKS = 8  # an axis names so many values, at most
LOG_RATIO = 50  # numbers further apart than this lie on a logarithmic axis
NO_INFLUENCE = (
    "preset",
    "keep",
    "pictures",
    "seed",
    "threads",
)  # a name, or nothing that is to make a run better
FIGURES = {
    "miou": evaluation.METRIC,
    "dice": "val_dice_foreground",
    "any_dice": "val_any_dice",
    "pixel_accuracy": "val_pixel_accuracy",
}


@dataclass(frozen=True)
class Row:
    """One run as the table shows it.

    ``best`` and ``last`` are its best and its newest complete epoch, None where there is none.
    ``data`` is the beginning of its data version's hash; ``is_newest_data`` tells whether no run of the
    project was trained on newer data: figures on different data do not compare. ``seconds`` go from its
    first start to its end or to now, pauses included; None before it started.
    """

    run: Run
    best: Epoch | None
    last: Epoch | None
    data: str
    is_newest_data: bool
    seconds: float | None
    is_champion: bool

    @property
    def miou(self) -> float | None:
        """The validation foreground mIoU of the best epoch."""
        return figure_of(self.best, "miou")

    @property
    def data_title(self) -> str:
        """The data as it is shown."""
        return self.data if self.is_newest_data else f"{self.data} (older)"


@dataclass(frozen=True)
class View:
    """Which runs are asked for; what is empty asks for all. ``state`` holds values of WorkState."""

    search: str = ""
    state: Sequence[str] = ()
    tag: Sequence[str] = ()
    preset: Sequence[str] = ()
    data: Sequence[str] = ()
    has_archived: bool = False


@dataclass(frozen=True)
class Axis:
    """Where runs lie on the axis of one setting: a position per run, and words at some positions."""

    key: str
    positions: tuple[float, ...]
    ticks: tuple[tuple[float, Value], ...]

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest place that is used."""
        places = (*self.positions, *(place for place, _ in self.ticks))
        return min(places), max(places)


@dataclass(frozen=True)
class Influence:
    """How one setting goes together with the best mIoU, over ``runs`` runs.

    ``value`` is Spearman's rank correlation (-1..1) or eta squared (0..1); ``chance`` is what it is by
    chance alone: the standard deviation of the former, the expectation of the latter.
    """

    key: str
    measure: Literal["Spearman", "eta squared"]
    value: float
    chance: float
    runs: int

    @property
    def explained(self) -> float:
        """The share of variance that goes with the setting, 0..1: of ranks, or of the figure itself."""
        return self.value**2 if self.measure == "Spearman" else self.value


def rows(store: Store, project_id: str) -> list[Row]:
    """List a project's runs with their figures, newest first; archived ones too."""
    listed = training.list_runs(store, project_id)  # before the rest: one queued meanwhile has its data known
    found = runs.best_and_last(store, project_id, evaluation.METRIC)
    hashes = runs.data_hashes(store, project_id)
    newest = next(reversed(hashes), "")
    champion = evaluation.champion(store, project_id)
    now = datetime.now(UTC)
    return [
        Row(
            run=run,
            best=best,
            last=last,
            data=hashes[run.data_version_id][:HASH_SHOWN],
            is_newest_data=run.data_version_id == newest,
            seconds=_seconds(run, now),
            is_champion=champion is not None and champion.run_id == run.id,
        )
        for run in listed
        for best, last in [found.get(run.id, (None, None))]
    ]


def visible(rows: Sequence[Row], view: View) -> list[Row]:
    """Give the rows that a view asks for, in their order.

    Each word of the search must be in the name, the note or a tag, letter case aside; of several states,
    tags, presets or data versions a run needs one.
    """
    words = view.search.casefold().split()
    return [
        row
        for row in rows
        if (view.has_archived or not row.run.is_archived)
        and (not view.state or row.run.state.value in view.state)
        and (not view.tag or set(view.tag) & set(row.run.tags))
        and (not view.preset or row.run.config.preset in view.preset)
        and (not view.data or row.data in view.data)
        and all(word in _searched(row.run) for word in words)
    ]


def tags(rows: Sequence[Row]) -> list[str]:
    """List the tags that there are, by alphabet."""
    return sorted({tag for row in rows for tag in row.run.tags}, key=str.casefold)


def figure_of(epoch: Epoch | None, name: str) -> float | None:
    """Give a validation figure of an epoch by its key in FIGURES; None where it is not defined."""
    return epoch.metrics.get(FIGURES[name]) if epoch else None


def rename(store: Store, run_id: str, name: str) -> None:
    """Give a run another name. Raises AppError for an empty or too long one, NotFound."""
    run_marks.rename(store, run_id, name)


def change_tags(store: Store, run_id: str, shown: Sequence[str], wanted: Sequence[str]) -> None:
    """Bring a run's tags from those that were shown to those that are wanted.

    What somebody else added or took away meanwhile stays.

    Raises:
        AppError: a tag is too long or there are too many; nothing was changed.
        NotFound: the run is gone.
    """
    add, remove = ([tag for tag in a if tag not in b] for a, b in ((wanted, shown), (shown, wanted)))
    if add or remove:
        run_marks.change_tags(store, run_id, add=add, remove=remove)


def set_note(store: Store, run_id: str, note: str, *, shown: str, author: str = "") -> None:
    """Replace a run's note, unless somebody wrote another one since this one was shown.

    Raises:
        AppError: the note is too long.
        Conflict: there is another one now; nothing was changed.
        NotFound: the run is gone.
    """
    run_marks.set_note(store, run_id, note, shown=shown, author=author)


def archive(store: Store, run_ids: Sequence[str], *, is_archived: bool = True) -> None:
    """Put runs out of sight, or back; nothing of them is deleted. Raises NotFound when all are gone."""
    run_marks.set_archived(store, run_ids, is_archived=is_archived)


def titles(rows: Sequence[Row]) -> list[str]:
    """Give the names of some runs, with the end of the id where two have the same."""
    counts = Counter(row.run.name for row in rows)
    runs = [row.run for row in rows]
    return [run.name if counts[run.name] == 1 else f"{run.name} ({run.id[-ID_SHOWN:]})" for run in runs]


def differences(rows: Sequence[Row]) -> dict[str, tuple[Value, ...]]:
    """Map the settings that are not the same for all runs to their values, one per run."""
    configs = [asdict(row.run.config) for row in rows]
    found = {key: tuple(config[key] for config in configs) for key in (configs[0] if configs else ())}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def axes(rows: Sequence[Row]) -> list[Axis]:
    """Lay the settings that vary out as axes, but for the preset: a name for what the others say.

    Numbers lie by size, on a logarithmic scale where they are far apart; a few numbers, yes or no, and
    words lie at equal distances in their order.
    """
    return [_axis(key, values) for key, values in differences(rows).items() if key != "preset"]


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Give the finished runs with a figure that share their data: of the data that most were trained on."""
    done = [row for row in rows if row.run.state is WorkState.SUCCEEDED and row.miou is not None]
    counts = Counter(row.data for row in done)
    return [row for row in done if row.data == counts.most_common(1)[0][0]]


def influences(rows: Sequence[Row]) -> list[Influence]:
    """Say which settings go together with the best mIoU of finished runs on the same data, strongest first.

    For numbers: Spearman's rank correlation, the product-moment correlation of ranks, equals sharing their
    mean rank. For yes or no and for words: the correlation ratio, eta squared, the sum of squares between
    the values over the whole sum of squares. Both are hints and no more: settings change together, a rank
    correlation sees only what rises or falls throughout, and in few runs chance is large. Without any
    relation Spearman's has the standard deviation 1 / sqrt(n - 1), and eta squared of k values the
    expectation (k - 1) / (n - 1). Words with more than n / 2 values are left out: there each run would
    nearly explain itself.

    Returns:
        Nothing while fewer than MIN_RUNS runs are comparable, or where their mIoU is the same.

    Sources: Spearman, American Journal of Psychology 15 (1904), 72-101; Pearson, Drapers' Company Research
    Memoirs II (1905); Kendall, Rank Correlation Methods (1948), for the variance under permutation.
    """
    known = comparable(rows)
    miou = np.array([row.miou for row in known], np.float64)
    if len(known) < MIN_RUNS or np.ptp(miou) == 0:
        return []
    varying = {key: v for key, v in differences(known).items() if key not in NO_INFLUENCE}
    found = [_influence(key, values, miou) for key, values in varying.items()]
    return sorted((one for one in found if one), key=lambda one: -one.explained)


def csv_text(rows: Sequence[Row]) -> str:
    """Write rows as a CSV table: one line per run, figures in full, moments as ISO 8601 in UTC."""
    file = io.StringIO()
    lines = [_csv_line(row) for row in rows]
    writer = csv.DictWriter(file, list(lines[0]) if lines else ["run"])
    writer.writeheader()
    writer.writerows({key: safe(value) for key, value in line.items()} for line in lines)
    return file.getvalue()


def _seconds(run: Run, now: datetime) -> float | None:
    if run.started_at is None:
        return None
    return max(0.0, ((run.ended_at or now) - run.started_at).total_seconds())


def _searched(run: Run) -> str:
    return "\n".join((run.name, run.note, *run.tags)).casefold()


def _axis(key: str, values: Sequence[Value]) -> Axis:
    distinct = sorted(set(values))
    is_number = not isinstance(distinct[0], (bool, str))
    if is_number and len(distinct) > TICKS:
        return _scale(key, [float(value) for value in values])
    place = {value: float(index) for index, value in enumerate(distinct)}
    step = math.ceil(len(distinct) / (2 * TICKS))  # words are many only where somebody brought many encoders
    ticks = tuple((place[value], value) for value in distinct[::step])
    return Axis(key, tuple(place[value] for value in values), ticks)


def _scale(key: str, values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_RATIO:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = tuple((float(decade), 10.0**decade) for decade in decades)
        return Axis(key, tuple(math.log10(value) for value in values), ticks)
    places = [low + (high - low) * index / 4 for index in range(5)]
    return Axis(key, tuple(values), tuple((place, place) for place in places))


def _influence(key: str, values: Sequence[Value], miou: NDArray[np.float64]) -> Influence | None:
    count = len(values)
    if isinstance(values[0], (bool, str)):
        kinds = len(set(values))
        if kinds > count / 2:
            return None
        return Influence(key, "eta squared", _eta_squared(values, miou), (kinds - 1) / (count - 1), count)
    ranks = _ranks(np.array(values, np.float64)), _ranks(miou)
    return Influence(key, "Spearman", float(np.corrcoef(*ranks)[0, 1]), 1 / math.sqrt(count - 1), count)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1 on; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _eta_squared(kinds: Sequence[Value], values: NDArray[np.float64]) -> float:
    groups = [values[[kind == one for one in kinds]] for kind in set(kinds)]
    between = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups)
    return float(between / ((values - values.mean()) ** 2).sum())


def _csv_line(row: Row) -> Mapping[str, Value | None]:
    run, config = row.run, row.run.config
    return {
        "run": run.id,
        "name": run.name,
        "state": run.state.value,
        **{f"best_{name}": figure_of(row.best, name) for name in FIGURES},
        "best_epoch": row.best.epoch if row.best else None,
        "last_miou": figure_of(row.last, "miou"),
        "last_epoch": row.last.epoch if row.last else None,
        "seconds": None if row.seconds is None else round(row.seconds, 1),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "preset": config.preset,
        "model": config.model,
        "encoder": config.encoder,
        "size": config.size,
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "data": row.data,
        "is_newest_data": row.is_newest_data,
        "device": run.device,
        "tags": ", ".join(run.tags),
        "note": run.note,
        "is_champion": row.is_champion,
        "is_archived": run.is_archived,
    }
