"""Averaged weights are the average they are said to be, and what is measured and kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from core.domain.training import TrainingConfig
from core.training.averaging import named_parameters, start_average
from core.training.checkpoints import load_checkpoint, load_weights, save_checkpoint
from core.training.dataset import TrainingData
from core.training.evaluation import evaluate
from core.training.learner import build_learner
from core.training.loop import fit
from core.training.validation import ImageResult
from tests.training.builders import ThreeLayers, ignore


def test_a_constant_decay_gives_torchs_average() -> None:
    net = ThreeLayers(2)
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    theirs.update_parameters(net)  # torch's first call copies
    ours = start_average(net, 0.75)

    for step in range(40, 45):  # late enough for the decay itself
        _move(net, step)
        ours.update(net, step)
        theirs.update_parameters(net)

    expected = theirs.module.state_dict()
    assert set(ours.weights) == set(dict(net.named_parameters()))
    assert all(torch.allclose(weights, expected[name]) for name, weights in ours.weights.items())


def test_the_first_steps_are_soon_forgotten() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = start_average(net, 0.999)
    torch.nn.init.ones_(net.weight)

    seen = []
    for step in range(3):
        average.update(net, step)
        seen.append(1 - float(average.weights["weight"]))

    assert seen == pytest.approx([1 / 10, 1 / 10 * 2 / 11, 1 / 10 * 2 / 11 * 3 / 12])


def test_a_network_has_the_averages_for_a_while_and_gets_its_own_back() -> None:
    net = ThreeLayers(2)
    net.again = net.head  # weights with two names
    average = start_average(net, 0.9)
    _move(net, 1)
    own = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    with pytest.raises(KeyError), average.in_place_of(net):
        inside = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        raise KeyError

    assert all(torch.equal(inside[name], weights) for name, weights in average.weights.items())
    assert not torch.equal(inside["encoder.0.weight"], own["encoder.0.weight"])
    assert all(torch.equal(tensor, own[name]) for name, tensor in net.state_dict().items())


def test_the_averages_are_measured_kept_and_gone_on_from(
    config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    averaging = dataclasses.replace(config, ema=0.9)
    learner = build_learner(averaging, data)
    maps: list[np.ndarray] = []
    *_, last = fit(learner, range(2), ignore, lambda epoch, image: maps.append(image.label_map))
    save_checkpoint(tmp_path / "e.pt", learner, 2, {})
    again: list[ImageResult] = []

    evaluation = evaluate(
        tmp_path / "e.pt", data.valid.items, data.read_item, data.categories, again.append, ignore
    )
    kept, _ = load_weights(tmp_path / "e.pt")
    resumed = load_checkpoint(tmp_path / "e.pt", build_learner(averaging, data))

    assert learner.average is not None and resumed.average is not None
    learning, averaged = named_parameters(learner.network.module), learner.average.weights
    assert not _is_same(averaged, learning)
    assert evaluation.metrics == {k: v for k, v in last.metrics.items() if k.startswith("val_")}
    assert all(np.array_equal(a, b.label_map) for a, b in zip(maps[-3:], again, strict=True))
    assert _is_same(averaged, kept.state_dict())
    assert torch.equal(
        kept.get_buffer("encoder.1.running_mean"), learner.network.module.get_buffer("encoder.1.running_mean")
    )
    assert _is_same(resumed.average.weights, averaged)
    assert _is_same(named_parameters(resumed.network.module), learning)


def test_averaging_does_not_change_what_learns(config: TrainingConfig, data: TrainingData) -> None:
    learners = [build_learner(dataclasses.replace(config, ema=ema), data) for ema in (0.0, 0.9)]

    losses = [[r.metrics["train_loss"] for r in fit(x, range(2), ignore, ignore)] for x in learners]

    assert losses[0] == losses[1]


def _move(net: torch.nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))


def _is_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())
