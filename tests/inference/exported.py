"""Exported models that need no training: their logits are the colours of the photo."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.domain.labels import Category
from core.domain.runs import Run
from core.models.card import CARD_KEY, ModelCard, card_to_json
from core.models.preprocessing import Preprocessing
from core.storage import runs
from core.storage.store import Store
from core.training.regions import region_targets

SIDE = 64
CATEGORIES = (Category(7, "red", "#FF0000"), Category(3, "blue", "#0000FF"))
GREY, RED, BLUE = (128, 128, 128), (220, 20, 20), (20, 20, 220)
SIGMA_PX = 2.0

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the network


@dataclass(frozen=True)
class Heads:
    """What a model is to say of regions, whatever the photo: centres (S, S) and offsets (2, S, S)."""

    centres: NDArray[np.float32]
    offsets: NDArray[np.float32]


def heads_of(*regions: Box | tuple[Box, ...]) -> Heads:
    """Say what a faultless network would of these regions, each a box or several."""
    numbers = np.zeros((SIDE, SIDE), np.uint8)
    for number, region in enumerate(regions, start=1):
        for left, top, right, bottom in _boxes(region):
            numbers[top:bottom, left:right] = number
    targets = region_targets(numbers[None], SIGMA_PX)
    return Heads(targets.centres[0, 0], targets.offsets[0])


def painted(size_wh: tuple[int, int], *boxes: tuple[tuple[int, int, int], Box]) -> NDArray[np.uint8]:
    """Paint a grey photo RGB uint8 (H, W, 3) with coloured boxes, given in pixels of the network."""
    width, height = size_wh
    rgb = np.full((height, width, 3), GREY, np.uint8)
    for color, (left, top, right, bottom) in boxes:
        rows = slice(top * height // SIDE, bottom * height // SIDE)
        rgb[rows, left * width // SIDE : right * width // SIDE] = color
    return rgb


def write_model(
    path: Path, *, gain: float = 4.0, card: str | None = None, heads: Heads | None = None
) -> Path:
    """Write such a model to a path.

    Args:
        gain: tells one from another.
        card: replaces its description.
        heads: what it says of regions; without them it gives classes alone.
    """
    # A 1x1 convolution: background 0, class 1 is red minus green, class 2 is blue minus green.
    weights = [0.0, 0.0, 0.0, gain, -gain, 0.0, 0.0, -gain, gain]
    nodes = [helper.make_node("Conv", ["image", "weights", "bias"], ["logits"])]
    outputs = {"logits": 3}
    values = [
        helper.make_tensor("weights", TensorProto.FLOAT, [3, 3, 1, 1], weights),
        helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.0, -1.0, -1.0]),
    ]
    if heads is not None:
        for name, drawn in (("centres", heads.centres[None, None]), ("offsets", heads.offsets[None])):
            values.append(numpy_helper.from_array(drawn, f"drawn_{name}"))
            nodes.append(helper.make_node("Identity", [f"drawn_{name}"], [name]))
            outputs[name] = drawn.shape[1]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, SIDE, SIDE])
            for name, channels in outputs.items()
        ],
        values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.metadata_props.add(key=CARD_KEY, value=card_text() if card is None else card)
    onnx.save(model, path)
    return path


def export_drawn(store: Store, run: Run, epoch: int, heads: Heads | None = None) -> None:
    """Give a run's epoch such a model for its export, without a training."""
    key = f"runs/{run.id}/epoch_{epoch:03d}-drawn.onnx"
    store.blobs.put_file(key, write_model(store.home / "drawn.onnx", heads=heads))
    runs.set_onnx_key(store, run.id, epoch, key)


def card_text() -> str:
    """Give the description that these models carry."""
    preprocessing = Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return json.dumps(card_to_json(ModelCard(CATEGORIES, preprocessing, {"epoch": 4})))


def _boxes(region: Box | tuple[Box, ...]) -> tuple[Box, ...]:
    return (region,) if isinstance(region[0], int) else region
