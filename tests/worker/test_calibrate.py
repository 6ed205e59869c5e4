"""What a configuration costs here, measured on the real network, and what is said where it cannot be."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from core.domain.errors import AppError, FormatError, UnknownChoice
from core.domain.runs import Gpu, Run, WorkerInfo, WorkState
from core.domain.training import TrainingConfig
from core.domain.version import VERSION
from core.models.registry import build_model
from core.services import recipes
from core.storage import jobs, lifecycle, processes, reservations, tables, workers
from core.storage.store import Store
from core.worker import calibrate
from core.worker.calibrate import is_out_of_memory, memory_advice, spoken_memory_errors
from core.worker.handlers import HANDLERS
from core.worker.launching import ROOT
from tests.worker.small_runs import SMALL as SMALL_RUN
from tests.worker.small_runs import carry_out, claim_of, know_small_parts

SMALL = TrainingConfig(model="fpn", size=96)
MEASURED = {"train_seconds", "validate_seconds", "megapixel_seconds", "fixed_bytes", "image_bytes"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_THREADS", "1")
    monkeypatch.setattr(calibrate, "SECONDS", 0.05)
    monkeypatch.setattr(calibrate, "PHOTO_MEGAPIXELS", 0.5)


def measured(store: Store, config: TrainingConfig, classes: int = 2) -> dict[str, Any]:
    heard: list[float] = []
    job = recipes.measure(store, config, classes)
    result = HANDLERS["calibrate"](store, job, lambda share, _message: heard.append(share))
    assert heard == sorted(heard) and heard[0] == 0
    return result


def activation_bytes(config: TrainingConfig) -> int:
    """Count what a training keeps of one more image for its backward pass: that is what an image needs."""
    network = build_model(config.model, config.encoder, "none", 3).train()
    counts: list[int] = []
    for images in (2, 3):
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            outputs = network(torch.zeros(images, 3, config.size, config.size))
        counts.append(sum(kept.values()))
        del outputs
    return counts[1] - counts[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts the memory of a process")
def test_memory_grows_with_the_batch_by_what_the_backward_pass_needs(store: Store) -> None:
    config = replace(SMALL, size=192)

    result = measured(store, config)

    needed = activation_bytes(config)
    assert 0.5 * needed < result["image_bytes"] < 3 * needed, (result, needed)
    weights = 4 * 4 * 5_000_000  # values, gradients and two averages of about five million
    assert weights < result["fixed_bytes"] < 8 << 30


def test_a_measure_can_be_read_as_a_cost_on_the_worker_that_made_it(store: Store) -> None:
    here = processes.this_host()
    memory = {"memory_bytes": 24 << 30}
    now = tables.now()
    info = WorkerInfo(here, VERSION, ("run", "job"), 1, (), 64, memory, "", now, now)
    workers.report(store, info)

    result = measured(store, SMALL)

    assert result.keys() == MEASURED | {"host", "device", "is_disturbed"}
    assert (result["host"], result["is_disturbed"]) == (here, False)
    assert all(result[name] >= 0 for name in MEASURED)
    assert result["train_seconds"] > result["validate_seconds"] > 0, "a backward pass is work"
    cost = recipes._cost(result, info)  # pyright: ignore[reportPrivateUsage]
    assert cost.memory_bytes(4) - cost.memory_bytes(2) == 2 * result["image_bytes"]
    assert cost.limit_bytes == 24 << 30


def test_regions_crops_and_other_settings_are_measured_too(store: Store) -> None:
    settings = {"crop": 64, "ema": 0.9, "loss": "focal+dice", "optimizer": "sgd", "batch_norm": "frozen"}
    config = replace(SMALL, model="panoptic_deeplab", encoder="resnet18", **settings)

    result = measured(store, config)

    assert result["train_seconds"] > 0 and result["validate_seconds"] >= 0


def test_what_is_no_configuration_fails_with_its_sentence(store: Store) -> None:
    for changes, kind, sentence in (
        ({"size": 100}, FormatError, "multiple of 32"),
        ({"encoder": "none"}, FormatError, "does not work on none"),
        ({"model": "u"}, UnknownChoice, "no model"),
        ({"loss": "l1"}, UnknownChoice, "l1"),
    ):
        job = recipes.measure(store, replace(SMALL, **changes), 2)
        with pytest.raises(kind, match=sentence):
            HANDLERS["calibrate"](store, job, lambda *_: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is free")
def test_a_processor_is_not_measured_where_trainings_have_gpus(store: Store) -> None:
    now, gpus = tables.now(), (Gpu("0", "T4", 16 << 30),)
    workers.report(
        store,
        WorkerInfo(processes.this_host(), VERSION, ("run", "job"), 1, gpus, 1, {}, "", now, now),
    )

    with pytest.raises(AppError, match=r"^No GPU of .* is free\."):
        measured(store, SMALL)


def test_the_larger_batch_is_as_far_as_time_and_memory_allow() -> None:
    gb = 1 << 30

    def larger(seconds: float, grown: int, free: int) -> int:
        return calibrate._larger_batch(calibrate.Steps(2, seconds, 0), grown, free)

    assert larger(0.01, gb, 100 * gb) == 16
    assert larger(0.3, gb, 100 * gb) == 8
    assert larger(0.7, gb, 100 * gb) == 4
    assert larger(0.01, gb, 5 * gb) == 4
    assert larger(0.01, 4 * gb, gb) == larger(5.0, 1, gb) == 3


LIMITED = """
import resource, sys
import torch
from core.domain.errors import AppError
from core.domain.training import TrainingConfig
from core.worker import calibrate
from core.worker.calibrate import build_learner, memory_advice, spoken_memory_errors

