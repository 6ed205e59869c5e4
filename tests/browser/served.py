"""The app and the harnesses as real servers, and what a browser needs to look at them."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.storage import lifecycle
from core.storage.lifecycle import JOBS, RUNS
from core.storage.store import Store
from core.worker.processes import stop
from tests.browser import patience
from tests.builders import empty_store

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("MASKWRIGHT_CHROMIUM") or "/usr/bin/chromium"
CHROMIUM_ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 300


def reserve_port() -> socket.socket:
    """Take a port: nobody else is given it by the system before this socket is closed.

    A server told to use it still can, as Linux lets sockets that allow reuse share a port while at
    most one of them listens. A port that was merely looked up could be taken before the server is up.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def port_of(reserved: socket.socket) -> int:
    """Give the number of a reserved port."""
    return int(reserved.getsockname()[1])


def launch(
    script: Path, port: int, log: Path, environment: Mapping[str, str], *flags: str
) -> "subprocess.Popen[bytes]":
    """Start `streamlit run` and wait until it answers.

    Args:
        flags: more of Streamlit's options, such as ``--server.baseUrlPath=tools``.
    """
    command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
    base = next((f.partition("=")[2] for f in flags if f.startswith("--server.baseUrlPath=")), "")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *flags], cwd=ROOT, env=dict(environment), stdout=output, stderr=output
        )
    address = "/".join(filter(None, [f"http://127.0.0.1:{port}", base, "_stcore/health"]))
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Stop a server as a user does with Ctrl-C or a machine at shutdown."""
    process.terminate()
    try:
        process.wait(patience.SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


@contextmanager
def served(script: Path, log: Path, environment: Mapping[str, str] | None = None) -> Generator[str]:
    """Serve a harness while the block runs; gives its address."""
    with reserve_port() as reserved:
        port = port_of(reserved)
        process = launch(script, port, log, {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})})
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            end(process)


@dataclass
class App:
    """The app on a home of its own, with its embedded worker."""

    home: Path
    port: int
    base_path: str = ""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}/{self.base_path}".rstrip("/")

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.home.parent / "server.log"

    @property
    def store(self) -> Store:
        """The same home, opened in this process."""
        return empty_store(self.home)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        others = {key: value for key, value in os.environ.items() if not key.startswith("MASKWRIGHT_")}
        environment = {**others, "MASKWRIGHT_HOME": str(self.home)}
        flags = [f"--server.baseUrlPath={self.base_path}"] if self.base_path else []
        self.process = launch(ROOT / "app.py", self.port, self.log, environment, *flags)

    def stop(self) -> None:
        """Stop the server; runs under way go on."""
        if self.process is not None:
            process, self.process = self.process, None
            end(process)

    def close(self) -> None:
        """Stop the server and, even when that fails, whatever it left under way."""
        try:
            self.stop()
        finally:
            for table in (RUNS, JOBS):
                for work in lifecycle.active(self.store, table):
                    if work.process is not None:
                        stop(work.process, 0)


@contextmanager
def running_app(home: Path, base_path: str = "") -> Generator[App]:
    """Run the app while the block runs."""
    with reserve_port() as reserved:
        app = App(home, port_of(reserved), base_path)
        try:
            app.start()
            yield app
        finally:
            app.close()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False
