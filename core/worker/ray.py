"""The launcher of a Ray cluster: each attempt is a job of Ray's Jobs API, placed and stopped by Ray.

Ray decides where a run computes, never what becomes of it: that stays with the run's row. A job that
Ray lost, or calls failed, is judged by the row's heartbeat too.

What the cluster's machines need: Maskwright's folder (MASKWRIGHT_RAY_ROOT) and a Python with its
packages (MASKWRIGHT_RAY_PYTHON), at the same paths on all of them, and where the data is:
MASKWRIGHT_DATABASE_URL, MASKWRIGHT_BLOBS and MASKWRIGHT_HOME, from the environment that Ray was started
with or from the file that MASKWRIGHT_ENV_FILE names there. None of it is ever sent through Ray, which
shows a job's variables in plain text to all who may use the cluster. The token is taken from where
Ray's own tools look: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.
"""

import ipaddress
import logging
import math
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from core.domain.runs import Gpu, WorkState
from core.storage import lifecycle, projects, reservations, runs
from core.storage.lifecycle import Claim, OwnedWork, Room
from core.storage.processes import this_host
from core.storage.settings import ENV_FILE, Settings
from core.storage.store import Store
from core.storage.sweep import GONE_AFTER_SECONDS
from core.training.environment import PROCESS_ENV
from core.worker.heartbeat import EXIT_OTHER_VERSION
from core.worker.launching import ROOT, Lane, Offer, Patience, command
from core.worker.local import classify_exit
from core.worker.ray_client import (
    PENDING,
    HeadAway,
    Node,
    RayClient,
    RayError,
    RayJob,
    Refused,
    Submission,
    Unclear,
    last_line,
)

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at the jobs
AWAY_SECONDS = 5.0  # before a head that did not answer is asked again
CAPACITY_SECONDS = 5.0  # for which a count of the cluster's machines holds
FULL_SECONDS = 60.0  # in Ray's own queue, until the user is told
HOST_LENGTH = 120

SHELL_ERRORS = (2, 126, 127)  # no such folder, no such Python
START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
NO_ANSWER = "the Ray cluster did not answer"
FULL = "The Ray cluster has no room for this run at present. It waits there and starts by itself."
OTHER_DATABASE = (
    "a machine of the Ray cluster opened an empty database, or one of another version: set "
    "MASKWRIGHT_ENV_FILE or MASKWRIGHT_DATABASE_URL where Ray is started, and use one version everywhere"
)
SILENT = "entrypoint command failed with exit code"  # Ray's own words, where there were no others
GONE_AFTER = timedelta(seconds=GONE_AFTER_SECONDS)


@dataclass(frozen=True)
class Capacity:
    """What a cluster can hold: its live machines, or what it grows to where that is known to be more."""

    nodes: tuple[Node, ...]
    grows_to: tuple[int, int] = (0, 0)  # machines, GPUs of each

    @property
    def gpus(self) -> int:
        """The GPUs of all machines."""
        machines, each = self.grows_to
        return max(sum(node.gpus for node in self.nodes), machines * each)

    def room(self) -> Room | None:
        """Whole GPUs where there are some, else one run per machine; None for a cluster without either."""
        if self.gpus:
            largest = max([node.gpus for node in self.nodes] + [self.grows_to[1]])
            return Room(self.gpus, tuple(str(number) for number in range(self.gpus)), largest)
        slots = len(self._computing())
        return Room(slots) if slots else None

    def cpus_per_run(self) -> int:
        """Give what keeps a second run off the same machine: more than half of the smallest one."""
        return int(min((node.cpus for node in self._computing()), default=1)) // 2 + 1

    def _computing(self) -> list[Node]:
        return [node for node in self.nodes if node.cpus >= 1]


