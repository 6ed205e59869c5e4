"""Segmentation by clicks, with SAM or SAM 2 from ONNX files that the user supplies.

Two files make one tool: the encoder looks at a photo once, slowly, and its features are kept; the decoder
answers each click. Both known layouts are told apart by the names of the decoder's inputs:

- SAM: ``image_embeddings``, ``point_coords``, ``point_labels``, ``mask_input``, ``has_mask_input``,
  ``orig_im_size``. The photo is reduced to a long side of 1024; a last point labelled -1 means "no box".
- SAM 2: ``image_embed``, ``high_res_feats_0``, ``high_res_feats_1`` and the rest as above, with or without
  ``orig_im_size``. The photo is squeezed to 1024 x 1024.

Sources: Kirillov et al. 2023, "Segment Anything", and its ONNX export; Ravi et al. 2024, "SAM 2".
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as refusals
from numpy.typing import NDArray

from core.domain.errors import FormatError, NotFound
from core.imaging.assist import Point
from core.imaging.masks import Mask

Pixels = NDArray[np.uint8]
Features = Mapping[str, NDArray[Any]]
Layout = Literal["sam", "sam2"]

SIDE = 1024  # where the encoder's file leaves its size open
MASK_SIDE = 256
MAX_KEPT = 4  # photos; SAM 2's features of one take 17 MB
MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # ImageNet's, as both papers' code has them
STD = np.array([58.395, 57.12, 57.375], np.float32)

EMBEDDINGS: dict[Layout, tuple[str, ...]] = {
    "sam": ("image_embeddings",),
    "sam2": ("image_embed", "high_res_feats_0", "high_res_feats_1"),
}
PROMPTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
OPTIONAL = ("orig_im_size",)
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}

# ONNX Runtime's errors have no common parent of their own.
REFUSALS = (
    refusals.Fail,
    refusals.InvalidArgument,
    refusals.InvalidGraph,
    refusals.InvalidProtobuf,
    refusals.NoModel,
    refusals.NoSuchFile,
    refusals.NotImplemented,
    refusals.RuntimeException,
)

_lock = threading.Lock()
_open: dict[tuple[str, ...], "Sam"] = {}
_kept: OrderedDict[tuple[tuple[str, ...], str], Features] = OrderedDict()


@dataclass(frozen=True)
class Sam:
    """An opened pair of files; ``key`` tells it from any other pair or later version of it."""

    key: tuple[str, ...]
    layout: Layout
    encoder: onnxruntime.InferenceSession = field(repr=False)
    decoder: onnxruntime.InferenceSession = field(repr=False)

    @property
    def side(self) -> int:
        """The encoder's side in pixels."""
        sizes = [size for size in self.encoder.get_inputs()[0].shape if isinstance(size, int) and size > 3]
        return sizes[0] if sizes else SIDE

    @property
    def is_raw(self) -> bool:
        """Whether the encoder takes plain pixels (H, W, 3) and does the rest itself."""
        return len(self.encoder.get_inputs()[0].shape) == 3


def open_sam(encoder: Path, decoder: Path) -> Sam:
    """Open a pair of files, or give the pair that is open; one is kept.

    Raises:
        NotFound: a file is not there.
        FormatError: a file is no ONNX model, or the two are not a pair of a known layout.
    """
    key = (*_stamp(encoder), *_stamp(decoder))
    with _lock:
        if key not in _open:
            _open.clear()
            _kept.clear()
            _open[key] = _load(key, encoder, decoder)
        return _open[key]


def close_sam() -> None:
    """Forget the open pair and all features."""
    with _lock:
        _open.clear()
        _kept.clear()


def segment_clicks(
    sam: Sam,
    sha256: str,
    read: Callable[[], Pixels],
    photo_wh: tuple[int, int],
    clicks: Sequence[tuple[Point, bool]],
) -> Mask:
    """Find the object under clicks.

    Args:
        sha256: the photo's content; a photo seen lately is not looked at again.
        read: gives it as upright RGB (H, W, 3), reduced or not; called only for a new photo.
        photo_wh: its full size, in whose pixels the clicks are.
        clicks: points, and whether each is inside the object; none only looks at the photo, so that the
            first click is quick.

    Returns:
        Mask (h, w) of the whole photo, with a long side of the encoder's; empty without a click.

    Raises:
        FormatError: the files do not work together.
    """
    try:
        features = _features(sam, sha256, read, photo_wh)
        if not clicks:  # SAM 2's decoder takes no empty list
            return np.zeros(reduced_wh(photo_wh, sam.side)[::-1], np.bool_)
        answer = sam.decoder.run(None, _decoder_inputs(sam, features, photo_wh, clicks))
    except REFUSALS as error:
        raise FormatError(f"{_names(sam.key)} do not work together: {_short(error)}") from error
    found = {output.name: np.asarray(a) for output, a in zip(sam.decoder.get_outputs(), answer, strict=True)}
    return _mask(sam, found, photo_wh)


def reduced_wh(photo_wh: tuple[int, int], side: int = SIDE) -> tuple[int, int]:
    """Give the size of a photo brought to a long side, as SAM rounds it."""
    scale = side / max(photo_wh)
    return max(1, int(photo_wh[0] * scale + 0.5)), max(1, int(photo_wh[1] * scale + 0.5))


