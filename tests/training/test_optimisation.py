"""Rates follow their schedule and their part of the network; what is frozen stands still."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from core.domain.errors import UnknownChoice
from core.domain.training import CHOICES, TrainingConfig
from core.training.dataset import TrainingData
from core.training.learner import Learner, build_learner, set_learning_rates
from core.training.loop import fit
from core.training.optimisation import OPTIMIZERS, SCHEDULES, build_optimizer, encoder_stages, rate_share
from tests.training.builders import ThreeLayers, ignore

TOTAL = 1000


def test_every_choice_of_the_configuration_is_there() -> None:
    assert set(OPTIMIZERS) == set(CHOICES["optimizer"])
    assert set(SCHEDULES) == set(CHOICES["schedule"])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 8, TOTAL])
@pytest.mark.parametrize("warmup_share", [0.0, 0.15, 0.9])
def test_a_rate_rises_once_and_never_again(schedule: str, total: int, warmup_share: float) -> None:
    shares = [rate_share(schedule, step, total, warmup_share) for step in range(total)]

    peak = int(np.argmax(shares))
    warm = [step for step in range(total - 1) if (step + 1.5) / total <= warmup_share]
    assert all(0 < share <= 1 for share in shares)
    assert all(after <= before for before, after in itertools.pairwise(shares[peak:]))
    assert all(shares[step] < shares[step + 1] for step in warm)
    falls_far = schedule in ("poly", "cosine", "one_cycle")
    assert total < TOTAL or not falls_far or shares[-1] < 0.03 < 0.99 < max(shares)


@pytest.mark.parametrize(
    ("schedule", "place", "expected"),
    [
        ("constant", 0.05, 0.5),
        ("constant", 0.95, 1.0),
        ("step", 0.63, 1.0),
        ("step", 0.65, 0.1),
        ("step", 0.9, 0.01),
        ("poly", 0.55, 0.5**0.9),
        ("poly", 0.05, 0.5),
        ("cosine", 0.55, 0.5),
        ("cosine", 0.325, (1 + math.cos(math.pi / 4)) / 2),
        ("one_cycle", 0.05, 0.04 + 0.96 * 0.5),
        ("one_cycle", 0.55, 0.5),
    ],
)
def test_a_schedule_is_the_curve_it_is_named_after(schedule: str, place: float, expected: float) -> None:
    step = round(place * 10 * TOTAL)  # so many that the middle of a step does not show

    assert rate_share(schedule, step, 10 * TOTAL, warmup_share=0.1) == pytest.approx(expected, rel=2e-3)


def test_poly_and_cosine_are_those_of_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    poly, cosine = (torch.optim.SGD([parameter], lr=1.0) for _ in range(2))
    schedulers = {
        "poly": torch.optim.lr_scheduler.PolynomialLR(poly, 2 * TOTAL, power=0.9),
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(cosine, 2 * TOTAL),
    }
    poly.step(), cosine.step()

    for name, scheduler in schedulers.items():
        theirs = []
        for _ in range(2 * TOTAL):  # ours are at the middles of steps, theirs at half steps from 0 on
            theirs.append(scheduler.get_last_lr()[0])
            scheduler.step()

        assert [rate_share(name, step, TOTAL, 0.0) for step in range(TOTAL)] == pytest.approx(theirs[1::2])


def test_an_unknown_schedule_or_optimizer_is_refused() -> None:
    with pytest.raises(UnknownChoice, match="one_cycle"):
        rate_share("linear", 0, 1, 0.0)
    other = TrainingConfig()
    object.__setattr__(other, "optimizer", "lion")

    with pytest.raises(UnknownChoice, match="adamw"):
        build_optimizer(ThreeLayers(2), other)


def test_encoder_and_decoder_learn_at_their_own_rates(config: TrainingConfig, data: TrainingData) -> None:
    learner = build_learner(dataclasses.replace(config, encoder_learning_rate=1e-3), data)

    shown = set_learning_rates(learner, 1)

    encoder, decoder = learner.optimizer.param_groups
    assert [len(encoder["params"]), len(decoder["params"])] == [6, 2]
    assert shown == decoder["lr"] == pytest.approx(10 * encoder["lr"])


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("adam", torch.optim.Adam, {"weight_decay": 0.03}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.03}),
        ("sgd", torch.optim.SGD, {"weight_decay": 0.03, "momentum": 0.8, "nesterov": False}),
    ],
)
def test_an_optimizer_steps_as_torchs_plain_one(
    name: str, kind: type[torch.optim.Optimizer], settings: dict[str, float]
) -> None:
    config = TrainingConfig(
        optimizer=name,
        weight_decay=0.03,
        momentum=0.8,
        encoder_learning_rate=0.01,
        decoder_learning_rate=0.01,
    )
    ours, theirs = (_seeded_net() for _ in range(2))
    optimizers = [build_optimizer(ours, config), kind(theirs.parameters(), lr=0.01, **settings)]

    for seed in range(4):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            torch.manual_seed(seed)
            optimizer.zero_grad()
            net(torch.randn(2, 3, 8, 8)).square().mean().backward()
            optimizer.step()

    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(next(ours.parameters()), next(_seeded_net().parameters()), atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "firsts"),
    [
        ("resnet18", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v2", [f"features.{i}" for i in range(19)]),
        ("tu-tf_efficientnet_lite0", ["model.conv_stem", *(f"model.blocks.{i}" for i in range(7))]),
        ("mit_b0", [f"patch_embed{i}" for i in range(1, 5)]),
        ("densenet121", ["features.conv0", *(f"features.denseblock{i}" for i in range(1, 5))]),
        ("tu-convnext_atto", ["model.stem_0", *(f"model.stages_{i}" for i in range(4))]),
    ],
)
def test_an_encoders_stages_are_found_from_the_image_on(encoder: str, firsts: list[str]) -> None:
    module = smp.encoders.get_encoder(encoder, weights=None)
    names = {id(parameter): name for name, parameter in module.named_parameters()}

    stages = [[names[id(parameter)] for parameter in stage] for stage in encoder_stages(module)]

    assert sorted(name for stage in stages for name in stage) == sorted(names.values()), "each one once"
    assert all(stage[0].startswith(f"{first}.") for stage, first in zip(stages, firsts, strict=True))


def test_parts_of_a_stage_are_in_it() -> None:
    segformer = smp.encoders.get_encoder("mit_b0", weights=None)
    names = {id(parameter): name for name, parameter in segformer.named_parameters()}

    stages = [{names[id(p)].split(".")[0] for p in stage} for stage in encoder_stages(segformer)]

    assert stages == [{f"patch_embed{i}", f"block{i}", f"norm{i}"} for i in range(1, 5)]


def test_blocks_of_a_transformer_and_what_lies_around_them_are_stages() -> None:
    encoder = nn.Module()
    encoder.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
    encoder.patch_embed = nn.Conv2d(3, 4, 4)
    encoder.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    encoder.norm = nn.LayerNorm(4)

    stages = encoder_stages(encoder)

    assert [len(stage) for stage in stages] == [3, 2, 2, 4]
    assert stages[0][0] is encoder.cls_token and stages[3][-1] is encoder.norm.bias


def test_children_of_an_unknown_kind_are_stages_in_their_order() -> None:
    encoder = nn.Module()
    encoder.first, encoder.second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    assert [len(stage) for stage in encoder_stages(encoder)] == [2, 4]


def test_each_stage_learns_at_a_share_of_the_next_ones_rate() -> None:
    model = smp.Unet("resnet18", encoder_weights=None)
    config = TrainingConfig(layer_decay=0.5, encoder_learning_rate=8e-3, decoder_learning_rate=1e-2)

    groups = build_optimizer(model, config).param_groups

    assert [group["peak"] for group in groups] == pytest.approx([5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1e-2])
    assert groups[0]["params"][0] is model.encoder.conv1.weight
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_frozen_epochs_leave_the_encoder_alone_and_then_it_learns(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(dataclasses.replace(config, frozen_epochs=2, epochs=4), data)
    states = [_encoder_state(learner)]

    for _ in fit(learner, range(4), ignore, ignore):
        states.append(_encoder_state(learner))
        if len(states) <= 3:
            assert all(p.grad is None for p in learner.network.module.get_submodule("encoder").parameters())

    assert _is_equal(states[0], states[1]) and _is_equal(states[1], states[2])
    assert not any(np.array_equal(states[2][name], states[3][name]) for name in states[3])


def test_a_frozen_normalisation_keeps_its_statistics_and_learns_its_scale(
    config: TrainingConfig, data: TrainingData
) -> None:
    learner = build_learner(dataclasses.replace(config, batch_norm="frozen"), data)
    before = _encoder_state(learner)

    list(fit(learner, range(1), ignore, ignore))

    changed = {
        name for name, value in _encoder_state(learner).items() if not np.array_equal(value, before[name])
    }
    assert {"1.weight", "1.bias", "0.weight"} <= changed
    assert changed.isdisjoint({"1.running_mean", "1.running_var", "1.num_batches_tracked"})


def _seeded_net() -> nn.Module:
    torch.manual_seed(3)
    return ThreeLayers(2).eval()


def _encoder_state(learner: Learner) -> dict[str, np.ndarray]:
    encoder = learner.network.module.get_submodule("encoder")
    return {name: tensor.numpy().copy() for name, tensor in encoder.state_dict().items()}


def _is_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(value, b[name]) for name, value in a.items())
