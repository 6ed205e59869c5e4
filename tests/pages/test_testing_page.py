"""The Test page: every epoch of a run on photos that nothing chose."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.runs import Run
from core.services import every_epoch, training
from core.storage import jobs, runs
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.trained import finish_run

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
