"""Tiny ONNX files with the inputs and outputs of SAM and SAM 2: what they find can be worked out by hand.

The encoder gives the photo's grey values, averaged to an eighth of its size. The decoder finds what is as
bright as the photo is under the first click, give or take a twentieth.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64
CELLS = SIDE // 8
FLOAT = TensorProto.FLOAT


def write_encoder(
    path: Path,
    *,
    layout: str = "sam",
    is_raw: bool = False,
    is_coloured: bool = False,
    names: tuple[str, ...] = (),
) -> Path:
    """Write an encoder of a layout; a raw one takes pixels (H, W, 3), a coloured one gives three channels,
    which the decoder does not take; the outputs may have other names."""
    nodes, inputs = [], []
    if is_raw:
        inputs = [helper.make_tensor_value_info("input_image", FLOAT, ["h", "w", 3])]
        nodes += [
            helper.make_node("Transpose", ["input_image"], ["chw"], perm=[2, 0, 1]),
            helper.make_node("Unsqueeze", ["chw", "zero"], ["picture"]),
        ]
    else:
        inputs = [helper.make_tensor_value_info("picture", FLOAT, [1, 3, SIDE, SIDE])]
    outputs = (
        names
        or {"sam": ("image_embeddings",), "sam2": ("high_res_feats_0", "high_res_feats_1", "image_embed")}[
            layout
        ]
    )
    nodes.append(
        helper.make_node("Identity", ["picture"], ["grey"])
        if is_coloured
        else helper.make_node("ReduceMean", ["picture", "one"], ["grey"], keepdims=1)
    )
    nodes += [
        helper.make_node("AveragePool", ["grey"], [name], kernel_shape=[8, 8], strides=[8, 8])
        for name in outputs
    ]
    constants = [_whole("zero", [0]), _whole("one", [1])]
    given = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    return _saved(path, helper.make_graph(nodes, "encoder", inputs, given, constants))


def write_decoder(path: Path, *, layout: str = "sam", has_size: bool = True, extra: str = "") -> Path:
    """Write a decoder of a layout. Without ``has_size`` it does not ask for the photo's size, as some SAM 2
    exports; ``extra`` is one more input."""
    embeddings = {
        "sam": ("image_embeddings",),
        "sam2": ("image_embed", "high_res_feats_0", "high_res_feats_1"),
    }[layout]
    inputs = [helper.make_tensor_value_info(name, FLOAT, [1, 1, "r", "c"]) for name in embeddings]
    inputs += [
        helper.make_tensor_value_info("point_coords", FLOAT, [1, "n", 2]),
        helper.make_tensor_value_info("point_labels", FLOAT, [1, "n"]),
        helper.make_tensor_value_info("mask_input", FLOAT, [1, 1, 256, 256]),
        helper.make_tensor_value_info("has_mask_input", FLOAT, [1]),
    ]
    if has_size:
        inputs.append(helper.make_tensor_value_info("orig_im_size", FLOAT, [2]))
    if extra:
        inputs.append(helper.make_tensor_value_info(extra, FLOAT, [1]))
    nodes = [
        helper.make_node("Slice", ["point_coords", "zero", "one", "one"], ["first"]),  # the first click alone
        helper.make_node("Div", ["first", "cell"], ["cells"]),
        helper.make_node("Floor", ["cells"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["xy"], to=TensorProto.INT64),
        helper.make_node("Split", ["xy"], ["x", "y"], axis=2, num_outputs=2),
        helper.make_node("Shape", [embeddings[0]], ["shape"]),
        helper.make_node("Slice", ["shape", "three", "four"], ["columns"]),
        helper.make_node("Mul", ["y", "columns"], ["row"]),
        helper.make_node("Add", ["row", "x"], ["place"]),
        helper.make_node("Reshape", [embeddings[0], "flat"], ["listed"]),
        helper.make_node("Gather", ["listed", "place"], ["under"]),
        helper.make_node("Reshape", ["under", "single"], ["colour"]),
        helper.make_node("Sub", [embeddings[0], "colour"], ["away"]),
        helper.make_node("Abs", ["away"], ["distance"]),
        helper.make_node("Sub", ["limit", "distance"], ["good"]),
        helper.make_node("Sub", ["distance", "limit"], ["bad"]),
        helper.make_node("Concat", ["bad", "good"], ["low_res_masks"], axis=1),
        helper.make_node("Identity", ["scores"], ["iou_predictions"]),
    ]
    masks = "low_res_masks"
    if has_size and layout == "sam":  # SAM's export brings the mask to the photo's size itself
        nodes += [
            helper.make_node("Cast", ["orig_im_size"], ["size"], to=TensorProto.INT64),
            helper.make_node("Resize", ["low_res_masks", "", "", "enlarged"], ["whole"], mode="nearest"),
            helper.make_node("Slice", ["whole", "zeros", "size", "axes"], ["masks"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", [masks], ["masks"]))
    constants = [
        _whole("zero", [0]),
        _whole("one", [1]),
        _whole("three", [3]),
        _whole("four", [4]),
        _whole("flat", [-1]),
        _whole("single", [1, 1, 1, 1]),
        _whole("zeros", [0, 0]),
        _whole("axes", [2, 3]),
        _whole("enlarged", [1, 2, SIDE, SIDE]),
        numpy_helper.from_array(np.array([8, 8], np.float32), "cell"),
        numpy_helper.from_array(np.array([0.2], np.float32), "limit"),
        numpy_helper.from_array(np.array([[0.1, 0.9]], np.float32), "scores"),
    ]
    given = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("masks", "iou_predictions")]
    return _saved(path, helper.make_graph(nodes, "decoder", inputs, given, constants))


def _whole(name: str, values: list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _saved(path: Path, graph: onnx.GraphProto) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path
