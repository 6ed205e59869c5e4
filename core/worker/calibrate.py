"""The job that measures what a configuration costs here: a few seconds of training on random images."""

import contextlib
import ctypes
import dataclasses
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from core.domain.errors import AppError
from core.domain.labels import Category, unused_color
from core.domain.runs import Job
from core.domain.training import LabelledPhoto, TrainingConfig, VersionItem, config_from_json
from core.models.registry import MODELS, check_pair
from core.storage import lifecycle, processes, workers
from core.storage.settings import Settings
from core.storage.store import Store
from core.training.dataset import TrainingData, batches
from core.training.environment import prepare_process
from core.training.learner import Learner, build_learner
from core.training.loop import train_step
from core.training.metrics import Tally
from core.training.mixing import Cache
from core.training.optimisation import set_modes
from core.training.validation import validate
from core.worker.heartbeat import OnProgress
from core.worker.machine import usage

SECONDS = 1.2  # for each of the things that are timed, what warms them up aside
STEP_SECONDS = 1.5  # the most that a step of the larger batch is to take
SMALL_BATCH, LARGER_BATCHES = 2, (16, 8, 4)
FREE_SHARE = 0.5  # of the memory that is free, which the larger batch may take by the smaller one's need
PHOTO_MEGAPIXELS = 4.0  # how much larger the larger photo is that validation is timed with

_ROWS = 2  # images that all batches are drawn from
_BLOCKS = 8  # per side, of one class each
_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"  # Source: Linux, Documentation/filesystems/proc.rst, clear_refs


@dataclass(frozen=True)
class Steps:
    """Steps of one batch size: the seconds of the middle one, and the process's or the GPU's peak."""

    batch_size: int
    seconds: float
    peak_bytes: int


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Train and validate a random network on random images for some seconds.

    Payload: keys of TrainingConfig, and ``classes``, background aside. Result: ``{"host", "device",
    "train_seconds", "validate_seconds", "megapixel_seconds", "fixed_bytes", "image_bytes",
    "is_disturbed"}``. Seconds are per image: of its share of a step, with drawing it; of validating it;
    and of each megapixel of the photo that its prediction is brought to. A training's peak is
    ``fixed_bytes`` and ``image_bytes`` for each image of a batch. ``is_disturbed``: a training was
    under way on this host.

    Raises:
        UnknownChoice, FormatError: the configuration is not one.
        AppError: the memory does not suffice, or this host trains on GPUs and none is free.
    """
    payload = dict(job.payload)
    classes = int(payload.pop("classes"))
    config = _config(payload)
    prepare_process(Settings().threads)
    _require_gpu_where_trainings_have_one(store)
    was_disturbed = _is_training_here(store)
    on_progress(0.0, "Building the network")
    too_large = f"There is not enough memory for two images of {config.crop or config.size} pixels a side"
    with spoken_memory_errors(f"{too_large}. Choose a smaller size or crop, or a smaller network."):
        measured = _measure(build_learner(config, _random_data(config, classes)), store.home, on_progress)
    return {
        "host": processes.this_host(),
        "device": device_name(),
        **measured,
        "is_disturbed": was_disturbed or _is_training_here(store),
    }


def device_name() -> str:
    """Name what this process computes with."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


