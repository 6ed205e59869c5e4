"""The networks written here have the layouts that were published, give logits, and learn everywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from core.domain.errors import UnknownChoice
from core.models import (
    aspp_unet,
    basnet,
    custom_segnet,
    custom_unet,
    deeplabv3plus_extra,
    hrnet_ocr,
    panoptic_deeplab,
    plain_unet,
)
from core.models.hrnet_ocr import RegionAttention, region_features
from core.models.outputs import Outputs, PanopticOutput, logits_of

CLASSES = 9
LITE0 = "tu-tf_efficientnet_lite0"
Build = Callable[[str, str | None, int], nn.Module]

ONE_PIECE: dict[str, Build] = {
    "custom_segnet1": custom_segnet.build_segnet1,
    "custom_segnet2": custom_segnet.build_segnet2,
    "custom_segnet3": custom_segnet.build_segnet3,
    "custom_unet": custom_unet.build_unet,
    "custom_unet2": custom_unet.build_unet2,
    "unet_scratch": plain_unet.build_scratch,
    "mars_unet": plain_unet.build_mars,
    "mars_unet_skips": plain_unet.build_mars_skips,
    "aspp_unet": aspp_unet.build,
}
ON_ENCODERS: dict[str, tuple[Build, str]] = {
    "deeplabv3plus_extra": (deeplabv3plus_extra.build, LITE0),
    "basnet": (basnet.build, "resnet34"),
    "hrnet_ocr": (hrnet_ocr.build, "tu-hrnet_w18_small"),
    "panoptic_deeplab": (panoptic_deeplab.build, LITE0),
}
OUTPUTS_IN_TRAINING = {"basnet": 8, "hrnet_ocr": 2}


@dataclass(frozen=True)
class Trained:
    """A network after one step's gradients, and what it gave in that step."""

    key: str
    network: nn.Module
    side: int
    outputs: list[Tensor]


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=[*ONE_PIECE, *ON_ENCODERS])
def trained(request: pytest.FixtureRequest) -> Trained:
    torch.manual_seed(0)
    key = str(request.param)
    side = 32 if key == "custom_segnet1" else 64
    network = _build(key).train()
    outputs = _parts(network(torch.randn(2, 3, side, side)))
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    return Trained(key, network, side, outputs)


def test_in_training_logits_are_of_the_images_size_and_every_weight_learns(trained: Trained) -> None:
    further = OUTPUTS_IN_TRAINING.get(trained.key, 1) - 1

    channels = [1, 2] if trained.key == "panoptic_deeplab" else [CLASSES] * further
    shapes = [(2, c, trained.side, trained.side) for c in (CLASSES, *channels)]
    assert [tuple(output.shape) for output in trained.outputs] == shapes
    parameters = trained.network.named_parameters()
    assert [name for name, p in parameters if p.grad is None or not p.grad.any()] == []


def test_afterwards_there_is_one_answer_at_any_shape_and_it_is_logits(trained: Trained) -> None:
    network, images = trained.network.eval(), torch.randn(2, 3, 32, 96)

    with torch.no_grad():
        output, alone = network(images), network(images[:1])

    assert isinstance(output, PanopticOutput if trained.key == "panoptic_deeplab" else Tensor)
    logits = logits_of(output)
    assert logits.shape == (2, CLASSES, 32, 96)
    assert logits.min() < 0 < logits.max(), "logits, not probabilities"
    assert torch.allclose(logits_of(alone), logits[:1], atol=1e-3), "an image's answer is its own"


@pytest.mark.parametrize("key", ONE_PIECE)
def test_a_network_of_one_piece_takes_no_encoder(key: str) -> None:
    with pytest.raises(UnknownChoice, match="resnet34"):
        ONE_PIECE[key]("resnet34", None, CLASSES)
    with pytest.raises(UnknownChoice, match="no pretrained weights"):
        ONE_PIECE[key]("none", "imagenet", CLASSES)


@pytest.mark.parametrize("key", [*ONE_PIECE, *ON_ENCODERS])
def test_only_pretrained_parts_are_called_encoder(key: str) -> None:
    with torch.device("meta"):
        names = [name.split(".") for name, _ in _build(key).named_parameters()]

    of_encoder = [name for name in names if "encoder" in name]

    assert bool(of_encoder) == (key in ON_ENCODERS), "their learning rate is another one"
    assert all(name[0] == "encoder" for name in of_encoder)


def test_basnet_is_made_of_resnet34_alone() -> None:
    with pytest.raises(UnknownChoice, match="resnet50"):
        basnet.build("resnet50", None, CLASSES)


# The parameters that the published layouts have, worked out from their tables.


def _block(kernel: int, inward: int, outward: int) -> int:
    """Count a convolution without bias and the scale and shift of its normalisation."""
    return kernel * kernel * inward * outward + 2 * outward


