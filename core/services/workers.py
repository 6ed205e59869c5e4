"""The worker process as the web process and the command line see it: a lock file and a child."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from core.domain.errors import AppError
from core.services.home import Store

LOCK = "worker.lock"
MAX_STARTS = 3
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def is_running(store: Store) -> bool:
    """Tell whether some worker holds this home's lock."""
    path = store.home / LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def start(store: Store, *, embedded: bool = False) -> subprocess.Popen[bytes]:
    """Start a worker process; an embedded one waits quietly for the lock instead of refusing."""
    log = store.home / "logs" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "core", "worker", *(["--embedded"] if embedded else [])]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MASKWRIGHT_HOME": str(store.home)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a worker that ``start`` started; runs under way go on and are adopted by the next one."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait(
    store: Store,
    poll: Callable[[], T],
    is_over: Callable[[T], bool],
    on_poll: Callable[[T], None] | None = None,
) -> T:
    """Ask again and again until the answer is final; meant for the command line, never for a page.

    Meanwhile there is a worker: the one that is there or, when there is none or it goes, one of our
    own, which ends with the waiting.
    """
    with _ensured(store) as ensure:
        while True:
            value = poll()
            if on_poll:
                on_poll(value)
            if is_over(value):
                return value
            ensure()
            time.sleep(0.3)


@contextmanager
def _ensured(store: Store) -> Generator[Callable[[], None]]:
    started: list[subprocess.Popen[bytes]] = []

    def ensure() -> None:
        is_starting = any(process.poll() is None for process in started)
        if is_starting or is_running(store):
            return
        if len(started) >= MAX_STARTS:
            raise AppError(f"No worker stays alive. What it says is in {store.home / 'logs' / 'worker.log'}.")
        started.append(start(store))

    try:
        yield ensure
    finally:
        for process in started:
            stop(process)
