"""Prediction on new photos, how good the model is, and what a person does with the result."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import Annotation, BrushOp, Category, PolygonOp, RleOp, Source, Split
from core.domain.runs import Run
from core.formats import coco, ingest
from core.formats.segmentation import encode_annotation
from core.imaging import reading
from core.imaging.masks import encode_rle_box
from core.imaging.overlay import (
    at_display_size,
    blend,
    decode_index_png,
    encode_grey_png,
    encode_index_png,
    encode_jpeg,
)
from core.inference import predict as inference
from core.inference.predict import ToldApart
from core.inference.regions import LEAST_SHARE, Regions, spread
from core.services import evaluation, every_epoch, labelling, pictures, predictors
from core.services.home import Store
from core.storage import images, versions
from core.storage.blobs import write_atomically
from core.storage.store import new_id

OVERLAY_SIDE = 1600
OPACITY = 0.5
HOW_TOLD_APART: dict[ToldApart, str] = {
    "model": "The model tells single damages apart, touching ones too.",
    "connected": "Counted are connected regions: touching damages of one class count as one.",
    "no_centre": "The model found the centre of no damage here, so counted are connected regions: "
    "touching damages of one class count as one.",
}
WEAK = 0.2  # a foreground mIoU below this is poor: most of what is painted or labelled is not both
TOO_SMALL = f"Specks below {LEAST_SHARE:.2%} of the photo are not counted."


@dataclass(frozen=True)
class Quality:
    """A checkpoint's foreground mIoU, 0..1, on the photos of a split; None where it is not defined."""

    miou: float | None
    split: Split
    images: int

    @property
    def is_weak(self) -> bool:
        """Whether little of what it finds is to be believed."""
        return self.miou is not None and self.miou < WEAK


@dataclass(frozen=True)
class Finding:
    """One single damage, in JSON as it stands here.

    share: of the photo, 0..1. score: 0..1, how sure the model is. centre_xy: in the photo's pixels, from
    its top left corner.
    """

    category: str
    category_id: int
    pixels: int
    share: float
    score: float
    centre_xy: tuple[float, float]


