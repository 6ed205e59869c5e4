"""How much of the network's own speed a measurement keeps: photos per second of both, in turns."""

import time
from dataclasses import replace

import numpy as np
import torch

from core.models.outputs import logits_of
from core.training.learner import Learner
from core.training.network import network_input
from core.training.validation import validate
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.processes import fresh_home
from tests.bench.train_share import THREADS, Setting, prepared_learner

TIMES = 4  # that the photos there are come in one pass: of two batches both would be a first or a last one
SETTINGS = (Setting(256, 8, epochs=6, quick_epochs=2), Setting(512, 8, epochs=4, quick_epochs=1))


def measure(*, is_quick: bool) -> list[Figure]:
    """Measure validation photos as epochs do; after each pass, the same network alone on their pixels."""
    return [_figure(setting, is_quick=is_quick) for setting in SETTINGS]


def _figure(setting: Setting, *, is_quick: bool) -> Figure:
    with fresh_home():
        learner = _with_more_photos(prepared_learner(setting))
        _bare(learner)  # warms up
        _measured(learner)  # as the first epoch does, which paints the truths
        passes: list[float] = []
        bare: list[float] = []
        for _ in range(setting.quick_epochs if is_quick else setting.epochs):
            passes.append(_measured(learner))
            bare.append(_bare(learner))
    config = learner.config
    return median_figure(
        f"measuring photos of 640 x 480 on the CPU at {config.size} px",
        passes,
        "photos/s",
        f"one pass over {len(learner.data.valid)} validation photos, fast preset's network, batch "
        f"{config.batch_size}, {THREADS} threads; figures at the photos' own size, pictures not written; "
        "an epoch after the first",
        ratio=median_ratio(passes, bare),
        against="the network alone on the same pixels in memory",
        goal="0.9 or more",
    )


def _with_more_photos(learner: Learner) -> Learner:
    valid = learner.data.valid
    rows = np.tile(np.arange(len(valid)), TIMES)
    items = tuple(valid.items[row] for row in rows)
    many = replace(valid, items=items, images=valid.images[rows], labels=valid.labels[rows])
    return replace(learner, data=replace(learner.data, valid=many))


def _measured(learner: Learner) -> float:
    data, started = learner.data, time.perf_counter()
    found = validate(
        learner.network,
        data.valid.items,
        data.read_item,
        lambda _: None,
        epoch=1,
        cache=data.valid,
        truths=learner.truths,
    )
    count = sum(1 for _ in found)
    return count / (time.perf_counter() - started)


def _bare(learner: Learner) -> float:
    network, valid, size = learner.network, learner.data.valid, learner.config.batch_size
    batches = [
        network_input(network, valid.images[start : start + size].copy())
        for start in range(0, len(valid), size)
    ]
    network.module.eval()
    started = time.perf_counter()
    with torch.inference_mode():
        for images in batches:
            logits_of(network.module(images))
    return len(valid) / (time.perf_counter() - started)
