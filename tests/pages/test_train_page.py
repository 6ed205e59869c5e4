"""The Train page: the queue, a run's settings again, going on from a checkpoint, signs of life."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import save as save_safetensors
from streamlit.testing.v1 import AppTest

from core.domain.images import Project
from core.domain.presets import PRESETS
from core.domain.runs import Run, WorkState
from core.domain.training import TrainingConfig
from core.services import recipes, start_weights, training
from core.storage import jobs, lifecycle, processes, runs, tables
from core.storage import workers as reported
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.store import Store
from tests.builders import add_image, project_with, square
from tests.pages.said import press, progress_texts, texts
from tests.pages.test_runs_page import finish_copy
from tests.pages.trained import finish_run
from tests.services.reported import worker_report
from tests.services.test_recipes import RESULT, finish

OpenPage = Callable[[str], AppTest]


@pytest.fixture
def project(store: Store) -> Project:
    """A project that can be trained on."""
    made = project_with(store, "dent")
    for seed, split in enumerate(("train", "train", "valid")):
        add_image(store, made, seed, square(1), split=split)
    return made


def queued(store: Store, project: Project, **changes: Any) -> Run:
    """Queue a run with some settings changed."""
    return training.start_run(store, project.id, replace(TrainingConfig(), **changes))


def running(store: Store, host: str = "box", **values: Any) -> Claim:
    """Let the next run run, with columns as its process would have written them."""
    claim = lifecycle.claim(store, RUNS, host, Room(2, (f"{host}-0", f"{host}-1"), 2))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    with store.write() as connection:
        connection.execute(sa.update(tables.run).where(tables.run.c.id == claim.work_id).values(**values))
    return claim


def widget(test: AppTest, kind: str, label: str) -> Any:
    """Find a widget by what stands over it."""
    return next(element for element in test.get(kind) if element.label == label)


def test_a_cloned_run_fills_the_settings_and_trains_on_the_data_of_now(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    settings = {"epochs": 7, "size": 64, "batch_size": 6, "keep": "best:2", "weight_decay": 0.5, "seed": 3}
    first = queued(store, project, **settings)
    add_image(store, project, 9, square(1), split="train")
    test = open_page("train")
    assert widget(test, "number_input", "Epochs").value == PRESETS["fast"].config.epochs

    press(test, "Clone")

    assert "Settings of **Fast 1**; the data is as it is now." in texts(test)
    assert widget(test, "number_input", "Weight decay").value == 0.5
    shown = [widget(test, "number_input", label).value for label in ("Epochs", "Batch size", "Seed")]
    assert shown == [7, 6, 3]
    assert widget(test, "number_input", "How many of the best").value == 2
    widget(test, "number_input", "Epochs").set_value(8)
    press(test, "Start training")
    (again,) = [run for run in training.list_runs(store) if run.id != first.id]
    assert again.config == replace(first.config, epochs=8)
    assert again.data_version_id != first.data_version_id


def test_the_presets_come_back_after_a_clone(store: Store, project: Project, open_page: OpenPage) -> None:
    queued(store, project, epochs=7)
    test = open_page("train")
    press(test, "Clone")
    assert widget(test, "number_input", "Epochs").value == 7

    press(test, "Back to presets")

    assert widget(test, "number_input", "Epochs").value == PRESETS["fast"].config.epochs
    assert [button.key for button in test.button if button.label == "Chosen"] == ["choose_fast"]


def test_training_further_starts_from_the_best_checkpoint(store: Store, open_page: OpenPage) -> None:
    project = project_with(store, "dent", "scratch")
    source = finish_run(store, project, epochs=3)
    runs.give_up_checkpoints(store, source.id, [1])
    test = open_page("train")

    press(test, "Train further")

    assert "Settings of **Fast 1**, starting from its epoch 3" in texts(test)
    epochs = widget(test, "selectbox", "Epoch")
    assert [option.split(" ")[0] for option in epochs.options] == ["2", "3"], "the first was not kept"
    epochs.set_value(2)
    press(test, "Start training")
    newest = training.list_runs(store, project.id)[0]
    assert newest.config.start_from == f"{source.id}/2"


def test_a_checkpoint_given_up_since_the_clone_leaves_a_way_on(store: Store, open_page: OpenPage) -> None:
    source = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    test = open_page("train")
    press(test, "Train further")

    runs.give_up_checkpoints(store, source.id, [2])
    test.run()

    assert "The checkpoint of epoch 2 was not kept" in texts(test)
    widget(test, "selectbox", "Start from").set_value(source.id).run()
    assert not test.exception
    widget(test, "selectbox", "Epoch").set_value(1).run()
    press(test, "Start training")
    assert training.list_runs(store)[0].config.start_from == f"{source.id}/1"


def test_a_chosen_epoch_that_is_given_up_is_refused_and_not_exchanged_for_another(
    store: Store, open_page: OpenPage
) -> None:
    source = finish_run(store, project_with(store, "dent", "scratch"), epochs=3)
    test = open_page("train")
    widget(test, "selectbox", "Start from").set_value(source.id).run()
    widget(test, "selectbox", "Epoch").set_value(2).run()
    runs.give_up_checkpoints(store, source.id, [2])

    press(test, "Start training")
    test.run()

    assert [run.id for run in training.list_runs(store)] == [source.id]
    assert "The checkpoint of epoch 2 was not kept" in texts(test)
    epochs = widget(test, "selectbox", "Epoch")
    assert [option.split(" (")[0] for option in epochs.options] == ["1", "2", "3"]
    assert (epochs.value, epochs.options[1]) == (2, "2 (not kept)")
    epochs.set_value(1).run()
    press(test, "Start training")
    assert training.list_runs(store)[0].config.start_from == f"{source.id}/1"


def test_waiting_runs_say_their_place_and_why_and_one_can_be_put_first(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    first, second = queued(store, project), queued(store, project)
    test = open_page("train")
    assert "Number 1 in the queue. No worker is running." in texts(test)

    reported.report(store, worker_report("desk"))
    test.run()

    assert "Number 1 in the queue. It starts in a moment." in texts(test)
    assert "Number 2 in the queue. Behind 1 other." in texts(test)
    test.button(key=f"run_first_{second.id}").click().run()
    assert [waiting.run.id for waiting in training.queue(store)] == [second.id, first.id]


def test_a_silent_run_says_since_when_instead_of_how_long_it_takes(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    queued(store, project)
    claim = running(store, progress={"phase": "training", "epoch": 1, "eta_seconds": 90})
    test = open_page("train")
    assert any("about 90 s left" in text or "about 2 min left" in text for text in progress_texts(test))

    silent_since = tables.now() - timedelta(seconds=20)
    with store.write() as connection:
        of_claim = tables.run.c.id == claim.work_id
        values = {"heartbeat_at": silent_since, "suspected_at": tables.now()}
        connection.execute(sa.update(tables.run).where(of_claim).values(values))
    test.run()

    assert "No sign of life since " in texts(test)
    assert not any("left" in text for text in progress_texts(test))


def test_a_running_run_shows_where_it_computes_and_what_it_went_through(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    reported.report(store, worker_report("box", gpus=2))
    queued(store, project)
    running(store, device="NVIDIA T4", crashes=2)

    said = texts(open_page("train"))

    assert "NVIDIA T4 · 4.0 of 16 GB · 50% busy" in said
    assert "Interrupted 2 times since its last epoch; it goes on by itself." in said


@pytest.mark.parametrize(
    ("crashes", "sentence"),
    [
        (2, "Interrupted 2 times since its last epoch (no sign of life). It goes on by itself"),
        (
            3,
            "Interrupted 3 times since its last epoch (no sign of life). It does not go on by itself",
        ),
    ],
)
def test_an_interrupted_run_says_whether_it_goes_on_by_itself(
    store: Store, project: Project, open_page: OpenPage, crashes: int, sentence: str
) -> None:
    queued(store, project)
    claim = running(store, crashes=crashes - 1)
    lifecycle.interrupt(store, RUNS, claim, "no sign of life")

    test = open_page("train")

    assert sentence in texts(test)
    press(test, "Resume")
    assert training.list_runs(store)[0].state is WorkState.QUEUED


def test_gpus_are_asked_for_only_where_a_worker_has_several(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    reported.report(store, worker_report("desk"))
    test = open_page("train")
    assert "GPUs" not in [element.label for element in test.number_input]

    reported.report(store, worker_report("box", gpus=4))
    test.run()

    widget(test, "number_input", "GPUs").set_value(3)
    press(test, "Start training")
    assert training.list_runs(store)[0].config.devices == 3


def test_chosen_gpus_stay_chosen_while_their_machine_is_not_heard_of(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    reported.report(store, worker_report("box", gpus=4))
    test = open_page("train")
    widget(test, "number_input", "GPUs").set_value(3).run()

    with store.write() as connection:
        away = {"heartbeat_at": tables.now() - timedelta(seconds=60)}
        connection.execute(sa.update(tables.worker).values(away))
    test.run()

    assert widget(test, "number_input", "GPUs").value == 3
    assert "No machine that is here has as many; the run waits for one." in texts(test)
    test.run()
    press(test, "Start training")
    assert training.list_runs(store)[0].config.devices == 3
    reported.report(store, worker_report("box", gpus=4))
    test.run()
    assert widget(test, "number_input", "GPUs").value == 3
    widget(test, "number_input", "GPUs").set_value(4).run()
    assert widget(test, "number_input", "GPUs").value == 4


def test_the_disk_budget_says_what_a_run_will_keep(store: Store, open_page: OpenPage) -> None:
    finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    test = open_page("train")
    assert "Keeps up to 8 checkpoints; what one takes is known after the first epoch" in texts(test)

    with store.write() as connection:
        connection.execute(sa.update(tables.epoch).values(checkpoint_bytes=150 << 20))
    reported.report(store, worker_report("desk", usage={"free_disk_bytes": 1 << 30}))
    test.run()
    assert "Keeps up to 8 checkpoints of 150 MB: 1.2 GB." in texts(test)
    assert "Checkpoints of all runs: 300 MB so far." in texts(test)
    assert "Keep fewer, or free some space." in texts(test)

    widget(test, "selectbox", "Checkpoints to keep").set_value("best").run()

    assert "Keeps up to 4 checkpoints of 150 MB: 600 MB." in texts(test)
    assert "Keep fewer" not in texts(test)


def test_the_pictures_that_a_run_will_keep_are_announced(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    add_image(store, project, 7, square(1), split="valid")
    test = open_page("train")
    assert "Pictures of 2 validation photos at each of 8 epochs: less than 1 MB." in texts(test)
    with store.write() as connection:
        connection.execute(sa.update(tables.image).values(width=4096, height=3072))
    test.run()
    assert "Pictures of 2 validation photos at each of 8 epochs: up to about 4 MB." in texts(test)

    widget(test, "number_input", "Pictures of validation photos").set_value(1).run()
    assert "Pictures of 1 of 2 validation photos at each of 8 epochs: up to about 2 MB." in texts(test)
    press(test, "Start training")
    assert training.list_runs(store)[0].config.pictures == 1
    widget(test, "number_input", "Pictures of validation photos").set_value(0).run()
    assert "No pictures of validation photos." in texts(test)


def test_pictures_of_an_earlier_run_say_what_the_next_ones_take(store: Store, open_page: OpenPage) -> None:
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    for prediction, _ in runs.picture_keys(store, run.id, 1).values():
        store.blobs.put(prediction, b"\0" * (3 << 20))
    test = open_page("train")

    assert "Pictures of 2 validation photos at each of 8 epochs: about 48 MB." in texts(test)
    reported.report(store, worker_report("desk", usage={"free_disk_bytes": 50 << 20}))
    test.run()
    assert "Keep fewer, or free some space." in texts(test), "pictures alone can fill a disk"


def test_a_stopped_run_is_resumed_from_its_card(store: Store, project: Project, open_page: OpenPage) -> None:
    run = queued(store, project)
    test = open_page("train")
    press(test, "Stop")
    assert training.get_run(store, run.id).state is WorkState.CANCELLED

    press(test, "Resume")

    assert training.get_run(store, run.id).state is WorkState.QUEUED


def test_a_run_is_looked_at_from_its_card(store: Store, open_page: OpenPage) -> None:
    first = finish_run(store, project_with(store, "dent", "scratch"), epochs=2)
    finish_copy(store, first, 0.9)
    test = open_page("train")

    test.button(key=f"review_{first.id}").click().run()

    assert not test.exception
    assert test.title[0].value == "Review"
    assert test.selectbox(key="review_run").value == first.id


def test_without_a_run_the_page_names_no_side_of_the_screen(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    test = open_page("train")
    assert "Start one; it goes on in the background." in texts(test)

    run = queued(store, project)
    test.run()

    assert "review" not in "".join(str(button.key) for button in test.button), "there is nothing to see yet"
    assert "left" not in test.button(key=f"clone_{run.id}").help


def test_older_runs_are_a_click_away(store: Store, project: Project, open_page: OpenPage) -> None:
    for _ in range(12):
        training.cancel(store, queued(store, project).id)
    test = open_page("train")
    assert "**Fast 1**" not in texts(test)

    press(test, "Show 2 more")

    assert "**Fast 1**" in texts(test)


def test_a_card_and_a_published_system_set_the_settings(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    test = open_page("train")
    test.button(key="choose_balanced").click().run()
    assert widget(test, "select_slider", "Image size in pixels").value == 384

    widget(test, "selectbox", "Published systems").set_value("road-unet").run()

    assert not test.exception
    assert "Dice loss, Adam 0.0005" in texts(test) and "Starts from: Random weights." in texts(test)
    assert [button.key for button in test.button if button.label == "Chosen"] == []
    press(test, "Start training")
    (run,) = training.list_runs(store)
    assert run.config == PRESETS["road-unet"].config and run.name == "U-Net from scratch 1"


@pytest.mark.parametrize("preset", PRESETS)
def test_each_presets_settings_can_be_shown_and_stay_what_they_are(
    store: Store, project: Project, open_page: OpenPage, preset: str
) -> None:
    first = queued(store, project, **asdict(PRESETS[preset].config))
    test = open_page("train")

    press(test, "Clone")
    press(test, "Start training")

    newest = training.list_runs(store, project.id)[0]
    assert newest.id != first.id
    assert newest.config == first.config


def test_a_measured_recipe_shows_its_time_and_memory_and_warns_where_it_does_not_fit(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    reported.report(store, worker_report("desk", usage={"memory_bytes": 4 << 30}))
    finish(store, recipes.measure(store, PRESETS["fast"].config, 1).id, RESULT | {"host": "desk"})

    test = open_page("train")

    # 8 epochs of 480 images at 0.1 s, and of 1 image at 0.02 s and 0.01 s per megapixel; growing sides.
    assert ":material/timer: 4 min  :material/memory: 9.0 GB" in texts(test)
    assert "on NVIDIA T4, 9.0 GB of memory at its peak" in texts(test)
    assert "At batch 8 this needs about 9.0 GB, and the machine has 4.0 GB: batch 2 with 4" in texts(test)


def test_what_the_network_will_see_is_shown_when_asked_for(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    test = open_page("train")
    assert len(test.get("image")) == 0

    widget(test, "toggle", "Show what the network will see").set_value(True).run()

    assert not test.exception
    assert [len(picture.value) for picture in test.get("image")] == [1, 1], "the photos in train"
    assert "256 px a side, as in the last epoch" in texts(test)


def test_a_search_for_the_rate_is_shown_and_its_suggestion_taken(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    test = open_page("train")
    test.button(key="search_rate").click().run()
    (job,) = jobs.waiting(store)
    assert (job.kind, job.payload["steps"]) == ("find_rate", 100)
    points = [[1e-5, 2.0], [1e-4, 1.8], [1e-3, 1.0], [1e-2, 3.0]]
    found = {"points": points, "smoothed": [2.0, 1.8, 1.0, 3.0], "suggestion": 0.0004, "rule": "Steepest."}
    finish(store, job.id, found)

    test.run()
    press(test, "Use 0.0004")

    assert widget(test, "number_input", "Peak learning rate").value == 0.0004
    assert widget(test, "number_input", "Peak rate of the encoder").value == pytest.approx(0.0004)


def test_a_file_of_weights_can_be_the_start(store: Store, project: Project, open_page: OpenPage) -> None:
    kept = start_weights.keep(store, "mine.safetensors", save_safetensors({"a": np.zeros(2, np.float32)}))
    test = open_page("train")

    widget(test, "selectbox", "Start from").set_value(kept.sha256).run()
    press(test, "Start training")

    assert training.list_runs(store)[0].config.start_weights == kept.sha256
    press(test, "Clone")
    assert widget(test, "selectbox", "Start from").value == kept.sha256
    widget(test, "selectbox", "Start from").set_value("").run()
    press(test, "Start training")
    assert training.list_runs(store)[0].config.start_weights == ""


def test_what_a_machine_without_trainings_would_measure_is_not_asked_for(
    store: Store, project: Project, open_page: OpenPage
) -> None:
    reported.report(store, replace(worker_report("desk"), lanes=("job",)))

    test = open_page("train")

    assert not test.exception
    assert jobs.waiting(store) == []
