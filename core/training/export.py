"""A checkpoint becomes an ONNX file that stands alone: the network, its categories, its preprocessing."""

import contextlib
import json
import logging
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from core.domain.errors import AppError
from core.models.card import CARD_KEY, card_to_json
from core.training.checkpoints import load_weights, replacing

logger = logging.getLogger(__name__)

OPSET = 18
MIN_ARGMAX_AGREEMENT = 0.999
_PROBES = 2


class ExportFailed(AppError):
    """A checkpoint could not become an ONNX file that computes the same."""


@dataclass(frozen=True)
class ExportReport:
    """How the exported network compares with the original on test images.

    argmax_agreement: share of pixels with the same class, 0..1. max_abs_difference: of the logits.
    """

    argmax_agreement: float
    max_abs_difference: float


def export_onnx(checkpoint_path: Path, out_path: Path) -> ExportReport:
    """Write a checkpoint as ONNX: ``image`` float32 (1, 3, S, S) to ``logits`` float32 (1, C, S, S).

    The file carries the model's card as JSON in its metadata, and is moved into place only after
    ONNX Runtime has computed the same with it as torch does.

    Raises:
        FormatError: the checkpoint is damaged.
        ExportFailed: the network cannot be written as ONNX, or the result computes something else.
        StorageError: the disk refused.
    """
    model, meta = load_weights(checkpoint_path)
    model = model.to(memory_format=torch.contiguous_format)
    probes = _probe_images(meta.card.preprocessing.size)
    proto = _to_onnx(model, probes[:1], checkpoint_path.name)
    proto.metadata_props.add(key=CARD_KEY, value=json.dumps(card_to_json(meta.card)))
    content = proto.SerializeToString()
    report = _compare(model, content, probes)
    if report.argmax_agreement < MIN_ARGMAX_AGREEMENT:
        raise ExportFailed(
            f"The exported {checkpoint_path.name} gives another class on "
            f"{1 - report.argmax_agreement:.2%} of the pixels, so it was not kept."
        )
    with replacing(out_path) as beside:
        beside.write_bytes(content)
    logger.info("exported %s: %s", out_path.name, report)
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


def _to_onnx(model: nn.Module, image: NDArray[np.float32], name: str) -> onnx.ModelProto:
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (torch.from_numpy(image),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ExportFailed(f"{name} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    assert program is not None
    return program.model_proto


def _compare(model: nn.Module, content: bytes, probes: NDArray[np.float32]) -> ExportReport:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    runs = [np.asarray(session.run(["logits"], {"image": probe[None]})[0], np.float32) for probe in probes]
    exported = np.concatenate(runs)
    with torch.inference_mode():
        original = model(torch.from_numpy(probes)).numpy()
    return ExportReport(
        argmax_agreement=float((exported.argmax(1) == original.argmax(1)).mean()),
        max_abs_difference=float(np.abs(exported - original).max()),
    )


def _probe_images(size: int) -> NDArray[np.float32]:
    """Make smooth random images in about -1..1, the same ones each time; white noise has no regions."""
    coarse = torch.randn(_PROBES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-2, 2).numpy()