def _stamp(path: Path) -> tuple[str, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise NotFound(f"The click tool's file {path} is not there. Correct MASKWRIGHT_SAM_….") from error
    return str(path), f"{status.st_mtime_ns}", f"{status.st_size}"


def _names(key: tuple[str, ...]) -> str:
    return f"{Path(key[0]).name} and {Path(key[3]).name}"


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _load(key: tuple[str, ...], encoder: Path, decoder: Path) -> Sam:
    first, second = _session(encoder), _session(decoder)
    wanted = {given.name for given in second.get_inputs()}
    layouts: tuple[Layout, ...] = ("sam", "sam2")
    layout: Layout | None = next((name for name in layouts if set(EMBEDDINGS[name]) <= wanted), None)
    if layout is None or not set(PROMPTS[:2]) <= wanted:
        raise FormatError(f"{decoder.name} is not a decoder of SAM or SAM 2; it asks for {_listed(wanted)}.")
    unknown = wanted - {*EMBEDDINGS[layout], *PROMPTS, *OPTIONAL}
    if unknown:
        raise FormatError(f"{decoder.name} asks for what no SAM decoder does: {_listed(unknown)}.")
    given = [output.name for output in first.get_outputs()]
    lacks = set(EMBEDDINGS[layout]) - set(given) if layout == "sam2" else set[str]()
    if lacks or len(first.get_inputs()) != 1 or len(first.get_inputs()[0].shape) not in (3, 4):
        raise FormatError(
            f"{encoder.name} is not the encoder that {decoder.name} needs: it gives {_listed(given)} "
            f"and should give {_listed(EMBEDDINGS[layout])} for one photo."
        )
    return Sam(key, layout, first, second)


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _session(path: Path) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (*REFUSALS, RuntimeError) as error:
        raise FormatError(f"{path.name} is not an ONNX model that can be opened: {_short(error)}") from error


def _features(sam: Sam, sha256: str, read: Callable[[], Pixels], photo_wh: tuple[int, int]) -> Features:
    with _lock:
        known = _kept.get((sam.key, sha256))
        if known is not None:
            _kept.move_to_end((sam.key, sha256))
            return known
    asked = sam.encoder.get_inputs()[0]
    values = sam.encoder.run(None, {asked.name: _encoder_input(sam, read(), photo_wh)})
    names = [output.name for output in sam.encoder.get_outputs()]
    by_name = dict(zip(names, (np.asarray(value) for value in values), strict=True))
    needs = EMBEDDINGS[sam.layout]
    features = {need: by_name.get(need, np.asarray(values[0])) for need in needs}
    with _lock:
        _kept[sam.key, sha256] = features
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return features


def _encoder_input(sam: Sam, rgb: Pixels, photo_wh: tuple[int, int]) -> NDArray[Any]:
    side = sam.side
    dtype = DTYPES.get(sam.encoder.get_inputs()[0].type, np.float32)
    size_wh = (side, side) if sam.layout == "sam2" else reduced_wh(photo_wh, side)
    pixels = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
    if sam.is_raw:
        return pixels.astype(dtype)
    padded = np.zeros((side, side, 3), np.float32)
    padded[: size_wh[1], : size_wh[0]] = (pixels.astype(np.float32) - MEAN) / STD
    return padded.transpose(2, 0, 1)[None].astype(dtype)


def _decoder_inputs(
    sam: Sam, features: Features, photo_wh: tuple[int, int], clicks: Sequence[tuple[Point, bool]]
) -> dict[str, NDArray[Any]]:
    side = sam.side
    width, height = (side, side) if sam.layout == "sam2" else reduced_wh(photo_wh, side)
    points = [(x * width / photo_wh[0], y * height / photo_wh[1]) for (x, y), _ in clicks]
    labels = [1.0 if is_inside else 0.0 for _, is_inside in clicks]
    if sam.layout == "sam":
        points, labels = [*points, (0.0, 0.0)], [*labels, -1.0]
    small = reduced_wh(photo_wh, side)
    offered: dict[str, Any] = {
        **features,
        "point_coords": [points],
        "point_labels": [labels],
        "mask_input": np.zeros((1, 1, MASK_SIDE, MASK_SIDE)),
        "has_mask_input": [0.0],
        "orig_im_size": [small[1], small[0]],
    }
    asked = sam.decoder.get_inputs()
    return {a.name: np.asarray(offered[a.name], DTYPES.get(a.type, np.float32)) for a in asked}


def _mask(sam: Sam, found: Mapping[str, NDArray[Any]], photo_wh: tuple[int, int]) -> Mask:
    """Take the best of the masks offered, at the photo's reduced size."""
    masks = found.get("masks", next(iter(found.values())))
    if masks.ndim != 4 or min(masks.shape) < 1:
        raise FormatError(f"{Path(sam.key[3]).name} gives masks of an unknown shape {masks.shape}.")
    scores = found.get("iou_predictions")
    best = int(np.argmax(scores[0])) if scores is not None and scores.shape[-1] == masks.shape[1] else 0
    logits = masks[0, best].astype(np.float32)
    width, height = reduced_wh(photo_wh, sam.side)
    if logits.shape == (height, width):
        return logits > 0
    if sam.layout == "sam" and logits.shape[0] == logits.shape[1]:  # of the padded square
        logits = cv2.resize(logits, (sam.side, sam.side), interpolation=cv2.INTER_LINEAR)
        return logits[:height, :width] > 0
    return cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR) > 0
