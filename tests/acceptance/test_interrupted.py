"""The power goes off under a training: nothing is lost but the epoch under way, and nobody has to ask."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from core.storage import lifecycle, processes
from core.storage.lifecycle import RUNS
from core.worker.processes import stop
from tests.acceptance.command_line import LIMIT_SECONDS, CommandLine

pytestmark = pytest.mark.acceptance

EPOCHS = 6
SMALL = ("--set", "size=64", "--set", "encoder_weights=none", "--set", "batch_size=4")


def until(look: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is true, and give it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.3)
    return found


def test_a_training_goes_on_with_the_next_worker_after_its_machine_died(cli: CommandLine) -> None:
    cli.json("sample", "--project", "Sample")
    queued = cli.json("train", "--project", "Sample", "--epochs", str(EPOCHS), *SMALL)
    assert queued["state"] == "queued"

    def shown() -> dict[str, Any]:
        (run,) = cli.json("runs", "--project", "Sample")
        return run

    store = cli.store()
    worker = cli.start("worker")
    try:
        before = until(lambda: shown()["epochs"])
        (work,) = lifecycle.active(store, RUNS)
        assert work.process is not None
    finally:
        worker.kill()
        worker.wait()
        for left in lifecycle.active(store, RUNS):
            if left.process is not None:
                stop(left.process, 0)
    assert not processes.is_alive(work.process)
    assert len(before) < EPOCHS

    until(lambda: shown()["state"] == "interrupted")
    done = cli.run("worker", "--once")

    assert done.returncode == 0, done.stderr
    after = shown()
    assert (after["state"], after["attempt"]) == ("succeeded", 2), after["error"]
    assert [epoch["epoch"] for epoch in after["epochs"]] == list(range(1, EPOCHS + 1))
    assert after["epochs"][: len(before)] == before
