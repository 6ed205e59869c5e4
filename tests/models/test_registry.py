"""Every architecture and every encoder keeps the same contract, without a network."""

import io
import socket
import subprocess
import sys

import pytest
import timm
import torch
from timm.data.constants import IMAGENET_DPN_MEAN, IMAGENET_DPN_STD
from torch import Tensor, nn

from core.domain.errors import FormatError, UnknownChoice
from core.domain.presets import PRESETS
from core.models.outputs import PanopticOutput, logits_of
from core.models.registry import (
    ENCODERS,
    MODELS,
    NO_ENCODER,
    build_model,
    check_pair,
    encoder_spec,
    preprocessing_of,
    size_multiple,
)
from core.models.weights import WeightsMissing

CLASSES = 5
LITE0 = "tu-tf_efficientnet_lite0"
HALF = (0.5, 0.5, 0.5)

# What does not learn, and why: it has no part in the output.
UNUSED = {
    "pspnet": "encoder.",  # the stages behind the third
    "dpt": "encoder.model.",  # the classifier and the normalisation before it
}
PAIRS = [(model, encoder) for model, spec in MODELS.items() for encoder in spec.encoders]
FROM_SMP = [model for model, spec in MODELS.items() if spec.other_encoders]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.set_num_threads(1)


@pytest.mark.parametrize("model", MODELS)
def test_a_network_gives_logits_per_class_and_learns_everywhere(model: str) -> None:
    _check_contract(model, MODELS[model].encoders[0])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "encoder"), PAIRS)
def test_a_model_works_on_each_encoder_that_it_names(model: str, encoder: str) -> None:
    _check_contract(model, encoder)

    side = size_multiple(model, encoder) * -(-(MODELS[model].min_size + 1) // size_multiple(model, encoder))
    assert _answer(build_model(model, encoder, "none", CLASSES), 1, side).shape[2:] == (side, side)


@pytest.mark.parametrize("model", MODELS)
def test_saved_weights_give_the_same_logits_in_another_network(model: str) -> None:
    torch.manual_seed(1)
    network, other = (build_model(model, MODELS[model].encoders[0], "none", CLASSES) for _ in range(2))
    saved = io.BytesIO()
    torch.save(network.state_dict(), saved)

    other.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))

    side = _side(model)
    assert torch.equal(_answer(network, 1, side), _answer(other, 1, side))


@pytest.mark.parametrize("model", MODELS)
def test_a_network_takes_the_sizes_that_it_says_it_takes(model: str) -> None:
    spec = MODELS[model]
    multiple = size_multiple(model, spec.encoders[0])
    least = multiple * -(-spec.min_size // multiple)
    network = build_model(model, spec.encoders[0], "none", CLASSES)

    for side in (least, least + multiple):
        assert _answer(network, 1, side).shape == (1, CLASSES, side, side)
        assert check_pair(model, spec.encoders[0], side, 2, "none") == ()


@pytest.mark.parametrize("model", [m for m in FROM_SMP if MODELS[m].size_multiple > 1])
def test_a_size_that_is_refused_is_one_that_the_network_cannot_take(model: str) -> None:
    spec = MODELS[model]
    side = max(spec.min_size, 3 * spec.size_multiple) + spec.size_multiple // 2
    network = build_model(model, spec.encoders[0], "none", CLASSES)

    with pytest.raises(FormatError, match=f"multiple of {spec.size_multiple} for .*, not {side}"):
        check_pair(model, spec.encoders[0], side, 2, "none")
    with pytest.raises((RuntimeError, AssertionError)):
        assert _answer(network, 1, side).shape[2:] == (side, side)


@pytest.mark.parametrize("model", [m for m in FROM_SMP if MODELS[m].min_batch_size > 1])
def test_a_batch_of_one_is_refused_where_the_network_cannot_learn_from_it(model: str) -> None:
    spec = MODELS[model]
    network = build_model(model, spec.encoders[0], "none", CLASSES).train()

    with pytest.raises(FormatError, match="at least 2 photos"):
        check_pair(model, spec.encoders[0], 256, 1, "none")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network(torch.randn(1, 3, _side(model), _side(model)))


def test_the_same_seed_gives_the_same_network_and_no_gradient_is_left_in_it() -> None:
    networks: list[nn.Module] = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build_model("pspnet", "resnet18", "none", CLASSES))

    first, again = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(parameter.grad is None for parameter in networks[0].parameters())
    assert networks[0].training
    assert torch.equal(first["encoder.bn1.running_mean"], torch.zeros(64)), "an image left a trace"


