"""Spawned processes outlive nothing they should not, and only the right one is stopped."""

import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from core.domain.runs import Process
from core.storage import processes
from core.worker.processes import send_signal, spawn, stop, wait_until_gone

NAP = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {NAP}"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def spawned(tmp_path: Path) -> Generator[list[subprocess.Popen[bytes]]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()


def start(children: list[subprocess.Popen[bytes]], log: Path, code: str, until: str = "") -> Process:
    child = spawn([sys.executable, "-c", code], log)
    children.append(child)
    process = processes.find(child.pid)
    assert process is not None
    deadline = time.monotonic() + 20
    while until and until not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_output_is_appended_to_the_log_and_input_is_empty(
    tmp_path: Path, spawned: list[subprocess.Popen[bytes]]
) -> None:
    log = tmp_path / "logs" / "x.log"

    for word in ("first", "second"):
        process = start(spawned, log, f"import sys; print('{word}', repr(sys.stdin.read()), flush=True)")
        wait_until_gone(process, 20)

    assert log.read_text() == "first ''\nsecond ''\n"


def test_a_process_that_ends_when_asked_is_not_killed(
    tmp_path: Path, spawned: list[subprocess.Popen[bytes]]
) -> None:
    process = start(spawned, tmp_path / "log", NAP, "up")

    stop(process, 20)

    assert not processes.is_alive(process)
    assert spawned[0].wait() == -15


def test_a_process_that_does_not_listen_is_killed_after_the_grace(
    tmp_path: Path, spawned: list[subprocess.Popen[bytes]]
) -> None:
    process = start(spawned, tmp_path / "log", DEAF, "up")

    stop(process, 0.2)

    assert spawned[0].wait() == -9


def test_its_children_are_stopped_with_it(tmp_path: Path, spawned: list[subprocess.Popen[bytes]]) -> None:
    log = tmp_path / "log"
    process = start(spawned, log, PARENT, "\n")
    grandchild = processes.find(int(log.read_text()))
    assert grandchild is not None

    stop(process, 0)

    assert wait_until_gone(grandchild, 5)


def test_a_zombie_is_gone(tmp_path: Path, spawned: list[subprocess.Popen[bytes]]) -> None:
    process = start(
        spawned, tmp_path / "log", "import time; time.sleep(0.5)"
    )  # nobody has asked for its exit code yet

    assert wait_until_gone(process, 20)


def test_another_process_with_the_same_number_is_left_alone(
    tmp_path: Path, spawned: list[subprocess.Popen[bytes]]
) -> None:
    process = start(spawned, tmp_path / "log", DEAF, "up")
    former = replace(process, started_ticks=process.started_ticks - 1)

    stop(former, 0)

    assert processes.is_alive(process)
    assert not send_signal(former, signal.SIGKILL)
