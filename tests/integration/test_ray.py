"""Runs on a real Ray cluster on loopback: submitted, followed, stopped, lost and found again."""

import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from core.domain.runs import Run, WorkState
from core.domain.training import TrainingConfig
from core.services import training
from core.storage import lifecycle, projects, reservations, runs, versions
from core.storage.lifecycle import RUNS, OwnedWork
from core.storage.processes import is_alive
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker.launching import Patience
from core.worker.ray import FULL, RayLauncher
from core.worker.ray_client import PENDING, Refused, Submission
from core.worker.supervisor import LANES, Supervisor
from tests.integration.ray_head import RayHead, environment_of
from tests.worker.builders import Workers, add_labelled_photo, kill, wait_until

pytestmark = pytest.mark.integration

QUICK = Patience(poll=0.1, cancel=1, terminate=1, report=1)
SPLITS = ("train", "train", "train", "train", "valid")
START_TIMEOUT_SECONDS = 30  # of Ray, for a job that it has no room for
ENDLESS = 500  # epochs

Queue = Callable[..., Run]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Generator[pytest.MonkeyPatch]:
    """The environment of the worker; the cluster has the same token and the same home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("MASKWRIGHT_HOME", str(home))
        for name in ("MASKWRIGHT_DATABASE_URL", "MASKWRIGHT_BLOBS", "MASKWRIGHT_ENV_FILE"):
            patch.delenv(name, raising=False)
        yield patch


@pytest.fixture(scope="module")
def head(servers: Path, settings: pytest.MonkeyPatch) -> Generator[RayHead]:
    """A cluster of one machine with two declared GPUs."""
    head = RayHead(servers, {"RAY_JOB_START_TIMEOUT_SECONDS": str(START_TIMEOUT_SECONDS)})
    settings.setenv("MASKWRIGHT_RAY_ADDRESS", head.address)
    try:
        head.start()
        yield head
    finally:
        head.stop()


@pytest.fixture(scope="module")
def store(settings: pytest.MonkeyPatch) -> Generator[Store]:
    opened = open_store(Settings())
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="module")
def queue(store: Store) -> Queue:
    """Queues a training of a small network on five drawn photos."""
    project = projects.create(store, "Cars")
    with store.write() as connection:
        projects.add_category(connection, project.id, "dent")
    project = projects.get(store, project.id)
    items = [add_labelled_photo(store, project, number, split) for number, split in enumerate(SPLITS)]
    version = versions.freeze(store, project.id, project.categories, items)

    def queue(name: str, epochs: int = 1, devices: int = 1) -> Run:
        config = TrainingConfig(
            size=64,
            epochs=epochs,
            batch_size=2 * devices,
            encoder_weights="none",
            threads=1,
            devices=devices,
        )
        return runs.create(store, project.id, version.id, config, name)

    return queue


@pytest.fixture
def launcher(store: Store, head: RayHead) -> Generator[RayLauncher]:
    """The launcher under test; whatever waits or runs when the test ends is cancelled."""
    launcher = RayLauncher(store, LANES["run"], head.address, QUICK, full_seconds=1)
    yield launcher
    for run in runs.list_of(store):
        if not run.state.is_final:
            lifecycle.request_cancel(store, RUNS, run.id)
    serve(launcher, lambda: is_idle(launcher))


@pytest.fixture
def workers(store: Store) -> Generator[Workers]:
    started = Workers(store)
    yield started
    for process in started.started:
        if process.poll() is None:
            process.kill()
        process.wait()


def serve(launcher: RayLauncher, is_true: Callable[[], object], seconds: float = 300) -> None:
    """Be the supervisor until something is true."""
    supervisor = Supervisor(launcher.store, [launcher], QUICK)
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, [(r.name, r.state, r.error) for r in runs.list_of(launcher.store)]
        supervisor.round()
        time.sleep(QUICK.poll)


def is_idle(launcher: RayLauncher) -> bool:
    store = launcher.store
    held = reservations.left_behind(store, RUNS, launcher.host)
    return not (lifecycle.active(store, RUNS) or held or lifecycle.has_queued(store, RUNS))


def state_of(store: Store, run: Run) -> WorkState:
    return runs.get(store, run.id).state


def is_under_way(store: Store, run: Run, epochs: int = 0) -> bool:
    """Tell whether it runs and has so many complete epochs."""
    now = runs.get(store, run.id)
    assert not now.state.is_final, now.error
    return now.state is WorkState.RUNNING and now.epochs_done >= epochs


def work_of(store: Store, run: Run) -> OwnedWork:
    (work,) = [work for work in lifecycle.active(store, RUNS) if work.claim.work_id == run.id]
    return work


def visible_gpus(work: OwnedWork) -> list[str]:
    """Give the GPUs that Ray lets an attempt's process see."""
    assert work.process is not None
    (found,) = [v for v in environment_of(work.process.pid) if v.startswith(b"CUDA_VISIBLE_DEVICES=")]
    return found.decode().partition("=")[2].split(",")


