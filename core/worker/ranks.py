"""One process among several of the same training, as torchrun starts them: one per device."""

import ctypes
import os
import signal

from core.domain.runs import Process
from core.storage.processes import find, this_process

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def is_one_of_several() -> bool:
    """Tell whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Give this process's number in its training; 0 is the one that writes to the database."""
    return int(os.environ["RANK"]) if is_one_of_several() else 0


def leader() -> Process:
    """Give the process to signal: torchrun, which ends its ranks, or this very one."""
    parent = find(os.getppid()) if is_one_of_several() else None
    return parent or this_process()


def die_with_parent() -> None:
    """Have the kernel kill this process when torchrun dies; Linux only.

    Each rank has a session of its own, so a kill of torchrun's group would leave it on its GPU. Only
    for ranks: a process of its own has to survive the worker that started it.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)