@dataclass
class RayLauncher:
    """A cluster as one host, whose GPUs are only counted: which ones a run gets is Ray's to say.

    It keeps nothing that the rows and the cluster do not tell; several of them do each other no harm.
    """

    store: Store
    lane: Lane
    address: str
    patience: Patience = field(default_factory=Patience)
    full_seconds: float = FULL_SECONDS
    away_seconds: float = AWAY_SECONDS
    submission: str | None = "maskwright"
    host: str = field(init=False)
    client: RayClient = field(init=False)
    capacity: Capacity | None = field(default=None, init=False)  # the last one seen
    _counted_at: float = field(default=float("-inf"), init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _away_until: float = field(default=float("-inf"), init=False)
    _trouble: str = field(default="", init=False)
    _since: dict[tuple[Claim, str], float] = field(default_factory=dict[tuple[Claim, str], float], init=False)

    def __post_init__(self) -> None:
        self.client = RayClient(self.address)
        self.host = name_of(self.client.address)

    def room(self) -> Room | None:
        """Count what the cluster has, at most every few seconds; None while its head does not answer."""
        self._count()
        return self.capacity.room() if self.capacity and not self._trouble else None

    def offer(self) -> Offer:
        """Give the cluster's size as last seen, and what is wrong with it."""
        self._count()
        room = self.capacity.room() if self.capacity else None
        if room is None:
            nothing = f"The Ray cluster at {self.client.address} has no machine that could train."
            return Offer(0, 0 if self.capacity else Room(0).largest, note=self._trouble or nothing)
        gpus = tuple(Gpu(id_, f"GPU {id_}") for id_ in room.gpu_ids)
        return Offer(room.slots, room.largest, gpus, self._trouble)

    def launch(self, work: OwnedWork) -> None:
        """Submit the attempt's job. Where it is not clear whether that worked, ``watch`` asks for the job."""
        submission = self._submission(work)
        try:
            self.client.submit(submission)
            logger.info("%s is submitted", submission.submission_id)
        except Refused as error:
            lifecycle.put_back(
                self.store, self.lane.table, work.claim, f"the Ray cluster refused it ({error})"
            )
        except HeadAway as error:
            self._missed(error)
            lifecycle.put_back(self.store, self.lane.table, work.claim, NO_ANSWER, is_free=True)
        except Unclear as error:
            self._missed(error)

    def watch(self) -> None:
        """Compare this host's rows with the cluster's jobs; without an answer the heartbeat decides."""
        moment = time.monotonic()
        if moment < max(self._looked_at + LOOK_SECONDS, self._away_until):
            return
        self._looked_at = moment
        try:
            self._follow_active()
            self._clear_left_behind()
        except RayError as error:
            self._missed(error)

    def _follow_active(self) -> None:
        mine = [w for w in lifecycle.active(self.store, self.lane.table) if w.host == self.host]
        if not mine:
            return
        self.client.version()  # a proxy without a head behind it may call every job "not found"
        with self.store.read() as connection:
            now = lifecycle.moment(connection)
        for work in mine:
            if work.submission:
                self._follow(work, self.client.job(work.submission), now)

    def _follow(self, work: OwnedWork, job: RayJob | None, now: datetime) -> None:
        if job is not None and job.status == PENDING:
            self._wait(work)
        elif job is None or job.is_over:
            if work.heartbeat_at is None or work.heartbeat_at < now - GONE_AFTER:
                judge(self.store, self.lane, work, job, older_than=now - GONE_AFTER)
        elif work.cancel_requested and self._waited(work.claim, "cancel") > self.patience.cancel:
            self._stop(work)

    def _wait(self, work: OwnedWork) -> None:
        """Stay in Ray's queue, and say so in the end; a cancel needs no process to agree."""
        if work.cancel_requested:
            lifecycle.stopped(self.store, self.lane.table, work.claim)
            return
        note = FULL if self._waited(work.claim, "room") > self.full_seconds else ""
        lifecycle.wait_on(self.store, self.lane.table, work.claim, note)

    def _clear_left_behind(self) -> None:
        """Free what over jobs held; end those whose row was taken away, or that outlive their verdict."""
        works = reservations.left_behind(self.store, self.lane.table, self.host)
        if works:
            self.client.version()
        for work in works:
            job = self.client.job(work.submission) if work.submission else None
            if job is None or job.is_over:
                self._release(work.claim)
            elif job.status == PENDING:  # holds nothing; when its turn comes it is stopped, and fenced
                self._stop(work)
                self._release(work.claim)
            elif (
                not (work.is_current and work.state.is_final)
                or self._waited(work.claim, "end") > self.patience.terminate
            ):
                self._stop(work)

    def _stop(self, work: OwnedWork) -> None:
        assert work.submission, "only what was submitted is found on the cluster"
        if (work.claim, "stop") not in self._since:
            logger.warning("%s is stopped", work.submission)
        self._waited(work.claim, "stop")
        self.client.stop(work.submission)

    def _release(self, claim: Claim) -> None:
        reservations.release(self.store, claim)
        self._since = {key: moment for key, moment in self._since.items() if key[0] != claim}

    def _waited(self, claim: Claim, what: str) -> float:
        moment = time.monotonic()
        return moment - self._since.setdefault((claim, what), moment)

    def _count(self) -> None:
        moment = time.monotonic()
        if moment < max(self._counted_at + CAPACITY_SECONDS, self._away_until):
            return
        self._counted_at = moment
        try:
            self.client.version()
            self.capacity = Capacity(tuple(self.client.nodes()), _grows_to())
            self._trouble = ""
        except RayError as error:
            self._missed(error)

    def _missed(self, error: RayError) -> None:
        """Leave the cluster alone for a while, and say why."""
        does = "refuses this worker: check its token" if isinstance(error, Refused) else "does not answer"
        trouble = f"The Ray cluster at {self.client.address} {does}."
        if trouble != self._trouble:
            logger.warning("%s (%s)", trouble, last_line(str(error)))
        self._trouble = trouble
        self._counted_at = float("-inf")  # what is there when it answers again?
        self._away_until = time.monotonic() + self.away_seconds

    def _submission(self, work: OwnedWork) -> Submission:
        assert work.submission, "a claim for a cluster has a name there"
        run, settings = runs.get(self.store, work.claim.work_id), Settings()
        words = [*command(self.lane.name, work, settings.ray_python or sys.executable), "--capture"]
        folder = settings.ray_root or str(ROOT)
        project = projects.get(self.store, run.project_id)
        return Submission(
            submission_id=work.submission,
            entrypoint=f"cd {shlex.quote(folder)} && exec {shlex.join(words)}",
            entrypoint_num_gpus=len(work.gpu_ids),
            entrypoint_num_cpus=0 if work.gpu_ids or not self.capacity else self.capacity.cpus_per_run(),
            metadata={"job_name": run.name, "maskwright_project": project.name},
            runtime_env={"env_vars": self._variables(has_gpus=bool(work.gpu_ids))},
        )

    def _variables(self, *, has_gpus: bool) -> dict[str, str]:
        """Give the job's variables; no secret is among them."""
        file = os.environ.get(ENV_FILE)
        # Without a request for GPUs Ray leaves all of them visible; with one it counts them as on the bus.
        devices = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if has_gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return {
            **PROCESS_ENV,
            **devices,
            "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(self.patience.cancel)),  # until SIGKILL; Ray's own: 3
            **({ENV_FILE: file} if file else {}),
        }


def name_of(address: str) -> str:
    """Name a cluster in the tables, by where its dashboard answers.

    A loopback address means another cluster on each machine (a tunnel), so that is named after this one.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = f"{this_host() if _is_loopback(host) else host}:{port}{parts.path.rstrip('/')}"
    return f"ray@{place[-HOST_LENGTH + len('ray@') :]}"  # clusters of one machine differ in the end


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def judge(store: Store, lane: Lane, work: OwnedWork, job: RayJob | None, *, older_than: datetime) -> None:
    """Give a silent row its state when its job is over, or unknown to the cluster (None).

    Args:
        older_than: a sign of life since then shows that Ray is wrong, and nothing happens.
    """
    never_ran = work.state is WorkState.DISPATCHED
    if never_ran and not work.cancel_requested and (job is None or job.error_type == START_TIMEOUT):
        reason = "the Ray cluster had no room for it in time" if job else "the Ray cluster does not know it"
        lifecycle.put_back(store, lane.table, work.claim, reason, is_free=True)
    elif job is None or job.exit_code is None:
        reason = f"its Ray job is over ({last_line(job.message)})" if job else "the Ray cluster lost its job"
        lifecycle.declare_lost(store, lane.table, work, reason, older_than=older_than)
    elif never_ran and not work.cancel_requested and _is_start_error(work, job):
        error = f"It could not be started on the Ray cluster: {last_line(job.message)}"
        lifecycle.fail(store, lane.table, work.claim, error)
    elif never_ran and not work.cancel_requested and job.exit_code == EXIT_OTHER_VERSION:
        lifecycle.put_back(store, lane.table, work.claim, OTHER_DATABASE)
    else:
        classify_exit(store, lane.table, work, job.exit_code)


def _is_start_error(work: OwnedWork, job: RayJob) -> bool:
    """Tell whether it left a last word with Ray: what it said later went into the run's own log.

    torchrun's 1 may also mean that one of its processes was killed.
    """
    by_itself = job.exit_code in SHELL_ERRORS or (job.exit_code == 1 and work.devices < 2)
    return by_itself and SILENT not in last_line(job.message)


def _grows_to() -> tuple[int, int]:
    machines, _, each = Settings().ray_grows_to.partition("x")
    return int(machines or 0), int(each or 0)