def _blocks(*layers: tuple[int, int], channels: int) -> int:
    """Count blocks of (kernel, width), each fed by the one before, the first by ``channels``."""
    widths = [channels, *(width for _, width in layers)]
    return sum(_block(k, i, o) for (k, _), (i, o) in zip(layers, pairwise(widths), strict=True))


def _with_bias(kernel: int, inward: int, outward: int) -> int:
    return kernel * kernel * inward * outward + outward


def _unet_down_and_up(widths: tuple[int, ...], *, has_skips: bool) -> int:
    """Count stages of two 3x3 blocks down, and 2x2 transposed convolutions with two blocks up."""
    down = sum(_blocks((3, o), (3, o), channels=i) for i, o in pairwise((3, *widths)))
    up = sum(
        _with_bias(2, 2 * w, w) + _blocks((3, w), (3, w), channels=2 * w if has_skips else w) for w in widths
    )
    return down + up


def _mars(*, has_skips: bool) -> int:
    bottleneck = _blocks((3, 256), (3, 256), channels=128)
    return _unet_down_and_up((64, 128), has_skips=has_skips) + bottleneck + _with_bias(1, 64, CLASSES)


_CUSTOM_UNET_DOWN = _blocks(
    (3, 64), (3, 64), (3, 128), (3, 128), (3, 256), (3, 256), (3, 512), (3, 512), channels=3
)
PARAMETERS = {
    "custom_segnet1": _blocks(
        *((7, 64), (5, 128), (5, 256), (3, 512), (3, 512), (3, 1024), (3, 1024), (3, 1024)),
        *((5, 512), (5, 256), (7, 128), (7, 64), (9, 32), (11, 16), (11, 8)),
        channels=3,
    )
    + _with_bias(13, 8, CLASSES),
    "custom_segnet2": _blocks((3, 64), (3, 128), (3, 256), (3, 128), (3, 64), channels=3)
    + _with_bias(3, 64, CLASSES),
    "custom_segnet3": _blocks(
        *((3, 64), (3, 64), (3, 128), (3, 128), (3, 256), (3, 256), (3, 128), (3, 64)), channels=3
    )
    + _with_bias(3, 64, CLASSES),
    "custom_unet": _CUSTOM_UNET_DOWN
    + _blocks((3, 256), (3, 256), (3, 128), (3, 128), (3, 64), (3, 64), channels=512)
    + _with_bias(1, 64, CLASSES),
    "custom_unet2": _CUSTOM_UNET_DOWN
    + _blocks((3, 256), (3, 256), channels=512 + 256)
    + _blocks((3, 128), (3, 128), channels=256 + 128)
    + _blocks((3, 64), (3, 64), channels=128 + 64)
    + _with_bias(1, 64, CLASSES),
    "unet_scratch": _unet_down_and_up((64, 128, 256, 512), has_skips=True)
    + _blocks((3, 1024), (3, 1024), channels=512)
    + _with_bias(1, 64, CLASSES),
    "mars_unet": _mars(has_skips=False),
    "mars_unet_skips": _mars(has_skips=True),
    "aspp_unet": sum(_blocks((3, o), (3, o), channels=i) for i, o in pairwise((3, 64, 128, 256, 512)))
    + 2 * _block(1, 512, 256)  # the 1x1 branch and the pooled one
    + 3 * _block(3, 512, 256)
    + _block(1, 5 * 256, 512)
    + sum(
        _with_bias(2, i, o) + _blocks((3, o), (3, o), channels=2 * o)
        for i, o in pairwise((512, 512, 256, 128, 64))
    )
    + _with_bias(1, 64, CLASSES),
}


@pytest.mark.parametrize("key", ONE_PIECE)
def test_a_layout_has_as_many_parameters_as_its_table(key: str) -> None:
    with torch.device("meta"):
        assert _parameters(_build(key)) == PARAMETERS[key]


def test_the_tables_give_the_published_numbers() -> None:
    assert f"{PARAMETERS['custom_segnet2'] / 1e6:.2f}" == "0.75"
    assert f"{PARAMETERS['custom_unet2'] / 1e6:.2f}" == "7.79"


def test_the_extra_block_is_all_that_deeplabv3plus_gains() -> None:
    with torch.device("meta"):
        plain = smp.DeepLabV3Plus(encoder_name=LITE0, encoder_weights=None, classes=CLASSES)
        extra = _build("deeplabv3plus_extra")

    assert _parameters(extra) == _parameters(plain) + _block(1, 256, 256)


# What goes where inside.


