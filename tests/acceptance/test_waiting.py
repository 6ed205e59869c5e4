"""A command that waits for a worker says why nothing happens."""

import fcntl
import os
import select
import subprocess
import sys

import pytest

from core.services import workers
from core.storage import jobs, lifecycle
from core.storage import workers as reported
from tests.acceptance.command_line import LIMIT_SECONDS, ROOT, CommandLine
from tests.builders import project_with
from tests.pages.trained import finish_run
from tests.services.reported import worker_report

pytestmark = pytest.mark.acceptance


def test_an_evaluation_says_that_the_worker_of_its_home_carries_out_trainings_only(cli: CommandLine) -> None:
    store = cli.store()
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    reported.report(store, worker_report("desk", lanes=("run",)))
    lock = store.home / workers.LOCK
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(lock, (0, 0))  # held for long
        command = [sys.executable, "-m", "core", "evaluate", run.id, "--json"]
        process = subprocess.Popen(command, cwd=ROOT, env=cli.environment, stderr=subprocess.PIPE, text=True)
        with process:
            assert process.stderr is not None
            has_spoken, _, _ = select.select([process.stderr], [], [], LIMIT_SECONDS)
            said = process.stderr.readline() if has_spoken else ""
            for job in jobs.waiting(store):
                lifecycle.request_cancel(store, lifecycle.JOBS, job.id)
            rest = process.stderr.read()

    assert said.startswith("The workers that are here carry out trainings only, no jobs. The job waits")
    assert rest == "The job was cancelled.\n"
    assert process.returncode == 1
