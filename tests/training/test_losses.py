"""The terms of losses against other libraries and plain definitions, and what holds for each of them."""

import math
from collections.abc import Callable, Generator

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from core.domain.errors import FormatError, UnknownChoice
from core.domain.labels import IGNORED
from core.training.criterion import build_loss
from core.training.losses import LOSSES, WeightedTerm, parse_loss

OF_PIXELS = ("ce", "focal")
OF_REGIONS = tuple(name for name in LOSSES if name not in OF_PIXELS)
SMALL_LABELS = torch.tensor([[[0, 0, 1], [1, 2, 2]]])
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


def drawn(seed: int, *, classes: int = 4, size: int = 24) -> tuple[Tensor, Tensor]:
    """Draw logits of two images, and labels in blocks that hold all classes."""
    rng = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, classes, (2, size // 4, size // 4), generator=rng)
    blocks[0, 0, :classes] = torch.arange(classes)
    labels = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return 2 * torch.randn(2, classes, size, size, generator=rng), labels


def gradient(loss: Callable[..., Tensor], logits: Tensor, *truth: Tensor) -> Tensor:
    """Give the gradient of a loss by the logits."""
    logits = logits.clone().requires_grad_()
    loss(logits, *truth).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_rewards_being_right_and_has_a_gradient(name: str) -> None:
    loss = build_loss(name)
    right = 6 * functional.one_hot(SMALL_LABELS, 4).permute(0, 3, 1, 2).float()
    unsure = torch.zeros(1, 4, 2, 3)

    value = loss(unsure, SMALL_LABELS)

    assert value.shape == () and value.dtype == torch.float32
    assert 0 <= loss(right, SMALL_LABELS) < value < loss(-right, SMALL_LABELS)
    assert gradient(loss, unsure, SMALL_LABELS).abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_down_the_gradient_lowers_a_loss(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(0)
    slope = gradient(loss, logits, labels)
    step = 1e-2 / slope.norm()

    change = loss(logits - step * slope, labels) - loss(logits + step * slope, labels)

    assert float(change) == pytest.approx(-2 * float(step * slope.pow(2).sum()), rel=0.02)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_in_both_memory_layouts(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(1)

    in_other_layout = loss(logits.to(memory_format=torch.channels_last), labels)

    assert torch.equal(loss(logits, labels), in_other_layout)


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.9))
@settings(max_examples=8, deadline=None)
def test_logits_under_ignored_pixels_change_nothing(name: str, seed: int, share: float) -> None:
    loss, (logits, labels) = build_loss(name), drawn(seed)
    is_ignored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < share
    labels[is_ignored] = IGNORED
    others = torch.where(is_ignored[:, None], 1e4 * logits.flip(0), logits)

    assert torch.equal(loss(logits, labels, WEIGHTS), loss(others, labels, WEIGHTS))
    slope = gradient(loss, others, labels, WEIGHTS)
    assert not slope.movedim(1, -1)[is_ignored].any()
    assert slope.isfinite().all() and slope.any()


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_rows_are_as_if_cut_off(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(2)
    labels[:, 16:] = IGNORED
    # The boundary loss measures in diagonals, which are shorter in what is left.
    factor = math.hypot(16, 24) / math.hypot(24, 24) if name == "boundary" else 1.0

    value, slope = loss(logits, labels), gradient(loss, logits, labels)

    cut_logits, cut_labels = logits[:, :, :16], labels[:, :16]
    assert value.numpy() == pytest.approx(factor * loss(cut_logits, cut_labels).numpy(), rel=1e-5)
    expected = factor * gradient(loss, cut_logits, cut_labels)
    torch.testing.assert_close(slope[:, :, :16], expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_ignored_pixels_is_worth_nothing(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(3)
    nothing = torch.full_like(labels, IGNORED)

    assert loss(logits, nothing) == 0
    assert torch.equal(gradient(loss, logits, nothing), torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOSSES)
def test_another_label_can_be_the_ignored_one(name: str) -> None:
    logits, labels = drawn(4)
    with_255, with_9 = labels.clone(), labels.clone()
    with_255[0, :7], with_9[0, :7] = 255, 9

    assert torch.equal(build_loss(name)(logits, with_255), build_loss(name, ignored=9)(logits, with_9))


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_beyond_the_classes_is_refused(name: str) -> None:
    logits, labels = drawn(4)
    labels[0, 0, 0] = 4

    with pytest.raises((IndexError, RuntimeError)):
        build_loss(name)(logits, labels)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_give_finite_numbers(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(5)
    extreme = 1e4 * logits.sign()
    labels[labels == 3] = 0
    extreme[:, 3] = -1e4  # a class that nothing shows and nothing predicts

    assert loss(extreme, labels).isfinite()
    assert gradient(loss, extreme, labels).isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision_are_computed_with_in_float32(name: str, dtype: torch.dtype) -> None:
    loss, (logits, labels) = build_loss(name), drawn(6)
    halves = logits.to(dtype)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(halves, labels)
        slope = gradient(loss, halves, labels)

    assert value.dtype == torch.float32 and slope.dtype == dtype
    assert torch.equal(value, loss(halves.float(), labels))


@pytest.fixture
def deterministic() -> Generator[None]:
    """Have torch refuse what cannot be repeated."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.usefixtures("deterministic")
def test_a_loss_can_be_repeated_to_the_last_bit(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(7)

    assert torch.equal(gradient(loss, logits, labels), gradient(loss, logits, labels))


@pytest.mark.gpu
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_same_on_a_gpu(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(8)
    labels[0, 3:9, 2:5] = IGNORED

    value = loss(logits.cuda(), labels.cuda(), WEIGHTS.cuda())

    torch.testing.assert_close(value.cpu(), loss(logits, labels, WEIGHTS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OF_PIXELS)
def test_pixels_of_a_class_without_weight_count_nowhere(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(9)
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0])
    others = torch.where(labels[:, None] == 0, logits.flip(0), logits)

    assert torch.equal(loss(logits, labels, weights), loss(others, labels, weights))
    assert not torch.equal(loss(logits, labels), loss(others, labels))
    without = torch.where(labels == 0, IGNORED, labels)
    torch.testing.assert_close(loss(logits, labels, weights), loss(logits, without))


@pytest.mark.parametrize("name", OF_REGIONS)
def test_a_loss_of_regions_is_the_weighted_mean_of_its_classes(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(10)
    logits, weights = functional.pad(logits, (0, 0, 0, 0, 0, 1)), torch.tensor([0.0, 1.0, 2.0, 4.0, 9.0])

    of_one = [loss(logits, labels, torch.eye(5)[i]) for i in range(5)]

    assert of_one[4] == 0, "no label shows the fifth class"
    expected = (of_one[1] + 2 * of_one[2] + 4 * of_one[3]) / 7
    torch.testing.assert_close(loss(logits, labels, weights), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_ratios_of_weights_matter(name: str) -> None:
    loss, (logits, labels) = build_loss(name), drawn(11)

    torch.testing.assert_close(loss(logits, labels, WEIGHTS), loss(logits, labels, 10 * WEIGHTS))


def test_cross_entropy_is_torchs() -> None:
    logits, labels = drawn(12)
    labels[1, 5:9] = IGNORED

    value = build_loss("ce")(logits, labels, WEIGHTS)

    expected = functional.cross_entropy(logits, labels, WEIGHTS, ignore_index=IGNORED)
    torch.testing.assert_close(value, expected)
    of_no_idea = build_loss("ce")(torch.zeros(1, 4, 2, 3), SMALL_LABELS)
    assert float(of_no_idea) == pytest.approx(math.log(4))


def test_focal_is_as_computed_by_hand() -> None:
    # Two pixels, classes 0 and 1, with p of the true class 0.9 and 0.25.
    logits = torch.tensor([[0.9, 0.75], [0.1, 0.25]]).log().view(1, 2, 1, 2)
    labels, weights = torch.tensor([[[0, 1]]]), torch.tensor([1.0, 3.0])

    value = build_loss("focal")(logits, labels, weights)

    easy, hard = 0.1**2 * -math.log(0.9), 0.75**2 * -math.log(0.25)
    assert float(value) == pytest.approx((easy + 3 * hard) / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("dice", smp.losses.DiceLoss("multiclass", ignore_index=IGNORED, class_weights=WEIGHTS)),
        ("jaccard", smp.losses.JaccardLoss("multiclass", ignore_index=IGNORED, class_weights=WEIGHTS)),
        (
            "tversky",
            smp.losses.TverskyLoss(
                "multiclass", ignore_index=IGNORED, class_weights=WEIGHTS, alpha=0.3, beta=0.7
            ),
        ),
    ],
)
def test_losses_of_overlap_are_smps(name: str, oracle: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, labels = drawn(13)
    labels[0, 5:9] = IGNORED

    value = build_loss(name)(logits, labels, WEIGHTS)

    torch.testing.assert_close(value, oracle(logits, labels))


def test_dice_of_no_idea_is_as_computed_by_hand() -> None:
    value = build_loss("dice")(torch.zeros(1, 4, 2, 3), SMALL_LABELS)

    # Each of the three classes present: 2 * (2 * 1/4) / (6 * 1/4 + 2); the fourth is left out.
    assert float(value) == pytest.approx(1 - 2 * 0.5 / 3.5)


@pytest.mark.parametrize("name", OF_REGIONS)
def test_a_class_that_no_label_shows_does_not_count_as_missed(name: str) -> None:
    logits = 30 * functional.one_hot(SMALL_LABELS, 9).permute(0, 3, 1, 2).float()

    assert float(build_loss(name)(logits, SMALL_LABELS)) == pytest.approx(0, abs=1e-5)


def test_lovasz_is_smps() -> None:
    logits, labels = drawn(14)
    labels[0, 5:9] = IGNORED
    labels[labels == 2] = 0  # absent: both leave it out
    loss, oracle = build_loss("lovasz"), smp.losses.LovaszLoss("multiclass", ignore_index=IGNORED)

    torch.testing.assert_close(loss(logits, labels), oracle(logits, labels))
    expected = gradient(oracle, logits, labels)
    torch.testing.assert_close(gradient(loss, logits, labels), expected, rtol=1e-3, atol=1e-8)


def ssim_of_windows(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute 1 - SSIM window by window in float64, with autograd: slow and plain."""
    distance = torch.arange(11, dtype=torch.float64) - 5
    gauss = torch.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    counted = labels != IGNORED

    def windows(maps: Tensor) -> Tensor:
        return functional.pad(maps.double(), (5, 5, 5, 5)).unfold(1, 11, 1).unfold(2, 11, 1)

    shares = gauss * windows(counted)
    shares = shares / shares.sum((3, 4), keepdim=True)
    values = []
    for index in labels[counted].unique():
        p, t = logits.double().softmax(1)[:, index], labels == index
        mean_p, mean_t = ((shares * windows(x)).sum((3, 4), keepdim=True) for x in (p, t))
        off_p, off_t = windows(p) - mean_p, windows(t) - mean_t
        var_p, var_t, cov = (
            (shares * x).sum((3, 4), keepdim=True) for x in (off_p**2, off_t**2, off_p * off_t)
        )
        top = (2 * mean_p * mean_t + 1e-4) * (2 * cov + 9e-4)
        ssim = top / ((mean_p**2 + mean_t**2 + 1e-4) * (var_p + var_t + 9e-4))
        values.append(1 - ssim[..., 0, 0][counted].mean())
    return torch.stack(values).mean()


def test_ssim_is_what_its_definition_gives_in_value_and_gradient() -> None:
    logits, labels = drawn(15, size=20)
    labels[0, 6:9, 3:] = IGNORED
    loss = build_loss("ssim")

    torch.testing.assert_close(loss(logits, labels).double(), ssim_of_windows(logits, labels))
    expected = gradient(ssim_of_windows, logits, labels)
    torch.testing.assert_close(gradient(loss, logits, labels), expected, rtol=1e-3, atol=1e-7)


def test_ssim_is_torchmetrics() -> None:
    # Certain and right within 12 pixels of the edge, so that it does not matter what lies beyond it.
    logits, labels = drawn(16, classes=2, size=40)
    is_inside = torch.zeros(40, 40, dtype=torch.bool)
    is_inside[12:28, 12:28] = True
    labels = labels.where(is_inside, 0)
    sure = 40 * functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    logits = logits.where(is_inside, sure)

    value = build_loss("ssim")(logits, labels)

    truth = functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    _, full = structural_similarity_index_measure(
        logits.softmax(1), truth, data_range=1.0, return_full_image=True
    )
    inner = full[:, :, 5:-5, 5:-5]  # it reflects the image at its edge
    expected = (1 - inner).sum() / (2 * 2 * 40 * 40)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_the_boundary_loss_weighs_errors_by_their_distance() -> None:
    logits, labels = drawn(17, classes=3, size=12)
    labels[0, 4:6] = IGNORED
    labels[1] = 2  # an image of one class has no boundary

    value = build_loss("boundary")(logits, labels)

    p, values = logits.softmax(1).numpy(), []
    ys, xs = np.indices((12, 12))
    for index in range(3):
        total, truth = 0.0, labels[0].numpy()
        for y, x in zip(*np.nonzero(truth != IGNORED), strict=True):
            is_other = (truth != IGNORED) & ((truth == index) != (truth[y, x] == index))
            distance = np.hypot(ys - y, xs - x)[is_other].min() - 0.5
            total += distance * abs(p[0, index, y, x] - (truth[y, x] == index))
        values.append(total / (labels != IGNORED).sum() / math.hypot(12, 12))
    assert float(value) == pytest.approx(np.mean(values), rel=0.02)


def test_a_blur_is_the_same_on_every_device() -> None:
    from core.training import losses

    maps, kernel = torch.rand(2, 7, 30), np.exp(-(np.arange(-5, 6) ** 2) / 4.5)

    convolved = losses._convolved(losses._convolved(maps, kernel / kernel.sum()).mT, kernel / kernel.sum()).mT

    torch.testing.assert_close(losses._blurred(maps), convolved)


def test_a_sum_is_read() -> None:
    ssim, focal, dice = WeightedTerm("ssim", 1), WeightedTerm("focal", 1), WeightedTerm("dice", 1)

    assert parse_loss("ce+dice") == (WeightedTerm("ce", 1), dice)
    assert parse_loss("ssim+focal+dice") == (ssim, focal, dice)
    assert parse_loss(" 0.5 * ce +dice ") == (WeightedTerm("ce", 0.5), dice)
    assert parse_loss("1e+2*dice+2E-1*ce") == (WeightedTerm("dice", 100), WeightedTerm("ce", 0.2))


@pytest.mark.parametrize("text", ["hinge", "ce+hinge", "Dice", "dice*2", "2dice", "ce-dice"])
def test_an_unknown_term_is_answered_with_those_there_are(text: str) -> None:
    with pytest.raises(UnknownChoice, match=", ".join(LOSSES)):
        parse_loss(text)


@pytest.mark.parametrize(
    "text", ["", " ", "ce+", "+ce", "ce++dice", "0.5*", "0*ce", "-1*ce", "nan*ce", "inf*dice", "a*ce", "*ce"]
)
def test_what_is_no_sum_is_answered_with_the_terms(text: str) -> None:
    with pytest.raises(FormatError, match=", ".join(LOSSES)):
        parse_loss(text)


def test_a_term_that_comes_twice_is_refused() -> None:
    with pytest.raises(FormatError, match="“ce” comes twice"):
        parse_loss("ce+0.5*dice+2*ce")
