"""Every loss of the registry: a number that falls as the logits come nearer to the labels."""

import math

import pytest
import torch

from core.training.losses import LOSSES

LABELS = torch.tensor([[[0, 0, 1], [1, 2, 2]]])


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_rewards_being_right_and_has_a_gradient(name: str) -> None:
    loss = LOSSES[name].build()
    right = 6 * torch.nn.functional.one_hot(LABELS, 4).permute(0, 3, 1, 2).float()
    unsure = torch.zeros(1, 4, 2, 3, requires_grad=True)

    value = loss(unsure, LABELS)
    value.backward()

    assert value.shape == ()
    assert 0 <= loss(right, LABELS) < value < loss(-right, LABELS)
    assert unsure.grad is not None and unsure.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_in_both_memory_layouts(name: str) -> None:
    loss, logits = LOSSES[name].build(), torch.randn(2, 4, 8, 8)
    labels = torch.randint(0, 4, (2, 8, 8))

    in_other_layout = loss(logits.to(memory_format=torch.channels_last), labels)

    assert torch.allclose(loss(logits, labels), in_other_layout)


def test_cross_entropy_of_no_idea_is_the_logarithm_of_the_classes() -> None:
    value = LOSSES["ce"].build()(torch.zeros(1, 4, 2, 3), LABELS)

    assert float(value) == pytest.approx(math.log(4))


def test_dice_of_no_idea_is_as_computed_by_hand() -> None:
    value = LOSSES["dice"].build()(torch.zeros(1, 4, 2, 3), LABELS)

    # Each of the three classes present: 2 * (2 * 1/4) / (6 * 1/4 + 2); the fourth is left out.
    assert float(value) == pytest.approx(1 - 2 * 0.5 / 3.5)


def test_a_class_that_no_label_shows_does_not_count_as_missed() -> None:
    logits = 30 * torch.nn.functional.one_hot(LABELS, 9).permute(0, 3, 1, 2).float()

    assert float(LOSSES["dice"].build()(logits, LABELS)) == pytest.approx(0, abs=1e-5)


def test_the_sum_is_the_sum() -> None:
    logits = torch.randn(1, 4, 2, 3)

    both = LOSSES["ce+dice"].build()(logits, LABELS)

    assert torch.allclose(both, LOSSES["ce"].build()(logits, LABELS) + LOSSES["dice"].build()(logits, LABELS))
