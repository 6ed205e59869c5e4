"""A checkpoint becomes an ONNX file that stands alone: the network, its categories, its preprocessing."""

import contextlib
import json
import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as refusals
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.domain.errors import AppError
from core.models.card import CARD_KEY, card_to_json
from core.models.outputs import PanopticOutput
from core.training.checkpoints import load_weights, replacing

logger = logging.getLogger(__name__)

OPSET = 18
MIN_ARGMAX_AGREEMENT = 0.999
MAX_RELATIVE_DIFFERENCE = 1e-3  # of centres and offsets
_PROBES = 2

# What tracing a network that is no graph raises, and ONNX Runtime's errors, which have no common parent.
_UNTRACEABLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_REFUSALS = (
    refusals.Fail,
    refusals.InvalidArgument,
    refusals.InvalidGraph,
    refusals.InvalidProtobuf,
    refusals.NotImplemented,
    refusals.RuntimeException,
)

Outputs = Mapping[str, NDArray[np.float32]]  # by their names in the file


class ExportFailed(AppError):
    """A checkpoint could not become an ONNX file that computes the same."""


@dataclass(frozen=True)
class ExportReport:
    """How the exported network compares with the original on test images.

    argmax_agreement: share of pixels with the same class, 0..1. max_abs_difference: of the logits.
    is_batch_dynamic: the file takes any number of images at once, else one; its input's shape says so too.
    """

    argmax_agreement: float
    max_abs_difference: float
    is_batch_dynamic: bool


def export_onnx(checkpoint_path: Path, out_path: Path) -> ExportReport:
    """Write a checkpoint as ONNX: ``image`` float32 (N, 3, S, S) to ``logits`` float32 (N, C, S, S).

    S is the checkpoint's, and fixed: some networks' pooling windows are computed from it. N is free
    where the network allows that, else 1. A network that finds regions has the outputs ``centres``
    (N, 1, S, S) and ``offsets`` (N, 2, S, S) too. The file carries the model's card as JSON in its
    metadata, and is moved into place only after ONNX Runtime has computed the same with it as torch
    does, for one image and, where N is free, for two.

    Raises:
        FormatError: the checkpoint is damaged.
        ExportFailed: the network cannot be written as ONNX, or the result computes something else.
        StorageError: the disk refused.
    """
    model, meta = load_weights(checkpoint_path)
    card = json.dumps(card_to_json(meta.card))
    model = model.to(memory_format=torch.contiguous_format)
    content, report = to_onnx(model, meta.card.preprocessing.size, card, checkpoint_path.name)
    with replacing(out_path) as beside:
        beside.write_bytes(content)
    logger.info("exported %s: %s", out_path.name, report)
    return report


def to_onnx(model: nn.Module, size: int, card: str, name: str) -> tuple[bytes, ExportReport]:
    """Give a network in eval mode, on the CPU, as the bytes of an ONNX file; see export_onnx.

    Args:
        size: side of the images in pixels.
        card: JSON for the file's metadata.
        name: what an error is to call it.

    Raises:
        ExportFailed: it cannot be written as ONNX, or the result computes something else.
    """
    probes = _probe_images(size)
    with torch.inference_mode():
        expected = _named(model(torch.from_numpy(probes)))
    try:
        return _checked(model, probes, expected, card, name, is_batch_dynamic=True)
    except ExportFailed as failure:
        logger.info("%s is exported for one image at a time: %s", name, failure)
    return _checked(model, probes, expected, card, name, is_batch_dynamic=False)


def _checked(
    model: nn.Module,
    probes: NDArray[np.float32],
    expected: Outputs,
    card: str,
    name: str,
    *,
    is_batch_dynamic: bool,
) -> tuple[bytes, ExportReport]:
    proto = _proto(model, probes if is_batch_dynamic else probes[:1], list(expected), name, is_batch_dynamic)
    proto.metadata_props.add(key=CARD_KEY, value=card)
    content = proto.SerializeToString()
    groups = [probes[:1], probes[1:], probes] if is_batch_dynamic else [probes[:1], probes[1:]]
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = [_run(session, group, list(expected)) for group in groups]
    except _REFUSALS as error:
        raise ExportFailed(f"ONNX Runtime does not run the exported {name}: {_line(error)}") from error
    computed = {key: np.concatenate([outputs[key] for outputs in found]) for key in expected}
    repeated = {
        key: np.tile(value, (len(computed[key]) // _PROBES, 1, 1, 1)) for key, value in expected.items()
    }
    return content, _compared(computed, repeated, name, is_batch_dynamic)


def _compared(computed: Outputs, expected: Outputs, name: str, is_batch_dynamic: bool) -> ExportReport:
    logits, original = computed["logits"], expected["logits"]
    report = ExportReport(
        argmax_agreement=float((logits.argmax(1) == original.argmax(1)).mean()),
        max_abs_difference=float(np.abs(logits - original).max()),
        is_batch_dynamic=is_batch_dynamic,
    )
    if report.argmax_agreement < MIN_ARGMAX_AGREEMENT:
        raise ExportFailed(
            f"The exported {name} gives another class on {1 - report.argmax_agreement:.2%} of the pixels, "
            "so it was not kept."
        )
    for key, value in computed.items():
        tolerance = MAX_RELATIVE_DIFFERENCE * float(np.abs(expected[key]).max())
        if key != "logits" and not np.abs(value - expected[key]).max() <= tolerance:
            raise ExportFailed(f"The exported {name} gives other {key}, so it was not kept.")
    return report


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the exporter's account of each rewritten node out of the run's log."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx", "torch.export")]
    levels = [noisy.level for noisy in loggers]
    try:
        for noisy in loggers:
            noisy.setLevel(logging.ERROR)
        yield
    finally:
        for noisy, level in zip(loggers, levels, strict=True):
            noisy.setLevel(level)


def _proto(
    model: nn.Module, images: NDArray[np.float32], outputs: list[str], name: str, is_batch_dynamic: bool
) -> onnx.ModelProto:
    shapes = ({0: torch.export.Dim("batch")},) if is_batch_dynamic else None
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (torch.from_numpy(images),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, *_UNTRACEABLE) as error:
        if "allocate" in str(error):
            raise MemoryError(_line(error)) from error  # says nothing of the network
        raise ExportFailed(f"{name} cannot be written as ONNX: {_line(error)}") from error
    assert program is not None
    return program.model_proto


def _run(
    session: onnxruntime.InferenceSession, images: NDArray[np.float32], outputs: list[str]
) -> dict[str, NDArray[np.float32]]:
    found = session.run(outputs, {"image": images})
    return {key: np.asarray(value, np.float32) for key, value in zip(outputs, found, strict=True)}


def _named(outputs: object) -> dict[str, NDArray[np.float32]]:
    if isinstance(outputs, PanopticOutput):
        return {key: tensor.numpy() for key, tensor in outputs._asdict().items()}
    assert isinstance(outputs, Tensor), "in eval mode a network gives its answer alone"
    return {"logits": outputs.numpy()}


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _probe_images(size: int) -> NDArray[np.float32]:
    """Make smooth random images in about -1..1, the same ones each time; white noise has no regions."""
    coarse = torch.randn(_PROBES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-2, 2).numpy()
