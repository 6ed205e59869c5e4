"""How much of the network's own speed the training loop keeps: images per second of both, in turns."""

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch

from core.domain.presets import PRESETS
from core.services import training
from core.services.home import open_home
from core.storage import versions
from core.training.dataset import batches, prepare_data
from core.training.environment import prepare_process
from core.training.learner import Learner, build_learner
from core.training.loop import fit
from core.training.network import network_input, network_truth
from core.training.progress import Progress
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.photos import fill_with_panels
from tests.bench.processes import fresh_home
from tests.bench.profiled import shares

THREADS = 2
BATCHES_PER_EPOCH = 4
WARM_UP = 2
PARTS = {
    "forward": ["wrappers.py:forward"],
    "backward": ["fabric.py:backward"],
    "loss": ["criterion.py:with_answers"],
    "augmentation": ["mixing.py:draw_sample"],
    "batch to tensor": ["network.py:network_input", "network.py:network_truth"],
    "metrics": ["metrics.py:batch_confusion"],
    "clipping": ["clip_grad.py:clip_grad_norm_"],
    "optimiser": ["optimizer.py:wrapper", "optimizer.py:zero_grad"],
}


@dataclass(frozen=True)
class Setting:
    """One row: pixels a side, images in a batch, and how many epochs are timed."""

    size: int
    batch_size: int
    epochs: int
    quick_epochs: int


SETTINGS = (Setting(256, 8, epochs=12, quick_epochs=2), Setting(512, 4, epochs=6, quick_epochs=1))


def measure(*, is_quick: bool) -> list[Figure]:
    """Train epochs of the fast preset; after each batch, the same network alone on a batch in memory."""
    return [_figure(setting, is_quick=is_quick) for setting in SETTINGS]


def _figure(setting: Setting, *, is_quick: bool) -> Figure:
    with fresh_home():
        learner = prepared_learner(setting)
        turns = Turns([_bare_step(learner), _network_step(learner)])
        epochs = setting.quick_epochs if is_quick else setting.epochs
        for epoch in range(1, epochs + 1):
            turns.train_one_epoch(learner, epoch)
        note = _profile(learner, epochs + 1, turns=1 if is_quick else 3)
    config = learner.config
    loop, bare, network = ([config.batch_size / s for s in values[WARM_UP:]] for values in turns.seconds)
    how = (
        f"{config.size} px, batch {config.batch_size}, augmentation {config.augmentation}, {THREADS} threads"
    )
    strict = median_ratio(loop, network)
    return median_figure(
        f"training on the CPU, one batch of {config.size} px",
        loop,
        "images/s",
        f"whole loop, fast preset, {how}; {strict:.2f} of forward and backward without the loss. {note}",
        ratio=median_ratio(loop, bare),
        against="forward, loss and backward on one batch in memory",
        goal="0.95 or more",
    )


class Turns:
    """The seconds of each of the loop's batches, and of some other steps taken right after it."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        self.seconds: list[list[float]] = [[] for _ in range(1 + len(steps))]
        self._steps = steps
        self._started = 0.0

    def train_one_epoch(self, learner: Learner, epoch: int) -> None:
        """Do one epoch's training steps as ``fit`` does, and leave before its validation."""
        self._started = time.perf_counter()
        with suppress(_TrainingIsOver):
            next(fit(learner, range(epoch - 1, epoch), self._after_batch, lambda epoch, image: None))

    def _after_batch(self, progress: Progress) -> None:
        self.seconds[0].append(time.perf_counter() - self._started)
        for values, step in zip(self.seconds[1:], self._steps, strict=True):
            started = time.perf_counter()
            step()
            values.append(time.perf_counter() - started)
        if progress.batch == progress.batches:
            raise _TrainingIsOver
        self._started = time.perf_counter()


class _TrainingIsOver(Exception):
    pass


def prepared_learner(setting: Setting) -> Learner:
    """Make photos and build what trains on them; in the home of now."""
    config = replace(
        PRESETS["fast"].config,
        size=setting.size,
        batch_size=setting.batch_size,
        epoch_images=BATCHES_PER_EPOCH * setting.batch_size,
        epochs=1000,
        progressive=False,  # each epoch is to cost the same
        threads=THREADS,
    )
    prepare_process(config.threads)
    store = open_home()
    project = fill_with_panels(store, "Training", config.epoch_images * 3 // 2, (640, 480))
    run = training.start_run(store, project.id, config)
    version = training.data_version(store, run)
    read = partial(versions.read_item, store)
    data = prepare_data(version, config, read, store.home / "cache", lambda done, total: None)
    return build_learner(config, data)


def _bare_step(learner: Learner) -> Callable[[], None]:
    network, batch = learner.network, next(batches(learner.data.train, learner.config, 1))
    images, truth = network_input(network, batch.images), network_truth(network, batch.labels)

    def step() -> None:
        _forget_gradients(learner)
        learner.fabric.backward(network.loss(network.module(images), truth))

    return step


def _network_step(learner: Learner) -> Callable[[], None]:
    network, batch = learner.network, next(batches(learner.data.train, learner.config, 1))
    images = network_input(network, batch.images)
    with torch.no_grad():
        gradient = torch.full_like(network.module(images), 1e-6)

    def step() -> None:
        _forget_gradients(learner)
        network.module(images).backward(gradient)

    return step


def _forget_gradients(learner: Learner) -> None:
    for parameter in learner.network.module.parameters():
        parameter.grad = None


def _profile(learner: Learner, epoch: int, *, turns: int) -> str:
    """Say which share of the training time each part of the loop takes."""
    alone = Turns([])
    found: list[dict[str, float]] = []
    for turn in range(turns):
        seconds, _ = shares(partial(alone.train_one_epoch, learner, epoch + turn), PARTS)
        total = sum(alone.seconds[0][-learner.batches :])
        found.append({part: value / total for part, value in seconds.items()})
    middle = {part: statistics.median(run[part] for run in found) for part in PARTS}
    return "Profile: " + ", ".join(f"{part} {share:.1%}" for part, share in middle.items())
