"""The worker: claims what is queued, starts a process for each, and watches until it is gone.

It holds no state of its own: the rows say what is under way, so a new supervisor goes on where one
was killed. It stays small and never imports torch.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.domain.errors import AppError, StorageError
from core.storage import lifecycle, processes
from core.storage.lifecycle import Claim, OwnedWork
from core.storage.store import Store
from core.training.environment import PROCESS_ENV
from core.worker.heartbeat import EXIT_FENCED
from core.worker.processes import send_signal, spawn

logger = logging.getLogger(__name__)

LOCK = "worker.lock"
ROOT = Path(__file__).resolve().parents[2]
SIGNAL_EXITS = range(128, 160)  # how shells and containers report a death by signal


@dataclass(frozen=True)
class Lane:
    """A queue with its own slots: no job waits behind a training."""

    table: sa.Table
    command: str
    slots: int


LANES = (Lane(lifecycle.RUNS, "run", 1), Lane(lifecycle.JOBS, "job", 2))


@dataclass(frozen=True)
class Patience:
    """Seconds between two rounds, from a cancel to SIGTERM, and from there to SIGKILL."""

    poll: float = 0.5
    cancel: float = 30.0  # longer than a batch and a checkpoint
    terminate: float = 15.0


def run_worker(
    store: Store, *, once: bool = False, embedded: bool = False, patience: Patience | None = None
) -> None:
    """Carry out runs and jobs until SIGTERM or SIGINT; what is under way then goes on without us.

    Args:
        once: return when nothing is queued or under way on this host any more.
        embedded: wait quietly while another worker serves this home, and end with the process
            that started this one.

    Raises:
        AppError: another worker serves this home, and this one is not embedded.
    """
    patience = patience or Patience()
    parent = os.getppid() if embedded else None
    with _stop_on_signals() as asked:

        def goes_on() -> bool:
            asked.wait(patience.poll)
            return not asked.is_set() and (parent is None or os.getppid() == parent)

        with _held(store.home / LOCK, goes_on if embedded else None) as is_ours:
            if not is_ours:
                return
            logger.info("worker %d serves %s as %s", os.getpid(), store.home, processes.this_host())
            supervisor = Supervisor(store, patience)
            while not (supervisor.round() and once) and goes_on():
                pass


@dataclass
class Supervisor:
    """One host's watch over its processes. ``round`` is called again and again."""

    store: Store
    patience: Patience = field(default_factory=Patience)
    host: str = field(default_factory=processes.this_host)
    children: dict[str, dict[Claim, subprocess.Popen[bytes]]] = field(default_factory=dict)
    overdue_since: dict[Claim, float] = field(default_factory=dict)

    def round(self) -> bool:
        """Watch, clean up and start what fits; tell whether nothing is left to do here.

        A database out of reach is no reason to die: the next round tries again.
        """
        try:
            return all([self._serve(lane) for lane in LANES])
        except (StorageError, SQLAlchemyError) as error:
            logger.warning("The database is out of reach: %s", error)
            return False

    def _serve(self, lane: Lane) -> bool:
        self._classify_exits(lane)
        lifecycle.sweep(self.store, lane.table)
        self._clear_left_behind(lane)
        self._escalate_cancels(lane)
        lifecycle.requeue_interrupted(self.store, lane.table)
        while lifecycle.has_queued(self.store, lane.table) and self._claim_next(lane):
            pass
        return not (
            lifecycle.has_queued(self.store, lane.table)
            or self._owned_here(lane)
            or lifecycle.left_behind(self.store, lane.table, self.host)
        )

    def _owned_here(self, lane: Lane) -> list[OwnedWork]:
        return [work for work in lifecycle.active(self.store, lane.table) if work.host == self.host]

    def _claim_next(self, lane: Lane) -> bool:
        claim = lifecycle.claim(self.store, lane.table, self.host, slots=lane.slots)
        if claim is None:
            return False
        log = self.store.home / "logs" / f"{claim.work_id}.log"
        command = [sys.executable, "-m", "core.worker", lane.command, claim.work_id]
        try:
            child = spawn([*command, "--attempt", str(claim.attempt)], log, child_environment(self.store))
        except OSError as error:
            lifecycle.put_back(self.store, lane.table, claim, f"it could not be started ({error.strerror})")
            return True
        self.children.setdefault(lane.command, {})[claim] = child
        logger.info("%s %s, attempt %d: process %d", lane.command, claim.work_id, claim.attempt, child.pid)
        process = processes.find(child.pid)
        if process is not None:  # else it is over already, which its exit code tells
            lifecycle.record_process(self.store, lane.table, claim, process)
        return True

    def _classify_exits(self, lane: Lane) -> None:
        """Read what became of children that left; the verdict they wrote themselves stands."""
        children = self.children.setdefault(lane.command, {})
        codes = {claim: code for claim, child in children.items() if (code := child.poll()) is not None}
        if not codes:
            return
        for work in self._owned_here(lane):
            if work.claim in codes:
                classify_exit(self.store, lane.table, work, codes[work.claim])
        for claim in codes:
            del children[claim]

    def _clear_left_behind(self, lane: Lane) -> None:
        """Free the slots of processes that are gone; end those whose row was taken away from them."""
        for work in lifecycle.left_behind(self.store, lane.table, self.host):
            if work.process is None or not processes.is_alive(work.process):
                lifecycle.release(self.store, lane.table, work.claim)
                self.overdue_since.pop(work.claim, None)
            elif not work.state.is_final or self._waited(work.claim) > self.patience.terminate:
                logger.warning("process %d of %s is killed", work.process.pid, work.claim.work_id)
                send_signal(work.process, signal.SIGKILL)

    def _escalate_cancels(self, lane: Lane) -> None:
        for work in self._owned_here(lane):
            if not work.cancel_requested or work.process is None:
                continue
            waited = self._waited(work.claim)
            if waited > self.patience.cancel + self.patience.terminate:
                send_signal(work.process, signal.SIGKILL)
            elif waited > self.patience.cancel:
                send_signal(work.process, signal.SIGTERM)

    def _waited(self, claim: Claim) -> float:
        moment = time.monotonic()
        return moment - self.overdue_since.setdefault(claim, moment)