@pytest.mark.parametrize(
    ("model", "encoder"), [("lraspp", "mobilenet_v3_large"), ("unet", "efficientnet-b0")]
)
def test_a_short_training_ends_with_batch_norms_that_know_its_data(model: str, encoder: str) -> None:
    torch.manual_seed(0)
    network, images = build_model(model, encoder, "none", CLASSES).train(), torch.randn(4, 3, 64, 64) + 2
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, Tensor] = {}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[norm] = inputs[0].mean((0, 2, 3))

    for norm in norms:
        norm.register_forward_pre_hook(look)
    with torch.no_grad():
        for _ in range(50):
            network(images)

    first = norms[0]  # of those behind it, some see what dropped connections let through
    assert len(norms) > 10
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, seen[first], rtol=0.01, atol=1e-4)
    assert {norm.momentum for norm in norms} == {0.1}


def test_unknown_names_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownChoice, match="deeplabv3plus"):
        build_model("unheard_of", LITE0, "none", CLASSES)
    with pytest.raises(UnknownChoice, match="resnet34"):
        build_model("deeplabv3plus", "unheard_of", "none", CLASSES)
    with pytest.raises(UnknownChoice, match="imagenet"):
        build_model("deeplabv3plus", LITE0, "cityscapes", CLASSES)


