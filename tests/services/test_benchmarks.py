"""Benchmarks: the same labels and budget for all, and a table of means with their spread."""

import csv
import io
import statistics

import numpy as np
import pytest

from core.domain.errors import FormatError, NotEnoughLabels
from core.domain.runs import Run
from core.services import benchmarks, training
from core.storage import jobs, runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.services.benchmarked import FIGURES, finish, labelled


def test_all_runs_see_the_same_photos_with_seeds_of_their_own(store: Store) -> None:
    project = labelled(store)

    started = benchmarks.start(store, " Nets ", [project.id], ["tiny", "fast"], seeds=2, photos=0)

    assert [run.name for run in started] == list(FIGURES)
    assert [run.config.seed for run in started] == [0, 1, 0, 1]
    assert len({run.data_version_id for run in started}) == 1
    assert started[0].config.epoch_images == training.configure("tiny", {}).epoch_images
    assert benchmarks.names(store) == ["Nets"]


def test_photos_without_a_split_are_drawn_once_for_all_seeds(store: Store) -> None:
    project = project_with(store, "dent")
    for seed in range(10):
        add_image(store, project, seed, square(1, 10 + seed))

    started = benchmarks.start(store, "Nets", [project.id], ["tiny"], seeds=3, photos=0)

    assert len({run.data_version_id for run in started}) == 1


def test_a_budget_shows_each_preset_as_many_photos(store: Store) -> None:
    found = benchmarks.configurations(["tiny", "fast", "mars-unet"], 4000)

    for config in found.values():
        assert config.epochs * config.epoch_images == pytest.approx(4000, rel=0.02)
    least = benchmarks.configurations(["mars-unet"], 16)["mars-unet"]
    assert least.epoch_images == least.batch_size, "an epoch is a batch at least"


def test_the_table_gives_mean_and_deviation_of_each_runs_best_epoch(store: Store) -> None:
    project = labelled(store)
    benchmarks.start(store, "Nets", [project.id], ["tiny", "fast"], seeds=2, photos=0)
    assert [row.done for row in benchmarks.table(store, "Nets")] == [0, 0]
    finish(store, FIGURES)

    fast, tiny = benchmarks.table(store, "Nets")

    assert (fast.preset, fast.done, tiny.preset) == ("fast", 2, "tiny")
    assert tiny.figures["miou"] == benchmarks.Spread(0.45, pytest.approx(statistics.stdev([0.4, 0.5])), 2)
    dice = tiny.figures["dice"]
    assert dice is not None and dice.mean == pytest.approx(0.225)
    assert tiny.figures["any_dice"] is None, "not defined anywhere"
    assert tiny.test_miou is None
    rows = list(csv.DictReader(io.StringIO(benchmarks.as_csv([fast, tiny]))))
    assert [row["preset"] for row in rows] == ["fast", "tiny"]
    assert float(rows[1]["miou_mean"]) == 0.45 and rows[1]["test_miou_mean"] == ""


def test_one_seed_has_no_deviation(store: Store) -> None:
    assert benchmarks.spread([0.5]) == benchmarks.Spread(0.5, None, 1)
    assert benchmarks.spread([]) is None


def measure_on_test(store: Store, run: Run, epoch: int, found: int) -> None:
    """Keep what an epoch made of the test photo: so many of 100 damaged pixels."""
    (item,) = training.data_version(store, run).split("test")
    matrix = np.array([[900, 0], [100 - found, found]], np.int64)
    runs.set_records(store, run.id, epoch, "test", [runs.ImageRecord(item.image_id, matrix, "p", "c")])


def test_the_best_epochs_on_valid_are_tested_and_averaged(store: Store) -> None:
    project = labelled(store)
    benchmarks.start(store, "Nets", [project.id], ["tiny"], seeds=2, photos=0)
    finish(store, FIGURES)
    rows = benchmarks.table(store, "Nets")
    assert [epoch for row in rows for _, epoch in row.untested] == [2, 2]

    assert benchmarks.measure_all(store, rows) == []
    assert benchmarks.is_testing(store, rows)
    assert {job.payload["epoch"] for job in jobs.waiting(store)} == {2}
    first, second = rows[0].runs
    measure_on_test(store, first, 2, 50)
    measure_on_test(store, second, 2, 70)
    measure_on_test(store, second, 1, 90)  # a better one, which valid did not choose

    (row,) = benchmarks.table(store, "Nets")
    assert row.test_miou is not None
    assert (row.test_miou.mean, row.test_miou.count) == (pytest.approx(0.6), 2)
    assert row.untested == ()


def test_several_projects_stand_beside_each_other(store: Store) -> None:
    cars, vans = labelled(store), labelled(store, "Vans")

    started = benchmarks.start(store, "Nets", [cars.id, vans.id], ["tiny"], seeds=1, photos=0)

    assert [run.project_id for run in started] == [cars.id, vans.id]
    assert [row.project for row in benchmarks.table(store, "Nets")] == ["Cars", "Vans"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 26, "a, b", "nets"])
def test_a_name_that_cannot_be_told_apart_is_refused(store: Store, name: str) -> None:
    project = labelled(store)
    benchmarks.start(store, "Nets", [project.id], ["tiny"], seeds=1, photos=0)

    with pytest.raises(FormatError, match="benchmark"):
        benchmarks.start(store, name, [project.id], ["tiny"], seeds=1, photos=0)

    assert len(training.list_runs(store)) == 1, "nothing else was queued"


def test_nothing_is_queued_where_one_project_is_not_ready(store: Store) -> None:
    ready, bare = labelled(store), project_with(store, "dent", name="Bare")

    with pytest.raises(NotEnoughLabels):
        benchmarks.start(store, "Nets", [ready.id, bare.id], ["tiny"], seeds=1, photos=0)
    with pytest.raises(FormatError, match="at most 200 runs"):
        benchmarks.start(store, "Nets", [ready.id], ["tiny"] * 21, seeds=10, photos=0)
    with pytest.raises(FormatError, match="at least one preset"):
        benchmarks.start(store, "Nets", [ready.id], [], seeds=1, photos=0)

    assert training.list_runs(store) == []