torch.set_num_threads(1)
config = calibrate._config({"model": "fpn", "size": 1024})
learner = build_learner(config, calibrate._random_data(config, 2))
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    with spoken_memory_errors(memory_advice(config)):
        calibrate._steps(learner, 8, lambda: None)
except AppError as error:
    print(type(error.__cause__).__name__, error.__cause__, file=sys.stderr)
    print(error)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="limits the memory of a process")
def test_memory_that_runs_out_in_earnest_is_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stdout == (
        "The memory ran out with batches of 8 images of 1024 pixels a side. Set batch_size to 4 and "
        "accumulate to 2, which learns nearly the same in about half the memory, or choose a smaller size.\n"
    ), done.stderr


def test_a_training_whose_memory_runs_out_fails_with_what_to_set(
    store: Store, queue_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = know_small_parts(monkeypatch)
    moments.before(lambda: torch.empty(1 << 50, dtype=torch.uint8), epoch=2)  # beyond any address space

    code, failed = carry_out(store, queue_run(epochs=3, **(SMALL_RUN | {"batch_size": 4, "accumulate": 2})))

    assert (code, failed.state) == (1, WorkState.FAILED)
    assert failed.error == (
        "The memory ran out with batches of 4 images of 64 pixels a side. Set batch_size to 2 and accumulate "
        "to 4, which learns nearly the same in about half the memory, or choose a smaller size."
    )


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), spoken_memory_errors("no"):
        raise RuntimeError("shapes differ")
    with pytest.raises(KeyError), spoken_memory_errors("no"):
        raise KeyError("a")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(ValueError("too large"))


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (TrainingConfig(batch_size=6, accumulate=3), "Set batch_size to 3 and accumulate to 6,"),
        (TrainingConfig(batch_size=4, devices=2), "Choose a smaller size"),
        (TrainingConfig(batch_size=3), "Choose a smaller size"),
        (TrainingConfig(batch_size=2, crop=64), "with batches of 2 images of 64 pixels a side. Choose"),
    ],
)
def test_advice_names_a_batch_that_can_be_set(config: TrainingConfig, advice: str) -> None:
    assert advice in memory_advice(config)


def test_jobs_of_the_same_configuration_are_one(store: Store) -> None:
    assert jobs.waiting(store) == []
    first, second = recipes.measure(store, SMALL, 2), recipes.measure(store, SMALL, 2)

    assert first.id == second.id and len(jobs.waiting(store)) == 1


def test_a_training_under_way_on_this_host_disturbs(store: Store, queue_run: Callable[..., Run]) -> None:
    run = queue_run()
    assert not calibrate._is_training_here(store)

    claim = claim_of(store, run)

    assert calibrate._is_training_here(store)
    reservations.release(store, claim)
    assert lifecycle.put_back(store, lifecycle.RUNS, claim, "not started")
    assert not calibrate._is_training_here(store)
