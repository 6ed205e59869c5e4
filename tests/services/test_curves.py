"""Curves: which figures there are, where epochs stand on x, smoothing, gaps, and the table to take away."""

import csv
import io
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.domain.presets import PRESETS
from core.domain.runs import Epoch, Run
from core.domain.training import TrainingConfig
from core.services import curves, evaluation, training
from core.services.curves import TRAIN, VALID, WHOLE, Curve
from core.storage import lifecycle, processes, runs
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from tests.builders import add_image, project_with, square

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAST = PRESETS["fast"].config


def epoch_of(run_id: str, number: int, ended: datetime = NOON, **metrics: float | None) -> Epoch:
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return Epoch(run_id, number, 1, named, {"train": 30.0, "validate": 6.0}, "", ended)


def run_with(store: Store, *epochs: Epoch, name: str = "", config: TrainingConfig = FAST) -> Run:
    """Queue a run on the store's project and write these epochs of it."""
    (project,) = {item.project_id for item in runs.list_of(store)} or {_project(store)}
    run = training.start_run(store, project, config, name)
    claim = lifecycle.claim(store, RUNS, f"host {run.id}", Room(9))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    for epoch in epochs:
        runs.add_epoch(store, claim, replace(epoch, run_id=run.id), [])
    lifecycle.succeed(store, RUNS, claim)
    return runs.get(store, run.id)


def _project(store: Store) -> str:
    project = project_with(store, "dent", "a/b")
    for seed in range(6):
        add_image(store, project, seed, square(1), square(2, 50), split="train" if seed < 5 else "valid")
    return project.id


def read(store: Store, *chosen: Run) -> list[Curve]:
    facts = {run.data_version_id: curves.version_facts(store, run.data_version_id) for run in chosen}
    return curves.read(store, chosen, facts)


def test_all_epochs_of_many_runs_are_read_as_one_by_one(store: Store) -> None:
    many = [run_with(store, *(epoch_of("", n, val_loss=n / 3, x=None) for n in (1, 2, 3))) for _ in range(3)]
    empty = run_with(store)

    found = runs.epochs_of(store, [run.id for run in (*many[:2], empty)])

    assert found == {run.id: runs.epochs(store, run.id) for run in many[:2]}
    assert runs.epochs_of(store, []) == {}
    assert [curve.run for curve in read(store, empty, *many[::-1])] == many[::-1]


def test_figures_are_sorted_by_name_pass_and_class(store: Store) -> None:
    first = epoch_of("", 1, val_loss=1.0, train_loss=2.0, val_iou__1=0.5, val_dice__2=0.7, val_iou__9=0.1)
    last = epoch_of("", 2, learning_rate=0.1, val_miou_foreground=0.4, aux_term=3.0, val_iou__1=0.6)

    (curve,) = read(store, run_with(store, first, last))

    assert curves.names([curve]) == [
        "miou_foreground", "loss", "learning_rate", "seconds", "aux_term",
        "iou/*", "dice/*", "iou/dent", "iou/9", "dice/a/b",
    ]  # fmt: skip
    assert curve.keys["loss"] == {VALID: "val_loss", TRAIN: "train_loss"}
    assert curve.keys["learning_rate"] == {WHOLE: "learning_rate"}
    assert curve.keys["seconds"] == {VALID: "validate", TRAIN: "train"}
    assert [(c.name, name) for c, name in curves.members(curve, "iou/*")] == [("dent", "iou/dent")]
    assert curves.title("dice/a/b").text == "Dice of a/b"
    assert curves.title("aux_term").text == "Aux term"


def test_an_undefined_figure_is_nan_and_an_unknown_one_is_none(store: Store) -> None:
    done = [epoch_of("", 1, val_loss=1.5), epoch_of("", 2, val_loss=None), epoch_of("", 3, val_loss=0.5)]

    (curve,) = read(store, run_with(store, *done))

    np.testing.assert_equal(curves.values(curve, "loss", VALID), [1.5, math.nan, 0.5])
    np.testing.assert_equal(curves.values(curve, "seconds", VALID), [6.0, 6.0, 6.0])
    assert curves.values(curve, "loss", TRAIN) is None
    assert curves.values(curve, "iou/dent", VALID) is None
    assert curve.best is None
    assert curves.told(curve, curve.epochs[1]) == ["Time per epoch: 6.0 valid, 30.0 train"]


def test_the_best_epoch_is_that_of_the_evaluation_the_earliest_of_equals(store: Store) -> None:
    figures = [0.2, 0.6, None, 0.6, 0.1]
    done = [epoch_of("", n, val_miou_foreground=value) for n, value in enumerate(figures, start=1)]

    (curve,) = read(store, run_with(store, *done))

    assert curve.best == evaluation.best_epoch(curve.epochs) and curve.best.epoch == 2


