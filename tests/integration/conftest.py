"""Programs of requirements-servers.txt, and what the worker's tests have: a store, runs, workers."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.worker.conftest import project, queue_run, store, workers

__all__ = ["project", "queue_run", "servers", "store", "workers"]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def servers() -> Path:
    """The bin folder of the environment that holds the servers (`tests/tools.sh servers` makes it)."""
    folder = ROOT / ".venv-servers" / "bin"
    if not (folder.parent / "installed").exists():
        pytest.skip("the servers are not installed: tests/tools.sh servers")
    return folder


def free_port() -> int:
    """Give a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server in a process group of its own. ``start`` waits until it answers."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: Path,
        answers: Callable[[], bool],
    ) -> None:
        self._command, self._environment, self._log, self._answers = command, environment, log, answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 180) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.2)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End the whole group at once, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
