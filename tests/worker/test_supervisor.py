"""The worker as a real process: what it starts, what it survives, what it takes over."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.domain.errors import AppError, FormatError
from core.domain.images import ImageFilter, Project
from core.domain.runs import Job, Process, WorkState
from core.storage import images, jobs, lifecycle, processes, reservations, tables
from core.storage import workers as reported
from core.storage.lifecycle import JOBS, Room
from core.storage.store import Store
from core.storage.sweep import GONE_AFTER_SECONDS, sweep
from core.worker.launching import ROOT, Offer, Patience, child_environment
from core.worker.local import LocalLauncher, classify_exit
from core.worker.supervisor import LANES, Supervisor, run_worker
from tests.worker.builders import SERVE, Workers, halt, photo_bytes, wait_until

PHOTOS = 150  # so that an import lasts long enough to be met under way
QUICK = Patience(poll=0.1, cancel=1, terminate=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos without labels."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        (folder / f"{number:03d}.jpg").write_bytes(photo_bytes(number % 8, seed=number))
    return folder


@pytest.fixture
def queued(store: Store, project: Project, photos: Path) -> Job:
    """An import that waits."""
    payload = {"path": str(photos), "format": "photos", "project_id": project.id, "is_temporary": False}
    return jobs.create(store, "import", payload, project.id)


def state_of(store: Store, job: Job) -> WorkState:
    return jobs.get(store, job.id).state


def process_of(store: Store, job: Job) -> Process | None:
    found = [work.process for work in lifecycle.active(store, JOBS) if work.claim.work_id == job.id]
    return found[0] if found else None


def halt_under_way(store: Store, job: Job) -> Process:
    """Wait until the job runs, and stop its process in the middle: it neither ends nor beats."""
    wait_until(lambda: state_of(store, job) is WorkState.RUNNING)
    process = process_of(store, job)
    assert process is not None
    halt(store, process)
    assert state_of(store, job) is WorkState.RUNNING
    return process


def silence(store: Store, job: Job) -> None:
    """Make the last sign of life older than a dead process of this host is granted."""
    moment = tables.now() - timedelta(seconds=GONE_AFTER_SECONDS + 1)
    with store.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(heartbeat_at=moment))


def kinds(store: Store, job: Job) -> list[str]:
    return [event.kind for event in lifecycle.events(store, [job.id])]


def test_a_worker_that_works_once_leaves_when_nothing_waits(
    store: Store, project: Project, queued: Job
) -> None:
    run_worker(store, once=True, patience=QUICK)

    done = jobs.get(store, queued.id)
    assert done.state is WorkState.SUCCEEDED, done.error
    assert done.result is not None and sum(done.result["images"].values()) == PHOTOS
    assert images.count(store, project.id, ImageFilter()) == PHOTOS
    assert reservations.left_behind(store, JOBS, processes.this_host()) == []
    assert "succeeded" in (store.home / "logs" / f"{queued.id}.log").read_text()


def test_a_job_that_refuses_fails_with_its_sentence_and_its_upload_is_deleted(
    store: Store, project: Project
) -> None:
    upload = store.home / "uploads" / "x"
    upload.mkdir(parents=True)
    (upload / "broken.zip").write_bytes(b"no zip")
    payload = {"path": str(upload / "broken.zip"), "format": "auto", "project_id": project.id}
    job = jobs.create(store, "import", payload | {"is_temporary": True, "upload": str(upload)})

    run_worker(store, once=True, patience=QUICK)

    failed = jobs.get(store, job.id)
    assert failed.state is WorkState.FAILED
    assert failed.error and "see the log" not in failed.error
    assert not upload.exists()


def test_a_killed_job_goes_on_by_itself(store: Store, queued: Job, workers: Workers) -> None:
    workers.start("once=True")
    process = halt_under_way(store, queued)

    os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: state_of(store, queued) is WorkState.SUCCEEDED)
    assert kinds(store, queued) == [
        *("dispatched", "running", "interrupted", "queued"),
        *("dispatched", "running", "succeeded"),
    ]
    assert jobs.get(store, queued.id).attempt == 2


def test_when_worker_and_job_are_killed_others_see_it_and_the_next_worker_goes_on(
    store: Store, queued: Job, workers: Workers
) -> None:
    worker = workers.start()
    process = halt_under_way(store, queued)
    worker.kill()
    os.kill(process.pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not processes.is_alive(process))
    silence(store, queued)

    sweep(store, JOBS)
    seen = state_of(store, queued)
    workers.start("once=True")
    wait_until(lambda: state_of(store, queued) is WorkState.SUCCEEDED)

    assert seen is WorkState.INTERRUPTED
    assert jobs.get(store, queued.id).attempt == 2


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_outlives_its_worker_and_the_next_worker_adopts_it(
    store: Store, queued: Job, workers: Workers, end: signal.Signals
) -> None:
    worker = workers.start()
    process = halt_under_way(store, queued)

    worker.send_signal(end)
    assert worker.wait(10) == (0 if end is signal.SIGTERM else -9)
    alive = processes.is_alive(process)
    successor = workers.start("once=True")
    time.sleep(1)
    os.kill(process.pid, signal.SIGCONT)

    assert alive
    assert successor.wait(60) == 0
    assert kinds(store, queued) == ["dispatched", "running", "succeeded"]


def test_a_cancelled_job_that_does_not_react_is_stopped_by_force_even_by_a_later_worker(
    store: Store, queued: Job, workers: Workers
) -> None:
    worker = workers.start()
    process = halt_under_way(store, queued)
    worker.terminate()
    worker.wait(10)
    lifecycle.request_cancel(store, JOBS, queued.id)

    run_worker(store, once=True, patience=QUICK)

    assert state_of(store, queued) is WorkState.CANCELLED
    assert not processes.is_alive(process)


def test_the_former_process_is_killed_before_its_work_starts_again(
    store: Store, queued: Job, workers: Workers
) -> None:
    workers.start("once=True")
    process = halt_under_way(store, queued)
    claim = lifecycle.active(store, JOBS)[0].claim

    lifecycle.interrupt(store, JOBS, claim, "swept by somebody")
    wait_until(lambda: state_of(store, queued) is WorkState.RUNNING)

    assert not processes.is_alive(process)
    wait_until(lambda: state_of(store, queued) is WorkState.SUCCEEDED)


def test_two_workers_of_one_home_do_each_job_once(
    store: Store, project: Project, photos: Path, workers: Workers
) -> None:
    payload = {"format": "photos", "project_id": project.id, "is_temporary": False}
    waiting = [
        jobs.create(store, "import", payload | {"path": str(path)}) for path in sorted(photos.iterdir())[:3]
    ]
    pair = [workers.start("embedded=True") for _ in range(2)]

    wait_until(lambda: all(state_of(store, job) is WorkState.SUCCEEDED for job in waiting))

    assert [worker.poll() for worker in pair] == [None, None]
    assert [kinds(store, job) for job in waiting] == [["dispatched", "running", "succeeded"]] * 3


def test_a_second_worker_started_by_hand_says_that_there_is_one(store: Store, workers: Workers) -> None:
    first = workers.start()
    wait_until(lambda: (store.home / "worker.lock").exists() and (store.home / "worker.lock").read_text())

    with pytest.raises(AppError, match=rf"Another worker \(process {first.pid}\) serves this home"):
        run_worker(store, once=True)


def test_an_embedded_worker_waits_and_takes_over_when_the_first_one_dies(
    store: Store, queued: Job, workers: Workers
) -> None:
    first = workers.start()
    halted = halt_under_way(store, queued)
    workers.start("embedded=True")

    first.kill()
    os.kill(halted.pid, signal.SIGCONT)

    wait_until(lambda: state_of(store, queued) is WorkState.SUCCEEDED)
    wait_until(lambda: reservations.left_behind(store, JOBS, processes.this_host()) == [])
    assert first.wait() == -9


def test_an_embedded_worker_ends_with_the_process_that_started_it(store: Store) -> None:
    serve = SERVE.format(options="embedded=True")
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {serve!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=child_environment(store))
    lock = store.home / "worker.lock"
    wait_until(lambda: lock.exists() and lock.read_text())
    worker = processes.find(int(lock.read_text()))
    assert worker is not None

    parent.kill()
    parent.wait()

    wait_until(lambda: not processes.is_alive(worker), 10)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (-9, WorkState.INTERRUPTED),
        (137, WorkState.INTERRUPTED),
        (143, WorkState.INTERRUPTED),
        (3, WorkState.INTERRUPTED),
        (0, WorkState.INTERRUPTED),
        (1, WorkState.FAILED),
        (2, WorkState.FAILED),
    ],
)
def test_a_process_that_left_without_a_verdict_is_judged_by_its_exit_code(
    store: Store, code: int, state: WorkState
) -> None:
    job = jobs.create(store, "import", {})
    claim = lifecycle.claim(store, JOBS, processes.this_host(), Room(1))
    assert claim is not None
    lifecycle.start(store, JOBS, claim, Process(1, 1, "gone"))
    (work,) = lifecycle.active(store, JOBS)

    classify_exit(store, JOBS, work, code)

    assert state_of(store, job) is state


@dataclass
class Faulty(LocalLauncher):
    """Meets a fault that has a sentence, as long as there is one."""

    of_work: str = ""
    of_offer: str = ""

    def watch(self) -> None:
        if self.of_work:
            raise FormatError(self.of_work)

    def offer(self) -> Offer:
        if self.of_offer:
            raise FormatError(self.of_offer)
        return super().offer()


def notes(store: Store) -> dict[str, str]:
    return {worker.host: worker.note for worker, _ in reported.list_all(store)}


@pytest.mark.parametrize(
    ("of_work", "of_offer", "note"),
    [("A is wrong.", "", "A is wrong."), ("", "B is wrong.", "B is wrong."), ("A.", "B.", "B. A.")],
)
def test_a_fault_of_one_lane_is_its_workers_note_and_the_other_lane_is_served(
    store: Store, caplog: pytest.LogCaptureFixture, of_work: str, of_offer: str, note: str
) -> None:
    faulty = Faulty(store, LANES["run"], host="elsewhere", of_work=of_work, of_offer=of_offer)
    served = LocalLauncher(store, LANES["job"], host="here")
    supervisor = Supervisor(store, [faulty, served], Patience(report=-1))
    job = jobs.create(store, "import", {})

    for _ in range(3):
        supervisor.round()
    (child,) = served.children.values()
    child.kill()
    child.wait()

    assert notes(store) == {"elsewhere": note, "here": ""}
    assert state_of(store, job) is not WorkState.QUEUED
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == bool(of_work)
    faulty.of_work = faulty.of_offer = ""
    supervisor.launchers = [faulty]
    for _ in range(2):
        supervisor.round()
    assert notes(store) == {"elsewhere": "", "here": ""}


def test_a_lane_with_a_fault_is_not_done(store: Store) -> None:
    faulty = Faulty(store, LANES["run"], of_work="A is wrong.")

    assert Supervisor(store, [faulty]).round() is False
    faulty.of_work = ""
    assert Supervisor(store, [faulty]).round() is True


def test_the_worker_process_loads_no_torch() -> None:
    code = "import sys, core.worker.supervisor, core.worker.handlers; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
