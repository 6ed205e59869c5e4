"""Prediction on new photos, and what a person does with it: downloads, sketches of what was missed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import NotFound
from core.domain.labels import Annotation, BrushOp, Category, PolygonOp, Source
from core.domain.runs import Run
from core.formats import coco, ingest
from core.imaging import reading
from core.imaging.overlay import (
    at_display_size,
    blend,
    decode_index_png,
    encode_grey_png,
    encode_index_png,
    encode_jpeg,
)
from core.inference import predict as inference
from core.inference.session import open_model
from core.services import labelling, pictures
from core.services.home import Store
from core.storage import images, runs, versions
from core.storage.blobs import write_atomically
from core.storage.store import new_id

OVERLAY_SIDE = 1600
OPACITY = 0.5


@dataclass(frozen=True)
class PhotoPrediction:
    """What a checkpoint sees on one photo; its pictures are kept as files.

    ``share`` is the part of the image per class, 0..1. ``view``, ``mask``, ``confidence`` and
    ``full_mask`` are blob keys: the photo and grey PNGs at display size for the viewer, and the
    palette PNG of class indices at the photo's own upright size.
    """

    name: str
    sha256: str
    size_wh: tuple[int, int]
    share: dict[str, float]
    classes: tuple[Category, ...]
    run_id: str
    epoch: int
    view: str
    mask: str
    confidence: str
    full_mask: str


def predict_photo(store: Store, run: Run, epoch: int, name: str, data: bytes) -> PhotoPrediction:
    """Predict one photo with an exported checkpoint and keep the pictures.

    Raises:
        ImageError: the file is no photo; the sentence says why.
        NotFound: the checkpoint is not exported yet (evaluation.prepare queues that).
        StorageError: the disk is full.
    """
    photo = reading.prepare_photo(data)
    key = runs.onnx_key(store, run.id, epoch)
    if key is None:
        raise NotFound(f"Epoch {epoch} of “{run.name}” is not prepared for predictions yet.")
    found = inference.predict(open_model(store.blobs.local(key)), data, size_wh=photo.size_wh)
    sha256 = reading.content_sha256(data)
    images.keep_files(store, sha256, data, photo)
    classes = versions.get(store, run.data_version_id).categories
    view = photo.view or photo.full or data
    suffix = "png" if view is data and photo.media_type == "image/png" else "jpg"
    files = {
        f"view.{suffix}": view,
        "mask.png": encode_grey_png(at_display_size(found.label_map)),
        "confidence.png": encode_grey_png(found.confidence),
        "full_mask.png": encode_index_png(found.label_map, _colors(classes)),
    }
    folder = f"predictions/{run.id}/epoch_{epoch:03d}/{sha256}"
    for file_name, content in files.items():
        store.blobs.put(f"{folder}/{file_name}", content)
    share = inference.shares(found.label_map, classes)
    keys = (f"{folder}/{file_name}" for file_name in files)
    return PhotoPrediction(name, sha256, photo.size_wh, share, classes, run.id, epoch, *keys)


def link(store: Store, key: str) -> str:
    """Give the signed link of one of a prediction's pictures, relative to the app's root."""
    return pictures.file_link(store, key)


def mask_png(store: Store, prediction: PhotoPrediction) -> bytes:
    """Give the mask at the photo's own size: palette PNG whose values are class indices."""
    return store.blobs.get(prediction.full_mask)


def overlay_jpeg(store: Store, prediction: PhotoPrediction) -> bytes:
    """Give the photo with the damage painted over it, at most 1600 px on the long side."""
    rgb = reading.decode_rgb(store.blobs.get(images.photo_key(prediction.sha256, "original")))
    scale = min(1.0, OVERLAY_SIDE / max(prediction.size_wh))
    size_wh = (round(prediction.size_wh[0] * scale), round(prediction.size_wh[1] * scale))
    small = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    labels = cv2.resize(_label_map(store, prediction), size_wh, interpolation=cv2.INTER_NEAREST).astype(
        np.uint8
    )
    return encode_jpeg(blend(small, labels, _colors(prediction.classes), OPACITY, outline=True))


def coco_json(store: Store, predictions: Sequence[PhotoPrediction]) -> str:
    """Give predictions as a COCO json text: one annotation per class and connected region."""
    return json.dumps(
        coco.prediction_document([(p.name, _label_map(store, p), p.classes) for p in predictions])
    )


def write_files(store: Store, prediction: PhotoPrediction, folder: Path, stem: str) -> dict[str, Any]:
    """Write mask and overlay into a folder and tell where they are, as the command line prints it.

    Raises:
        StorageError: they cannot be written.
    """
    mask, overlay = folder / f"{stem}_mask.png", folder / f"{stem}_overlay.jpg"
    write_atomically(mask, mask_png(store, prediction))
    write_atomically(overlay, overlay_jpeg(store, prediction))
    return {
        "photo": prediction.name,
        "mask": str(mask),
        "overlay": str(overlay),
        "share": prediction.share,
        "run": prediction.run_id,
        "epoch": prediction.epoch,
    }


def save_sketch(
    store: Store,
    project_id: str,
    prediction: PhotoPrediction,
    strokes: Sequence[PolygonOp | BrushOp],
    category_ids: Sequence[int],
    *,
    author: str = "",
) -> str:
    """Put a predicted photo into the project with what was marked on it, as a draft to finish.

    Args:
        strokes: in the photo's own pixels.
        category_ids: the project's category of each stroke.

    Gives:
        the image's id.

    Raises:
        FormatError: nothing was marked.
    """
    data = store.blobs.get(images.photo_key(prediction.sha256, "original"))
    image = ingest.add_photo(store, project_id, prediction.name, data)
    sketched = [
        Annotation(new_id(), category_id, (stroke,), Source.SKETCHED, author)
        for stroke, category_id in zip(strokes, category_ids, strict=True)
    ]
    labelling.add_sketch(store, image.id, sketched, author=author)
    return image.id


def project_categories(prediction: PhotoPrediction, known: Sequence[Category]) -> Mapping[str, Category]:
    """Give the project's categories to sketch with, by name: the model's first, then the others."""
    names = [category.name.casefold() for category in prediction.classes]
    ordered = sorted(
        known, key=lambda c: names.index(c.name.casefold()) if c.name.casefold() in names else 99
    )
    return {category.name: category for category in ordered}


def _colors(classes: Sequence[Category]) -> list[str]:
    return ["#000000", *(category.color for category in classes)]


def _label_map(store: Store, prediction: PhotoPrediction) -> NDArray[np.uint8]:
    return decode_index_png(store.blobs.get(prediction.full_mask))
