"""MLflow: what a real server knows of a run, and what a run does when the server is away."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import AppError, Cancelled
from core.domain.images import Project
from core.domain.runs import Epoch, Run, WorkState
from core.domain.training import DataVersion
from core.storage import lifecycle, runs, versions
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from core.worker.__main__ import Terminated
from core.worker.frozen import find_source
from core.worker.mlflow import CLIENT_SETTINGS, open_mlflow
from core.worker.trackers import Trackers
from tests.integration.conftest import Server, free_port
from tests.worker.builders import Workers, wait_until
from tests.worker.event_files import event_files, read_points

pytestmark = pytest.mark.integration

STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_TRACKING_URI": "",
}


@dataclass(frozen=True)
class Mlflow:
    """A server, and its REST API."""

    url: str
    process: Server

    def post(self, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/{path}", data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def runs_in(self, experiment: str) -> list[Any]:
        """List what the server knows of the runs in an experiment; none where there is no such one."""
        found = self.post("experiments/search", filter=f"name = '{experiment}'", max_results=5)
        ids = [known["experiment_id"] for known in found.get("experiments", [])]
        if not ids:
            return []
        return self.post("runs/search", experiment_ids=ids).get("runs", [])

    def history(self, run: Any, metric: str) -> list[tuple[int, float, int]]:
        """Give all points of a metric: step, value, time in ms."""
        words = f"run_uuid={run['info']['run_id']}&metric_key={urllib.request.quote(metric)}"
        address = f"{self.url}/api/2.0/mlflow/metrics/get-history?{words}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            points = json.load(answer).get("metrics", [])
        return [(int(p.get("step", 0)), p["value"], int(p["timestamp"])) for p in points]


@pytest.fixture(scope="module")
def mlflow(servers: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Mlflow]:
    """An MLflow server on SQLite, on a free port of loopback."""
    folder = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    what = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]
    command = [servers / "mlflow", "server", *where, *what]
    server = Server(command, SERVER_SETTINGS, folder / "log", lambda: is_up(f"{url}/health"))
    try:
        server.start()
        yield Mlflow(url, server)
    finally:
        server.kill()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(autouse=True)
def experiment(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name the server and an experiment of the test's own to whatever the test starts."""
    for name, value in CLIENT_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    return request.node.name


def epoch_of(run: Run, number: int) -> Epoch:
    metrics = {"train_loss": 1 / number, "val_loss": 0.1 + 0.2, "val_iou/1": None if number == 1 else 0.25}
    created = STARTED + timedelta(minutes=number)
    return Epoch(run.id, number, 1, metrics, {"train": 2.5}, "", created)


def follow(run: Run, version: DataVersion, *epochs: int, error: BaseException | None = None) -> None:
    """Follow one attempt that trains these epochs and ends so."""
    tracker = open_mlflow(run, version, "Cars")
    assert tracker is not None
    known = [epoch_of(run, number) for number in range(1, epochs[0])] if epochs else []
    with Trackers([tracker], known) as trackers:
        for number in epochs:
            trackers.epoch(epoch_of(run, number))
        if error is not None:
            raise error


@pytest.fixture
def run(queue_run: Callable[..., Run]) -> Run:
    return queue_run(epochs=5, seed=3)


@pytest.fixture
def version(store: Store, run: Run) -> DataVersion:
    return versions.get(store, run.data_version_id)


