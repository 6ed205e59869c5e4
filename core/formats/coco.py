"""Write COCO: labels of a project, and predictions."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.labels import Category
from core.formats.export import WRITTEN_BY, Keep, by_folder, file_names, replaced_export
from core.formats.segmentation import EXTENSION, encode_annotation
from core.formats.source import SourceCategory, SourceDataset, SourceImage
from core.imaging.masks import encode_rle_box


def write_dataset(dataset: SourceDataset, folder: Path, *, with_photos: bool = True) -> None:
    """Write labelled images as COCO.

    One ``annotations.json`` with the photos beside it where no image has a split, else
    ``<split>/_annotations.coco.json`` as Roboflow does, with the rest in ``unsplit/``. Ids are unique
    across the files. Annotations stand in painting order; those that cover no pixel are left out.
    What COCO cannot say (strokes, client's file names) stands under the key ``maskwright``, which other
    tools skip.

    Args:
        dataset: each image with ``drawn_size_wh``; those that are not labelled are left out, since COCO
            knows no difference between them and photos without damage.
        folder: is made if it is not there; an export that is there already is replaced.
        with_photos: copy the photos as well.

    Raises:
        AppError: the folder is a file, or holds annotations from elsewhere. Nothing was written.
        StorageError: the disk is full.
    """
    with replaced_export(folder) as keep:
        _write_documents(dataset, keep, with_photos=with_photos)


def _write_documents(dataset: SourceDataset, keep: Keep, *, with_photos: bool) -> None:
    category_ids = _category_ids(dataset.categories)
    image_ids, annotation_ids = count(1), count(1)
    for name, images in by_folder(dataset).items():
        labelled = [image for image in images if image.is_labelled]
        if not labelled:
            continue
        document = _document(category_ids)
        for image, file_name in zip(labelled, file_names(labelled), strict=True):
            image_id, path = next(image_ids), PurePosixPath(name, file_name)
            document["images"].append(_image_record(image, image_id, path))
            for record in _annotation_records(image, category_ids):
                document["annotations"].append({"id": next(annotation_ids), "image_id": image_id} | record)
            if with_photos:
                keep(path, image.read())
        json_name = "_annotations.coco.json" if name else "annotations.json"
        keep(PurePosixPath(name, json_name), json.dumps(document, ensure_ascii=False).encode())


def prediction_document(
    predictions: Sequence[tuple[str, NDArray[np.uint8], Sequence[Category]]],
) -> dict[str, Any]:
    """Give predictions as a COCO document: one annotation for each class and connected region.

    Args:
        predictions: a photo's name, its label map (H, W), and the categories of classes 1 and up.
    """
    categories = {c.category_id: c.name for _, _, classes in predictions for c in classes}
    document = _document({name: category_id for category_id, name in sorted(categories.items())})
    for image_id, (name, label_map, classes) in enumerate(predictions, start=1):
        height, width = label_map.shape
        document["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for class_index, category in enumerate(classes, start=1):
            for region in _regions(label_map == class_index):
                record = {"image_id": image_id, "category_id": category.category_id} | region
                document["annotations"].append({"id": len(document["annotations"]) + 1} | record)
    return document


def _document(category_ids: dict[str, int]) -> dict[str, Any]:
    created = datetime.now(UTC)
    return {
        "info": {
            "description": WRITTEN_BY,
            "version": "1.0",
            "year": created.year,
            "date_created": created.isoformat(timespec="seconds"),
        },
        "licenses": [],
        "categories": [
            {"id": category_id, "name": name, "supercategory": ""}
            for name, category_id in category_ids.items()
        ],
        "images": [],
        "annotations": [],
    }


def _category_ids(categories: Sequence[SourceCategory]) -> dict[str, int]:
    taken = {category.wanted_id for category in categories}
    free = (number for number in count(1) if number not in taken)
    return {category.name: category.wanted_id or next(free) for category in categories}


def _image_record(image: SourceImage, image_id: int, path: PurePosixPath) -> dict[str, Any]:
    assert image.drawn_size_wh is not None, "a COCO file states the size of each image"
    width, height = image.drawn_size_wh
    record: dict[str, Any] = {"id": image_id, "file_name": path.name, "width": width, "height": height}
    if image.name != str(path):
        record[EXTENSION] = {"name": image.name}
    return record


def _annotation_records(image: SourceImage, category_ids: dict[str, int]) -> list[dict[str, Any]]:
    assert image.drawn_size_wh is not None
    width, height = image.drawn_size_wh
    records: list[dict[str, Any]] = []
    for annotation in image.annotations:
        encoded = encode_annotation(annotation.ops, (height, width))
        if encoded is not None:
            records.append({"category_id": category_ids[annotation.category]} | encoded)
    return records


def _regions(mask: NDArray[np.bool_]) -> list[dict[str, Any]]:
    parts, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions: list[dict[str, Any]] = []
    for part in range(1, parts):
        x, y, width, height, area = (int(value) for value in boxes[part])
        box = np.asarray(labels[y : y + height, x : x + width] == part, np.bool_)
        segmentation = {"size": list(mask.shape), "counts": encode_rle_box(box, (x, y), mask.shape)}
        regions.append(
            {"segmentation": segmentation, "area": area, "bbox": [x, y, width, height], "iscrowd": 0}
        )
    return regions
