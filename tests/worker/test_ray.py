"""The Ray launcher's judgement, and the answers that no healthy cluster can be made to give.

What a real cluster does is shown in tests/integration/test_ray.py.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.errors import FormatError
from core.domain.runs import Process, Run, WorkState
from core.storage import lifecycle, reservations, runs, tables
from core.storage.lifecycle import RUNS, Claim, OwnedWork, Room
from core.storage.settings import Settings
from core.storage.store import Store
from core.storage.sweep import GONE_AFTER_SECONDS
from core.worker.heartbeat import EXIT_OTHER_VERSION
from core.worker.launching import Lane
from core.worker.ray import FULL, OTHER_DATABASE, START_TIMEOUT, Capacity, RayLauncher, judge
from core.worker.ray_client import (
    Node,
    RayClient,
    RayJob,
    Submission,
    Unclear,
    auth_token,
    last_line,
)

LANE = Lane(RUNS, slots=1)
VERSION = (200, {"ray_version": "2.60.0"})
INVALID = "RuntimeError: Request failed with status code 400: Traceback ...\nValueError: no such label\n.\n"
CUT = (0, "")
CLUSTER = "ray@cluster:8265"

Answer = tuple[int, Any]


def listed(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Wrap machines as Ray's state API does."""
    return {"data": {"result": {"result": list(nodes)}}}


NODES = (
    200,
    listed(
        {"node_name": "a", "state": "ALIVE", "resources_total": {"CPU": 8.0, "GPU": 2.0}},
        {"node_name": "b", "state": "DEAD", "resources_total": {"CPU": 8.0, "GPU": 4.0}},
    ),
)


@dataclass
class Head:
    """A server that gives the answers it is told to, by the beginning of the path; else "not found"."""

    answers: dict[str, Answer] = field(default_factory=lambda: {"/api/version": VERSION, "/api/v0": NODES})
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, token
    submitted: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, token: str | None) -> Answer:
        self.asked.append((method, path, token))
        known = [value for start, value in self.answers.items() if f"{method} {path}".endswith(start)]
        known += [value for start, value in self.answers.items() if path.startswith(start)]
        return known[0] if known else (404, "not found")


@pytest.fixture
def head() -> Generator[Head]:
    head = Head()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            head.submitted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._reply("POST")

        def _reply(self, method: str) -> None:
            status, body = head.answer(method, self.path, self.headers["Authorization"])
            if (status, body) == CUT:
                self.close_connection = True
                return
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{head.address}/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *_arguments: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        head.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield head
        server.shutdown()
        thread.join()


@pytest.fixture
def run(queue_run: Callable[..., Run]) -> Run:
    return queue_run()


@pytest.fixture
def launcher(store: Store, head: Head, monkeypatch: pytest.MonkeyPatch) -> RayLauncher:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the-token")
    made = RayLauncher(store, LANE, head.address, away_seconds=0)
    made.host = CLUSTER  # whatever port the head got
    return made


def claimed(store: Store, host: str = CLUSTER, *, is_running: bool = False) -> OwnedWork:
    """Claim the run that waits, and have it started where it should run."""
    claim = lifecycle.claim(store, RUNS, host, Room(2, ("0", "1")), submission="maskwright")
    assert claim is not None
    if is_running:
        lifecycle.start(store, RUNS, claim, Process(1, 1, "elsewhere"))
    return work_of(store, claim)


def work_of(store: Store, claim: Claim) -> OwnedWork:
    (work,) = [work for work in lifecycle.active(store, RUNS) if work.claim == claim]
    return work


def silence(store: Store, work: OwnedWork) -> None:
    """Make the last sign of life older than a job that is over is granted."""
    moment = tables.now() - timedelta(seconds=GONE_AFTER_SECONDS + 1)
    with store.write() as connection:
        row = sa.update(RUNS).where(RUNS.c.id == work.claim.work_id)
        connection.execute(row.values(heartbeat_at=moment))


def failed_starts(store: Store, run: Run) -> int:
    with store.read() as connection:
        return connection.execute(sa.select(RUNS.c.failed_starts).where(RUNS.c.id == run.id)).scalar_one()


def over(code: int | None, message: str = "Job failed.", *, kind: str = "", status: str = "FAILED") -> RayJob:
    return RayJob(status, kind, code, message)


SHELL = (
    "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\n"
    "2026-11-21 16:01:37,282\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
    "/bin/sh: 1: cd: can't cd to /nowhere\nRunning entrypoint for job j4: cd /nowhere && exec sleep 1000\n"
)
SILENT = (
    "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\n"
    "Running entrypoint for job j4: cd /code && exec python -m core.worker\n"
)


