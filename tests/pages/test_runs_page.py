"""The Runs page: the table and its view, marks, the ways on from a run, what tells runs apart."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.presets import PRESETS
from core.domain.runs import Run, WorkState
from core.services import projects, run_table, training
from core.storage import run_marks, runs, tables
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import press, texts
from tests.pages.trained import finish_run

OpenPage = Callable[[str], AppTest]


@pytest.fixture
def project(store: Store) -> Project:
    return project_with(store, "dent", "scratch")


@pytest.fixture
def run(store: Store, project: Project) -> Run:
    """A finished run."""
    return finish_run(store, project, epochs=2)


def open_with(open_page: OpenPage, **address: str | list[str]) -> AppTest:
    """Open the page by a link with this view."""
    test = open_page("home")
    test.query_params.update(address)
    test.switch_page("pages/runs.py").run()
    assert not test.exception, test.exception
    return test


def listed(test: AppTest) -> list[str]:
    """List the names in the table."""
    return list(test.dataframe[0].value["Name"])


def field(test: AppTest, kind: str, label: str) -> Any:
    """Find a widget by what stands over it."""
    return next(element for element in test.get(kind) if element.label == label)


def finish_copy(store: Store, run: Run, miou: float, **changes: Any) -> Run:
    """Write a finished run with one epoch and this figure, on the same labels."""
    config = replace(run.config, **changes)
    other = runs.create(store, run.project_id, run.data_version_id, config, f"copy {miou:.2f}")
    epoch = {"run_id": other.id, "epoch": 1, "attempt": 1, "durations": {}, "checkpoint": "x"}
    with store.write() as connection:
        values = {**epoch, "metrics": {"val_miou_foreground": miou}, "created_at": tables.now()}
        connection.execute(sa.insert(tables.epoch).values(values))
        done = sa.update(tables.run).where(tables.run.c.id == other.id)
        connection.execute(done.values(state="succeeded", epochs_done=1))
    return runs.get(store, other.id)


def test_without_a_run_it_leads_to_the_train_page(project: Project, open_page: OpenPage) -> None:
    test = open_page("runs")

    assert "No runs yet" in texts(test)
    assert not test.dataframe


def test_a_line_says_what_a_run_is_and_what_it_reached(store: Store, run: Run, open_page: OpenPage) -> None:
    training.repeat(store, run.id, {"size": 128, "epochs": 5})

    waiting, done = open_page("runs").dataframe[0].value.to_dict("records")

    assert (done["Name"], done["State"], done["Best epoch"], done["Last epoch"]) == ("Fast 1", ["Done"], 2, 2)
    best = runs.epochs(store, run.id)[1].metrics["val_miou_foreground"]
    assert done["Best mIoU"] == done["Last mIoU"] == best
    assert done["Preset"] == PRESETS["fast"].title and "EfficientNet-Lite0" in done["Network"]
    assert (waiting["State"], waiting["Size"], waiting["Epochs"]) == (["Queued"], 128, 5)
    assert waiting["Best mIoU"] != waiting["Best mIoU"], "no figure: a gap, no zero"
    assert waiting["Data"] == done["Data"] and "older" not in done["Data"]


def test_a_link_restores_the_view(store: Store, run: Run, open_page: OpenPage) -> None:
    again = training.repeat(store, run.id, {"size": 128})
    run_table.change_tags(store, again.id, (), ["doors, left", "🚗"])

    test = open_with(open_page, q="again", tag=["🚗", "left"], state="queued", runs=again.id[-8:])

    assert listed(test) == ["Fast 1 again"]
    assert field(test, "text_input", "Search").value == "again"
    assert field(test, "multiselect", "Tag").value == ["🚗", "left"]
    assert field(test, "multiselect", "State").value == ["queued"]
    assert "#### Fast 1 again" in texts(test)
    expected = {"q": "again", "tag": ["🚗", "left"], "state": "queued", "runs": again.id[-8:]}
    assert test.query_params == {**expected, "project": "Cars"}


def test_filters_show_fewer_runs_and_are_put_into_the_link(
    store: Store, run: Run, open_page: OpenPage
) -> None:
    training.repeat(store, run.id, {"size": 128})
    test = open_with(open_page, runs=run.id)
    assert "#### Fast 1" in texts(test)

    field(test, "multiselect", "State").set_value(["queued"]).run()

    assert listed(test) == ["Fast 1 again"]
    assert test.query_params == {"project": "Cars", "state": "queued"}
    assert "Choose a run" in texts(test), "what is not to be seen is not chosen"
    field(test, "text_input", "Search").set_value("nothing like it").run()
    assert not test.exception and listed(test) == [] and "0 of 2 runs" in texts(test)


def test_a_link_to_what_is_gone_says_so(store: Store, run: Run, open_page: OpenPage) -> None:
    test = open_with(open_page, runs=[run.id[-8:], "deadbeef"], tag="gone", state="nonsense", archived="x")

    assert "1 run of this link cannot be found in this project." in texts(test)
    assert "#### Fast 1" in texts(test)
    assert test.query_params == {"project": "Cars", "runs": run.id[-8:]}


def test_name_tags_and_note_are_saved_together(store: Store, run: Run, open_page: OpenPage) -> None:
    test = open_with(open_page, runs=run.id)

    field(test, "text_input", "Name").set_value("Doors")
    field(test, "multiselect", "Tags").set_value(["night, rain", "🚗"])
    field(test, "text_area", "Note").set_value("Misses thin scratches.\nGlass is good.")
    press(test, "Save")

    kept = runs.get(store, run.id)
    assert (kept.name, kept.tags) == ("Doors", ("night", "rain", "🚗"))
    assert kept.note == "Misses thin scratches.\nGlass is good."
    assert listed(test) == ["Doors"]
    assert field(test, "multiselect", "Tags").value == ["night", "rain", "🚗"]


def test_a_tag_too_long_is_refused_and_what_was_typed_stays(
    store: Store, run: Run, open_page: OpenPage
) -> None:
    test = open_with(open_page, runs=run.id)

    field(test, "multiselect", "Tags").set_value(["x" * 200])
    field(test, "text_area", "Note").set_value("typed")
    press(test, "Save")

    assert "A tag has at most 40 characters" in texts(test)
    assert runs.get(store, run.id).tags == ()
    assert field(test, "text_area", "Note").value == "typed"


def test_two_tabs_do_not_overwrite_each_others_note(store: Store, run: Run, open_page: OpenPage) -> None:
    one, other = (open_with(open_page, runs=run.id) for _ in range(2))
    field(one, "text_area", "Note").set_value("from the first tab")
    press(one, "Save")

    field(other, "text_area", "Note").set_value("from the second tab")
    press(other, "Save")

    assert runs.get(store, run.id).note == "from the first tab"
    said = texts(other)
    assert "changed this note in the meantime." in said and "“from the first tab”" in said
    assert field(other, "text_area", "Note").value == "from the second tab"
    press(other, "Save")  # having read it
    assert runs.get(store, run.id).note == "from the second tab"


def test_archived_runs_are_hidden_until_asked_for(store: Store, run: Run, open_page: OpenPage) -> None:
    training.repeat(store, run.id, {"size": 128})
    test = open_with(open_page, runs=run.id)

    press(test, "Archive")

    assert listed(test) == ["Fast 1 again"] and "1 of 2 runs, 1 archived" in texts(test)
    field(test, "toggle", "Archived").set_value(True).run()
    assert listed(test) == ["Fast 1 again", "Fast 1"]
    assert list(test.dataframe[0].value["State"][1]) == ["Done", "Archived"]
    assert test.query_params["archived"] == "1"
    press(open_with(open_page, archived="1", runs=run.id), "Take back")
    assert not runs.get(store, run.id).is_archived


def test_cloning_fills_the_train_page(store: Store, run: Run, open_page: OpenPage) -> None:
    other = training.repeat(store, run.id, {"epochs": 7})
    test = open_with(open_page, runs=other.id)

    press(test, "Clone with changes")

    assert test.title[0].value == "Train"
    assert "Settings of **Fast 1 again**; the data is as it is now." in texts(test)
    assert field(test, "number_input", "Epochs").value == 7


def test_training_goes_on_from_the_best_kept_checkpoint(store: Store, run: Run, open_page: OpenPage) -> None:
    runs.give_up_checkpoints(store, run.id, [2])
    test = open_with(open_page, runs=run.id)

    press(test, "Continue from checkpoint")

    assert "Settings of **Fast 1**, starting from its epoch 1" in texts(test)


def test_a_run_that_ended_early_is_resumed_and_others_are_not(
    store: Store, run: Run, open_page: OpenPage
) -> None:
    stopped = training.repeat(store, run.id, {"epochs": 7})
    training.cancel(store, stopped.id)
    test = open_with(open_page, runs=stopped.id)

    press(test, "Resume")

    assert training.get_run(store, stopped.id).state is WorkState.QUEUED
    labels = [button.label for button in open_with(open_page, runs=run.id).button]
    assert "Resume" not in labels and {"Curves", "Review"} <= set(labels)


def test_a_run_without_an_epoch_leads_to_no_picture(store: Store, run: Run, open_page: OpenPage) -> None:
    waiting = training.repeat(store, run.id, {"epochs": 7})

    labels = {button.label for button in open_with(open_page, runs=waiting.id).button}

    assert labels & {"Curves", "Review", "Continue from checkpoint"} == set()
    assert {"Clone with changes", "Archive", "Save"} <= labels


@pytest.mark.parametrize("page", ["Curves", "Review"])
def test_a_run_is_opened_on_the_pages_that_show_it(
    store: Store, run: Run, open_page: OpenPage, page: str
) -> None:
    finish_copy(store, run, 0.9)
    test = open_with(open_page, runs=run.id)

    press(test, page)

    assert test.title[0].value == page
    shown = [
        value for kind in ("selectbox", "multiselect") for box in test.get(kind) for value in [box.value]
    ]
    assert run.id in shown or [run.id] in shown


def test_settings_that_differ_stand_beside_each_other(store: Store, run: Run, open_page: OpenPage) -> None:
    other = finish_copy(store, run, 0.25, size=128, ema=0.5, model="unet", encoder="resnet34")

    test = open_with(open_page, runs=[run.id, other.id])

    table = test.dataframe[1].value.set_index("Setting")
    assert list(table.columns) == ["copy 0.25", "Fast 1"]
    assert list(table.loc["Image size"]) == ["128", str(run.config.size)]
    assert list(table.loc["Average of weights"]) == ["0.5", "0"]
    assert table.loc["Encoder", "copy 0.25"] == "ResNet-34"
    assert table.loc["Best mIoU", "copy 0.25"] == "0.250"
    assert "Epochs" not in table.index and "Data" not in table.index
    assert len(test.get("plotly_chart")) == 1


def test_runs_on_different_data_are_not_compared_blindly(store: Store, run: Run, open_page: OpenPage) -> None:
    add_image(store, projects.get(store, run.project_id), 99, square(1), split="train")
    newer = training.start_run(store, run.project_id, run.config)

    test = open_with(open_page, runs=[run.id, newer.id])

    assert "Trained on different data: these figures do not compare." in texts(test)
    table = test.dataframe[1].value.set_index("Setting")
    assert table.loc["Data", "Fast 1"].endswith("(older)")
    assert "Their settings are the same." in texts(test)
    assert not test.get("plotly_chart")


def test_a_run_deleted_in_another_tab_is_missed_with_a_sentence(
    store: Store, run: Run, open_page: OpenPage
) -> None:
    finish_copy(store, run, 0.5)
    test = open_with(open_page, runs=run.id)
    with store.write() as connection:
        connection.execute(sa.delete(tables.run).where(tables.run.c.id == run.id))

    test.run()

    assert not test.exception
    assert listed(test) == ["copy 0.50"] and "Choose a run" in texts(test)


def test_what_goes_with_a_better_figure_is_asked_of_eight_runs(
    store: Store, run: Run, open_page: OpenPage
) -> None:
    for number in range(7):
        finish_copy(store, run, 0.9 - number / 20, epochs=20 - number)
    assert len(open_page("runs").dataframe) == 2

    table = open_page("runs").dataframe[1].value

    assert list(table["Setting"]) == ["Epochs"]
    assert list(table["Measure"]) == ["Spearman’s rank correlation"]
    known = training.list_runs(store, run.project_id)
    assert len(known) == 8 and table["Value"][0] > 0.3
    assert "Over 8 finished runs of this list" in texts(open_page("runs"))
    run_marks.set_archived(store, [run.id], is_archived=True)
    assert len(open_page("runs").dataframe) == 1
