"""Trackers: what TensorBoard and MLflow are told, and that their troubles never reach the training."""

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_metric_name as refuse_bad_name
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from core.domain.errors import AppError, Cancelled, Fenced, OutOfReach, PeerLost
from core.domain.images import Project
from core.domain.labels import Category
from core.domain.runs import Epoch, Run
from core.domain.training import DataVersion, TrainingConfig
from core.storage import lifecycle, processes, projects, runs, versions
from core.storage.lifecycle import RUNS, Claim, Room
from core.storage.store import Store
from core.worker.__main__ import Terminated
from core.worker.figures import figures
from core.worker.mlflow import CLIENT_SETTINGS, open_mlflow, valid_names
from core.worker.tensorboard import TensorBoard
from core.worker.trackers import Trackers, open_trackers
from tests.worker.builders import wait_until
from tests.worker.event_files import event_files, read_events, read_points

STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CATEGORY = "Delle / klein?"


@pytest.fixture(autouse=True)
def no_server_of_the_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no MLflow server but a test's own, and leave no variable behind."""
    for name, value in {"MLFLOW_TRACKING_URI": "", **CLIENT_SETTINGS}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def project(store: Store) -> Project:
    created = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, created.id, CATEGORY)
    return projects.get(store, created.id)


@pytest.fixture
def version(store: Store, project: Project) -> DataVersion:
    return versions.freeze(store, project.id, project.categories, ())


@pytest.fixture
def run(store: Store, project: Project, version: DataVersion) -> Run:
    """A run under way in this process."""
    queued = runs.create(store, project.id, version.id, TrainingConfig(epochs=5, seed=3), "first")
    claim = lifecycle.claim(store, RUNS, processes.this_host(), Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    return runs.get(store, queued.id)


def epoch_of(run: Run, number: int) -> Epoch:
    """An epoch whose loss tells which one it is; its IoU is not defined in the first."""
    metrics = {
        "train_loss": 1 / number,
        "val_loss": 2 / number,
        "val_miou_foreground": 0.5,
        "val_iou/1": None if number == 1 else 0.25,
    }
    created = STARTED + timedelta(minutes=number)
    return Epoch(run.id, number, 1, metrics, {"train": 2.5}, f"epoch-{number}.pt", created)


def commit(store: Store, run: Run, number: int) -> Epoch:
    """Write an epoch's row, as the worker does before it tells the trackers."""
    epoch = epoch_of(run, number)
    runs.add_epoch(store, Claim(run.id, run.attempt), epoch, [])
    return epoch


@dataclass
class Notebook:
    """A tracker that writes down what it is told, but for the first calls, which fail."""

    failures: int = 0
    epochs: list[int] = field(default_factory=list)
    verdict: str = ""
    name: str = "The notebook"

    def follow(self, epochs: Sequence[Epoch]) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ConnectionError("nobody answers")
        self.epochs += [epoch.epoch for epoch in epochs]

    def end(self, verdict: str) -> None:
        self.verdict = verdict


def test_each_epoch_is_shown_once_after_an_interrupted_attempt(
    store: Store, run: Run, version: DataVersion
) -> None:
    with pytest.raises(Terminated), open_trackers(store, run, version, 1) as trackers:
        trackers.epoch(commit(store, run, 1))
        trackers.epoch(commit(store, run, 2))
        commit(store, run, 3)  # killed before the trackers heard of it
        raise Terminated

    with open_trackers(store, run, version, 2) as trackers:
        trackers.epoch(commit(store, run, 4))

    ((key, data),) = event_files(store, run.id).items()
    losses = [point for point in read_points(data) if point.tag == "loss/train"]
    assert key == f"runs/{run.id}/tensorboard/events.out.tfevents.a00002"
    assert [point.step for point in losses] == [1, 2, 3, 4]
    assert [point.value for point in losses] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert [point.wall_time for point in losses] == [
        epoch.created_at.timestamp() for epoch in runs.epochs(store, run.id)
    ]


def test_an_event_file_says_first_that_earlier_points_are_void(
    store: Store, run: Run, version: DataVersion
) -> None:
    with open_trackers(store, run, version, 1):
        pass

    ((_, data),) = event_files(store, run.id).items()
    first, second, *_ = read_events(data)
    assert first.file_version == "brain.Event:2"
    assert (second.session_log.status, second.step) == (second.session_log.START, 0)


def test_an_event_file_holds_the_configuration(store: Store, run: Run, version: DataVersion) -> None:
    with open_trackers(store, run, version, 1):
        pass

    ((_, data),) = event_files(store, run.id).items()
    values = {value.tag: value for event in read_events(data) for value in event.summary.value}
    (text,) = values["config/text_summary"].tensor.string_val
    session = HParamsPluginData.FromString(
        values["_hparams_/session_start_info"].metadata.plugin_data.content
    ).session_start_info
    assert "    seed: 3\n" in text.decode()
    assert session.hparams["epochs"].number_value == 5
    assert session.hparams["model"].string_value == "deeplabv3plus"


def test_a_tensorboard_that_has_the_file_open_sees_the_next_epoch(
    store: Store, run: Run, version: DataVersion
) -> None:
    tracker = TensorBoard(store.blobs, run, version, 1)
    tracker.follow([epoch_of(run, 1)])
    (key,) = event_files(store, run.id)

    with store.blobs.local(key).open("rb") as file:
        before = file.read()
        tracker.follow([epoch_of(run, 2)])
        added = file.read()

    assert {point.step for point in read_points(before)} == {1}
    assert {point.step for point in read_points(added)} == {2}


def test_an_event_file_that_was_cut_short_is_written_anew(
    store: Store, run: Run, version: DataVersion
) -> None:
    tracker = TensorBoard(store.blobs, run, version, 1)
    tracker.follow([epoch_of(run, 1)])
    (key,) = event_files(store, run.id)
    path = store.blobs.local(key)
    path.write_bytes(path.read_bytes()[:-5])

    tracker.follow([epoch_of(run, 2)])

    assert {point.step for point in read_points(path.read_bytes())} == {1, 2}


def test_figures_are_grouped_by_what_they_measure_and_those_without_a_value_left_out(run: Run) -> None:
    names = {1: "dent"}

    assert figures(epoch_of(run, 1), names) == {
        "loss/train": 1.0,
        "loss/val": 2.0,
        "miou_foreground/val": 0.5,
        "seconds/train": 2.5,
    }
    assert figures(epoch_of(run, 2), names)["iou/val/dent"] == 0.25


def test_an_event_file_that_cannot_be_written_is_said_once_and_made_up_for_later(
    store: Store, run: Run, version: DataVersion, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = Path(store.blobs.url) / "runs" / run.id / "tensorboard"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()

    with open_trackers(store, run, version, 1) as trackers:
        trackers.epoch(commit(store, run, 1))
        trackers.epoch(commit(store, run, 2))
    failed = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    in_the_way.unlink()
    with open_trackers(store, run, version, 2):
        pass

    ((_, data),) = event_files(store, run.id).items()
    assert [message.partition(",")[0] for message in failed] == [
        "TensorBoard gets no figures now",
        "TensorBoard did not get all of this run.",
    ]
    assert {point.step for point in read_points(data)} == {1, 2}


def test_what_a_tracker_missed_is_handed_over_in_order_when_it_answers_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    notebook = Notebook(failures=2)

    with Trackers([notebook], [epoch_of(run, 1)]) as trackers:
        for number, failures in ((2, 1), (3, 0), (4, -1)):
            wait_until(lambda failures=failures: notebook.failures == failures)
            trackers.epoch(epoch_of(run, number))

    assert (notebook.epochs, notebook.verdict) == ([1, 2, 3, 4], "FINISHED")
    assert caplog.text.count("gets no figures now") == 1
    assert "nobody answers" in caplog.text


def test_a_tracker_that_hangs_holds_nobody_up(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    answer = threading.Event()

    class Hanging(Notebook):
        def follow(self, epochs: Sequence[Epoch]) -> None:
            answer.wait()

    hanging, quick = Hanging(), Notebook()

    with Trackers([hanging, quick], [], end_seconds=0.5) as trackers:
        trackers.epoch(epoch_of(run, 1))

    assert (hanging.verdict, quick.verdict, quick.epochs) == ("", "FINISHED", [1])
    assert "The notebook did not get all of this run" in caplog.text
    answer.set()


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, "FINISHED"),
        (Cancelled(), "KILLED"),
        (AppError("Too few photos."), "FAILED"),
        (ZeroDivisionError(), "FAILED"),
        (Fenced(), ""),
        (PeerLost(), ""),
        (OutOfReach("The database is away."), ""),
        (Terminated(), ""),
        (KeyboardInterrupt(), ""),
    ],
)
def test_the_verdict_is_how_the_attempt_ends(run: Run, error: BaseException | None, verdict: str) -> None:
    notebook = Notebook()

    with contextlib.suppress(BaseException), Trackers([notebook], []) as trackers:
        trackers.epoch(epoch_of(run, 1))
        if error is not None:
            raise error

    assert (notebook.verdict, notebook.epochs) == (verdict, [1])


