"""What a run was told, written into its folder, so that the folder can be understood without the database."""

import importlib.metadata
import json
import platform
from dataclasses import asdict
from typing import Any

from core.domain.labels import Annotation
from core.domain.runs import Run
from core.domain.training import DataVersion, VersionItem
from core.imaging.masks import encode_rle_box, measure, rasterise_box
from core.storage import annotations, images
from core.storage.store import Store
from core.worker.artefacts import run_folder

PACKAGES = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "lightning", "numpy")


def freeze(store: Store, run: Run, version: DataVersion) -> None:
    """Write ``config.json``, ``versions.json`` and ``dataset.json``, unless an earlier attempt did.

    ``dataset.json`` holds the labels as COCO: the masks as compressed run-length codes, each photo
    named by its SHA-256, with its split.

    Raises:
        NotFound: a photo of the data version was deleted since.
        StorageError: the files cannot be written.
    """
    folder = run_folder(run.id)
    if store.blobs.exists(f"{folder}/dataset.json"):
        return
    _put_json(store, f"{folder}/config.json", asdict(run.config))
    _put_json(store, f"{folder}/versions.json", _versions())
    _put_json(store, f"{folder}/dataset.json", _coco(store, version))  # last: where it is, all are


def _put_json(store: Store, key: str, value: Any) -> None:
    store.blobs.put(key, json.dumps(value, indent=1, ensure_ascii=False).encode())


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def _coco(store: Store, version: DataVersion) -> dict[str, Any]:
    photos: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for number, item in enumerate(version.items, start=1):
        photo, drawn = _photo(store, item, number)
        photos.append(photo)
        size_hw = (photo["height"], photo["width"])
        for annotation in drawn:
            regions.append(_region(annotation, size_hw, number, len(regions) + 1))
    return {
        "info": {"description": "Labels as this run knew them", "version": version.hash},
        "categories": [{"id": c.category_id, "name": c.name, "color": c.color} for c in version.categories],
        "images": photos,
        "annotations": regions,
    }


def _photo(store: Store, item: VersionItem, number: int) -> tuple[dict[str, Any], tuple[Annotation, ...]]:
    with store.read() as connection:
        image = images.read(connection, item.image_id, even_deleted=True)
        drawn = annotations.read(connection, item.image_id, item.rev).annotations if item.rev else ()
    width, height = image.size_wh
    return {
        "id": number,
        "file_name": image.name,
        "width": width,
        "height": height,
        "sha256": item.sha256,
        "image_id": item.image_id,
        "rev": item.rev,
        "split": item.split,
        "group": item.group,
    }, drawn


def _region(annotation: Annotation, size_hw: tuple[int, int], image: int, number: int) -> dict[str, Any]:
    box, corner_xy = rasterise_box(annotation.ops, size_hw)
    measured = measure(annotation.ops, size_hw)
    return {
        "id": number,
        "image_id": image,
        "category_id": annotation.category_id,
        "segmentation": {"size": list(size_hw), "counts": encode_rle_box(box, corner_xy, size_hw)},
        "area": measured.area,
        "bbox": list(measured.bbox_xywh),
        "iscrowd": 0,
    }
