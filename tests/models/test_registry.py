"""Every architecture and every encoder keeps the same contract, without a network."""

import pytest
import torch

from core.domain.errors import UnknownChoice
from core.domain.training import PRESETS
from core.models.registry import ENCODERS, MODELS, build_model, preprocessing_of

SIZE, CLASSES = 64, 5
LITE0 = "tu-tf_efficientnet_lite0"


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("model", MODELS)
def test_a_network_gives_logits_per_class_and_learns_everywhere(model: str, encoder: str) -> None:
    network = build_model(model, encoder, "none", CLASSES).train()

    logits = network(torch.randn(MODELS[model].min_batch_size, 3, SIZE, SIZE))
    logits.square().mean().backward()

    assert logits.shape == (MODELS[model].min_batch_size, CLASSES, SIZE, SIZE)
    assert logits.min() < 0 < logits.max(), "logits, not probabilities"
    without_gradient = [name for name, p in network.named_parameters() if p.grad is None]
    assert without_gradient == []
    assert any(p.grad.abs().sum() > 0 for p in network.get_submodule("encoder").parameters())


@pytest.mark.parametrize("model", MODELS)
def test_a_network_takes_every_size_that_is_a_multiple(model: str) -> None:
    side = 3 * MODELS[model].size_multiple
    network = build_model(model, LITE0, "none", CLASSES).eval()

    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, side, side))

    assert logits.shape == (1, CLASSES, side, side)


def test_unknown_names_are_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownChoice, match="deeplabv3plus"):
        build_model("unheard_of", LITE0, "none", CLASSES)
    with pytest.raises(UnknownChoice, match="resnet34"):
        build_model("deeplabv3plus", "unheard_of", "none", CLASSES)
    with pytest.raises(UnknownChoice, match="imagenet"):
        build_model("deeplabv3plus", LITE0, "cityscapes", CLASSES)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_what_exists(preset: str) -> None:
    config = PRESETS[preset].config

    assert config.model in MODELS
    assert preprocessing_of(config.encoder, config.size).size == config.size


def test_lite0_wants_its_own_normalisation() -> None:
    preprocessing = preprocessing_of(LITE0, 96)

    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