@pytest.mark.parametrize(
    ("job", "state", "error", "tries"),
    [
        (None, WorkState.QUEUED, "the Ray cluster does not know it", 0),
        (over(None, kind=START_TIMEOUT), WorkState.QUEUED, "the Ray cluster had no room for it in time", 0),
        (
            over(None, "runtime_env setup failed: no disk", kind="RUNTIME_ENV_SETUP_FAILURE"),
            WorkState.QUEUED,
            "its Ray job is over (runtime_env setup failed: no disk)",
            1,
        ),
        (over(137), WorkState.QUEUED, "its process was killed; perhaps the memory ran out", 1),
        (over(EXIT_OTHER_VERSION), WorkState.QUEUED, OTHER_DATABASE, 1),
        (over(75), WorkState.QUEUED, "the database or the file store was out of reach", 0),
        (
            over(2, SHELL),
            WorkState.FAILED,
            "It could not be started on the Ray cluster: /bin/sh: 1: cd: can't cd to /nowhere",
            0,
        ),
        (
            over(1, "...\nModuleNotFoundError: No module named 'torch'\n"),
            WorkState.FAILED,
            "It could not be started on the Ray cluster: ModuleNotFoundError: No module named 'torch'",
            0,
        ),
        (over(1, SILENT), WorkState.FAILED, "It stopped with exit code 1: see the log.", 0),
    ],
)
def test_an_attempt_that_never_reported_is_judged_by_its_job(
    store: Store, run: Run, job: RayJob | None, state: WorkState, error: str, tries: int
) -> None:
    work = claimed(store)

    judge(store, LANE, work, job, older_than=tables.now() + timedelta(seconds=1))

    judged = runs.get(store, run.id)
    assert (judged.state, judged.error) == (state, error)
    assert failed_starts(store, run) == tries


@pytest.mark.parametrize(
    ("job", "state", "error"),
    [
        (None, WorkState.INTERRUPTED, "the Ray cluster lost its job"),
        (
            over(None, "Job was intentionally stopped.", status="STOPPED"),
            WorkState.INTERRUPTED,
            "its Ray job is over (Job was intentionally stopped.)",
        ),
        (over(-9), WorkState.INTERRUPTED, "its process was killed; perhaps the memory ran out"),
        (over(0, status="SUCCEEDED"), WorkState.INTERRUPTED, "its process left without a result"),
        (over(1), WorkState.FAILED, "It stopped with exit code 1: see the log."),
    ],
)
def test_an_attempt_that_ran_is_judged_by_its_exit_code(
    store: Store, run: Run, job: RayJob | None, state: WorkState, error: str
) -> None:
    work = claimed(store, is_running=True)

    judge(store, LANE, work, job, older_than=tables.now() + timedelta(seconds=1))

    judged = runs.get(store, run.id)
    assert (judged.state, judged.error) == (state, error)


@pytest.mark.parametrize("is_running", [False, True])
@pytest.mark.parametrize("job", [None, over(None, kind=START_TIMEOUT), over(2), over(None)])
def test_an_attempt_that_was_to_be_cancelled_is_cancelled_whatever_its_job_says(
    store: Store, run: Run, job: RayJob | None, is_running: bool
) -> None:
    claim = claimed(store, is_running=is_running).claim
    lifecycle.request_cancel(store, RUNS, run.id)

    judge(store, LANE, work_of(store, claim), job, older_than=tables.now() + timedelta(seconds=1))

    assert runs.get(store, run.id).state is WorkState.CANCELLED


@pytest.mark.parametrize(
    "job",
    [None, {"status": "FAILED", "message": "head replaced"}, {"status": "FAILED", "driver_exit_code": 1}],
)
def test_a_run_that_beats_is_left_alone_though_its_job_is_called_over_or_is_unknown(
    store: Store, head: Head, launcher: RayLauncher, run: Run, job: dict[str, Any] | None
) -> None:
    work = claimed(store, is_running=True)
    if job:
        head.answers["/api/jobs/"] = (200, job)

    launcher.watch()

    assert runs.get(store, run.id).state is WorkState.RUNNING
    assert ("GET", f"/api/jobs/{work.submission}", "Bearer the-token") in head.asked