def kinds(store: Store, run: Run) -> list[str]:
    return [event.kind for event in lifecycle.events(store, [run.id])]


def attempts_of_epochs(store: Store, run: Run) -> dict[int, int]:
    return {epoch.epoch: epoch.attempt for epoch in runs.epochs(store, run.id)}


def status_of(launcher: RayLauncher, submission: str) -> str:
    job = launcher.client.job(submission)
    return job.status if job else "unknown"


def job_as_anyone_sees_it(launcher: RayLauncher, work: OwnedWork) -> dict[str, Any]:
    """Give all that the cluster tells those who have its token."""
    headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    request = Request(f"{launcher.client.address}/api/jobs/{work.submission}", headers=headers)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def log_of(store: Store, run: Run) -> str:
    return (store.home / "logs" / f"{run.id}.log").read_text()


def test_the_cluster_for_these_tests_is_closed_to_other_machines(head: RayHead) -> None:
    assert head.listeners_beyond_loopback() == []


def test_a_run_goes_through_the_cluster_though_its_worker_is_killed_and_replaced(
    store: Store, launcher: RayLauncher, queue: Queue, workers: Workers
) -> None:
    run = queue("Adopted")
    worker = workers.start("lanes=('run',)")
    wait_until(lambda: is_under_way(store, run), 120)
    work = work_of(store, run)
    submission = work.submission
    assert submission is not None

    worker.kill()
    worker.wait()
    job = launcher.client.job(submission)
    successor = workers.start("lanes=('run',), once=True")

    assert successor.wait(300) == 0
    done = runs.get(store, run.id)
    assert (done.state, done.attempt, done.error) == (WorkState.SUCCEEDED, 1, "")
    assert kinds(store, run) == ["dispatched", "running", "succeeded"]
    assert job is not None and job.status == "RUNNING"
    assert submission == f"maskwright-{run.id}-a1"
    assert len(work.gpu_ids) == 1
    assert done.host == launcher.host
    assert "succeeded" in log_of(store, run)
    assert is_idle(launcher)


def test_two_runs_get_a_gpu_each_and_stop_when_they_are_asked_even_one_that_hangs(
    store: Store, launcher: RayLauncher, queue: Queue
) -> None:
    pair = [queue("Hangs", ENDLESS), queue("Reacts", ENDLESS)]
    serve(launcher, lambda: all(is_under_way(store, run) for run in pair))
    works = [work_of(store, run) for run in pair]
    gpus = [visible_gpus(work) for work in works]
    assert works[0].process is not None and works[1].process is not None
    os.kill(works[0].process.pid, signal.SIGSTOP)

    for run in pair:
        lifecycle.request_cancel(store, RUNS, run.id)
    serve(launcher, lambda: is_idle(launcher))

    assert sorted(gpus) == [["0"], ["1"]]
    assert [state_of(store, run) for run in pair] == [WorkState.CANCELLED] * 2
    assert not is_alive(works[0].process) and not is_alive(works[1].process)


def test_a_killed_run_goes_on_by_itself_after_its_last_epoch(
    store: Store, launcher: RayLauncher, queue: Queue
) -> None:
    run = queue("Killed", epochs=3)
    serve(launcher, lambda: is_under_way(store, run, epochs=1))
    process = work_of(store, run).process
    assert process is not None

    kill(process)
    serve(launcher, lambda: state_of(store, run).is_final)

    done = runs.get(store, run.id)
    assert (done.state, done.attempt) == (WorkState.SUCCEEDED, 2), done.error
    attempts = attempts_of_epochs(store, run)
    assert list(attempts) == [1, 2, 3] and attempts[1] == 1
    assert kinds(store, run) == [
        *("dispatched", "running", "interrupted", "queued"),
        *("dispatched", "running", "succeeded"),
    ]


def test_a_run_for_more_gpus_than_any_machine_has_is_not_submitted(
    store: Store, launcher: RayLauncher, queue: Queue
) -> None:
    run = queue("Too large", devices=8)

    serve(launcher, lambda: "no machine that is here has more than 2" in training.waiting_reason(store, run))

    assert (state_of(store, run), runs.get(store, run.id).attempt) == (WorkState.QUEUED, 0)
    assert launcher.client.job(f"maskwright-{run.id}-a1") is None


