"""How long a prediction takes on a 12-megapixel photo, where the time goes, and the plain way beside it."""

import io
import os
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import cv2
import numpy as np
import torch
from PIL import Image as PillowImage
from torch import nn

from core.domain.runs import Run
from core.inference import predict as inference
from core.inference.session import Model, open_model
from core.models.registry import build_model
from core.services import prediction
from core.services.home import Store
from core.storage import runs
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.photos import camera_photo
from tests.bench.processes import fresh_home
from tests.bench.profiled import shares
from tests.bench.trained_run import train_shortly

PREVIEW_WH = (1280, 960)
PARTS = {
    "decode": ["reading.py:_decode"],
    "view, thumbnail": ["reading.py:_scaled", "reading.py:_jpeg", "reading.py:perceptual_hash"],
    "network": ["session.py:logits"],
    "full-size label map": ["upsampling.py:_label_map"],
    "confidence": ["upsampling.py:_confidence"],
    "pictures as PNG": ["overlay.py:encode_grey_png", "overlay.py:encode_index_png"],
    "files kept": ["blobs.py:put", "blobs.py:exists"],
    "shares of classes": ["predict.py:shares"],
    "SHA-256 of photo and model": ["~:<built-in method _hashlib.openssl_sha256>"],
}


def measure(*, is_quick: bool) -> list[Figure]:
    """Predict on ever new photos, the plain way in turns; then the preview on one core."""
    with fresh_home():
        store, run = train_shortly()
        key = runs.onnx_key(store, run.id, 1)
        assert key is not None
        path = store.blobs.local(key)
        classes = len(open_model(path).categories) + 1
        plain_network = build_model(run.config.model, run.config.encoder, "none", classes).eval()
        turns = 3 if is_quick else 9
        photo = camera_photo(0)
        ours, plain, split = _in_turns(store, run, plain_network, photo, turns)
        with _one_core():
            preview = _previews(open_model(path, threads=1), photo, turns)
    parts = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in split.items())
    return [
        median_figure(
            "prediction on a 12-megapixel JPEG, full-size map",
            ours,
            "ms",
            f"predict_photo, session warm, every photo new. Of it {parts}. The plain way: PIL decode and "
            "resize, eager NCHW torch, all logits upsampled, torch argmax, 12-megapixel PNG overlay",
            ratio=median_ratio(ours, plain),
            against="the plain way's time",
        ),
        median_figure(
            f"label map at preview size {PREVIEW_WH[0]}x{PREVIEW_WH[1]}, one core",
            preview,
            "ms",
            "from the 12-megapixel file: scaled decode, network with 1 thread, label map, confidence",
            goal="under 300 ms",
        ),
    ]


def _in_turns(
    store: Store, run: Run, plain_network: nn.Module, photo: bytes, turns: int
) -> tuple[list[float], list[float], dict[str, float]]:
    """Give the milliseconds of both ways and the median seconds of the parts of ours."""
    ours: list[float] = []
    plain: list[float] = []
    splits: list[dict[str, float]] = []
    for turn in range(1 + turns):
        data = photo + bytes([turn])  # another file for the store, the same picture
        predict = partial(prediction.predict_photo, store, run, 1, f"{turn}.jpg", data)
        ours.append(_milliseconds(predict))
        plain.append(_milliseconds(partial(_plain_way, plain_network, run.config.size, photo)))
        again = photo + bytes([turn, 0])
        splits.append(shares(partial(prediction.predict_photo, store, run, 1, "p.jpg", again), PARTS)[0])
    middle = {part: statistics.median(split[part] for split in splits[1:]) for part in PARTS}
    return ours[1:], plain[1:], middle


def _previews(model: Model, photo: bytes, turns: int) -> list[float]:
    work = partial(inference.predict, model, photo, size_wh=PREVIEW_WH)
    return [_milliseconds(work) for _ in range(1 + turns)][1:]


def _plain_way(network: nn.Module, size: int, photo: bytes) -> bytes:
    """Predict as a first version would; give the overlay as a PNG."""
    image = PillowImage.open(io.BytesIO(photo)).convert("RGB")
    pixels = np.asarray(image.resize((size, size)), np.float32) / 127.5 - 1
    with torch.inference_mode():
        logits = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous())
        full = nn.functional.interpolate(logits, size=(image.height, image.width), mode="bilinear")
        labels = full.argmax(dim=1)[0].numpy().astype(np.uint8)
    paint = np.zeros((*labels.shape, 4), np.uint8)
    paint[labels > 0] = (230, 159, 0, 128)
    overlay = PillowImage.alpha_composite(image.convert("RGBA"), PillowImage.fromarray(paint))
    file = io.BytesIO()
    overlay.save(file, "PNG")
    return file.getvalue()


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


@contextmanager
def _one_core() -> Generator[None]:
    """Keep this process on one of its cores."""
    cores = os.sched_getaffinity(0)
    threads = cv2.getNumThreads()
    os.sched_setaffinity(0, {min(cores)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        cv2.setNumThreads(threads)
