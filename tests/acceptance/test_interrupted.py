"""The power goes off under a training: nothing is lost but the epoch under way, and nobody has to ask."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from core.storage import lifecycle, processes, runs
from core.storage.lifecycle import RUNS
from core.worker.processes import stop
from tests.acceptance.command_line import LIMIT_SECONDS, CommandLine

pytestmark = pytest.mark.acceptance

EPOCHS = 12
SMALL = (
    *("size=64", "encoder_weights=none", "batch_size=4", "epoch_images=0"),
    *("max_train_images=16", "max_valid_images=4"),
)


def until(look: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is true, and give it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.1)
    return found


def test_a_training_goes_on_with_the_next_worker_after_its_machine_died(cli: CommandLine) -> None:
    cli.json("sample", "--project", "Sample")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    queued = cli.json("train", "--project", "Sample", "--epochs", str(EPOCHS), *settings)
    assert queued["state"] == "queued"

    def shown() -> dict[str, Any]:
        (run,) = cli.json("runs", "--project", "Sample")
        return run

    store = cli.store()
    worker = cli.start("worker")
    try:
        until(lambda: runs.get(store, queued["run"]).epochs_done)
    finally:
        under_way = [work.process for work in lifecycle.active(store, RUNS) if work.process]
        worker.kill()
        for process in under_way:
            stop(process, 0)
        worker.wait()
    assert len(under_way) == 1 and not processes.is_alive(under_way[0])
    before = shown()["epochs"]
    assert 0 < len(before) < EPOCHS

    until(lambda: shown()["state"] == "interrupted")
    done = cli.run("worker", "--once")

    assert done.returncode == 0, done.stderr
    after = shown()
    assert (after["state"], after["attempt"]) == ("succeeded", 2), after["error"]
    assert [epoch["epoch"] for epoch in after["epochs"]] == list(range(1, EPOCHS + 1))
    assert after["epochs"][: len(before)] == before
