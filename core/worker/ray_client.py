"""The few calls of Ray's Jobs API and of its dashboard that submit, follow and stop a job, over HTTP.

Source: Ray 2.60, the Jobs API (version 4) in dashboard/modules/job, and /api/v0/nodes in
dashboard/modules/state. None of Ray's packages is needed here.
"""

import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

ANSWER_SECONDS = 3.0
SUBMIT_SECONDS = 12.0  # a head that has just started waits up to 10 s for its own agent
MAX_ANSWER_BYTES = 32 << 20
MAX_NODES = 10_000  # the most that Ray lists at once

PENDING, RUNNING = "PENDING", "RUNNING"
FINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_ALREADY_THERE = "already exists"
_INVALID = "Request failed with status code 4"  # how the head hands its agent's refusal on, as a 500


class RayError(Exception):
    """A call did not do what it should."""


class HeadAway(RayError):
    """Nobody answers; nothing was done."""


class Unclear(RayError):
    """It went wrong on the way or over there: what was asked for may have been done."""


class Refused(RayError):
    """The cluster understood, and will not: a wrong token, or a request that it finds invalid."""


@dataclass(frozen=True)
class Node:
    """A live machine of the cluster, with what Ray may hand out there."""

    name: str
    cpus: float
    gpus: int


@dataclass(frozen=True)
class RayJob:
    """A job as Ray sees it: a hint, the run's row is the truth."""

    status: str  # PENDING, RUNNING, or one of FINAL
    error_type: str = ""
    exit_code: int | None = None  # of the entrypoint, where it came to an end by itself
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more, or will."""
        return self.status in FINAL


@dataclass(frozen=True)
class Submission:
    """A job to submit. Everything here comes back in plain text to whoever may ask Ray for it."""

    submission_id: str
    entrypoint: str  # a shell command
    entrypoint_num_gpus: float
    entrypoint_num_cpus: float
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    runtime_env: Mapping[str, Any] = field(default_factory=dict[str, Any])


class RayClient:
    """One cluster, by the address of its dashboard. Keeps no connection open and no state."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        assert parts.scheme in ("http", "https") and parts.hostname, "the settings check the address"
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self.address = f"{parts.scheme}://{parts.netloc}{self._path}"

    def version(self) -> str:
        """Give the cluster's version of Ray; the call that shows whether its head is there."""
        return str(_require(self._call("GET", "/api/version"), "ray_version"))

    def nodes(self) -> list[Node]:
        """List the live machines."""
        answer = self._call("GET", f"/api/v0/nodes?limit={MAX_NODES}")
        listed = _require(_require(_require(answer, "data"), "result"), "result")
        return [_node(node) for node in listed if _require(node, "state") == "ALIVE"]

    def job(self, submission_id: str) -> RayJob | None:
        """Give a job, None when the cluster does not know it."""
        answer = self._call("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        if answer is None:
            return None
        return RayJob(
            str(_require(answer, "status")),
            answer.get("error_type") or "",
            answer.get("driver_exit_code"),
            answer.get("message") or "",
        )

    def submit(self, submission: Submission) -> None:
        """Have a job started when there is room for it. One that is there already is left as it is.

        Raises:
            HeadAway: it was not submitted.
            Refused: nor was it, and another try would fare the same.
            Unclear: only ``job`` can tell whether it was.
        """
        try:
            self._call("POST", "/api/jobs/", asdict(submission), seconds=SUBMIT_SECONDS)
        except Unclear as error:
            if _ALREADY_THERE in str(error):
                return
            if _INVALID in str(error):
                raise Refused(last_line(str(error))) from error
            raise

    def stop(self, submission_id: str) -> None:
        """Have a job's processes ended: SIGTERM, later SIGKILL. One that waits ends when its turn comes."""
        self._call("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float = ANSWER_SECONDS
    ) -> Any:
        """Give the answer's JSON, None for "not found"."""
        connection = self._kind(self.host, self._port, timeout=seconds)
        try:
            connection.connect()
        except OSError as error:
            raise HeadAway(f"{self.address}: {error}") from error
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self._path + path, data, _headers())
            answer = connection.getresponse()
            text = answer.read(MAX_ANSWER_BYTES).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Unclear(f"{self.address}: {error!r}") from error
        finally:
            connection.close()
        return _read(answer.status, text)


def auth_token() -> str:
    """Find the cluster's token where Ray's own tools look for it; "" when there is none."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return (Path(path) if path else Path.home() / ".ray" / "auth_token").read_text().strip()
    except OSError:
        return ""


def last_line(text: str) -> str:
    """Give what an error's text or the end of a log says in the end, at most 300 characters."""
    noise = ("Running entrypoint for job", "Runtime env is setting up")
    lines = [line.strip() for line in text.splitlines() if not any(part in line for part in noise)]
    return next((line for line in reversed(lines) if line.strip(".")), "")[:300]


def _headers() -> dict[str, str]:
    token = auth_token()
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def _read(status: int, text: str) -> Any:
    if status == http.HTTPStatus.NOT_FOUND:
        return None
    if 400 <= status < 500:
        raise Refused(f"{status}: {last_line(text)}")
    if status != http.HTTPStatus.OK:
        raise Unclear(f"{status}: {text}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unclear(f"not the answer of a Ray cluster: {text[:100]!r}") from error


def _require(answer: Any, key: str) -> Any:
    if not isinstance(answer, dict) or key not in answer:
        raise Unclear(f"not the answer of a Ray cluster: {str(answer)[:100]!r}")
    return answer[key]  # pyright: ignore[reportUnknownVariableType]


def _node(node: Any) -> Node:
    resources = _require(node, "resources_total")
    return Node(_require(node, "node_name"), resources.get("CPU", 0.0), int(resources.get("GPU", 0)))