@dataclass(frozen=True)
class PhotoPrediction:
    """What a checkpoint sees on one photo; its pictures, and findings.json, are kept as files.

    ``share`` is the part of the image per class, 0..1. ``findings`` are the single damages, the largest
    first; ``told_apart`` says how. ``view``, ``mask``, ``confidence`` and ``full_mask`` are blob keys:
    the photo and grey PNGs at display size for the viewer, and the palette PNG of class indices at the
    photo's own upright size. ``numbers`` is the key of a grey PNG at display size that is i where
    ``findings[i - 1]`` lies, where the model told them apart; else empty.
    """

    name: str
    sha256: str
    size_wh: tuple[int, int]
    share: dict[str, float]
    findings: tuple[Finding, ...]
    told_apart: ToldApart
    classes: tuple[Category, ...]
    run_id: str
    epoch: int
    view: str
    mask: str
    confidence: str
    full_mask: str
    numbers: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many single damages of each class were found, by its name."""
        found = Counter(finding.category for finding in self.findings)
        return {category.name: found[category.name] for category in self.classes}


def quality(store: Store, run: Run, epoch: int) -> Quality:
    """Say how good a checkpoint is: on all test photos where it was measured there, else on validation.

    Test comes first because the validation photos were what the epoch was chosen by.
    """
    version = versions.get(store, run.data_version_id)
    tested = every_epoch.measured(store, run, epochs=[epoch])
    if tested and tested[0].images >= len(version.split("test")):
        miou = float(tested[0].scores.miou_foreground)
        if not math.isnan(miou):
            return Quality(miou, "test", tested[0].images)
    metrics = next((e.metrics for e in evaluation.epochs(store, run.id) if e.epoch == epoch), {})
    return Quality(metrics.get(evaluation.METRIC), "valid", len(version.split("valid")))


def predict_photo(store: Store, run: Run, epoch: int, name: str, data: bytes) -> PhotoPrediction:
    """Predict one photo with a checkpoint and keep the pictures.

    Raises:
        ImageError: the file is no photo; the sentence says why.
        NotFound: the checkpoint is not ready yet (evaluation.prepare sees to that).
        AppError: it predicts in a worker, and none did so.
        StorageError: the disk is full.
    """
    photo = reading.prepare_photo(data)
    model = predictors.open_checkpoint(store, run, epoch)
    found = inference.predict(model, data, size_wh=photo.size_wh)
    sha256 = reading.content_sha256(data)
    images.keep_files(store, sha256, data, photo)
    classes = versions.get(store, run.data_version_id).categories
    findings = _findings(found.regions, classes)
    view = photo.view or photo.full or data
    suffix = "png" if view is data and photo.media_type == "image/png" else "jpg"
    files = {
        f"view.{suffix}": view,
        "mask.png": encode_grey_png(at_display_size(found.label_map)),
        "confidence.png": encode_grey_png(found.confidence),
        "full_mask.png": encode_index_png(found.label_map, _colors(classes)),
    }
    if found.told_apart == "model":
        assert len(findings) < 256, "a byte numbers as many as a model has centres"
        files["numbers.png"] = encode_grey_png(found.regions.number_map.astype(np.uint8))
    folder = f"predictions/{run.id}/epoch_{epoch:03d}/{sha256}"
    for file_name, content in files.items():
        store.blobs.put(f"{folder}/{file_name}", content)
    keys = [f"{folder}/{file_name}" for file_name in files]
    share = inference.shares(found.label_map, classes)
    kept = {"told_apart": found.told_apart, "findings": [asdict(finding) for finding in findings]}
    store.blobs.put(f"{folder}/findings.json", json.dumps(kept).encode())
    return PhotoPrediction(
        name, sha256, photo.size_wh, share, findings, found.told_apart, classes, run.id, epoch, *keys
    )


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
    """Give predictions as a COCO json text.

    One annotation per finding, in one piece or not, where the model told them apart; else one per class
    and connected region, specks too.
    """
    label_maps = [_label_map(store, p) for p in predictions]
    document = coco.prediction_document(
        [
            (p.name, np.zeros_like(label_map) if p.numbers else label_map, p.classes)
            for p, label_map in zip(predictions, label_maps, strict=True)
        ]
    )
    records: list[dict[str, Any]] = document["annotations"]
    for image_id, (prediction, label_map) in enumerate(zip(predictions, label_maps, strict=True), start=1):
        records += [{"image_id": image_id} | r for r in _finding_records(store, prediction, label_map)]
    for annotation_id, record in enumerate(records, start=1):
        record["id"] = annotation_id
    return json.dumps(document)


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
        "told_apart": prediction.told_apart,
        "findings": [asdict(finding) for finding in prediction.findings],
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


def _findings(regions: Regions, classes: Sequence[Category]) -> tuple[Finding, ...]:
    found: list[Finding] = []
    for region in regions.regions:
        category = classes[region.class_index - 1]
        assert region.score is not None, "a prediction's confidence is known"
        found.append(
            Finding(
                category.name,
                category.category_id,
                region.pixels,
                region.share,
                region.score,
                region.centre_xy,
            )
        )
    return tuple(found)


def _finding_records(
    store: Store, prediction: PhotoPrediction, label_map: NDArray[np.uint8]
) -> Iterator[dict[str, Any]]:
    """Give COCO's record of each finding that the model told apart, at the photo's own size."""
    if not prediction.numbers:
        return
    number_map = spread(decode_index_png(store.blobs.get(prediction.numbers)), label_map)
    size_hw = (label_map.shape[0], label_map.shape[1])
    for number, finding in enumerate(prediction.findings, start=1):
        mask = number_map == number
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        counts = encode_rle_box(mask[y : y + height, x : x + width], (x, y), size_hw)
        record = encode_annotation((RleOp(size_hw, counts),), size_hw)
        if record is not None:
            yield {"category_id": finding.category_id, "score": finding.score} | record


def _label_map(store: Store, prediction: PhotoPrediction) -> NDArray[np.uint8]:
    return decode_index_png(store.blobs.get(prediction.full_mask))
