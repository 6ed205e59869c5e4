"""The Test page: every epoch of a run on photos that nothing chose."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.labels import ImageState
from core.domain.runs import Run
from core.services import every_epoch, training
from core.storage import annotations, jobs, runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import texts
from tests.pages.trained import finish_run
from tests.services.test_intervals import measured_run as reported_run

OpenPage = Callable[[str], AppTest]


def measured_run(store: Store, project: Project, epochs: int = 3) -> Run:
    """A finished run with one photo in test, measured there as on the first validation photo."""
    add_image(store, project, 50, square(1, 20), split="test")
    run = finish_run(store, project, epochs)
    (item,) = training.data_version(store, run).split("test")
    for epoch in range(1, epochs + 1):
        record = runs.records(store, run.id, epoch)[0]
        moved = runs.ImageRecord(item.image_id, record.confusion, record.prediction, record.confidence)
        runs.set_records(store, run.id, epoch, "test", [moved])
    return run


def test_without_a_run_the_page_says_what_to_do(store: Store, open_page: OpenPage) -> None:
    project_with(store, "dent", "scratch")
    page = open_page("testing")
    assert "No epoch to test yet" in " ".join(m.value for m in page.markdown)


def test_one_click_queues_the_test_of_every_epoch(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    add_image(store, project, 50, square(1, 20), split="test")
    run = finish_run(store, project, 3)
    page = open_page("testing")
    (button,) = [b for b in page.button if b.label.startswith("Test all")]
    assert button.label == f"Test all 3 epochs of {run.name}"

    button.click().run()

    assert not page.exception
    (job,) = jobs.waiting(store)
    assert (job.kind, job.payload["epochs"]) == ("evaluate_every", [1, 2, 3])
    assert not [b for b in page.button if b.label.startswith("Test all")], "it is under way"


def test_measured_epochs_are_drawn_and_listed(store: Store, open_page: OpenPage) -> None:
    run = measured_run(store, project_with(store, "dent", "scratch"))
    page = open_page("testing")

    (table,) = page.dataframe
    assert list(table.value["Epoch"]) == [1, 2, 3]
    assert list(table.value[""]) == ["", "", "best on valid"]
    found = every_epoch.measured(store, run)
    assert list(table.value["mIoU, test"]) == [epoch.scores.miou_foreground for epoch in found]
    assert not [b for b in page.button if b.label.startswith("Test ")], "nothing is left to do"
    assert page.metric[0].label == f"{run.name}, epoch 3"


def test_an_epoch_that_is_only_as_good_as_the_chosen_one_is_not_warned_of(store: Store) -> None:
    run = measured_run(store, project_with(store, "dent", "scratch"))
    measured = runs.records(store, run.id, 3, "test")
    runs.set_records(store, run.id, 1, "test", measured)

    found = every_epoch.measured(store, run)

    assert [epoch.is_best_on_valid for epoch in found] == [False, False, True]
    assert found[0].scores == found[2].scores and found[0].scores != found[1].scores
    assert every_epoch.warnings(run, found) == []


@pytest.mark.parametrize("labelled_anew", ["test", "valid", ""])
def test_runs_of_other_photos_or_labels_do_not_stand_side_by_side_unsaid(
    store: Store, open_page: OpenPage, labelled_anew: str
) -> None:
    project = project_with(store, "dent", "scratch")
    one = measured_run(store, project, epochs=1)
    version = training.data_version(store, one)
    anew = [item for item in version.items if item.split == labelled_anew]
    for item in anew:
        annotations.save(store, item.image_id, [square(2)], base_rev=1, state=ImageState.DONE)
    items = [replace(item, rev=2) if item in anew else item for item in version.items]
    photos = runs.records(store, one.id, 1)
    other = reported_run(store, project, items, {1: np.stack([record.confusion for record in photos])})
    runs.set_records(store, other.id, 1, "test", runs.records(store, one.id, 1, "test"))
    page = open_page("testing")
    assert "do not compare" not in texts(page), "one run alone"

    page.multiselect(key=f"testing_{project.id}").set_value([one.id, other.id]).run()

    assert not page.exception and len(page.dataframe[0].value) == 2
    warning = f"Measured on different photos or labels in {labelled_anew}: these figures do not compare."
    assert [w.value for w in page.warning if "compare" in w.value] == ([warning] if labelled_anew else [])
