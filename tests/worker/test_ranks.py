"""One process among several of a training: who it is, and that none of them outlives torchrun."""

import os
import signal
import subprocess
import sys

import pytest

from core.storage import processes
from core.worker import ranks
from core.worker.launching import ROOT
from tests.worker.builders import wait_until

# torchrun gives each of its processes a session of its own, in which no signal to its group arrives.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
BOUND = """
import time
from core.worker import ranks
ranks.die_with_parent()
print("bound", flush=True)
time.sleep(600)
"""
FREE = """
import time
print("free", flush=True)
time.sleep(600)
"""


def start_parent(child: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process with one child of this code; give it and the child's number, once both are there."""
    command = [sys.executable, "-c", PARENT, child]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    return parent, int(next(word for word in said if word.isdigit()))


def kill(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    assert parent.stdout is not None
    parent.wait()
    parent.stdout.close()


def test_a_process_bound_to_its_parent_dies_when_that_is_killed() -> None:
    parent, pid = start_parent(BOUND)
    child = processes.find(pid)
    assert child is not None

    kill(parent)

    wait_until(lambda: not processes.is_alive(child), 20)


def test_a_process_that_is_not_bound_outlives_its_parent() -> None:
    parent, pid = start_parent(FREE)
    child = processes.find(pid)
    assert child is not None

    kill(parent)

    assert processes.is_alive(child)
    os.kill(pid, signal.SIGKILL)


def test_a_process_of_its_own_is_the_first_and_leads_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # of something else

    assert not ranks.is_one_of_several()
    assert ranks.rank() == 0
    assert ranks.leader() == processes.this_process()


def test_one_that_torchrun_started_has_its_number_and_is_led_by_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")

    assert ranks.is_one_of_several()
    assert ranks.rank() == 1
    assert ranks.leader() == processes.find(os.getppid())
