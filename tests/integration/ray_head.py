"""A Ray cluster of one machine, on loopback: its head, started and killed with all that belongs to it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.worker.ray_client import RayClient, RayError
from tests.worker.builders import wait_until

MARK = "MASKWRIGHT_TEST_RAY"
LISTENS = "0A"  # the state of a listening socket in /proc/net/tcp
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


@dataclass
class RayHead:
    """The head of a cluster whose GPUs are only declared, with ports and a folder of its own.

    Its processes, those of its jobs too, carry a mark in their environment; only what carries it is
    killed. The folder's path is short: sockets lie in it.
    """

    programs: Path
    environment: Mapping[str, str]
    gpus: int = 2
    cpus: int = 2
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="r", dir="/tmp")))
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where the dashboard answers."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        """Start the head and wait until it takes jobs."""
        dashboard, gcs, agent, clients = map(str, self.ports)
        words = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
        words += ["--dashboard-port", dashboard, "--port", gcs, "--dashboard-agent-listen-port", agent]
        words += ["--ray-client-server-port", clients, "--min-worker-port=0", "--max-worker-port=0"]
        words += [f"--num-gpus={self.gpus}", f"--num-cpus={self.cpus}", "--object-store-memory=100000000"]
        words += ["--include-log-monitor=false", f"--temp-dir={self.folder}"]
        with (self.folder / "head.log").open("ab") as log:
            process = subprocess.Popen(
                [self.programs / "ray", *words],
                env={**os.environ, **self.environment, **self._settings()},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        wait_until(self._takes_jobs, 90)

    def kill(self) -> None:
        """Kill the head with all of its session at once; a job has another, and Ray's watcher ends it."""
        session = self.started[-1].pid
        for pid in self.processes():
            with suppress(ProcessLookupError):
                if os.getsid(pid) == session:
                    os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill everything that belongs to it, and forget its files."""
        deadline = time.monotonic() + 20
        while self.processes():
            assert time.monotonic() < deadline, "Ray's processes do not end"
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self.started:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """List what belongs to it and is alive, its jobs too."""
        mark = f"{MARK}={self.folder}".encode()
        return [pid for pid in all_pids() if mark in environment_of(pid)]

    def listeners_beyond_loopback(self) -> list[str]:
        """List the addresses outside this machine that something of it listens on, as in /proc/net/tcp."""
        sockets = {link for pid in self.processes() for link in sockets_of(pid)}
        found: list[str] = []
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == LISTENS and f"socket:[{inode}]" in sockets:
                    found.append(local)
        assert found, "it listens nowhere"
        return [local for local in found if local.partition(":")[0] not in LOOPBACK]

    def _settings(self) -> dict[str, str]:
        return {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or --node-ip-address=127.0.0.1 is not obeyed
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            MARK: str(self.folder),
        }

    def _takes_jobs(self) -> bool:
        try:
            return bool(RayClient(self.address).nodes()) and self._agent_listens()
        except RayError:
            return False

    def _agent_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports[2])) == 0


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def all_pids() -> list[int]:
    """List the numbers of all processes."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def environment_of(pid: int) -> list[bytes]:
    """Give a process's variables as it was started with them; none for one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def sockets_of(pid: int) -> list[str]:
    """List the sockets that a process holds, as /proc names them."""
    found: list[str] = []
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
    return [link for link in found if link.startswith("socket:")]
