"""Start and stop the processes that carry work out. Linux only: identities come from /proc."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.domain.runs import Process
from core.storage.processes import is_alive

logger = logging.getLogger(__name__)

KILL_SECONDS = 5.0  # how long the kernel may take to be rid of a killed process


def spawn(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command in a session and process group of its own, so that it outlives its starter.

    Args:
        log: file that its output is appended to; made with its folder where it is missing.
        environment: all variables it gets; None hands ours on.

    Raises:
        OSError: the command or the log file cannot be opened.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Signal a spawned process with its whole group; tell whether it was still there.

    A process with the same number but another start is left alone, and so is another user's.
    """
    if not is_alive(process):
        return False
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        logger.warning("process %d belongs to another user and cannot be signalled", process.pid)
    return True


def stop(process: Process, grace_seconds: float) -> None:
    """Ask a spawned process to end, kill it and its group after the grace; return when it is gone.

    With no grace it is killed at once. Does nothing when it is gone already.
    """
    if grace_seconds > 0 and send_signal(process, signal.SIGTERM):
        wait_until_gone(process, grace_seconds)
    if send_signal(process, signal.SIGKILL):
        wait_until_gone(process, KILL_SECONDS)


def wait_until_gone(process: Process, seconds: float) -> bool:
    """Wait until a process is gone, at most so long; tell whether it is."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True