def test_an_interrupted_training_is_one_finished_run_with_every_epoch_once(
    store: Store,
    project: Project,
    queue_run: Callable[..., Run],
    workers: Workers,
    mlflow: Mlflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    run = queue_run(epochs=4)
    worker = workers.start("once=True")
    wait_until(lambda: runs.get(store, run.id).epochs_done >= 1, 240)
    (work,) = lifecycle.active(store, RUNS)
    assert work.process is not None
    os.kill(work.process.pid, signal.SIGKILL)

    assert worker.wait(400) == 0

    (known,) = mlflow.runs_in(project.name)
    done = runs.epochs(store, run.id)
    assert runs.get(store, run.id).attempt == 2
    assert (known["info"]["status"], known["info"]["run_name"]) == ("FINISHED", "test")
    for metric, key in (("loss/train", "train_loss"), ("iou/val/dent", "val_iou/1")):
        assert mlflow.history(known, metric) == [
            (epoch.epoch, epoch.metrics[key], int(epoch.created_at.timestamp() * 1000))
            for epoch in done
            if epoch.metrics[key] is not None
        ]
    check_words(known, run, versions.get(store, run.data_version_id))
    ((_, events),) = event_files(store, run.id).items()
    assert [point.step for point in read_points(events) if point.tag == "loss/train"] == [1, 2, 3, 4]


def check_words(known: Any, run: Run, version: DataVersion) -> None:
    """The configuration, the project, the data version and the commit can be read there."""
    params = {param["key"]: param.get("value", "") for param in known["data"]["params"]}
    tags = {tag["key"]: tag["value"] for tag in known["data"]["tags"]}
    assert (params["epochs"], params["encoder_weights"], params["start_from"]) == ("4", "none", "")
    assert tags["maskwright.run_id"] == run.id
    assert (tags["maskwright.project"], tags["maskwright.data_version"]) == ("Cars", version.hash)
    assert tags.get("mlflow.source.git.commit") == find_source().commit


@pytest.mark.parametrize(
    ("error", "status"),
    [(Cancelled(), "KILLED"), (AppError("Too few photos."), "FAILED"), (Terminated(), "RUNNING")],
)
def test_an_attempt_without_success_leaves_its_verdict_and_the_next_one_goes_on(
    mlflow: Mlflow, experiment: str, run: Run, version: DataVersion, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)):
        follow(run, version, 1, 2, error=error)
    (before,) = mlflow.runs_in(experiment)

    follow(run, version, 4, 5)

    (after,) = mlflow.runs_in(experiment)
    assert before["info"]["status"] == status
    assert (after["info"]["run_id"], after["info"]["status"]) == (before["info"]["run_id"], "FINISHED")
    assert [step for step, _, _ in mlflow.history(after, "loss/train")] == [1, 2, 3, 4, 5]
    assert mlflow.history(after, "loss/val")[0][1] == 0.1 + 0.2


def test_a_server_that_hangs_gets_what_it_missed_when_it_answers_again(
    mlflow: Mlflow,
    experiment: str,
    run: Run,
    version: DataVersion,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = open_mlflow(run, version, "Cars")
    assert tracker is not None

    with Trackers([tracker], [epoch_of(run, 1)], end_seconds=60) as trackers:
        wait_until(
            lambda: mlflow.runs_in(experiment) and mlflow.runs_in(experiment)[0]["data"].get("metrics")
        )
        mlflow.process.signal(signal.SIGSTOP)
        trackers.epoch(epoch_of(run, 2))
        trackers.epoch(epoch_of(run, 3))
        wait_until(lambda: "the training goes on" in caplog.text)
        mlflow.process.signal(signal.SIGCONT)
        wait_until(lambda: is_up(f"{mlflow.url}/health"))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        trackers.epoch(epoch_of(run, 4))

    (known,) = mlflow.runs_in(experiment)
    assert known["info"]["status"] == "FINISHED"
    assert [step for step, _, _ in mlflow.history(known, "loss/train")] == [1, 2, 3, 4]
    assert caplog.text.count("gets no figures now") == 1


def test_a_training_ends_well_when_the_server_dies_under_it(
    store: Store, queue_run: Callable[..., Run], workers: Workers, mlflow: Mlflow, experiment: str
) -> None:
    run = queue_run(epochs=4)
    worker = workers.start("once=True")
    wait_until(lambda: mlflow.runs_in(experiment), 240)
    mlflow.process.kill()

    try:
        assert worker.wait(400) == 0
    finally:
        mlflow.process.start()

    log = store.blobs.get(f"runs/{run.id}/log.txt").decode()
    (known,) = mlflow.runs_in(experiment)
    assert runs.get(store, run.id).state is WorkState.SUCCEEDED
    assert [epoch.epoch for epoch in runs.epochs(store, run.id)] == [1, 2, 3, 4]
    assert known["info"]["status"] == "RUNNING"
    assert log.count("gets no figures now") == 1
    assert f"MLflow at {mlflow.url} did not get all of this run." in log
