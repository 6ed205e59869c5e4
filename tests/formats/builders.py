"""Small files to import: photos, COCO folders, mask folders, zips."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE_WH = (40, 30)
SQUARE = [5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]  # 10 x 10 pixels
DENT = {"id": 1, "name": "dent", "supercategory": ""}


def photo(seed: int = 0, size_wh: tuple[int, int] = SIZE_WH, kind: str = "JPEG", **options: Any) -> bytes:
    """Encode a photo; another seed is another photo."""
    width, height = size_wh
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def mask_png(marked: Sequence[tuple[int, int]] | np.ndarray, size_wh: tuple[int, int] = SIZE_WH) -> bytes:
    """Encode a grey PNG: an array as it is, or 255 at (x, y) points."""
    if not isinstance(marked, np.ndarray):
        points, marked = marked, np.zeros((size_wh[1], size_wh[0]), np.uint8)
        for x, y in points:
            marked[y, x] = 255
    file = io.BytesIO()
    Image.fromarray(marked).save(file, "PNG")
    return file.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def image_record(
    image_id: int, file_name: str, size_wh: tuple[int, int] = SIZE_WH, **more: Any
) -> dict[str, Any]:
    """Give an entry of COCO's list "images"."""
    return {"id": image_id, "file_name": file_name, "width": size_wh[0], "height": size_wh[1]} | more


def annotation(
    number: int, image_id: int, segmentation: Any, category_id: int = 1, **more: Any
) -> dict[str, Any]:
    """Give an entry of COCO's list "annotations"; its area and box are wrong, as in many exports."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation,
        "area": 1,
        "bbox": [0, 0, 1, 1],
        "iscrowd": 0,
    } | more


def coco(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]] = (DENT,),
) -> str:
    """Give a COCO json."""
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def one_image_coco(folder: Path, *segmentations: Any, size_wh: tuple[int, int] = SIZE_WH) -> Path:
    """Write a COCO folder of one photo, ``a.jpg``, with these annotations."""
    put(folder / "a.jpg", photo(size_wh=size_wh))
    records = [annotation(n, 1, segmentation) for n, segmentation in enumerate(segmentations, start=1)]
    put(folder / "_annotations.coco.json", coco([image_record(1, "a.jpg", size_wh)], records))
    return folder


def zip_of(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a zip."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path
