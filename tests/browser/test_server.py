"""What the real app does around its pages: deep links, a base path, a restart under a training."""

import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.domain.runs import Process, Run, WorkState
from core.domain.training import TrainingConfig
from core.services import evaluation, training
from core.storage import lifecycle, processes
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from tests.browser.patience import LONG_MILLISECONDS, LONG_SECONDS, eventually, wait_for_picture
from tests.browser.served import App, running_app
from tests.builders import add_image, empty_store, project_with, square
from tests.pages.trained import finish_run

pytestmark = pytest.mark.browser

PAGES = [
    *("Project", "Images", "Label", "Train", "Runs", "Curves", "Review", "Test", "Champion", "Benchmarks"),
    *("Predict", "Workers"),
]
EPOCHS = 20


def test_a_deep_link_is_answered_by_the_app_even_as_the_first_request_of_a_server(
    page: Page, tmp_path: Path
) -> None:
    store = empty_store(tmp_path / "home")
    add_image(store, project_with(store, "dent", name="Other"), 1, square(1))
    image = add_image(store, project_with(store, "dent", name="Wanted"), 2, square(1))
    add_image(store, project_with(store, "dent", name="Newest"), 3, square(1))

    with running_app(tmp_path / "home") as app:
        page.goto(f"{app.url}/label?project=Wanted")

        expect(page.get_by_test_id("labeler-canvas")).to_have_attribute("data-image", image.id)
        links = page.get_by_test_id("stSidebarNav").get_by_role("link")
        expect(links).to_have_text([re.compile(f"{title}$") for title in PAGES])
        expect(page.get_by_role("heading", name="Label", exact=True)).to_be_visible()


def test_under_a_base_path_photos_and_predictions_arrive(page: Page, tmp_path: Path) -> None:
    store = empty_store(tmp_path / "home")
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)

    with running_app(tmp_path / "home", base_path="tools/maskwright") as app:
        page.goto(f"{app.url}/label")
        canvas = page.get_by_test_id("labeler-canvas")
        expect(canvas).to_have_attribute("data-photo", "full")
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Review").click()
        expect(page.get_by_test_id("viewer")).to_have_attribute("data-epoch-shown", "2")
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Images").click()
        thumbnail = page.get_by_test_id("gallery").locator("img").first
        wait_for_picture(thumbnail)

    assert run.state is WorkState.SUCCEEDED


def test_a_training_goes_on_while_the_app_is_restarted(app: App, page: Page) -> None:
    store = app.store
    project = project_with(store, "dent")
    for seed in range(16):
        add_image(store, project, seed, square(1, 10 + seed))
    config = TrainingConfig(size=64, encoder_weights="none", batch_size=4, epochs=EPOCHS)
    run = training.start_run(store, project.id, config)
    wait_for_epochs(store, run.id, 1)
    (under_way,) = lifecycle.active(store, RUNS)
    assert under_way.process is not None

    with held(under_way.process):
        app.stop()
        assert processes.is_alive(under_way.process)
        before = training.get_run(store, run.id)
        assert before.state is WorkState.RUNNING and before.epochs_done < EPOCHS
    wait_for_epochs(store, run.id, before.epochs_done + 1)
    app.start()

    page.goto(f"{app.url}/train")
    runs = page.get_by_test_id("stMainBlockContainer")
    expect(runs.get_by_text(f"{EPOCHS} / {EPOCHS}", exact=True)).to_be_visible(timeout=LONG_MILLISECONDS)
    done = eventually(lambda: training.get_run(store, run.id), lambda run: run.state.is_final, LONG_SECONDS)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 1), done.error
    assert [epoch.epoch for epoch in evaluation.epochs(store, run.id)] == list(range(1, EPOCHS + 1))


@contextmanager
def held(process: Process) -> Generator[None]:
    """Let a process and its group stand still while the block runs: it does not end meanwhile."""
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def wait_for_epochs(store: Store, run_id: str, epochs: int) -> None:
    """Wait until a run has so many epochs, unless it comes to another end."""

    def look() -> Run:
        run = training.get_run(store, run_id)
        is_there = run.epochs_done >= epochs or not run.state.is_final
        assert is_there, f"{run.state}: {run.error}\n{training.log_tail(store, run_id)}"
        return run

    eventually(look, lambda run: run.epochs_done >= epochs, LONG_SECONDS)
