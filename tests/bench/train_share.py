"""How much of the network's own speed the training loop keeps: images per second of both, in turns."""

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch

from core.domain.training import TrainingConfig
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
BATCHES = 6
PARTS = {
    "forward": ["wrappers.py:forward"],
    "backward": ["fabric.py:backward"],
    "loss": ["losses.py:loss"],
    "augmentation": ["augmentation.py:augment"],
    "batch to tensor": ["network.py:network_input", "network.py:network_truth"],
    "metrics": ["metrics.py:batch_confusion"],
    "clipping": ["clip_grad.py:clip_grad_norm_"],
    "optimiser": ["adamw.py:step", "optimizer.py:zero_grad"],
}


def measure(*, is_quick: bool) -> list[Figure]:
    """Train epochs of the fast preset, each beside as many bare steps on one batch."""
    with fresh_home():
        learner = _learner(batches_per_epoch=2 if is_quick else BATCHES)
        turns = 3 if is_quick else 9
        loop, bare, network = [], [], []
        for epoch in range(1, turns + 1):
            rates = (_loop_rate(learner, epoch), _rate(learner, _bare_step), _rate(learner, _network_step))
            if epoch > 1:  # the first turn warms up
                for values, rate in zip((loop, bare, network), rates, strict=True):
                    values.append(rate)
        note = _profile(learner, turns + 1)
    config = learner.config
    setting = f"fast preset, {config.size} px, batch {config.batch_size}, {THREADS} threads"
    ratio = median_ratio(loop, bare)
    strict = median_ratio(loop, network)
    how = f"whole loop, {setting}; {strict:.2f} of forward and backward without the loss. {note}"
    return [
        median_figure(
            "training on the CPU",
            loop,
            "images/s",
            how,
            ratio=ratio,
            against="forward, loss and backward on one batch in memory",
            goal="0.95 or more",
        )
    ]


def _learner(batches_per_epoch: int) -> Learner:
    config = TrainingConfig(threads=THREADS, epochs=1000)
    prepare_process(config.threads)
    store = open_home()
    photos = batches_per_epoch * config.batch_size * 3 // 2
    project = fill_with_panels(store, "Training", photos, (512, 384))
    run = training.start_run(store, project.id, config)
    version = training.data_version(store, run)
    read = partial(versions.read_item, store)
    data = prepare_data(version, config, read, store.home / "cache", lambda done, total: None)
    return build_learner(config, data)


def _loop_rate(learner: Learner, epoch: int) -> float:
    """Give the training images per second of one real epoch; its validation is not in it."""
    result = next(fit(learner, range(epoch - 1, epoch), lambda progress: None, lambda epoch, image: None))
    rate = result.metrics["images_per_second"]
    assert rate is not None
    return rate


def _rate(learner: Learner, build_step: Callable[[Learner], Callable[[], None]]) -> float:
    learner.network.module.train()
    step = build_step(learner)
    started = time.perf_counter()
    for _ in range(learner.batches):
        step()
    return learner.batches * learner.config.batch_size / (time.perf_counter() - started)


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


def _profile(learner: Learner, epoch: int) -> str:
    """Say which share of the training time each part of the loop takes."""
    found: list[dict[str, float]] = []
    for turn in range(3):
        started = time.perf_counter()
        seconds, _ = shares(partial(_train_only, learner, epoch + turn), PARTS)
        total = time.perf_counter() - started
        found.append({part: value / total for part, value in seconds.items()})
    middle = {part: statistics.median(run[part] for run in found) for part in PARTS}
    return "Profile: " + ", ".join(f"{part} {share:.1%}" for part, share in middle.items())


def _train_only(learner: Learner, epoch: int) -> None:
    """Do one epoch's training steps as ``fit`` does, and leave before its validation."""
    with suppress(_TrainingIsOver):
        next(fit(learner, range(epoch - 1, epoch), _leave_after_last, lambda epoch, image: None))


def _leave_after_last(progress: Progress) -> None:
    if progress.batch == progress.batches:
        raise _TrainingIsOver


class _TrainingIsOver(Exception):
    pass
