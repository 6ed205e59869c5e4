"""The table of runs: what a row says, which rows a view asks for, what tells runs apart."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from core.domain.runs import Epoch, Run, WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, run_table, training
from core.services.run_table import Row, View
from core.storage import lifecycle, tables
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.trained import finish_run

AT = datetime(2026, 3, 14, 15, 0, tzinfo=UTC)
PLAIN = Run(
    id="0190-0000-first", project_id="p", data_version_id="v", name="first", config=TrainingConfig(),
    state=WorkState.SUCCEEDED, attempt=1, crashes=0, cancel_requested=False, epochs_done=1, progress={},
    priority=0, host=None, machine=None, device="CPU", error="", created_at=AT, started_at=AT,
    ended_at=AT + timedelta(minutes=3), heartbeat_at=None,
)  # fmt: skip


def row(
    miou: float | None = 0.5, *, data: str = "aaaaaaa", config: dict[str, Any] | None = None, **run: Any
) -> Row:
    """Make a row of a run with some values changed; without a figure it has no epoch."""
    changed = replace(PLAIN, config=replace(TrainingConfig(), **(config or {})), **run)
    epoch = Epoch(changed.id, 2, 1, {"val_miou_foreground": miou, "val_dice_foreground": 0.6}, {}, "", AT)
    found = None if miou is None else epoch
    return Row(changed, found, found, data, data == "aaaaaaa", 180.0, False)


def names(rows: list[Row]) -> list[str]:
    return [one.run.name for one in rows]


def test_a_finished_run_shows_its_best_and_its_last_epoch(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=3)
    with store.write() as connection:
        worse = {"val_miou_foreground": 0.25}
        last = sa.and_(tables.epoch.c.run_id == run.id, tables.epoch.c.epoch == 3)
        connection.execute(sa.update(tables.epoch).where(last).values(metrics=worse))
    evaluation.promote(store, run, 2)

    (shown,) = run_table.rows(store, project.id)

    assert shown.best == evaluation.best_epoch(evaluation.epochs(store, run.id))
    assert shown.best is not None and shown.last is not None
    assert (shown.best.epoch, shown.last.epoch) == (2, 3)
    assert run_table.figure_of(shown.last, "miou") == 0.25
    assert run_table.figure_of(shown.last, "any_dice") is None, "not defined is not zero"
    assert (shown.is_newest_data, shown.is_champion) == (True, True)
    assert training.data_version(store, run).hash.startswith(shown.data) and len(shown.data) == 7
    assert shown.seconds is not None and shown.run.started_at and shown.run.ended_at
    assert shown.seconds == (shown.run.ended_at - shown.run.started_at).total_seconds()


def test_a_run_that_waits_has_no_figures_and_no_duration(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    first = finish_run(store, project, epochs=1)
    training.repeat(store, first.id, {"size": 128})

    waiting, done = run_table.rows(store, project.id)

    assert (waiting.run.state, waiting.best, waiting.last, waiting.miou) == ("queued", None, None, None)
    assert (waiting.seconds, waiting.is_newest_data, waiting.is_champion) == (None, True, False)
    assert done.run.id == first.id


def test_runs_on_older_data_are_told_apart_even_when_they_are_newer(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    old = finish_run(store, project, epochs=1)
    add_image(store, project, 99, square(1), split="train")
    training.start_run(store, project.id, TrainingConfig())
    training.repeat(store, old.id, {})

    again, on_new_data, first = run_table.rows(store, project.id)

    assert [again.is_newest_data, on_new_data.is_newest_data, first.is_newest_data] == [False, True, False]
    assert again.data == first.data != on_new_data.data
    assert first.data_title == f"{first.data} (older)" and on_new_data.data_title == on_new_data.data


def test_no_run_is_an_empty_table(store: Store) -> None:
    rows = run_table.rows(store, project_with(store).id)

    assert rows == []
    assert run_table.visible(rows, View(search="x")) == run_table.influences(rows) == []
    assert run_table.differences(rows) == {}
    assert run_table.csv_text(rows) == "run\r\n"


def test_a_view_shows_what_it_asks_for() -> None:
    rows = [
        row(name="Doors", tags=("Baseline", "🚗"), note="scratches on dark paint"),
        row(name="Bonnets", tags=("baseline two",), config={"preset": "accurate"}, data="bbbbbbb"),
        row(name="Hidden doors", is_archived=True, state=WorkState.FAILED),
    ]
    expected = {
        View(): ["Doors", "Bonnets"],
        View(has_archived=True): ["Doors", "Bonnets", "Hidden doors"],
        View(search="  DOORS "): ["Doors"],
        View(search="dark scratch"): ["Doors"],
        View(search="🚗"): ["Doors"],
        View(search="baseline"): ["Doors", "Bonnets"],
        View(search="doors bonnets"): [],
        View(tag=("Baseline",)): ["Doors"],
        View(tag=("Baseline", "baseline two")): ["Doors", "Bonnets"],
        View(tag=("🚗",), preset=("accurate",)): [],
        View(preset=("accurate",)): ["Bonnets"],
        View(data=("bbbbbbb",)): ["Bonnets"],
        View(state=("failed",)): [],
        View(state=("failed", "queued"), has_archived=True): ["Hidden doors"],
    }

    assert {view: names(run_table.visible(rows, view)) for view in expected} == expected
    assert run_table.tags(rows) == ["Baseline", "baseline two", "🚗"]


def test_marks_are_changed_through_the_service(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=1)

    run_table.rename(store, run.id, "Doors")
    run_table.change_tags(store, run.id, (), ("a", "b"))
    run_table.change_tags(store, run.id, ("a",), ("a", "c"))  # of a tab that has not seen b
    run_table.set_note(store, run.id, "good", shown="")
    run_table.archive(store, [run.id])

    (shown,) = run_table.rows(store, project.id)
    assert (shown.run.name, shown.run.tags, shown.run.note) == ("Doors", ("a", "b", "c"), "good")
    assert shown.run.is_archived


def test_only_settings_that_differ_are_differences() -> None:
    rows = [
        row(config={"size": 128, "loss": "ce"}),
        row(config={"size": 256, "loss": "ce"}),
        row(config={"size": 256, "loss": "ce", "progressive": True}),
    ]

    assert run_table.differences(rows) == {"size": (128, 256, 256), "progressive": (False, False, True)}
    assert run_table.differences(rows[:1]) == run_table.differences(rows[1:2] * 2) == {}


def test_runs_of_one_name_are_told_apart_by_their_ids() -> None:
    rows = [row(name="Fast", id="0190-11112222"), row(name="Fast", id="0190-33334444"), row(name="Slow")]

    assert run_table.titles(rows) == ["Fast (11112222)", "Fast (33334444)", "Slow"]


def test_a_few_values_lie_at_equal_distances_on_their_axis() -> None:
    rows = [
        row(config={"size": size, "loss": loss, "preset": loss, "decoder_learning_rate": rate})
        for size, loss, rate in ((512, "dice", 1e-4), (64, "ce", 1e-2), (128, "dice", 1e-3))
    ]

    found = {axis.key: axis for axis in run_table.axes(rows)}

    assert found.keys() == {"size", "loss", "decoder_learning_rate"}, "the preset is no setting"
    assert found["size"].positions == (2, 0, 1)
    assert found["size"].ticks == ((0, 64), (1, 128), (2, 512))
    assert (found["loss"].positions, found["loss"].ends) == ((1, 0, 1), (0, 1))
    assert found["decoder_learning_rate"].ticks == ((0, 1e-4), (1, 1e-3), (2, 1e-2))


def test_many_numbers_lie_by_size_or_by_their_logarithm() -> None:
    rates = [1e-5 * 2**power for power in range(12)]
    rows = [
        row(config={"epochs": 10 * n, "decoder_learning_rate": rate}) for n, rate in enumerate(rates, start=1)
    ]

    rate, epochs = sorted(run_table.axes(rows), key=lambda axis: axis.key)

    assert epochs.positions == tuple(10.0 * n for n in range(1, 13))
    assert [place for place, _ in epochs.ticks] == pytest.approx([10, 37.5, 65, 92.5, 120])
    assert rate.positions == pytest.approx(np.log10(rates))
    assert [value for _, value in rate.ticks] == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert rate.ends == (-5, -1)


def test_every_value_of_an_axis_has_words_or_lies_between_some() -> None:
    losses = [f"{number / 100}*ce+dice" for number in range(1, 40)]

    (axis,) = run_table.axes([row(config={"loss": loss}) for loss in losses])

    assert 8 <= len(axis.ticks) <= 16
    assert [losses[round(place)] for place, _ in axis.ticks] == [word for _, word in axis.ticks]


def eight(**changes: list[Any]) -> list[Row]:
    """Make eight finished runs whose mIoU rises by 0.05, with settings changed run by run."""
    return [
        row(0.3 + 0.05 * n, id=f"run-{n}", config={key: values[n] for key, values in changes.items()})
        for n in range(8)
    ]


def test_a_number_is_measured_by_rank_correlation() -> None:
    epochs = [5, 3, 3, 8, 2, 9, 9, 9]
    (found,) = run_table.influences(eight(epochs=epochs))

    ranks = pd.Series(epochs).rank(), pd.Series(range(8)).rank()
    assert found.value == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert (found.key, found.measure, found.runs) == ("epochs", "Spearman", 8)
    assert found.chance == pytest.approx(1 / np.sqrt(7))
    assert found.explained == pytest.approx(found.value**2)


def test_what_rises_with_the_figure_correlates_fully_whatever_its_scale() -> None:
    rates = [1e-6, 1e-5, 1e-4, 2e-4, 3e-4, 1e-3, 1e-2, 1e-1]
    down = run_table.influences(eight(decoder_learning_rate=rates[::-1], weight_decay=[*rates[:7], 0.5]))

    assert {one.key: round(one.value, 12) for one in down} == {"decoder_learning_rate": -1, "weight_decay": 1}


def test_words_and_switches_are_measured_by_the_correlation_ratio() -> None:
    # mIoU 0.30 ... 0.65: the lower four against the upper four. By hand: mean 0.475, group means 0.375 and
    # 0.575, between 8 * 0.1 ** 2 = 0.08, in all 0.105.
    (switch,) = run_table.influences(eight(progressive=[False] * 4 + [True] * 4))
    (words,) = run_table.influences(eight(loss=["ce", "dice"] * 4))

    assert (switch.measure, switch.value) == ("eta squared", pytest.approx(0.08 / 0.105))
    assert switch.explained == switch.value
    # Means 0.45 and 0.5, between 8 * 0.025 ** 2 = 0.005.
    assert (words.value, words.chance) == (pytest.approx(0.005 / 0.105), pytest.approx(1 / 7))


def test_chance_is_what_shuffled_figures_give() -> None:
    draw = np.random.default_rng(3)
    epochs, losses = list(range(1, 13)), ["ce", "dice", "focal"] * 4
    rank, ratio = [], []
    for _ in range(400):
        rows = [
            row(miou, config={"epochs": epochs[n], "loss": losses[n]})
            for n, miou in enumerate(draw.permutation(12) / 20)
        ]
        found = {one.key: one for one in run_table.influences(rows)}
        rank.append(found["epochs"].value)
        ratio.append(found["loss"].value)

    assert np.std(rank) == pytest.approx(found["epochs"].chance, rel=0.1)
    assert np.mean(ratio) == pytest.approx(found["loss"].chance, rel=0.1)


def test_the_strongest_setting_comes_first_and_what_cannot_matter_is_left_out() -> None:
    rows = eight(
        size=[64, 96, 128, 160, 192, 224, 256, 288],
        loss=["ce", "dice"] * 4,
        seed=list(range(8)),
        preset=[f"p{n // 4}" for n in range(8)],
        start_weights=[f"file {n}" for n in range(8)],  # each run of its own: no relation to be seen
    )

    assert [one.key for one in run_table.influences(rows)] == ["size", "loss"]


def test_too_few_runs_or_runs_on_other_data_give_no_hint() -> None:
    rows = eight(epochs=list(range(1, 9)))

    assert run_table.influences(rows[:7]) == []
    assert run_table.influences([*rows[:7], row(0.9, data="bbbbbbb", config={"epochs": 30})]) == []
    assert run_table.influences([*rows[:7], row(None)]) == []
    assert run_table.influences([*rows[:7], row(0.9, state=WorkState.CANCELLED)]) == []
    assert run_table.influences([row(0.5, config={"epochs": n}) for n in range(1, 9)]) == []
    with_more = [row(0.9, data="bbbbbbb"), *rows]
    assert run_table.comparable(with_more) == rows
    assert run_table.influences(with_more)[0].runs == 8


def test_the_csv_is_read_back_as_it_is() -> None:
    note = 'said "good",\nthen; worse'
    rows = [row(0.123456789, name="Ä, 🚗", note=note, tags=("a", "b c")), row(None, started_at=None)]

    first, second = csv.DictReader(io.StringIO(run_table.csv_text(rows), newline=""))

    assert (first["name"], first["note"], first["tags"]) == ("Ä, 🚗", note, "a, b c")
    assert (float(first["best_miou"]), first["best_epoch"], first["best_dice"]) == (0.123456789, "2", "0.6")
    assert (first["seconds"], first["started_at"], first["state"]) == ("180.0", AT.isoformat(), "succeeded")
    assert (second["best_miou"], second["best_epoch"], second["started_at"]) == ("", "", "")
    assert first["best_any_dice"] == ""


def test_a_run_under_way_counts_its_time_up_to_now(store: Store) -> None:
    project = project_with(store, "dent", "scratch")
    run = finish_run(store, project, epochs=1)
    with store.write() as connection:
        began = lifecycle.moment(connection) - timedelta(hours=2)
        values = {"state": "interrupted", "crashes": 9, "started_at": began, "ended_at": None}
        connection.execute(sa.update(tables.run).where(tables.run.c.id == run.id).values(values))

    (shown,) = run_table.rows(store, project.id)

    assert shown.seconds is not None and 7200 <= shown.seconds < 7200 + 600
