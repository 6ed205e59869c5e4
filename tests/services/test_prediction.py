"""What is found on a new photo: single damages, the files that are kept, COCO, the command line's words."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as pycoco

from core.domain.runs import Run
from core.imaging.overlay import decode_index_png
from core.services import prediction, reports
from core.services.prediction import PhotoPrediction
from core.storage.store import Store
from tests.builders import project_with
from tests.inference.exported import BLUE, RED, Heads, export_drawn, heads_of, painted
from tests.pages.trained import finish_run

LEFT, RIGHT, OTHER = (8, 16, 28, 48), (28, 16, 48, 48), (52, 4, 62, 12)
BOXES = ((RED, LEFT), (RED, RIGHT), (BLUE, OTHER))
HEADS = heads_of(LEFT, RIGHT, OTHER)


def found_on(store: Store, run: Run, rgb: NDArray[np.uint8]) -> PhotoPrediction:
    """Predict a photo with a run's first epoch."""
    data = cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()
    return prediction.predict_photo(store, run, 1, "door.png", data)


def exported_run(store: Store, heads: Heads | None = None) -> Run:
    """Make a run whose exported model knows dents by red and scratches by blue."""
    run = finish_run(store, project_with(store, "dent", "scratch"), epochs=1)
    export_drawn(store, run, 1, heads)
    return run


def test_single_damages_are_found_and_kept_with_the_prediction(store: Store) -> None:
    found = found_on(store, exported_run(store, HEADS), painted((640, 480), *BOXES))

    assert found.counts == {"dent": 2, "scratch": 1}
    assert [(f.category, f.category_id) for f in found.findings] == [("dent", 1), ("dent", 1), ("scratch", 2)]
    shares = [sum(f.share for f in found.findings if f.category == name) for name in ("dent", "scratch")]
    assert shares == pytest.approx([found.share["dent"], found.share["scratch"]])
    assert found.findings[2].centre_xy == pytest.approx((570, 60), abs=5.1)
    kept = json.loads(store.blobs.get(found.mask.replace("mask.png", "findings.json")))
    written = prediction.write_files(store, found, store.home / "out", "door")
    assert kept["told_apart"] == written["told_apart"] == "model"
    assert kept["findings"] == json.loads(json.dumps(written["findings"]))
    assert kept["findings"][2]["pixels"] == found.findings[2].pixels


def test_the_command_line_says_how_many_were_found(store: Store, tmp_path: Path) -> None:
    run = exported_run(store, HEADS)
    some, none = (found_on(store, run, painted((640, 480), *boxes)) for boxes in (BOXES, ()))

    results = [prediction.write_files(store, found, tmp_path, "door") for found in (some, none)]

    dent, scratch = (f"{some.share[name]:.1%}" for name in ("dent", "scratch"))
    overlay = tmp_path / "door_overlay.jpg"
    assert reports.prediction_lines(results) == [
        f"door.png: dent × 2, {dent}; scratch × 1, {scratch} ({overlay})",
        f"door.png: no damage found ({overlay})",
    ]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("size_wh", [(640, 480), (2000, 1500)])
def test_coco_has_one_annotation_for_each_damage_that_the_model_tells_apart(
    store: Store, size_wh: tuple[int, int]
) -> None:
    in_parts = ((8, 16, 28, 32), (8, 40, 28, 56))  # one damage in two parts
    photo = painted(size_wh, *((RED, box) for box in in_parts), (RED, RIGHT), (BLUE, OTHER))
    found = found_on(store, exported_run(store, heads_of(in_parts, RIGHT, OTHER)), photo)

    document = json.loads(prediction.coco_json(store, [found]))

    label_map = decode_index_png(prediction.mask_png(store, found))
    masks = [_mask(annotation) for annotation in document["annotations"]]
    assert [a["category_id"] for a in document["annotations"]] == [1, 1, 2]
    assert [a["id"] for a in document["annotations"]] == [1, 2, 3]
    assert np.array_equal(sum(masks), (label_map > 0).astype(np.uint8)), "all of it, nothing twice"
    meeting = 28 * size_wh[0] // 64
    expected = (
        (label_map[:, :meeting] == 1).sum(),
        (label_map[:, meeting:] == 1).sum(),
        (label_map == 2).sum(),
    )
    areas = sorted(expected, reverse=True)
    assert [a["area"] for a in document["annotations"]] == pytest.approx(areas, rel=0.01)
    for annotation, mask, finding in zip(document["annotations"], masks, found.findings, strict=True):
        assert annotation["bbox"] == list(cv2.boundingRect(mask))
        assert annotation["area"] == int(mask.sum()) == pytest.approx(finding.pixels, rel=0.01)
        assert annotation["score"] == finding.score


def test_coco_has_connected_regions_where_the_model_gives_classes_alone(store: Store) -> None:
    run = exported_run(store)
    found = [found_on(store, run, painted((640, 480), *boxes)) for boxes in (BOXES, BOXES[2:])]

    document = json.loads(prediction.coco_json(store, found))

    assert [f.told_apart for f in found] == ["connected", "connected"]
    records = [(a["id"], a["image_id"], a["category_id"]) for a in document["annotations"]]
    assert records == [(1, 1, 1), (2, 1, 2), (3, 2, 2)]
    assert [c["name"] for c in document["categories"]] == ["dent", "scratch"]


def test_without_a_centre_connected_regions_are_found_and_exported(store: Store) -> None:
    found = found_on(store, exported_run(store, heads_of()), painted((640, 480), *BOXES))

    assert found.told_apart == "no_centre"
    assert found.counts == {"dent": 1, "scratch": 1}
    assert len(json.loads(prediction.coco_json(store, [found]))["annotations"]) == 2


def test_specks_are_in_the_share_and_not_among_the_damages(store: Store) -> None:
    photo = painted((1280, 960), *BOXES[2:])
    photo[45:55, 40:46] = RED  # a fifth of one pixel of the network: a few of the photo remain

    found = found_on(store, exported_run(store), photo)

    assert found.counts == {"dent": 0, "scratch": 1}
    assert 0 < found.share["dent"] < 1e-4


def _mask(annotation: dict[str, Any]) -> NDArray[np.uint8]:
    return pycoco.decode(annotation["segmentation"])
