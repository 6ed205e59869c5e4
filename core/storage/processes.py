"""Tell one operating-system process from a later one with the same number (Linux, by /proc).

Both sides need it: the worker to stop what it started, the services to see that a run's process died.
"""

import functools
import os
import socket
from pathlib import Path

from core.domain.runs import Process

PROC = Path("/proc")


def this_host() -> str:
    """Give this machine's name in the tables: MASKWRIGHT_HOST, else what the system calls it.

    A container that gets a new name at each start needs the variable, or nobody adopts its runs.
    """
    return os.environ.get("MASKWRIGHT_HOST") or socket.gethostname()


def this_process() -> Process:
    """Give the identity of the calling process."""
    process = find(os.getpid())
    assert process is not None, "a process that runs is in /proc"
    return process


def find(pid: int) -> Process | None:
    """Give the identity of the process that has this number now; None for none and for a zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the command before it may hold spaces and brackets
    return None if state in "ZX" else Process(pid, int(fields[18]), _boot_id())


def is_alive(process: Process) -> bool:
    """Tell whether this very process still runs on this machine; a zombie does not."""
    return find(process.pid) == process


@functools.cache
def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