def test_places_are_epochs_steps_and_hours_that_never_fall(store: Store) -> None:
    minutes = (10, 20, 15, 100)  # the third by a clock that was put back, the fourth after a pause
    done = [epoch_of("", n, NOON + timedelta(minutes=m)) for n, m in enumerate(minutes, start=1)]
    (curve,) = read(store, run_with(store, *done))
    curve = replace(curve, steps=7)

    assert curves.places(curve, "epoch").tolist() == [1, 2, 3, 4]
    assert curves.places(curve, "step").tolist() == [7, 14, 21, 28]
    began = 36 / 3600  # hours that the first epoch took
    np.testing.assert_allclose(
        curves.places(curve, "time"), [began, began + 1 / 6, began + 1 / 6, began + 1.5]
    )


@pytest.mark.parametrize(
    ("images", "changes", "steps"),
    [
        (16, {}, 2),
        (17, {}, 2),  # a batch of one is left out
        (18, {}, 3),
        (16, {"accumulate": 4}, 1),
        (40, {"accumulate": 2}, 3),
        (16, {"epoch_images": 80}, 10),
        (16, {"expand_to": 64}, 8),
        (3, {}, 1),
    ],
)
def test_steps_per_epoch_are_those_of_the_training(images: int, changes: dict[str, int], steps: int) -> None:
    assert curves.steps_per_epoch(replace(TrainingConfig(batch_size=8), **changes), images) == steps


def test_training_photos_are_counted_in_the_run_s_own_data(store: Store) -> None:
    run = run_with(store, epoch_of("", 1), config=TrainingConfig(batch_size=2))

    assert curves.version_facts(store, run.data_version_id).train_images == 5
    assert read(store, run)[0].steps == 2


def test_smoothing_as_worked_by_hand() -> None:
    measured = np.array([4.0, 8.0, 0.0])

    smoothed = curves.smooth(measured, 0.5)

    # (0.5*4 + 8) / 1.5 and (0.25*4 + 0.5*8 + 0) / 1.75
    np.testing.assert_allclose(smoothed, [4.0, 20 / 3, 5 / 1.75])
    np.testing.assert_array_equal(curves.smooth(measured, 0.0), measured)
    np.testing.assert_allclose(curves.smooth(np.full(50, 0.3), 0.99), 0.3)  # not drawn towards zero


def test_smoothing_leaves_a_gap_where_there_was_one_and_goes_on() -> None:
    measured = np.array([math.nan, 4.0, math.nan, 8.0])

    np.testing.assert_allclose(curves.smooth(measured, 0.5), [math.nan, 4.0, math.nan, 20 / 3])


def test_smoothing_many_lines_at_once_is_smoothing_each() -> None:
    rng = np.random.default_rng(0)
    lines = np.where(rng.random((5, 40)) < 0.2, math.nan, rng.random((5, 40)))

    for line, smoothed in zip(lines, curves.smooth(lines, 0.8), strict=True):
        np.testing.assert_allclose(smoothed, _naive(line.tolist(), 0.8))


@pytest.mark.parametrize("weight", [-0.1, 1.0])
def test_a_weight_that_smooths_nothing_or_everything_away_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        curves.smooth(np.zeros(3), weight)


def test_the_csv_reads_back_with_gaps_and_with_runs_of_other_classes(store: Store) -> None:
    one = run_with(
        store,
        epoch_of("", 1, val_loss=0.1, val_iou__1=0.25, val_miou_foreground=0.2),
        epoch_of("", 2, val_loss=None, val_iou__1=0.5, val_miou_foreground=0.3),
        name='a "quoted", name',
    )
    other = run_with(store, epoch_of("", 1, train_loss=2 / 3, val_iou__2=0.75), name="other")

    text = curves.as_csv(read(store, one, other), ["loss", "iou/*"])

    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run"] for row in rows] == ['a "quoted", name', 'a "quoted", name', "other"]
    assert [row["epoch"] for row in rows] == ["1", "2", "1"]
    assert [row["best"] for row in rows] == ["", "best", ""]
    assert [row["Loss, valid"] for row in rows] == ["0.1", "", ""]
    assert float(rows[2]["Loss, train"]) == 2 / 3
    assert [row["IoU of dent, valid"] for row in rows] == ["0.25", "0.5", ""]
    assert [row["IoU of a/b, valid"] for row in rows] == ["", "", "0.75"]
    assert float(rows[1]["hours"]) >= float(rows[0]["hours"]) == pytest.approx(0.01)


def test_equal_names_are_told_apart(store: Store) -> None:
    first, second, third = (run_with(store, name=name) for name in ("same", "same", "other"))

    labels = curves.labels([first, second, third])

    assert labels[third.id] == "other"
    assert labels[first.id] == f"same ({first.id[-4:]})" != labels[second.id]


def _naive(values: list[float], weight: float) -> list[float]:
    """The definition, word by word."""
    smoothed: list[float] = []
    for place, value in enumerate(values):
        before = [v for v in values[: place + 1] if not math.isnan(v)]
        weights = [weight**age for age in range(len(before))][::-1]
        mean = sum(w * v for w, v in zip(weights, before, strict=True)) / sum(weights) if before else math.nan
        smoothed.append(math.nan if math.isnan(value) else mean)
    return smoothed