def classify_exit(store: Store, table: sa.Table, work: OwnedWork, code: int) -> None:
    """Give an active row its state after its process left with this exit code and without a verdict.

    Stopped from outside: it may run again. Left by itself with an error: it failed.
    """
    is_signal = code < 0 or code in SIGNAL_EXITS
    if work.cancel_requested or is_signal or code in (0, EXIT_FENCED):
        lifecycle.declare_lost(store, table, work, _reason(code))
    else:
        lifecycle.fail(store, table, work.claim, f"It stopped with exit code {code}: see the log.")


def _reason(code: int) -> str:
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "its process was killed; perhaps the memory ran out"
    return f"its process was stopped (signal {number})" if number > 0 else "its process left without a result"


def child_environment(store: Store) -> dict[str, str]:
    """Give the variables of a work process: ours, what torch reads at import, and where this store is."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **PROCESS_ENV,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "MASKWRIGHT_HOME": str(store.home),
        "MASKWRIGHT_DATABASE_URL": store.engine.url.render_as_string(hide_password=False),
        "MASKWRIGHT_BLOBS": store.blobs.url,
    }


@contextmanager
def _held(path: Path, waits: Callable[[], bool] | None) -> Generator[bool]:
    """Hold the home's lock while the block runs; gives False when the wait was given up.

    Args:
        waits: asked again and again whether to go on waiting; None does not wait.
    """
    with path.open("a+") as file:
        while not _is_locked_by_us(file):
            if waits is None:
                file.seek(0)
                owner = file.read().strip() or "?"
                raise AppError(
                    f"Another worker (process {owner}) serves this home already. It carries out what waits."
                )
            if not waits():
                yield False
                return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield True


def _is_locked_by_us(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _stop_on_signals() -> Generator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set; outside the main thread nothing sets it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    former = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
