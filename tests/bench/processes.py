"""The real app, its worker and the command line as processes of their own, on a home of their own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class App:
    """A running app: its address and the process that was started."""

    url: str
    process: subprocess.Popen[bytes]

    def family(self) -> list[int]:
        """Give the process ids of the app and all its descendants, the app first."""
        return family(self.process.pid)


@contextmanager
def fresh_home() -> Generator[Path]:
    """Give a home that every process started in the block uses; it is deleted afterwards."""
    former = os.environ.get("MASKWRIGHT_HOME")
    with tempfile.TemporaryDirectory(prefix="maskwright-bench-", ignore_cleanup_errors=True) as name:
        os.environ["MASKWRIGHT_HOME"] = name
        try:
            yield Path(name)
        finally:
            if former is None:
                del os.environ["MASKWRIGHT_HOME"]
            else:
                os.environ["MASKWRIGHT_HOME"] = former


@contextmanager
def running(command: Sequence[str], port: int, changes: Mapping[str, str] | None = None) -> Generator[App]:
    """Have a server while the block runs, then end it with everything that it started."""
    environment = {**os.environ, **(changes or {})}
    log = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes to it as long as it lives
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield App(f"http://127.0.0.1:{port}", process)
    except BaseException:
        log.seek(0)
        print(log.read().decode(errors="replace")[-4000:])
        raise
    finally:
        _end(process)
        log.close()


@contextmanager
def app_running() -> Generator[App]:
    """Have the app, with its embedded worker, on a free port; it answers when the block begins."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    with running(command, port) as app:
        wait_for_port(port, app.process)
        yield app


def command_line(*words: str) -> str:
    """Run `python -m core ...` on the present home and give what it prints."""
    done = subprocess.run([sys.executable, "-m", "core", *words], cwd=ROOT, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"core {' '.join(words)}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode()


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_open(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The server did not start.")
        time.sleep(0.01)


def is_open(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(pid: int) -> list[int]:
    """Give a process and its descendants by their ids, parents first."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread, the ones it started
        for child in children.read_text().split():
            found += family(int(child))
    return found


def resident_megabytes(pid: int) -> float:
    """Give the memory that a process holds in RAM, its shared pages too (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"Process {pid} has no memory: it is over.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, so that the app ends its worker; kill by their ids those that remain."""
    started = family(process.pid)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    while any(map(_is_alive, started)) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.05)
    for pid in filter(_is_alive, started):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