@pytest.mark.parametrize(
    ("key", "bottom", "has_skips"),
    [
        ("custom_unet", "bottleneck", False),
        ("custom_unet2", "bottleneck", True),
        ("unet_scratch", "bottleneck", True),
        ("mars_unet", "bottleneck", False),
        ("mars_unet_skips", "bottleneck", True),
        ("aspp_unet", "aspp", True),
    ],
)
def test_only_skips_lead_around_the_bottom(key: str, bottom: str, has_skips: bool) -> None:
    network = _build(key).eval()
    network.get_submodule(bottom).register_forward_hook(lambda module, inputs, output: output * 0)

    with torch.no_grad():
        one, other = network(torch.randn(2, 3, 32, 32))

    assert torch.equal(one, other) != has_skips


def test_dropout_takes_whole_channels_of_custom_unet2s_bottleneck() -> None:
    network = _build("custom_unet2").train()
    seen: list[Tensor] = []
    network.get_submodule("bottleneck").register_forward_hook(lambda m, i, output: seen.append(output))

    with torch.no_grad():
        network(torch.randn(2, 3, 64, 64))

    is_dropped = (seen[0] == 0).flatten(2).all(dim=2).float().mean()
    assert 0.4 < is_dropped < 0.6
    assert not any(isinstance(m, nn.Dropout | nn.Dropout2d) for m in _build("custom_unet").modules())


def test_basnet_adds_what_it_refines_to_its_finest_output() -> None:
    network = _build("basnet").train()
    residual = network.get_submodule("refine.residual")
    for parameter in residual.parameters():
        nn.init.zeros_(parameter)

    with torch.no_grad():
        refined, finest, *coarser = network(torch.randn(2, 3, 64, 64))
        answer = network.eval()(torch.randn(1, 3, 64, 64))

    assert torch.equal(refined, finest)
    assert len(coarser) == 6
    assert answer.shape == (1, CLASSES, 64, 64)
    # Each coarser output was computed with fewer pixels, so it has less that changes from one to the next.
    roughness = [(o[..., 1:] - o[..., :-1]).abs().mean() / o.std() for o in (finest, coarser[0], coarser[-1])]
    assert roughness[0] > roughness[1] > roughness[2]


def test_a_pixels_weights_over_the_regions_sum_to_one() -> None:
    attention = RegionAttention().eval()
    pixels, regions = torch.randn(2, 512, 6, 4), torch.randn(2, 512, CLASSES, 1)

    with torch.no_grad():
        weights = attention.weights(pixels, regions)

    assert weights.shape == (2, 6 * 4, CLASSES)
    assert torch.allclose(weights.sum(dim=2), torch.ones(2, 6 * 4))
    assert weights.min() >= 0
    assert weights.std() > 0


def test_region_attention_is_scaled_dot_product_attention() -> None:
    attention = RegionAttention().eval()
    pixels, regions = torch.randn(2, 512, 6, 4), torch.randn(2, 512, CLASSES, 1)

    with torch.no_grad():
        context = attention(pixels, regions)
        query, key, value = (
            part(of).flatten(2).transpose(1, 2)
            for part, of in (
                (attention.query, pixels),
                (attention.key, regions),
                (attention.value, regions),
            )
        )
        expected = nn.functional.scaled_dot_product_attention(query, key, value)

    assert context.shape == (2, 256, 6, 4)
    assert torch.allclose(context.flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_a_regions_features_are_the_mean_of_its_pixels() -> None:
    guess = torch.full((1, 2, 2, 2), -100.0)
    guess[0, 0, 0] = 100.0  # class 0 is sure of the upper two pixels, class 1 of the last one
    guess[0, 1, 1, 1] = 100.0
    pixels = torch.tensor([[[[1.0, 3.0], [10.0, 20.0]]]])

    regions = region_features(guess, pixels)

    assert regions.flatten().tolist() == pytest.approx([2.0, 20.0])


def test_panoptic_offsets_are_in_pixels_of_the_image_and_no_head_is_bounded() -> None:
    network = _build("panoptic_deeplab").eval()
    for head, values in (("centre_head", [1.5]), ("offset_head", [25.0, -10.0])):
        last = network.get_submodule(head)[-1]
        nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor(values)

    with torch.no_grad():
        output = network(torch.randn(1, 3, 64, 96))

    assert output.centres.shape == (1, 1, 64, 96)
    assert output.centres.unique().tolist() == [1.5]
    assert output.offsets[0, 0].unique().tolist() == [100.0], "the head counts at a quarter of the size"
    assert output.offsets[0, 1].unique().tolist() == [-40.0]


def test_panoptic_semantics_and_regions_share_the_encoder_alone() -> None:
    network = _build("panoptic_deeplab").train()

    network(torch.randn(2, 3, 64, 64)).logits.square().mean().backward()

    learnt = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert learnt == {"encoder", "semantic", "class_head"}


def _build(key: str) -> nn.Module:
    if key in ONE_PIECE:
        return ONE_PIECE[key]("none", None, CLASSES)
    build, encoder = ON_ENCODERS[key]
    return build(encoder, None, CLASSES)


def _parts(outputs: Outputs) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
