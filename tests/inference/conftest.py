"""A model that needs no training: its logits are the colours of the photo."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from core.domain.labels import Category
from core.inference import session
from core.models.card import CARD_KEY, ModelCard, card_to_json
from core.models.preprocessing import Preprocessing

WriteModel = Callable[..., Path]

SIDE = 64
CATEGORIES = (Category(7, "red", "#FF0000"), Category(3, "blue", "#0000FF"))


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """Start and leave with no model in memory."""
    session.close_models()
    yield
    session.close_models()


@pytest.fixture
def write_model() -> WriteModel:
    """Write such a model to a path; ``gain`` tells one from another, ``card`` replaces its description."""
    return _write_model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return _write_model(tmp_path / "colours.onnx")


def _write_model(path: Path, *, gain: float = 4.0, card: str | None = None) -> Path:
    # A 1x1 convolution: background 0, class 1 is red minus green, class 2 is blue minus green.
    weights = [0.0, 0.0, 0.0, gain, -gain, 0.0, 0.0, -gain, gain]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights", "bias"], ["logits"])],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [3, 3, 1, 1], weights),
            helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.0, -1.0, -1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    preprocessing = Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    text = json.dumps(card_to_json(ModelCard(CATEGORIES, preprocessing, {"epoch": 4})))
    model.metadata_props.add(key=CARD_KEY, value=text if card is None else card)
    onnx.save(model, path)
    return path
