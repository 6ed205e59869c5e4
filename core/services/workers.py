"""The workers as the web process and the command line see them: their reports, a lock file, a child."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa

from core.domain.errors import AppError, FormatError
from core.domain.runs import Job, Run, WorkerInfo
from core.domain.version import VERSION
from core.services.home import Store
from core.storage import jobs, lifecycle, processes, reservations, runs
from core.storage import workers as reported
from core.storage.patience import patiently
from core.storage.sweep import sweep

LOCK = "worker.lock"
MAX_STARTS = 3
AWAY_AFTER_SECONDS = 30.0  # six reports
COMMAND = "python -m core worker"
LOCAL_NAMES = ("", "localhost", "127.0.0.1", "::1")
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """A worker's newest report, and whether it still stands."""

    info: WorkerInfo
    seconds_since: float  # since the report; 0 or more

    @property
    def is_here(self) -> bool:
        """Whether it reported lately."""
        return self.seconds_since <= AWAY_AFTER_SECONDS

    @property
    def is_current(self) -> bool:
        """Whether it is of this version."""
        return self.info.version == VERSION

    def serves(self, lane: str) -> bool:
        """Tell whether it takes work of this lane ("run" or "job") on now."""
        return self.is_here and not self.info.note and lane in self.info.lanes


@dataclass(frozen=True)
class UnderWay:
    """What is being carried out now, by host."""

    runs: dict[str, list[Run]]
    jobs: dict[str, list[Job]]
    gpus: dict[str, dict[str, str]]  # host -> GPU id -> the id of the run that holds it

    @property
    def hosts(self) -> set[str]:
        """The hosts that carry something out."""
        return {host for work in (self.runs, self.jobs) for host, found in work.items() if found}


@dataclass(frozen=True)
class StartCommands:
    """How to start another worker. Neither command holds a password.

    ``elsewhere`` starts one on another machine; where ``is_shared`` is False, the database or the
    files lie on this machine alone, and the command has placeholders in their place.
    """

    here: str
    elsewhere: str
    is_shared: bool


def list_all(store: Store) -> list[Worker]:
    """List the workers that reported within the last days, those that are here first, by name."""
    found = [Worker(info, seconds) for info, seconds in reported.list_all(store)]
    return sorted(found, key=lambda worker: (not worker.is_here, worker.info.host))


def trouble(store: Store, lane: str) -> str:
    """Say why nobody takes work of this lane ("run" or "job") on now; "" where somebody does."""
    seen = list_all(store)
    return "" if any(worker.serves(lane) for worker in seen) else nobody_serves(seen, lane)


def nobody_serves(seen: Sequence[Worker], lane: str) -> str:
    """Say why none of these workers takes work of this lane on, in one sentence."""
    here = [worker for worker in seen if worker.is_here]
    if not here:
        return "No worker is running."
    meant = [worker for worker in here if lane in worker.info.lanes]
    if not meant:
        others = "trainings only, no jobs" if lane == "job" else "jobs only, no trainings"
        return f"The workers that are here carry out {others}."
    older = next((worker.info for worker in meant if not worker.is_current and worker.info.note), None)
    if older:
        return f"The worker on {older.host} has version {older.version}. Restart it with version {VERSION}."
    return meant[0].info.note


def obstacle(store: Store, lane: str) -> str:
    """Say why nobody takes this lane's work on though this home has a worker, and what to do; "" if not so.

    While that worker is new it may just not have reported yet. A home without one is no obstacle: ``wait``
    starts it.
    """
    reason = trouble(store, lane) if is_running(store) and not _is_new(store) else ""
    if not reason:
        return ""
    what = "training" if lane == "run" else "job"
    return (
        f"{reason} The {what} waits until one takes it on: start the worker of {store.home} again, as "
        f"“{COMMAND}”, or one on another machine."
    )


def _is_new(store: Store) -> bool:
    """Tell whether the lock changed hands a moment ago."""
    return time.time() - (store.home / LOCK).stat().st_mtime < AWAY_AFTER_SECONDS


def most_devices(store: Store) -> int:
    """Give the most GPUs that one run could have on some worker that is here; 1 where there are none."""
    serving = (worker.info for worker in list_all(store) if worker.serves("run"))
    return max((min(info.largest, len(info.gpus)) for info in serving if info.gpus), default=1)


def under_way(store: Store) -> UnderWay:
    """List what is being carried out now, and who holds which GPU."""
    for table in (lifecycle.RUNS, lifecycle.JOBS):
        sweep(store, table)
    active_runs = [run for run in runs.list_of(store) if run.state.is_active]
    owned_jobs = lifecycle.active(store, lifecycle.JOBS)
    hosts = {worker.info.host for worker in list_all(store)}
    hosts |= {run.host for run in active_runs if run.host} | {work.host for work in owned_jobs}
    return UnderWay(
        runs={host: [run for run in active_runs if run.host == host] for host in hosts},
        jobs={
            host: [jobs.get(store, work.claim.work_id) for work in owned_jobs if work.host == host]
            for host in hosts
        },
        gpus={host: reservations.gpus_in_use(store, host) for host in hosts},
    )