@contextlib.contextmanager
def spoken_memory_errors(sentence: str) -> Generator[None]:
    """Say this where memory runs out, of the machine or of a GPU; all else passes.

    Raises:
        AppError: it ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise AppError(sentence) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is that memory ran out: Python's, CUDA's, or that of torch on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "allocate memory", "bad_alloc", "bad allocation")
    )


def memory_advice(config: TrainingConfig) -> str:
    """Say that the memory did not suffice for a training, and what needs less."""
    side, least = config.crop or config.size, MODELS[config.model].min_batch_size
    problem = f"The memory ran out with batches of {config.batch_size} images of {side} pixels a side. "
    half = config.batch_size // 2
    if half < max(2, least) * config.devices:
        return f"{problem}Choose a smaller size or crop, or a smaller network."
    accumulate = config.accumulate * config.batch_size // half
    return (
        f"{problem}Set batch_size to {half} and accumulate to {accumulate}, which learns nearly the same in "
        "about half the memory, or choose a smaller size."
    )


def _config(values: dict[str, Any]) -> TrainingConfig:
    """Read what shapes the cost; pretrained weights cost nothing more, and need not be fetched."""
    # Timing both memory layouts, as a training does, would take longer than all else here.
    config = config_from_json({**values, "encoder_weights": "none", "deterministic": True})
    for side in {config.size, config.crop or config.size}:
        check_pair(config.model, config.encoder, side, SMALL_BATCH, "none")
    return config


def _require_gpu_where_trainings_have_one(store: Store) -> None:
    """Refuse to measure a processor where trainings would have a GPU: jobs get one only while one is free."""
    host = processes.this_host()
    has_gpus = any(info.host == host and info.gpus for info, _ in workers.list_all(store))
    if has_gpus and not torch.cuda.is_available():
        raise AppError(f"No GPU of {host} is free. Measure again when one is.")


def _is_training_here(store: Store) -> bool:
    return any(work.host == processes.this_host() for work in lifecycle.active(store, lifecycle.RUNS))


def _random_data(config: TrainingConfig, classes: int) -> TrainingData:
    """Make images of noise, with labels in blocks: what a loss does depends on how many borders there are."""
    rng, size = np.random.default_rng(0), config.size
    images = rng.integers(0, 256, (_ROWS, size, size, 3), np.uint8)
    blocks = rng.integers(0, classes + 1, (_ROWS, _BLOCKS, _BLOCKS), np.uint8)
    numbers = np.arange(1, _BLOCKS**2 + 1, dtype=np.uint8).reshape(_BLOCKS, _BLOCKS)
    instances = None
    if MODELS[config.model].has_regions:
        instances = np.stack([_enlarged(np.where(block > 0, numbers, 0), size) for block in blocks])
    cache = Cache((), images, np.stack([_enlarged(block, size) for block in blocks]), instances)
    categories = tuple(Category(i, f"class {i}", unused_color(i, ())) for i in range(1, classes + 1))
    index = {category.category_id: category.category_id for category in categories}
    return TrainingData(categories, cache, cache, _photo_of(0), index)


def _enlarged(blocks: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    enlarged = cv2.resize(blocks.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged, np.uint8)


def _photo_of(side: int) -> Callable[[VersionItem], LabelledPhoto]:
    """Give a reader of square photos that show nothing; their files are never asked for."""
    return lambda item: LabelledPhoto(item.image_id, bytes, (side, side), ())


def _measure(learner: Learner, home: Path, on_progress: OnProgress) -> dict[str, Any]:
    set_modes(learner.network.module, learner.config, epoch=1)
    _forget_peak(learner)
    base_bytes = _peak_bytes(learner)
    on_progress(0.1, "Timing small batches")
    small = _steps(learner, SMALL_BATCH, partial(on_progress, 0.1, "Timing small batches"))
    on_progress(0.4, "Timing larger batches")
    size = _larger_batch(small, small.peak_bytes - base_bytes, _free_bytes(learner, home))
    larger = _steps(learner, size, partial(on_progress, 0.4, "Timing larger batches"))
    on_progress(0.7, "Timing the validation")
    validate_seconds, megapixel_seconds = _validation_seconds(learner, larger.batch_size)
    image_bytes = (larger.peak_bytes - small.peak_bytes) // (larger.batch_size - small.batch_size)
    image_bytes = max(0, image_bytes)
    return {
        "train_seconds": larger.seconds / larger.batch_size,
        "validate_seconds": validate_seconds,
        "megapixel_seconds": megapixel_seconds,
        "fixed_bytes": max(0, small.peak_bytes - small.batch_size * image_bytes),
        "image_bytes": image_bytes,
    }


def _larger_batch(small: Steps, grown_bytes: int, free_bytes: int) -> int:
    """Choose the second batch: the farther from the first the better, as time and memory allow."""
    for size in LARGER_BATCHES:
        factor = size / small.batch_size
        if factor * small.seconds <= STEP_SECONDS and factor * grown_bytes <= FREE_SHARE * free_bytes:
            return size
    return small.batch_size + 1


def _steps(learner: Learner, batch_size: int, on_step: Callable[[], None]) -> Steps:
    """Take steps as an epoch does."""
    config = dataclasses.replace(learner.config, batch_size=batch_size, epoch_images=batch_size)
    learner = dataclasses.replace(learner, config=config)
    tally, epochs = Tally(learner.network.card.num_classes), itertools.count(1)

    def step() -> None:
        for batch in batches(learner.data.train, config, next(epochs)):
            tally.add(*train_step(learner, batch))
            on_step()

    _forget_peak(learner)
    seconds = _median_seconds(learner, step)
    return Steps(batch_size, seconds, _peak_bytes(learner))


def _validation_seconds(learner: Learner, images: int) -> tuple[float, float]:
    """Give the seconds per image, and per megapixel of the photo."""
    network = dataclasses.replace(learner.network, batch_size=images)
    items = [VersionItem(str(number % _ROWS), "", 0, "valid") for number in range(images)]
    cache = learner.data.valid
    rows = np.arange(images) % _ROWS
    cache = dataclasses.replace(cache, images=cache.images[rows], labels=cache.labels[rows])
    size = learner.config.size
    sides = (size, round((size**2 + PHOTO_MEGAPIXELS * 1e6) ** 0.5))

    def seconds_of(side: int) -> float:
        def measure() -> None:
            for _ in validate(network, items, _photo_of(side), lambda _: None, epoch=1, cache=cache):
                pass

        return _median_seconds(learner, measure) / images

    of_small, of_larger = (seconds_of(side) for side in sides)
    per_megapixel = max(0.0, of_larger - of_small) / PHOTO_MEGAPIXELS
    return max(0.0, of_small - per_megapixel * size**2 / 1e6), per_megapixel


def _median_seconds(learner: Learner, call: Callable[[], None]) -> float:
    """Time a call again and again, after one that warms up; a median hears no single disturbance."""
    call()
    return statistics.median(_times(learner, call))


def _times(learner: Learner, call: Callable[[], None]) -> Iterator[float]:
    left = SECONDS
    while left > 0:
        _finish(learner)
        started = time.perf_counter()
        call()
        _finish(learner)
        seconds = time.perf_counter() - started
        yield seconds
        left -= seconds


def _finish(learner: Learner) -> None:
    if learner.fabric.device.type == "cuda":
        torch.cuda.synchronize()


def _forget_peak(learner: Learner) -> None:
    """Give back what is freed, and begin to look for the peak anew."""
    gc.collect()
    if learner.fabric.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return
    # The allocator was told to keep what is freed: a batch would find its room made by the one before.
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    with contextlib.suppress(OSError):  # not allowed in some containers: then only a new peak is seen
        (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)


def _peak_bytes(learner: Learner) -> int:
    """Give the most memory that was in use since the last ``_forget_peak``: of the GPU, or the process."""
    if learner.fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = (_PROCESS / "status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def _free_bytes(learner: Learner, home: Path) -> int:
    if learner.fabric.device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    figures = usage(home)
    return int(figures.get("memory_bytes", 0)) - int(figures.get("used_bytes", 0))