def test_a_claim_that_another_worker_is_just_submitting_is_left_alone(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    work = claimed(store)

    launcher.watch()

    assert ("GET", f"/api/jobs/{work.submission}", "Bearer the-token") in head.asked
    assert runs.get(store, run.id).state is WorkState.DISPATCHED


def test_a_silent_run_whose_job_a_new_head_does_not_know_goes_on_by_itself(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    silence(store, claimed(store, is_running=True))

    launcher.watch()
    lifecycle.requeue_interrupted(store, RUNS)

    assert runs.get(store, run.id).state is WorkState.QUEUED
    assert reservations.left_behind(store, RUNS, launcher.host) == []


def test_a_proxy_without_a_head_behind_it_judges_no_run(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    head.answers.clear()  # everything is "not found"
    silence(store, claimed(store, is_running=True))

    launcher.watch()

    assert runs.get(store, run.id).state is WorkState.RUNNING
    assert (launcher.room(), launcher.offer().note) == (
        None,
        f"The Ray cluster at {head.address} does not answer.",
    )


@pytest.mark.parametrize("answer", [CUT, (500, "No available agent to submit job"), (200, "<html>")])
def test_a_submission_with_an_unclear_end_stays_with_its_attempt_until_the_cluster_is_asked(
    store: Store, head: Head, launcher: RayLauncher, run: Run, answer: Answer
) -> None:
    head.answers["POST /api/jobs/"] = answer
    work = claimed(store)

    launcher.launch(work)
    after_launch = runs.get(store, run.id).state
    head.answers["/api/jobs/"] = (200, {"status": "PENDING"})
    silence(store, work)
    launcher.watch()

    assert after_launch is WorkState.DISPATCHED
    assert runs.get(store, run.id).state is WorkState.DISPATCHED
    assert work_of(store, work.claim).heartbeat_at != work.heartbeat_at


def test_what_is_said_of_the_wait_in_rays_queue_is_gone_when_the_run_starts(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    head.answers["/api/jobs/"] = (200, {"status": "PENDING"})
    launcher.full_seconds = -1
    work = claimed(store)

    launcher.watch()
    while_waiting = runs.get(store, run.id).error
    lifecycle.start(store, RUNS, work.claim, Process(1, 1, "elsewhere"))

    assert while_waiting == FULL
    assert runs.get(store, run.id).error == ""


def test_a_submission_that_never_arrived_goes_back_and_counts_as_no_try(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    head.answers["POST /api/jobs/"] = (502, "bad gateway")
    work = claimed(store)

    launcher.launch(work)
    silence(store, work)
    launcher.watch()

    back = runs.get(store, run.id)
    assert (back.state, back.error) == (WorkState.QUEUED, "the Ray cluster does not know it")
    assert failed_starts(store, run) == 0
    assert reservations.left_behind(store, RUNS, launcher.host) == []


def test_a_head_that_is_gone_by_now_gets_nothing_and_the_run_goes_back_at_once(
    store: Store, run: Run
) -> None:
    launcher = RayLauncher(store, LANE, "http://127.0.0.1:1")  # nobody listens there

    launcher.launch(claimed(store))

    back = runs.get(store, run.id)
    assert (back.state, back.error) == (WorkState.QUEUED, "the Ray cluster did not answer")
    assert failed_starts(store, run) == 0
    assert launcher.room() is None
    assert launcher.offer().largest > 0  # unknown: nobody is told that the run is too large


@pytest.mark.parametrize("answer", [(500, INVALID), (403, "no such label")])
def test_a_submission_that_is_refused_counts_as_a_try_and_says_why(
    store: Store, head: Head, launcher: RayLauncher, run: Run, answer: Answer
) -> None:
    head.answers["POST /api/jobs/"] = answer

    launcher.launch(claimed(store))

    back = runs.get(store, run.id)
    assert back.state is WorkState.QUEUED
    assert "the Ray cluster refused it" in back.error and "no such label" in back.error
    assert failed_starts(store, run) == 1


def test_a_job_that_is_there_already_is_taken_as_submitted(head: Head) -> None:
    head.answers["/api/jobs/"] = (500, "ValueError: Job with submission_id x already exists.")

    RayClient(head.address).submit(Submission("x", "true", 1, 0))

    assert [method for method, *_ in head.asked] == ["POST"]


def test_the_token_goes_to_the_given_address_only(head: Head, launcher: RayLauncher) -> None:
    head.answers["/api/version"] = (302, "")

    with pytest.raises(Unclear):
        launcher.client.version()

    assert head.asked == [("GET", "/api/version", "Bearer the-token")]


def test_only_live_machines_count(head: Head, launcher: RayLauncher) -> None:
    room = launcher.room()

    assert room == Room(2, ("0", "1"), largest=2)
    assert [gpu.id for gpu in launcher.offer().gpus] == ["0", "1"]


@pytest.mark.parametrize(
    ("nodes", "grows_to", "room", "cpus"),
    [
        ((Node("a", 8, 4), Node("b", 8, 2)), (0, 0), Room(6, tuple("012345"), 4), 5),
        ((Node("head", 0, 0), Node("a", 16, 0), Node("b", 4, 0)), (0, 0), Room(2), 3),
        ((Node("a", 1, 0),), (0, 0), Room(1), 1),
        ((Node("head", 0, 0),), (0, 0), None, 1),
        ((), (0, 0), None, 1),
        ((Node("head", 0, 0),), (2, 3), Room(6, tuple("012345"), 3), 1),
        ((Node("a", 8, 4),), (1, 2), Room(4, tuple("0123"), 4), 5),
    ],
)
def test_a_cluster_offers_its_gpus_or_a_place_per_machine(
    nodes: tuple[Node, ...], grows_to: tuple[int, int], room: Room | None, cpus: int
) -> None:
    capacity = Capacity(nodes, grows_to)

    assert capacity.room() == room
    assert capacity.cpus_per_run() == cpus


def test_a_cluster_without_gpus_is_asked_for_processors_and_hides_what_it_may_have(
    store: Store, head: Head, launcher: RayLauncher, run: Run
) -> None:
    head.answers["/api/v0"] = (
        200,
        listed({"node_name": "a", "state": "ALIVE", "resources_total": {"CPU": 8}}),
    )
    room = launcher.room()
    assert room is not None
    claim = lifecycle.claim(store, RUNS, launcher.host, room, submission="maskwright")
    assert claim is not None

    launcher.launch(work_of(store, claim))

    (job,) = head.submitted
    assert (job["entrypoint_num_gpus"], job["entrypoint_num_cpus"]) == (0, 5)
    assert job["runtime_env"]["env_vars"]["CUDA_VISIBLE_DEVICES"] == ""


def test_paths_with_spaces_reach_the_clusters_shell_whole(
    store: Store, head: Head, launcher: RayLauncher, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_RAY_ROOT", "/my code")
    monkeypatch.setenv("MASKWRIGHT_RAY_PYTHON", "/my env/python")

    launcher.launch(claimed(store))

    (job,) = head.submitted
    task = f"-m core.worker run {run.id} --attempt 1 --capture"
    assert job["entrypoint"] == f"cd '/my code' && exec '/my env/python' {task}"


def test_the_token_is_found_where_rays_own_tools_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    found = [auth_token()]
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the home\n")
    found.append(auth_token())
    (tmp_path / "token").write_text("of the file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    found.append(auth_token())
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    found.append(auth_token())

    assert found == ["", "of the home", "of the file", "of the environment"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RAY_ADDRESS", "ray://head:10001", "must be where the cluster's dashboard answers"),
        ("RAY_ADDRESS", "head:8265", "must be where the cluster's dashboard answers"),
        ("RAY_ADDRESS", "http://me:secret@head:8265", "must be where the cluster's dashboard answers"),
        ("RAY_GROWS_TO", "many", "must be machines x GPUs of each"),
    ],
)
def test_a_setting_that_cannot_work_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"MASKWRIGHT_{name}", value)

    with pytest.raises(FormatError, match=f"MASKWRIGHT_{name}: {sentence}"):
        Settings()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://head:8265", "ray@head:8265"),
        ("http://head:8266/", "ray@head:8266"),
        ("http://head", "ray@head:80"),
        ("https://ray.example.com/cluster/", "ray@ray.example.com:443/cluster"),
        ("http://127.0.0.1:8265", "ray@desk:8265"),
        ("http://localhost:8266", "ray@desk:8266"),
        ("http://[::1]:8265", "ray@desk:8265"),
    ],
)
def test_a_host_is_named_after_the_clusters_address_and_behind_a_tunnel_after_this_machine(
    store: Store, monkeypatch: pytest.MonkeyPatch, address: str, host: str
) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOST", "desk")

    assert RayLauncher(store, LANE, address).host == host


def test_the_name_of_a_host_fits_its_column_and_keeps_its_port(store: Store) -> None:
    host = RayLauncher(store, LANE, f"http://{'.'.join(['x' * 60] * 4)}:8265").host

    assert (len(host), host[:5], host[-6:]) == (120, "ray@x", "x:8265")


def test_the_last_line_of_an_error_is_what_the_user_reads() -> None:
    assert last_line(SHELL) == "/bin/sh: 1: cd: can't cd to /nowhere"
    assert last_line(INVALID) == "ValueError: no such label"
    assert len(last_line("x" * 999)) == 300
    assert last_line("") == ""


def test_the_launcher_loads_no_torch() -> None:
    code = "import sys, core.worker.ray; print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
