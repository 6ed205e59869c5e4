"""The worker: claims what is queued and has it carried out, and watches until it is gone.

It holds no state of its own: the rows say what is under way, so a new supervisor goes on where one
was killed. It stays small and never imports torch.
"""

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

from sqlalchemy.exc import SQLAlchemyError

from core.domain.errors import AppError, StorageError
from core.domain.runs import WorkerInfo
from core.domain.version import VERSION
from core.storage import lifecycle, processes, reservations, tables, workers
from core.storage.lifecycle import Room
from core.storage.settings import Settings
from core.storage.store import Store
from core.storage.sweep import sweep
from core.worker.launching import Lane, Launcher, Offer, Patience
from core.worker.local import LocalLauncher
from core.worker.machine import usage

logger = logging.getLogger(__name__)

LOCK = "worker.lock"
LANES = {"run": Lane(lifecycle.RUNS, slots=1), "job": Lane(lifecycle.JOBS, slots=2)}
OUTDATED = "The database belongs to another version of Maskwright. Restart this worker with that version."


def run_worker(
    store: Store,
    *,
    once: bool = False,
    embedded: bool = False,
    patience: Patience | None = None,
    lanes: Sequence[str] = tuple(LANES),
) -> None:
    """Carry out runs and jobs until SIGTERM or SIGINT; what is under way then goes on without us.

    Args:
        once: return when nothing is queued or under way on this host any more.
        embedded: wait quietly while another worker serves this home, and end with the process
            that started this one.
        lanes: which of "run" and "job" this worker serves.

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
            supervisor = Supervisor(store, open_launchers(store, lanes, patience), patience)
            while not (supervisor.round() and once) and goes_on():
                pass
            supervisor.leave()


def open_launchers(store: Store, lanes: Sequence[str], patience: Patience) -> list[Launcher]:
    """Choose what carries each lane out: runs go to the Ray cluster of MASKWRIGHT_RAY_ADDRESS, if any."""
    launchers: list[Launcher] = []
    for name in lanes:
        if name == "run" and (address := Settings().ray_address):
            from core.worker.ray import RayLauncher

            launchers.append(RayLauncher(store, LANES[name], address, patience))
        else:
            launchers.append(LocalLauncher(store, LANES[name], patience))
    return launchers


@dataclass
class Supervisor:
    """One host's watch over its work. ``round`` is called again and again."""

    store: Store
    launchers: Sequence[Launcher]
    patience: Patience = field(default_factory=Patience)
    started_at: datetime = field(default_factory=tables.now)
    reported_at: float = field(default=float("-inf"))
    faults: dict[str, str] = field(default_factory=dict[str, str])  # by lane, of its last round

    def round(self) -> bool:
        """Watch, clean up and start what fits; tell whether nothing is left to do here.

        Neither a database out of reach nor a fault that has a sentence is a reason to die: the next round
        tries again, and the fault is the worker's note meanwhile.
        """
        try:
            is_current = self.store.is_current()
            if time.monotonic() - self.reported_at > self.patience.report:
                self._report(is_current)
            return all([self._try(launcher, may_start=is_current) for launcher in self.launchers])
        except (StorageError, SQLAlchemyError) as error:
            logger.warning("The database is out of reach: %s", error)
            return False

    def leave(self) -> None:
        """Take this worker off the list of those that are there."""
        try:
            for host in {launcher.host for launcher in self.launchers}:
                workers.leave(self.store, host, self.started_at)
        except (StorageError, SQLAlchemyError) as error:
            logger.warning("The database is out of reach: %s", error)

    def _try(self, launcher: Launcher, *, may_start: bool) -> bool:
        """Serve one lane; its fault is not the others'."""
        try:
            is_idle, fault = self._serve(launcher, may_start=may_start), ""
        except StorageError:
            raise
        except AppError as error:
            is_idle, fault = False, str(error)
        former = self.faults.get(launcher.lane.name, "")
        if fault and fault != former:
            logger.error("the %s lane is not served: %s", launcher.lane.name, fault)
        self.faults[launcher.lane.name] = fault
        return is_idle

    def _serve(self, launcher: Launcher, *, may_start: bool) -> bool:
        table = launcher.lane.table
        launcher.watch()
        sweep(self.store, table)
        lifecycle.requeue_interrupted(self.store, table)
        while may_start and self._claim_next(launcher):
            pass
        return not (
            (may_start and self._waits_for(launcher))
            or any(work.host == launcher.host for work in lifecycle.active(self.store, table))
            or reservations.left_behind(self.store, table, launcher.host)
        )

    def _waits_for(self, launcher: Launcher) -> bool:
        """Tell whether something is queued that this launcher can carry out, or could if it were in reach."""
        room = launcher.room()
        largest = Room.largest if room is None else room.largest
        return lifecycle.has_queued(self.store, launcher.lane.table, largest=largest)

    def _claim_next(self, launcher: Launcher) -> bool:
        table = launcher.lane.table
        if not lifecycle.has_queued(self.store, table) or (room := launcher.room()) is None:
            return False
        claim = lifecycle.claim(self.store, table, launcher.host, room, submission=launcher.submission)
        if claim is None:
            return False
        for work in lifecycle.active(self.store, table):
            if work.claim == claim:
                launcher.launch(work)
        return True

    def _report(self, is_current: bool) -> None:
        """Tell what is here, one report per host that the launchers speak for."""
        for host in {launcher.host for launcher in self.launchers}:
            mine = [launcher for launcher in self.launchers if launcher.host == host]
            offers = {launcher.lane.name: _offer(launcher) for launcher in mine}
            faults = [fault for lane in offers if (fault := self.faults.get(lane))]
            offer = offers.get("run") or offers["job"]
            is_here = host == processes.this_host()
            report = WorkerInfo(
                host=host,
                version=VERSION,
                lanes=tuple(offers),
                slots=offer.slots,
                gpus=offer.gpus,
                largest=offer.largest if "run" in offers else 0,
                usage=usage(self.store.home) if is_here else {},
                note=" ".join(dict.fromkeys(filter(None, [offer.note, *faults]))) if is_current else OUTDATED,
                started_at=self.started_at,
                heartbeat_at=self.started_at,
            )
            workers.report(self.store, report)
        self.reported_at = time.monotonic()


def _offer(launcher: Launcher) -> Offer:
    try:
        return launcher.offer()
    except StorageError:
        raise
    except AppError as error:
        return Offer(0, Room(0).largest, note=str(error))


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
