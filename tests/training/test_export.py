"""An exported network computes what the original does, for each architecture there is, or says why not."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from core.domain.labels import Category
from core.inference.session import open_model
from core.models.card import ModelCard, card_to_json
from core.models.outputs import PanopticOutput
from core.models.preprocessing import Preprocessing
from core.models.registry import MODELS, build_model, size_multiple
from core.training.export import ExportFailed, ExportReport, to_onnx

SIDE = 64
CATEGORIES = (Category(7, "dent", "#E69F00"), Category(3, "scratch", "#56B4E9"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("model", "encoder"),
    [
        ("unet", "tu-test_resnet"),
        ("pspnet", "resnet18"),
        ("deeplabv3plus", "resnet18"),
        ("segformer", "mit_b0"),
    ],
)
def test_an_exported_network_computes_the_same_for_one_image_and_for_two(
    model: str, encoder: str, tmp_path: Path
) -> None:
    report = _check_parity(_network(model, encoder), SIDE, tmp_path)

    assert report.is_batch_dynamic


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_architecture_can_be_exported(model: str, tmp_path: Path) -> None:
    spec = MODELS[model]
    multiple = size_multiple(model, spec.encoders[0])
    side = multiple * -(-max(96, spec.min_size) // multiple)

    _check_parity(_network(model, spec.encoders[0]), side, tmp_path)


def test_a_network_that_finds_regions_gives_their_centres_and_offsets_too() -> None:
    class Regions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, images: Tensor) -> PanopticOutput:
            found = self.layer(images)
            return PanopticOutput(found[:, :3], found[:, 3:4].sigmoid(), 100 * found[:, 4:])

    content, _ = to_onnx(Regions().eval(), SIDE, _card(), "it")

    outputs = {o.name: _shape(o) for o in onnx.load_from_string(content).graph.output}
    assert outputs == {
        "logits": ["batch", 3, SIDE, SIDE],
        "centres": ["batch", 1, SIDE, SIDE],
        "offsets": ["batch", 2, SIDE, SIDE],
    }


def test_a_network_for_one_image_at_a_time_is_exported_as_such(tmp_path: Path) -> None:
    class OneByOne(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([self.layer(image)[None] for image in images])  # traced as a fixed number

    report = _check_parity(OneByOne().eval(), SIDE, tmp_path)

    assert not report.is_batch_dynamic
    graph = onnx.load(tmp_path / "it.onnx").graph
    assert _shape(graph.input[0]) == [1, 3, SIDE, SIDE]


def test_a_network_that_looks_at_its_values_to_decide_is_refused_with_a_sentence() -> None:
    class Deciding(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.mean() > 0 else -images

    with pytest.raises(ExportFailed, match="it cannot be written as ONNX"):
        to_onnx(Deciding().eval(), SIDE, _card(), "it")


def test_an_export_that_computes_something_else_is_refused() -> None:
    class Rolling(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + 10 * torch.rand_like(images)

    with pytest.raises(ExportFailed, match=r"another class on \d+\.\d+% of the pixels, so it was not kept"):
        to_onnx(Rolling().eval(), SIDE, _card(), "it")


def _check_parity(network: nn.Module, side: int, folder: Path) -> ExportReport:
    """Export a network, and predict with the file as the program does."""
    content, report = to_onnx(network, side, _card(side), "it")
    path = folder / "it.onnx"
    path.write_bytes(content)
    image = np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float32)

    logits = open_model(path, threads=1).logits(image)

    with torch.inference_mode():
        outputs = network(torch.from_numpy(image)[None])
    expected = (outputs.logits if isinstance(outputs, PanopticOutput) else outputs)[0].numpy()
    assert logits.shape == expected.shape
    assert (logits.argmax(0) == expected.argmax(0)).mean() >= 0.999
    assert np.abs(logits - expected).max() <= 1e-3 * np.abs(expected).max() + 1e-5
    assert report.argmax_agreement >= 0.999
    assert _shape(onnx.load(path).graph.input[0])[0] == ("batch" if report.is_batch_dynamic else 1)
    return report


def _network(model: str, encoder: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(model, encoder, "none", 5).eval()


def _card(side: int = SIDE) -> str:
    preprocessing = Preprocessing(side, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return json.dumps(card_to_json(ModelCard(CATEGORIES, preprocessing)))


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
