"""What the real app does around its pages: deep links, a base path, a restart under a training."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.domain.runs import WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, training
from core.storage import lifecycle, processes
from core.storage.lifecycle import RUNS
from tests.browser.served import App, running_app
from tests.builders import add_image, empty_store, project_with, square
from tests.pages.trained import finish_run

pytestmark = pytest.mark.browser

PAGES = ["Project", "Images", "Label", "Train", "Curves", "Review", "Predict"]
MINUTE = 60_000
LIMIT_SECONDS = 600
EPOCHS = 20  # enough to be under way still when the app is down


def test_a_deep_link_is_answered_by_the_app_even_as_the_first_request_of_a_server(
    page: Page, tmp_path: Path
) -> None:
    store = empty_store(tmp_path / "home")
    add_image(store, project_with(store, "dent", name="Other"), 1, square(1))
    image = add_image(store, project_with(store, "dent", name="Wanted"), 2, square(1))
    add_image(store, project_with(store, "dent", name="Newest"), 3, square(1))

    with running_app(tmp_path / "home") as app:
        page.goto(f"{app.url}/label?project=Wanted")

        expect(page.get_by_test_id("labeler-canvas")).to_have_attribute(
            "data-image", image.id, timeout=MINUTE
        )
        links = page.get_by_test_id("stSidebarNav").get_by_role("link")
        expect(links).to_have_count(len(PAGES))
        assert [text.split("\n")[-1] for text in links.all_inner_texts()] == PAGES
        expect(page.get_by_role("heading", name="Label", exact=True)).to_be_visible()


def test_under_a_base_path_photos_and_predictions_arrive(page: Page, tmp_path: Path) -> None:
    store = empty_store(tmp_path / "home")
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)

    with running_app(tmp_path / "home", base_path="tools/maskwright") as app:
        page.goto(f"{app.url}/label")
        canvas = page.get_by_test_id("labeler-canvas")
        expect(canvas).to_have_attribute("data-photo", "full", timeout=MINUTE)
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Review").click()
        expect(page.get_by_test_id("viewer")).to_have_attribute("data-epoch-shown", "2", timeout=MINUTE)
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Images").click()
        thumbnail = page.get_by_test_id("gallery").locator("img").first
        expect(thumbnail).to_be_visible(timeout=MINUTE)
        page.wait_for_function("image => image.naturalWidth > 0", arg=thumbnail.element_handle())

    assert run.state is WorkState.SUCCEEDED


def test_a_training_goes_on_while_the_app_is_restarted(app: App, page: Page) -> None:
    store = app.store
    project = project_with(store, "dent")
    for seed in range(16):
        add_image(store, project, seed, square(1, 10 + seed))
    config = TrainingConfig(size=64, encoder_weights="none", batch_size=4, epochs=EPOCHS)
    run = training.start_run(store, project.id, config)
    wait_for_epochs(app, run.id, 1)
    (under_way,) = lifecycle.active(store, RUNS)
    assert under_way.process is not None

    app.stop()

    assert processes.is_alive(under_way.process)
    assert training.get_run(store, run.id).state is WorkState.RUNNING
    app.start()
    page.goto(f"{app.url}/train")
    runs = page.get_by_test_id("stMainBlockContainer")
    expect(runs.get_by_text(f"{EPOCHS} / {EPOCHS}", exact=True)).to_be_visible(timeout=10 * MINUTE)
    wait_until_over(app, run.id)
    done = training.get_run(store, run.id)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 1), done.error
    assert [epoch.epoch for epoch in evaluation.epochs(store, run.id)] == list(range(1, EPOCHS + 1))


def wait_for_epochs(app: App, run_id: str, epochs: int) -> None:
    """Wait until a run has so many epochs."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while training.get_run(app.store, run_id).epochs_done < epochs:
        assert time.monotonic() < deadline, training.log_tail(app.store, run_id)
        time.sleep(0.1)


def wait_until_over(app: App, run_id: str) -> None:
    """Wait until a run has its verdict."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not training.get_run(app.store, run_id).state.is_final:
        assert time.monotonic() < deadline, training.log_tail(app.store, run_id)
        time.sleep(0.1)
