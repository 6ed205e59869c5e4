"""The launcher of one machine: a process for each attempt, in a session of its own."""

import logging
import signal
import subprocess
import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from core.domain.runs import Gpu
from core.storage import lifecycle, processes, reservations
from core.storage.lifecycle import Claim, OwnedWork, Room
from core.storage.settings import Settings
from core.storage.store import Store
from core.worker.heartbeat import EXIT_FENCED, EXIT_OTHER_VERSION, EXIT_OUT_OF_REACH, PAUSE_SECONDS
from core.worker.launching import Lane, Offer, Patience, child_environment, command
from core.worker.machine import find_gpus
from core.worker.processes import send_signal, spawn

logger = logging.getLogger(__name__)

SLOW_ANSWER_SECONDS = 5.0
REST_SECONDS = 300.0
SIGNAL_EXITS = range(128, 160)  # how shells and containers report a death by signal
NO_VERDICTS = (0, EXIT_FENCED, EXIT_OUT_OF_REACH, EXIT_OTHER_VERSION)


@dataclass
class LocalLauncher:
    """Popen, exit codes, signals. Processes of former launchers of this host are adopted by their rows."""

    store: Store
    lane: Lane
    patience: Patience = field(default_factory=Patience)
    host: str = field(default_factory=processes.this_host)
    submission: str | None = None
    gpu_ids: tuple[str, ...] = field(default_factory=lambda: tuple(gpu.id for gpu in find_gpus()))
    children: dict[Claim, subprocess.Popen[bytes]] = field(default_factory=dict)
    overdue_since: dict[tuple[Claim, str], float] = field(default_factory=dict)
    measure_from: float = 0.0

    def room(self) -> Room:
        """Runs take whole GPUs where there are some; a machine without trains one run at a time."""
        if self.lane.table is lifecycle.RUNS and self.gpu_ids:
            return Room(len(self.gpu_ids), self.gpu_ids, largest=len(self.gpu_ids))
        return Room(self.lane.slots)

    def offer(self) -> Offer:
        """Measure the GPUs as they are now."""
        room = self.room()
        return Offer(room.slots, room.largest, self._measured(room.gpu_ids))

    def launch(self, work: OwnedWork) -> None:
        """Start the attempt's process, its output appended to the work's log."""
        claim = work.claim
        log = self.store.home / "logs" / f"{claim.work_id}.log"
        environment = child_environment(self.store, self._visible(work))
        if work.devices > 1:
            environment.setdefault("OMP_NUM_THREADS", "1")  # each process sets its own; torchrun warns
        try:
            child = spawn(command(self.lane.name, work), log, environment)
        except OSError as error:
            reason = f"it could not be started ({error.strerror})"
            lifecycle.put_back(self.store, self.lane.table, claim, reason)
            reservations.release(self.store, claim)
            return
        self.children[claim] = child
        logger.info("%s %s, attempt %d: process %d", self.lane.name, claim.work_id, claim.attempt, child.pid)
        process = processes.find(child.pid)
        if process is not None:  # else it is over already, which its exit code tells
            reservations.record_process(self.store, claim, process)

    def watch(self) -> None:
        """Judge, free and stop, in this order."""
        self._classify_exits()
        self._clear_left_behind()
        self._escalate_cancels()

    def _measured(self, gpu_ids: tuple[str, ...]) -> tuple[Gpu, ...]:
        """Measure our GPUs; a driver that is slow to answer is asked seldom, for all else waits meanwhile."""
        begun = time.monotonic()
        measured: dict[str, Gpu] = {}
        if gpu_ids and begun >= self.measure_from:
            measured = {gpu.id: gpu for gpu in find_gpus()}
            is_slow = time.monotonic() - begun > SLOW_ANSWER_SECONDS
            self.measure_from = begun + (REST_SECONDS if is_slow else 0)
        return tuple(measured.get(gpu_id) or Gpu(gpu_id, f"GPU {gpu_id}") for gpu_id in gpu_ids)

    def _visible(self, work: OwnedWork) -> tuple[str, ...] | None:
        """Choose what an attempt sees: a run its own GPUs, a job one that nothing holds, if there is one.

        None where we hand none out: then it sees what we see.
        """
        if not self.gpu_ids and not Settings().gpus:
            return None
        if self.lane.table is lifecycle.RUNS:
            return work.gpu_ids
        return reservations.borrow_gpu(self.store, work.claim, self.host, self.gpu_ids)

    def _classify_exits(self) -> None:
        """Read what became of children that left; the verdict they wrote themselves stands."""
        codes = {claim: code for claim, child in self.children.items() if (code := child.poll()) is not None}
        if not codes:
            return
        for work in lifecycle.active(self.store, self.lane.table):
            if work.claim in codes:
                classify_exit(self.store, self.lane.table, work, codes[work.claim])
        for claim in codes:
            del self.children[claim]

    def _clear_left_behind(self) -> None:
        """Free what is held by processes that are gone; end those whose row was taken away from them."""
        for work in reservations.left_behind(self.store, self.lane.table, self.host):
            alive = [process for process in work.processes if processes.is_alive(process)]
            is_over = work.is_current and work.state.is_final
            if not alive:
                reservations.release(self.store, work.claim)
                for what in ("cancel", "terminate", "leave"):
                    self.overdue_since.pop((work.claim, what), None)
            elif not is_over or self._waited(work.claim, "leave") > self.patience.terminate:
                logger.warning("processes of %s are killed: %s", work.claim, [p.pid for p in alive])
                stop_all(work, signal.SIGKILL)

    def _escalate_cancels(self) -> None:
        for work in lifecycle.active(self.store, self.lane.table):
            if work.host != self.host or not work.cancel_requested or not work.processes:
                continue
            if self._waited(work.claim, "cancel") <= self.patience.cancel:
                continue
            if (work.claim, "terminate") not in self.overdue_since:  # once: a second one disturbs the end
                stop_all(work, signal.SIGTERM)
            if self._waited(work.claim, "terminate") > self.patience.terminate:
                stop_all(work, signal.SIGKILL)

    def _waited(self, claim: Claim, what: str) -> float:
        """Give the seconds since this was first asked of this claim."""
        moment = time.monotonic()
        return moment - self.overdue_since.setdefault((claim, what), moment)


def stop_all(work: OwnedWork, number: signal.Signals) -> None:
    """Signal the group of an attempt's leader and of each rank that has a session of its own."""
    for process in work.processes:
        send_signal(process, number)


def classify_exit(store: Store, table: sa.Table, work: OwnedWork, code: int) -> None:
    """Give an active row its state after its process left with this exit code and without a verdict.

    Stopped from outside: it may run again. Left by itself with an error: it failed. torchrun ends with
    1 whatever became of its ranks; one that failed by itself has written so. An outage is no crash.
    """
    is_signal = code < 0 or code in SIGNAL_EXITS
    if work.cancel_requested or is_signal or work.devices > 1 or code in NO_VERDICTS:
        is_away = code == EXIT_OUT_OF_REACH
        pause = PAUSE_SECONDS if is_away else 0.0
        lifecycle.declare_lost(store, table, work, _reason(code), is_crash=not is_away, pause_seconds=pause)
    else:
        lifecycle.fail(store, table, work.claim, f"It stopped with exit code {code}: see the log.")


def _reason(code: int) -> str:
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "its process was killed; perhaps the memory ran out"
    if code == EXIT_OUT_OF_REACH:
        return "the database or the file store was out of reach"
    if code == EXIT_OTHER_VERSION:
        return "the database is of another version than the program that was to carry it out"
    return f"its process was stopped (signal {number})" if number > 0 else "its process left without a result"
