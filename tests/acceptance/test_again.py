"""A run again, a run on from a checkpoint, and the queue, by the command line."""

from typing import Any

import pytest

from core.domain.labels import ImageState
from core.domain.runs import OF_THE_MACHINE
from core.storage import annotations, images, projects, runs
from core.storage.images import ImageFilter
from tests.acceptance.command_line import CommandLine
from tests.builders import add_image, project_with, square

pytestmark = pytest.mark.acceptance

SMALL = {
    "size": "64",
    "batch_size": "2",
    "encoder_weights": "none",
    "threads": "1",
    "keep": "best:1",
    "epoch_images": "0",
    "deterministic": "true",  # else the memory layout is the one that two timed steps prefer
}


@pytest.fixture(scope="module")
def first(cli: CommandLine) -> dict[str, Any]:
    """A run of two epochs on six small photos; then a label was changed."""
    store = cli.store()
    project = project_with(store, "dent", "rust")
    project_with(store, "dent", name="Bikes")
    for seed in range(6):
        split = "train" if seed < 4 else "valid"
        add_image(store, project, seed, square(1, 5 + seed), square(2, 40, 20, 15), split=split)
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    answer = cli.json("train", "--project", "Cars", "--epochs", "2", *settings, "--wait")
    assert answer["state"] == "succeeded", answer
    image = images.list_page(store, project.id, ImageFilter())[0]
    annotations.save(store, image.id, [square(1, 60)], base_rev=1, state=ImageState.DONE)
    return shown(cli, answer["run"])


def shown(cli: CommandLine, run_id: str) -> dict[str, Any]:
    """Give what `runs` says of one run."""
    return next(run for run in cli.json("runs", "--project", "Cars") if run["run"] == run_id)


def figures(run: dict[str, Any]) -> list[dict[str, float]]:
    """Give the metrics of all epochs, but for the speed."""
    return [{k: v for k, v in e["metrics"].items() if k not in OF_THE_MACHINE} for e in run["epochs"]]


def test_a_run_is_repeated_to_the_same_figures_after_the_labels_changed(
    cli: CommandLine, first: dict[str, Any]
) -> None:
    done = cli.run("train", "--from", first["run"], "--wait")

    assert done.returncode == 0, done.stderr
    again = shown(cli, done.stdout.strip())
    assert (again["config"], again["data_version"]) == (first["config"], first["data_version"])
    assert figures(again) == figures(first)
    assert again["machine"] and again["host"] == again["machine"]


def test_a_repeated_run_takes_changes_and_a_priority(cli: CommandLine, first: dict[str, Any]) -> None:
    words = ("--project", "Cars", "--epochs", "5", "--set", "seed=9", "--priority", "7")

    answer = cli.json("train", "--from", first["run"], *words)

    queued = shown(cli, answer["run"])
    assert queued["config"] == {**first["config"], "epochs": 5, "seed": 9}
    assert (queued["priority"], queued["data_version"]) == (7, first["data_version"])
    assert (queued["state"], queued["waiting"]) == ("queued", "No worker is running.")
    assert cli.json("cancel", answer["run"]) == {"run": answer["run"], "state": "cancelled"}
    assert cli.json("resume", answer["run"]) == {"run": answer["run"], "state": "queued"}
    assert cli.json("cancel", answer["run"])["state"] == "cancelled"


def test_a_run_goes_on_from_the_best_checkpoint_on_the_labels_of_now(
    cli: CommandLine, first: dict[str, Any]
) -> None:
    best = max(first["epochs"], key=lambda e: (e["metrics"]["val_miou_foreground"], -e["epoch"]))["epoch"]

    answer = cli.json("train", "--continue", first["run"], "--project", "Cars", "--epochs", "1", "--wait")

    assert answer["state"] == "succeeded", answer
    further = shown(cli, answer["run"])
    assert further["start_from"] == f"{first['run']}/{best}"
    assert further["config"]["size"] == 64 and further["config"]["epochs"] == 1
    assert further["data_version"] != first["data_version"]
    assert "starting from" in cli.run("log", answer["run"]).stdout


def test_an_epoch_can_be_named_to_go_on_from(cli: CommandLine, first: dict[str, Any]) -> None:
    answer = cli.json("train", "--continue", f"{first['run']}:2", "--project", "Cars")

    assert shown(cli, answer["run"])["start_from"] == f"{first['run']}/2"
    cli.json("cancel", answer["run"])


def test_a_worker_of_jobs_alone_leaves_trainings_to_others(cli: CommandLine, first: dict[str, Any]) -> None:
    queued = cli.json("train", "--from", first["run"])["run"]

    done = cli.run("worker", "--once", "--lane", "job")

    assert done.returncode == 0, done.stderr
    assert shown(cli, queued)["state"] == "queued"
    assert cli.json("workers") == [], "it left in order"
    cli.json("cancel", queued)


def test_the_command_line_refuses_what_does_not_fit(cli: CommandLine, first: dict[str, Any]) -> None:
    store, run = cli.store(), first["run"]
    project = projects.by_name(store, "Cars")
    other = next(e["epoch"] for e in first["epochs"])
    runs.give_up_checkpoints(store, run, [other])
    number_of_runs = len(runs.list_of(store, project.id))
    refusals = {
        ("train",): "Name the project: --project NAME.",
        ("train", "--from", run, "--continue", run): "Choose one: --from repeats a run",
        ("train", "--from", run, "--preset", "fast"): "--preset goes without --from",
        ("train", "--from", run, "--project", "Bikes"): "is not a run of the project “Bikes”.",
        ("train", "--from", run, "--set", "valid_share=0.5"): "valid_share would choose other photos",
        ("train", "--from", "01a1fe59"): "There is no run “01a1fe59”",
        ("train", "--continue", run): "Name the project: --project NAME.",
        ("train", "--continue", f"{run}:9", "--project", "Cars"): "has no epoch 9",
        ("train", "--continue", f"{run}:{other}", "--project", "Cars"): f"epoch {other} was not kept",
        ("train", "--project", "Cars", "--set", f"start_from={run}"): "start_from must be RUN/EPOCH",
        ("evaluate", run, "--epoch", str(other)): f"The checkpoint of epoch {other} was not kept",
        ("promote", run, str(other)): "this run keeps the best and the last",
        ("resume", run): "is succeeded; there is nothing to resume.",
        ("cancel", run): "is over already: succeeded.",
        ("worker", "--lane", "gpu"): "There is no lane “gpu”. There are: run, job.",
    }

    for words, sentence in refusals.items():
        done = cli.run(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert sentence in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert len(runs.list_of(store, project.id)) == number_of_runs