def waiting_jobs(store: Store) -> list[Job]:
    """List the jobs that wait, in the order in which they start."""
    return jobs.waiting(store)


def start_commands(store: Store) -> StartCommands:
    """Say how to start another worker, on this machine and on another one."""
    home = f"MASKWRIGHT_HOME='{store.home.resolve()}' "
    database, is_database_shared = _shared_database(store.engine.url)
    blobs, are_blobs_shared = _shared_blobs(store.blobs.url)
    lines = (f"MASKWRIGHT_DATABASE_URL='{database}'", f"MASKWRIGHT_BLOBS='{blobs}'", COMMAND)
    return StartCommands(home + COMMAND, " \\\n".join(lines), is_database_shared and are_blobs_shared)


def is_running(store: Store) -> bool:
    """Tell whether some worker holds this home's lock."""
    path = store.home / LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def start(store: Store, *, embedded: bool = False, lanes: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start a worker process; an embedded one waits quietly for the lock instead of refusing.

    Args:
        lanes: which of "run" and "job" it serves; () is both.
    """
    log = store.home / "logs" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "core", "worker", *(["--embedded"] if embedded else [])]
    command += [word for lane in lanes for word in ("--lane", lane)]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MASKWRIGHT_HOME": str(store.home)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def embedded_lanes(setting: str) -> tuple[str, ...]:
    """Read which lanes the app's own worker serves: "1" all, "job" or "run" one of them, "0" none.

    Raises:
        FormatError: it is none of these.
    """
    known: dict[str, tuple[str, ...]] = {"1": ("run", "job"), "0": (), "job": ("job",), "run": ("run",)}
    if setting not in known:
        raise FormatError(f"MASKWRIGHT_EMBEDDED_WORKER must be 1, 0, job or run, not “{setting}”.")
    return known[setting]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a worker that ``start`` started; runs under way go on and are adopted by the next one."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait(
    store: Store,
    poll: Callable[[], T],
    is_over: Callable[[T], bool],
    on_poll: Callable[[T], None] | None = None,
    *,
    lane: str = "job",
) -> T:
    """Ask again and again until the answer is final; meant for the command line, never for a page.

    Meanwhile there is a worker: one that is there or, when there is none or it goes, one of our own,
    which ends with the waiting. A database that is out of reach is said once, in the log, and waited for.

    Args:
        lane: "run" or "job", whichever is waited for.

    Raises:
        OutOfReach: the database did not answer for ten minutes.
        AppError: no worker of our own stays alive.
    """
    with ensured(store, lane) as ensure:

        def look() -> T:
            value = poll()
            if on_poll:
                on_poll(value)
            if not is_over(value):
                ensure()
            return value

        while not is_over(value := patiently(look)):
            time.sleep(0.3)
        return value


@contextmanager
def ensured(store: Store, lane: str) -> Generator[Callable[[], None]]:
    """Give what starts a worker of our own where none serves the lane; it ends with the block.

    Meant for the command line, never for a page.

    Raises:
        AppError: by the call, when no worker of our own stays alive.
    """
    started: list[subprocess.Popen[bytes]] = []

    def ensure() -> None:
        is_starting = any(process.poll() is None for process in started)
        if is_starting or is_running(store) or _is_served_elsewhere(store, lane):
            return
        if len(started) >= MAX_STARTS:
            raise AppError(f"No worker stays alive. What it says is in {store.home / 'logs' / 'worker.log'}.")
        started.append(start(store))

    try:
        yield ensure
    finally:
        for process in started:
            stop(process)


def _is_served_elsewhere(store: Store, lane: str) -> bool:
    """Here the lock tells at once; a report stands for half a minute after its worker was killed."""
    here = processes.this_host()
    return any(worker.serves(lane) and worker.info.host != here for worker in list_all(store))


def _shared_database(url: sa.URL) -> tuple[str, bool]:
    """Give the database's address for another machine, whatever could be secret left out."""
    if url.get_backend_name() == "sqlite":
        return "postgresql://USER:PASSWORD@DATABASE_HOST/maskwright", False
    host = url.host or ""
    password = ":PASSWORD" if url.password or "password" in url.query else ""
    user = f"{url.username}{password}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    name = "DATABASE_HOST" if host in LOCAL_NAMES else host
    return f"{url.get_backend_name()}://{user}{name}{port}/{url.database or ''}", host not in LOCAL_NAMES


def _shared_blobs(url: str) -> tuple[str, bool]:
    """Give the file store's address for another machine, whatever could be secret left out."""
    if "://" not in url:
        return "s3://BUCKET/maskwright", False
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", True