def test_category_names_become_ones_that_mlflow_takes_and_tells_apart() -> None:
    names = ["dent", "Kratzer (groß)", "a?b", "a*b", "A_B", "a_b/3", "..", "/", "x//y", "裂缝", "🚗:1"]
    categories = [Category(number, name, "#000000") for number, name in enumerate(names, start=1)]

    valid = valid_names(categories)

    assert (valid[1], valid[2], valid[10]) == ("dent", "Kratzer _groß_", "裂缝")
    assert len({name.casefold() for name in valid.values()}) == len(names)
    for name in valid.values():
        refuse_bad_name(f"iou/val/{name}")


def test_without_mlflows_client_its_address_is_a_warning_that_says_what_to_install(
    run: Run, version: DataVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)

    assert open_mlflow(run, version, "Cars") is None
    assert "pip install mlflow-skinny==" in caplog.text


def test_an_mlflow_server_that_is_not_there_costs_two_lines_in_the_log_and_no_password(
    store: Store,
    run: Run,
    version: DataVersion,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1/mlflow")

    with open_trackers(store, run, version, 1) as trackers:
        for number in (1, 2, 3):
            trackers.epoch(commit(store, run, number))

    ours = [record for record in caplog.records if record.name.startswith("core.")]
    assert [record.getMessage().partition(" at ")[0] for record in ours] == ["MLflow", "MLflow"]
    assert "http://127.0.0.1:1/mlflow" in caplog.text and "secret" not in caplog.text
    assert len(event_files(store, run.id)) == 1


def test_an_mlflow_server_that_hangs_does_not_hold_the_run_up(
    run: Run, version: DataVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker = open_mlflow(run, version, "Cars")
        assert tracker is not None

        with Trackers([tracker], [], end_seconds=0.1) as trackers:
            trackers.epoch(epoch_of(run, 1))

        assert f"{tracker.name} did not get all of this run" in caplog.text
    for thread in threading.enumerate():
        if thread.name == tracker.name:
            thread.join()
