"""A run that gets no better ends early and well, however often it was killed."""

from collections.abc import Callable

import pytest

import core.worker.run as run_module
from core.domain.runs import Run
from core.storage import runs
from core.storage.store import Store
from tests.worker.small_runs import (
    SMALL,
    Killed,
    Moments,
    carry_out,
    carry_out_until_killed,
    check_succeeded,
    check_whole,
)

STILL = {"patience": 2, "encoder_learning_rate": 0.0, "decoder_learning_rate": 1e-9, "batch_norm": "frozen"}


def test_a_run_that_gets_no_better_succeeds_with_fewer_epochs(
    store: Store, queue_run: Callable[..., Run], moments: Moments
) -> None:
    code, done = carry_out(store, queue_run(epochs=9, **SMALL, **STILL))

    check_succeeded(code, done)
    check_whole(store, done, epochs=3)
    assert done.progress == {"phase": "done", "epoch": 3, "epochs": 9}
    assert runs.onnx_key(store, done.id, 1) and runs.onnx_key(store, done.id, 3)


def test_patience_outlives_a_kill(store: Store, queue_run: Callable[..., Run], moments: Moments) -> None:
    run = queue_run(epochs=9, **SMALL, **STILL)

    def die() -> None:
        raise Killed

    moments.before(die, epoch=3)
    run = carry_out_until_killed(store, run)
    assert run.epochs_done == 2

    code, done = carry_out(store, run)

    check_succeeded(code, done)
    check_whole(store, done, epochs=3)


def test_a_run_killed_when_only_the_export_was_missing_trains_no_more(
    store: Store, queue_run: Callable[..., Run], moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queue_run(epochs=9, **SMALL, **STILL)

    def die(attempt: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_export", die)
        run = carry_out_until_killed(store, run)
    assert run.epochs_done == 3

    code, done = carry_out(store, run)

    check_succeeded(code, done)
    check_whole(store, done, epochs=3)
    assert [e.attempt for e in runs.epochs(store, run.id)] == [1, 1, 1]
