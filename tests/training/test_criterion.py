"""What a run minimises: of one output, of several, of regions."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.domain.errors import FormatError, UnknownChoice
from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models.outputs import PanopticOutput
from core.training.criterion import Criterion, build_criterion, build_loss, criterion_of
from core.training.losses import LOSSES
from core.training.regions import region_targets

NAMES = ("background", "dent", "scratch")
PIXELS = np.array([[300, 20, 0], [310, 0, 10]])
SIZE = 16


def criterion(**changes: Any) -> Criterion:
    """Build a criterion of a configuration with some keys changed."""
    return build_criterion(TrainingConfig(**changes), NAMES, PIXELS, auxiliary_weight=0.4)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    """Background with a box of each class."""
    labels = torch.zeros(2, SIZE, SIZE, dtype=torch.int64)
    labels[0, 2:7, 3:9], labels[1, 8:12, 1:13] = 1, 2
    return labels


@pytest.fixture
def instances(labels: Tensor) -> np.ndarray:
    """One region per box."""
    return labels.numpy().astype(np.uint8) * 7


def test_one_output_has_the_configured_loss(logits: Tensor, labels: Tensor) -> None:
    value = criterion(loss="0.5*ce+dice")(logits, labels)

    ce, dice = (build_loss(name)(logits, labels, None) for name in ("ce", "dice"))
    torch.testing.assert_close(value, 0.5 * ce + dice)


def test_a_sum_is_the_sum_of_its_terms(logits: Tensor, labels: Tensor) -> None:
    weights, names = torch.tensor([0.5, 1, 2]), "+".join(LOSSES)

    value = build_loss(names)(logits, labels, weights)

    expected = sum(build_loss(name)(logits, labels, weights) for name in LOSSES)
    torch.testing.assert_close(value, expected)


def test_measuring_gives_what_learning_gives(logits: Tensor, labels: Tensor) -> None:
    minimise = criterion(loss="+".join(LOSSES), class_weights="median")

    with torch.inference_mode():
        measured = minimise(logits + 0, labels)

    learnt = minimise(logits.requires_grad_(), labels)
    learnt.backward()
    assert float(measured) == float(learnt.detach())


def test_the_configured_weights_count(logits: Tensor, labels: Tensor) -> None:
    value = criterion(loss="ce", class_weights="dent=3,scratch=5", background_weight=0.5)(logits, labels)

    expected = functional.cross_entropy(logits, labels, torch.tensor([0.5, 3, 5]))
    torch.testing.assert_close(value, expected)


def test_weights_come_from_the_pixels_that_were_counted() -> None:
    weights = criterion(class_weights="inverse").weights

    inverse = torch.tensor([1 / 610, 1 / 20, 1 / 10])
    torch.testing.assert_close(weights, inverse / inverse.mean())


def test_background_of_weight_0_is_left_out(logits: Tensor, labels: Tensor) -> None:
    without = criterion(loss="ce+focal", background_weight=0.0)
    others = torch.where(labels[:, None] == 0, -5 * logits, logits)

    assert torch.equal(without(logits, labels), without(others, labels))
    assert without(logits, torch.zeros_like(labels)) == 0


def test_further_outputs_count_with_their_weight(logits: Tensor, labels: Tensor) -> None:
    one, measure = criterion(loss="ce+dice"), build_loss("ce+dice")

    value = one((logits, logits.flip(0), -logits), labels)

    others = measure(logits.flip(0), labels, None) + measure(-logits, labels, None)
    torch.testing.assert_close(value, measure(logits, labels, None) + 0.4 * others)
    assert torch.equal(one((logits,), labels), one(logits, labels))


def test_the_loss_of_the_answer_alone_stands_beside_the_whole(
    logits: Tensor, labels: Tensor, instances: np.ndarray
) -> None:
    heads = PanopticOutput(logits, torch.rand(2, 1, SIZE, SIZE), torch.randn(2, 2, SIZE, SIZE))
    minimise = criterion(loss="ce+dice")

    for outputs in (logits, (logits, -logits), heads):
        whole, answers = minimise.with_answers(outputs, labels, instances)

        assert torch.equal(answers, minimise(logits, labels))
        assert torch.equal(whole, minimise(outputs, labels, instances))
        assert (whole > answers) == (outputs is not logits)


def test_smaller_outputs_are_upsampled_to_the_labels(logits: Tensor, labels: Tensor) -> None:
    small = torch.randn(2, 3, SIZE // 4, SIZE // 4)

    value = criterion(loss="dice")((logits, small), labels)

    large = functional.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)
    torch.testing.assert_close(value, criterion(loss="dice")((logits, large), labels))


def test_outputs_of_regions_are_compared_with_the_regions(
    logits: Tensor, labels: Tensor, instances: np.ndarray
) -> None:
    heads = PanopticOutput(logits, torch.rand(2, 1, SIZE, SIZE), 5 * torch.randn(2, 2, SIZE, SIZE))

    value = criterion(loss="ce")(heads, labels, instances)

    centres, offsets, _ = map(torch.from_numpy, region_targets(instances, sigma=0.25))
    on_regions = (labels > 0)[:, None].expand(-1, 2, -1, -1)
    expected = (
        functional.cross_entropy(logits, labels)
        + 200 * functional.mse_loss(heads.centres, centres)
        + 0.01 * functional.l1_loss(heads.offsets[on_regions], offsets[on_regions])
    )
    torch.testing.assert_close(value, expected)


def test_regions_that_are_found_exactly_cost_nothing(
    logits: Tensor, labels: Tensor, instances: np.ndarray
) -> None:
    centres, offsets, _ = map(torch.from_numpy, region_targets(instances, sigma=0.25))

    value = criterion(loss="ce")(PanopticOutput(logits, centres, offsets), labels, instances)

    torch.testing.assert_close(value, functional.cross_entropy(logits, labels))


def test_ignored_pixels_count_for_no_head(logits: Tensor, labels: Tensor, instances: np.ndarray) -> None:
    labels[:, :10] = IGNORED  # the whole first box and half of the second
    heads = PanopticOutput(logits, torch.rand(2, 1, SIZE, SIZE), torch.randn(2, 2, SIZE, SIZE))
    others = PanopticOutput(*(torch.cat([-9 * h[:, :, :10], h[:, :, 10:]], dim=2) for h in heads))
    minimise = criterion()

    assert torch.equal(minimise(heads, labels, instances), minimise(others, labels, instances))
    assert minimise(heads, torch.full_like(labels, IGNORED), instances) == 0


def test_images_without_regions_give_finite_gradients(labels: Tensor) -> None:
    heads = PanopticOutput(*(torch.randn(2, n, SIZE, SIZE, requires_grad=True) for n in (3, 1, 2)))

    criterion()(heads, torch.zeros_like(labels), np.zeros(labels.shape, np.uint8)).backward()

    assert all(head.grad is not None and head.grad.isfinite().all() for head in heads)
    assert heads.offsets.grad is not None and not heads.offsets.grad.any()


def test_heads_of_regions_are_never_left_untrained_silently(logits: Tensor, labels: Tensor) -> None:
    heads = PanopticOutput(logits, torch.rand(2, 1, SIZE, SIZE), torch.randn(2, 2, SIZE, SIZE))

    with pytest.raises(ValueError, match="need instances"):
        criterion()(heads, labels)


def test_half_precision_and_autocast_change_no_number_of_the_heads(
    logits: Tensor, labels: Tensor, instances: np.ndarray
) -> None:
    heads = PanopticOutput(logits, torch.rand(2, 1, SIZE, SIZE), torch.randn(2, 2, SIZE, SIZE))
    halves = PanopticOutput(*(head.bfloat16() for head in heads))
    minimise = criterion()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = minimise(halves, labels, instances)

    assert value.dtype == torch.float32
    expected = minimise(PanopticOutput(*(head.float() for head in halves)), labels, instances)
    assert torch.equal(value, expected)


def test_known_weights_give_the_same_criterion(logits: Tensor, labels: Tensor) -> None:
    built = criterion(loss="focal+lovasz", class_weights="median", background_weight=0.3)

    again = criterion_of("focal+lovasz", built.weights.tolist(), auxiliary_weight=0.4)

    assert torch.equal(built(logits, labels), again(logits, labels))


def test_the_label_of_a_class_cannot_be_ignored() -> None:
    with pytest.raises(FormatError, match="The label 2 cannot mean"):
        criterion_of("ce", [1, 1, 1], auxiliary_weight=0, ignored=2)

    assert criterion_of("ce", [1, 1, 1], auxiliary_weight=0, ignored=3).ignored == 3


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(UnknownChoice, match="hinge"):
        criterion(loss="ce+hinge")
    with pytest.raises(FormatError, match="needs 3 numbers"):
        criterion(class_weights="1,2")
    with pytest.raises(FormatError, match="Nothing is left"):
        criterion(class_weights="1,0,0", background_weight=0.0)