@pytest.mark.parametrize(
    ("model", "encoder", "size", "weights", "sentence"),
    [
        (
            "unetplusplus",
            "mit_b0",
            256,
            "none",
            r"U-Net\+\+ does not work on mit_b0\. It works on: .*resnet18",
        ),
        ("linknet", "mit_b1", 256, "none", "LinkNet does not work on mit_b1"),
        ("deeplabv3", "tu-hrnet_w18", 256, "none", "DeepLabV3 does not work on tu-hrnet_w18"),
        ("dpt", "resnet34", 256, "none", "DPT does not work on resnet34. It works on: tu-vit_tiny"),
        ("unet", NO_ENCODER, 256, "none", "U-Net does not work on none"),
        ("fcn_resnet50", "resnet18", 256, "none", r"does not work on resnet18. It works on: resnet50\."),
        ("fpn", LITE0, 240, "none", "multiple of 32 for FPN on .*: 224 or 256, not 240"),
        ("unet", "tu-hrnet_w18", 240, "none", "multiple of 32 for U-Net"),
        ("pan", LITE0, 64, "none", "PAN needs at least 128 pixels a side, not 64"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_queued(
    model: str, encoder: str, size: int, weights: str, sentence: str
) -> None:
    with pytest.raises(FormatError, match=sentence):
        check_pair(model, encoder, size, 8, weights)


@pytest.mark.parametrize("encoder", ["Resnet34", "hf-hub:someone/something", "../weights", "", "tu-"])
def test_a_name_that_no_library_can_have_is_refused_by_its_form(encoder: str) -> None:
    with pytest.raises(UnknownChoice, match="There is no encoder"):
        check_pair("unet", encoder, 256, 8, "none")


def test_other_encoders_may_be_asked_for_where_the_architecture_takes_any() -> None:
    assert check_pair("unet", "tu-regnetx_002", 256, 8, "none") == ()
    with pytest.raises(UnknownChoice, match=r"for LR-ASPP. There are: mobilenet_v3_large\."):
        check_pair("lraspp", "tu-regnetx_002", 256, 8, "none")
    with pytest.raises(UnknownChoice, match="for DPT"):
        check_pair("dpt", "vgg16", 256, 8, "none")


def test_weights_that_are_not_installed_are_said_to_need_the_hub() -> None:
    (note,) = check_pair("unet", "resnet34", 256, 8, "imagenet")

    assert "ResNet-34" in note and "model hub" in note and "EfficientNet-Lite0" in note
    assert check_pair("unet", LITE0, 256, 8, "imagenet") == ()


def test_a_size_between_two_multiples_is_answered_with_both() -> None:
    assert check_pair("unet", LITE0, 241, 8, "none") == ()
    assert check_pair("pspnet", LITE0, 240, 8, "none") == ()
    with pytest.raises(FormatError, match="128 or 144, not 136"):
        check_pair("pan", LITE0, 136, 8, "none")


def test_an_encoder_of_the_libraries_is_built_by_its_name() -> None:
    _check_contract("unet", "tu-test_resnet")
    _check_contract("fpn", "vgg11_bn")


@pytest.mark.parametrize(
    ("model", "encoder"),
    [("unet", "tu-test_vit"), ("linknet", "mit_b3"), ("dpt", "tu-test_resnet"), ("deeplabv3", "densenet121")],
)
def test_other_encoders_that_do_not_fit_are_refused_with_those_that_do(model: str, encoder: str) -> None:
    with pytest.raises(
        FormatError, match=f"does not work on {encoder} .*It works on: {MODELS[model].encoders[0]}"
    ):
        build_model(model, encoder, "none", CLASSES)


@pytest.mark.parametrize("encoder", ["resnet43", "tu-resnet43", "tu-resnet18.nonsense", "timm-regnetx_002"])
def test_a_name_that_no_library_knows_is_refused_before_training(encoder: str) -> None:
    with pytest.raises(UnknownChoice, match=f"no encoder “{encoder}”, neither here nor"):
        build_model("unet", encoder, "none", CLASSES)


def test_other_encoders_have_the_statistics_that_their_weights_were_made_with() -> None:
    dpn = encoder_spec("dpn68")

    assert dpn.mean == pytest.approx(IMAGENET_DPN_MEAN) and dpn.std == pytest.approx(IMAGENET_DPN_STD)
    assert encoder_spec("xception").mean == encoder_spec("timm-tf_efficientnet_lite3").std == HALF
    assert encoder_spec("densenet121").mean == encoder_spec("resnet34").mean == (0.485, 0.456, 0.406)
    assert encoder_spec("tu-vit_base_patch16_224.augreg_in21k").mean == HALF
    assert encoder_spec("tu-regnetx_002").mean == (0.485, 0.456, 0.406)


def test_weights_that_do_not_exist_are_said_and_not_replaced_by_random_ones() -> None:
    assert not encoder_spec("tu-resnet200").has_hub_weights

    with pytest.raises(WeightsMissing, match="no weights of resnext101_32x48d"):
        build_model("unet", "resnext101_32x48d", "imagenet", CLASSES)


@pytest.mark.parametrize("encoder", [name for name in ENCODERS if name.startswith("tu-")])
def test_encoders_of_timm_are_described_as_timm_does(encoder: str) -> None:
    settings = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))

    assert settings is not None
    assert ENCODERS[encoder].mean == pytest.approx(settings.mean)
    assert ENCODERS[encoder].std == pytest.approx(settings.std)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_what_goes_together(preset: str) -> None:
    config = PRESETS[preset].config

    check_pair(config.model, config.encoder, config.size, config.batch_size, config.encoder_weights)
    assert preprocessing_of(config.encoder, config.size).size == config.size


def test_lite0_wants_its_own_normalisation() -> None:
    preprocessing = preprocessing_of(LITE0, 96)

    assert preprocessing.mean == preprocessing.std == HALF


def test_listing_and_checking_load_neither_torch_nor_its_libraries() -> None:
    code = (
        "import sys\n"
        "from core.models.registry import MODELS, check_pair\n"
        "for model, spec in MODELS.items():\n"
        "    check_pair(model, spec.encoders[0], 256, 8, 'none')\n"
        "check_pair('unet', 'tu-regnetx_002', 256, 8, 'imagenet')\n"
        "print({'torch', 'timm', 'torchvision', 'segmentation_models_pytorch'} & set(sys.modules))"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"


def _check_contract(model: str, encoder: str) -> None:
    """Send two batches through a network: one to learn from, and a single image."""
    spec, side = MODELS[model], _side(model)
    images = max(2, spec.min_batch_size)
    network = build_model(model, encoder, "none", CLASSES).train()

    outputs = network(torch.randn(images, 3, side, side))
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(part.square().mean() for part in parts).backward()

    logits = logits_of(outputs)
    assert isinstance(outputs, PanopticOutput) == spec.has_regions
    assert spec.has_regions or all(part.shape == logits.shape for part in parts)
    assert logits.shape == (images, CLASSES, side, side)
    assert logits.min() < 0 < logits.max(), "logits, not probabilities"
    learning = {name for name, p in network.named_parameters() if p.grad is not None}
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert learning | frozen == {name for name, _ in network.named_parameters()}
    assert learning.isdisjoint(frozen)
    if not encoder.startswith("efficientnet-b"):  # whose classifier's last layers are left out everywhere
        assert all(name.startswith(UNUSED.get(model, "nothing")) for name in frozen)
    if encoder != NO_ENCODER:
        assert any(p.grad is not None and p.grad.any() for p in network.get_submodule("encoder").parameters())
    assert _answer(network, 1, side).shape == (1, CLASSES, side, side)


def _side(model: str) -> int:
    return max(64, MODELS[model].min_size)


def _answer(network: nn.Module, images: int, side: int) -> Tensor:
    """Compute the logits of the same images each time, as prediction does."""
    inputs = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = network.eval()(inputs)
    assert isinstance(outputs, Tensor | PanopticOutput)
    return logits_of(outputs)