def test_a_run_that_waits_in_a_full_cluster_says_so_outlives_rays_patience_and_is_cancelled_at_once(
    store: Store, launcher: RayLauncher, queue: Queue
) -> None:
    launcher.client.submit(Submission("somebody-else", "exec sleep 600", 2, 0))
    wait_until(lambda: status_of(launcher, "somebody-else") == "RUNNING", 30)
    run = queue("Finds no room")

    serve(launcher, lambda: runs.get(store, run.id).error == FULL)
    first = work_of(store, run).submission
    serve(launcher, lambda: runs.get(store, run.id).attempt == 2, 4 * START_TIMEOUT_SECONDS)
    serve(launcher, lambda: status_of(launcher, f"maskwright-{run.id}-a2") == PENDING)
    lifecycle.request_cancel(store, RUNS, run.id)
    serve(launcher, lambda: is_idle(launcher), 10)
    launcher.client.stop("somebody-else")
    wait_until(lambda: status_of(launcher, f"maskwright-{run.id}-a2") == "STOPPED", 30)

    assert first == f"maskwright-{run.id}-a1"
    assert kinds(store, run) == ["dispatched", "queued", "dispatched", "cancel requested", "cancelled"]
    assert not (store.home / "logs" / f"{run.id}.log").exists() or "owns this run" in log_of(store, run)


def test_a_claim_whose_job_was_never_submitted_goes_back_and_one_submitted_twice_runs_once(
    store: Store, launcher: RayLauncher, queue: Queue
) -> None:
    run = queue("Forgotten", ENDLESS)
    room = launcher.room()
    assert room is not None
    claim = lifecycle.claim(store, RUNS, launcher.host, room, submission=launcher.submission)
    assert claim is not None  # and here the worker dies

    serve(launcher, lambda: is_under_way(store, run))
    work = work_of(store, run)
    launcher.launch(work)
    job = job_as_anyone_sees_it(launcher, work)

    assert kinds(store, run)[:3] == ["dispatched", "queued", "dispatched"]
    assert work.claim.attempt == 2
    assert state_of(store, run) is WorkState.RUNNING
    assert job["metadata"] == {"job_name": "Forgotten", "maskwright_project": "Cars"}
    assert str(store.home) not in str(job) and "DATABASE_URL" not in str(job)


def test_a_job_that_cannot_start_on_the_cluster_fails_and_says_why(
    store: Store, launcher: RayLauncher, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_RAY_PYTHON", "/nowhere/python")
    run = queue("No such Python")

    serve(launcher, lambda: state_of(store, run).is_final)

    error = runs.get(store, run.id).error
    assert error.startswith("It could not be started on the Ray cluster: ")
    assert "/nowhere/python" in error


def test_without_the_clusters_token_nothing_is_claimed_and_the_worker_says_why(
    store: Store, launcher: RayLauncher, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    run = queue("Shut out")
    with pytest.raises(Refused):
        launcher.client.version()

    serve(launcher, lambda: "refuses this worker" in launcher.offer().note)

    assert launcher.room() is None
    assert (state_of(store, run), runs.get(store, run.id).attempt) == (WorkState.QUEUED, 0)


def test_when_the_whole_head_is_killed_its_run_goes_on_even_without_gpus_and_the_waiting_one_follows(
    store: Store, head: RayHead, launcher: RayLauncher, queue: Queue
) -> None:
    pair = queue("On both GPUs", ENDLESS, devices=2)
    serve(launcher, lambda: is_under_way(store, pair, epochs=1))
    waiting = queue("Waits")
    work = work_of(store, pair)
    gpus = visible_gpus(work)

    head.kill()
    wait_until(lambda: not any(is_alive(process) for process in work.processes), 60)
    serve(launcher, lambda: "does not answer" in launcher.offer().note)
    states_without_head = [state_of(store, run) for run in (pair, waiting)]
    head.gpus = 0
    head.start()
    serve(launcher, lambda: 2 in attempts_of_epochs(store, pair).values())
    gpus_afterwards = visible_gpus(work_of(store, pair))
    lifecycle.request_cancel(store, RUNS, pair.id)
    serve(launcher, lambda: state_of(store, waiting).is_final)

    assert (sorted(gpus), gpus_afterwards) == (["0", "1"], [""])
    assert len(work.processes) == 3  # torchrun and its two
    assert states_without_head == [WorkState.RUNNING, WorkState.QUEUED]
    attempts = attempts_of_epochs(store, pair)
    assert list(attempts) == list(range(1, len(attempts) + 1))  # no epoch is missing
    assert list(attempts.values()) == sorted(attempts.values()) and attempts[1] == 1
    followed = runs.get(store, waiting.id)
    assert (followed.state, followed.attempt) == (WorkState.SUCCEEDED, 1), followed.error
