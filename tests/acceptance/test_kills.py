"""SIGKILL at any moment costs nothing: the run ends with the very weights and figures of an untouched one."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.domain.runs import OF_THE_MACHINE, Epoch, Run, WorkState
from core.storage import lifecycle, processes, runs
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from core.worker.processes import stop
from tests.acceptance.command_line import LIMIT_SECONDS, CommandLine

EPOCHS = 8
SMALL = (
    *("size=64", "encoder_weights=none", "batch_size=4", "max_train_images=24", "max_valid_images=6"),
    *("deterministic=true", "threads=1", "keep=best:2", "epoch_images=0"),
)
LONGEST_ATTEMPT_SECONDS = 5.0  # of training, before it is killed: long enough to end


@pytest.mark.acceptance
def test_a_run_killed_three_times_equals_an_untouched_one(cli: CommandLine) -> None:
    check_kills(cli, 3)


@pytest.mark.slow
def test_a_run_killed_twenty_times_equals_an_untouched_one(cli: CommandLine) -> None:
    check_kills(cli, 20)


def check_kills(cli: CommandLine, kills: int) -> None:
    """Train twice on the same labels; kill the second one at random moments while its worker lives."""
    cli.json("sample", "--project", "Sample")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    arguments = ["train", "--project", "Sample", "--epochs", str(EPOCHS), *settings]
    untouched = cli.json(*arguments, "--wait")["run"]
    killed = cli.json(*arguments)["run"]
    store = cli.store()
    delays = [random.uniform(0.0, LONGEST_ATTEMPT_SECONDS) for _ in range(kills)]

    worker = cli.start("worker")
    try:
        done = sum(kill_after(store, killed, delay) for delay in delays)
        finish(store, killed)
    finally:
        worker.terminate()
        worker.wait()

    before, after = runs.get(store, untouched), runs.get(store, killed)
    assert after.state is WorkState.SUCCEEDED, (after.error, delays)
    assert after.attempt >= min(done, 1) + 1, (done, delays)
    assert figures(store, after) == figures(store, before), delays
    assert kept(store, after) == kept(store, before), delays
    assert EPOCHS in kept(store, after)
    for ours, theirs in zip(kept_epochs(store, after), kept_epochs(store, before), strict=True):
        check_equal_weights(store.blobs.local(ours.checkpoint), store.blobs.local(theirs.checkpoint), delays)


def kill_after(store: Store, run_id: str, delay: float) -> bool:
    """Let the run's next process live so long, then kill it; False where it was done before."""
    until(lambda: runs.get(store, run_id).state in (WorkState.RUNNING, WorkState.FAILED, WorkState.SUCCEEDED))
    time.sleep(delay)
    if runs.get(store, run_id).state is WorkState.FAILED:  # three crashes without an epoch: a click
        lifecycle.resume(store, RUNS, run_id)
    under_way = [work.process for work in lifecycle.active(store, RUNS) if work.process]
    for process in under_way:
        stop(process, 0)
        assert not processes.is_alive(process)
    return bool(under_way)


def finish(store: Store, run_id: str) -> None:
    """Wait for the end; go on by a click where it takes one."""

    def is_over() -> bool:
        run = runs.get(store, run_id)
        if run.state is WorkState.FAILED and run.error.startswith("Stopped "):
            lifecycle.resume(store, RUNS, run_id)
        return run.state.is_final and not lifecycle.has_queued(store, RUNS)

    until(is_over)


def figures(store: Store, run: Run) -> list[dict[str, float | None]]:
    """Give each epoch's figures, but for those of the clock."""
    return [
        {name: value for name, value in epoch.metrics.items() if name not in OF_THE_MACHINE}
        for epoch in runs.epochs(store, run.id)
    ]


def kept_epochs(store: Store, run: Run) -> list[Epoch]:
    return [epoch for epoch in runs.epochs(store, run.id) if epoch.checkpoint]


def kept(store: Store, run: Run) -> list[int]:
    return [epoch.epoch for epoch in kept_epochs(store, run)]


def check_equal_weights(first: Path, second: Path, delays: list[float]) -> None:
    """Compare two checkpoints bit by bit: the weights, and the optimiser's moments."""
    import torch

    one, other = (torch.load(path, weights_only=True) for path in (first, second))
    assert one["model"].keys() == other["model"].keys()
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"]), delays
    moments = [state["optimizer"]["state"] for state in (one, other)]
    assert moments[0].keys() == moments[1].keys()
    for key, values in moments[0].items():
        assert all(torch.equal(values[name], moments[1][key][name]) for name in values), delays


def until(look: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is true, and give it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.05)
    return found
