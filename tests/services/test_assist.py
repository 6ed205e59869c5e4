"""Prompts on real stored photos, and every prompt that cannot be answered."""

import io
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.api.routes import routes_under
from core.domain.errors import FormatError, NotFound
from core.domain.images import Image
from core.domain.labels import annotation_from_json
from core.formats.ingest import add_photo
from core.imaging.masks import Mask, rasterise
from core.inference import sam
from core.services import assist
from core.storage import images
from core.storage.store import Store
from tests.builders import project_with
from tests.inference.sam_files import write_decoder, write_encoder

BOX = {"kind": "box", "points": [[60, 40], [160, 140]]}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No photo decoded before, and no click tool unless a test sets it up."""
    assist._photos.clear()
    sam.close_sam()
    monkeypatch.delenv("MASKWRIGHT_SAM_ENCODER", raising=False)
    monkeypatch.delenv("MASKWRIGHT_SAM_DECODER", raising=False)


def truth_of(size_wh: tuple[int, int], centre: tuple[int, int], radius: int) -> Mask:
    mask = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    cv2.circle(mask, centre, radius, 1, -1)
    return mask > 0


def add(store: Store, rgb: NDArray[np.uint8], *, orientation: int = 1) -> Image:
    file = io.BytesIO()
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(rgb).save(file, "JPEG", quality=95, exif=exif)
    return add_photo(store, project_with(store, "rust").id, "photo.jpg", file.getvalue())


def photo_with(truth: Mask) -> NDArray[np.uint8]:
    rgb = np.where(truth[:, :, None], (130, 80, 50), (110, 130, 150)).astype(np.float64)
    rgb += np.random.default_rng(3).normal(0, 4, (*truth.shape, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def drawn(answer: dict[str, Any], size_wh: tuple[int, int]) -> Mask:
    """The answer's pixels, read as the canvas sends an annotation back."""
    if not answer["ops"]:
        return np.zeros((size_wh[1], size_wh[0]), np.bool_)
    annotation = annotation_from_json({"id": "x", "category_id": 1, "ops": answer["ops"]})
    return rasterise(annotation.ops, (size_wh[1], size_wh[0]))


def iou(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(
    "message",
    [
        BOX,
        {"kind": "polygon", "points": [[70, 45], [150, 45], [160, 90], [150, 135], [70, 135], [60, 90]]},
        {
            "kind": "scribble",
            "strokes": [
                {"points": [[95, 90], [125, 90]], "inside": True, "radius": 8},
                {
                    "points": [[60, 40], [160, 40], [160, 140], [60, 140], [60, 40]],
                    "inside": False,
                    "radius": 3,
                },
            ],
        },
        {"kind": "wand", "points": [[110, 90]], "tolerance": 20},
    ],
    ids=lambda message: message["kind"],
)
def test_each_prompt_finds_the_object_in_pixels_of_the_photo(store: Store, message: dict[str, Any]) -> None:
    truth = truth_of((220, 180), (110, 90), 38)
    image = add(store, photo_with(truth))

    answer = assist.answer(store, image.id, message)

    assert iou(drawn(answer, (220, 180)), truth) > 0.9
    assert answer["seconds"] >= 0
    assert all(op["kind"] == "polygon" for op in answer["ops"])


def test_a_photo_that_lies_on_its_side_is_looked_at_upright(store: Store) -> None:
    truth = truth_of((220, 180), (60, 90), 38)
    image = add(store, photo_with(truth).transpose(1, 0, 2)[:, ::-1], orientation=8)  # turned to the right

    answer = assist.answer(store, image.id, {"kind": "box", "points": [[10, 40], [110, 140]]})

    assert image.size_wh == (220, 180)
    assert iou(drawn(answer, (220, 180)), truth) > 0.9


def test_a_large_photo_is_answered_from_a_reduced_part_of_it(store: Store) -> None:
    truth = truth_of((1600, 1200), (800, 600), 350)
    image = add(store, photo_with(truth))

    boxed = assist.answer(store, image.id, {"kind": "box", "points": [[1180, 980], [420, 220]]})
    waved = assist.answer(store, image.id, {"kind": "wand", "points": [[800, 600]], "tolerance": 25})

    assert iou(drawn(boxed, (1600, 1200)), truth) > 0.97
    assert iou(drawn(waved, (1600, 1200)), truth) > 0.97
    assert len(str(boxed["ops"])) < 60_000


def test_decoded_photos_are_kept_for_a_while_and_never_too_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = add(store, photo_with(truth_of((220, 180), (110, 90), 38)))
    assist.answer(store, image.id, BOX)
    kept = assist._photos[image.sha256][1]

    assist.answer(store, image.id, BOX)
    assert assist._photos[image.sha256][1] is kept
    monkeypatch.setattr(assist, "KEPT_BYTES", 1000)
    assist.answer(store, image.id, BOX)

    assert not assist._photos


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ([], "cannot be read"),
        ({"kind": "laser"}, "no assistance “laser”"),
        ({"kind": "box", "points": [[1, 2]]}, "A box has two corners"),
        ({"kind": "box", "points": [[1, 2], [3]]}, "cannot be read"),
        ({"kind": "box", "points": [[300, 10], [400, 90]]}, "outside the photo"),
        ({"kind": "box", "points": [[-90, 10], [-1, 90]]}, "outside the photo"),
        ({"kind": "box", "points": [[50, 50], [50, 50]]}, "too small"),
        ({"kind": "box", "points": [[218, 50], [400, 90]]}, "too small"),
        ({"kind": "box", "points": [[math.nan, 50], [90, 90]]}, "not a number"),
        ({"kind": "box", "points": [[math.inf, 50], [90, 90]]}, "not a number"),
        ({"kind": "polygon", "points": [[1, 1], [90, 90]]}, "outline three or more"),
        ({"kind": "polygon", "points": [[1, 1], [50, 1], [90, 1]]}, "too small"),
        ({"kind": "scribble", "strokes": []}, "inside the object first"),
        ({"kind": "scribble", "strokes": [{"points": [[5, 5]], "inside": False}]}, "inside the object first"),
        ({"kind": "scribble", "strokes": [{"points": [[900, 5]]}]}, "inside the object first"),
        ({"kind": "scribble", "strokes": [{"points": []}]}, "needs a point"),
        ({"kind": "scribble", "strokes": [{"points": [[5, 5]], "radius": 0}]}, "needs a point and a width"),
        ({"kind": "scribble", "strokes": [{"points": [[5, 5]] * 30_000}]}, "more than one prompt"),
        ({"kind": "wand", "points": []}, "under one point"),
        ({"kind": "wand", "points": [[-1, 5]]}, "under one point"),
        ({"kind": "wand", "points": [[5, 5]], "tolerance": -1}, "0 to 100"),
        ({"kind": "wand", "points": [[5, 5]], "tolerance": "much"}, "cannot be read"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_a_sentence(store: Store, message: object, sentence: str) -> None:
    image = add(store, np.full((180, 220, 3), 90, np.uint8))

    with pytest.raises(FormatError, match=sentence):
        assist.answer(store, image.id, message)


@pytest.mark.parametrize("size_wh", [(1, 1), (20_000, 1000), (3, 2000)])
def test_photos_of_any_shape_are_answered_or_refused_in_words(store: Store, size_wh: tuple[int, int]) -> None:
    image = add(store, np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))
    everything = {"kind": "box", "points": [[0, 0], [size_wh[0], size_wh[1]]]}

    if size_wh == (1, 1):
        with pytest.raises(FormatError, match="too small"):
            assist.answer(store, image.id, everything)
    else:
        assert isinstance(assist.answer(store, image.id, everything)["ops"], list)
    waved = assist.answer(store, image.id, {"kind": "wand", "points": [[0.5, 0.5]]})
    assert drawn(waved, size_wh).mean() > 0.97


def test_a_deleted_photo_is_a_sentence(store: Store) -> None:
    image = add(store, np.full((20, 20, 3), 90, np.uint8))
    images.delete(store, [image.id])

    with pytest.raises(NotFound, match="does not exist any more"):
        assist.answer(store, image.id, {"kind": "wand", "points": [[5, 5]]})


def test_without_its_files_there_is_no_click_tool(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    image = add(store, np.full((20, 20, 3), 90, np.uint8))
    monkeypatch.setenv("MASKWRIGHT_SAM_ENCODER", "/nowhere/encoder.onnx")

    assert assist.kinds() == ("box", "polygon", "scribble", "wand")
    with pytest.raises(NotFound, match="MASKWRIGHT_SAM_ENCODER"):
        assist.answer(store, image.id, {"kind": "click", "strokes": [{"points": [[5, 5]]}]})


def test_the_route_answers_a_signed_link_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(store.home))
    image = add(store, photo_with(truth_of((220, 180), (110, 90), 38)))
    link = assist.link(store, image.id)

    with TestClient(Starlette(routes=routes_under(""))) as client:
        answer = client.post(link, json=BOX)
        refused = client.post(link, json={"kind": "box", "points": [[300, 10], [400, 90]]})

        assert answer.status_code == 200
        assert answer.json()["ops"][0]["kind"] == "polygon"
        assert refused.status_code == 422
        assert refused.json()["message"] == "The box lies outside the photo."
        assert client.post(link, content=b"{").status_code == 422
        assert client.post(link, content=b" " * 2_000_000).status_code == 413
        assert client.post(link.split("?")[0], json=BOX).status_code == 403
        assert client.get(link).status_code == 405


def test_with_its_files_a_click_finds_what_they_find(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder, decoder = write_encoder(tmp_path / "e.onnx"), write_decoder(tmp_path / "d.onnx")
    monkeypatch.setenv("MASKWRIGHT_SAM_ENCODER", str(encoder))
    monkeypatch.setenv("MASKWRIGHT_SAM_DECODER", str(decoder))
    rgb = np.full((320, 640, 3), 40, np.uint8)
    rgb[:, 480:] = 220
    image = add(store, rgb)

    looked = assist.answer(store, image.id, {"kind": "click", "strokes": []})
    answer = assist.answer(store, image.id, {"kind": "click", "strokes": [{"points": [[550, 150]]}]})

    assert "click" in assist.kinds()
    assert looked["ops"] == []
    assert iou(drawn(answer, (640, 320)), rgb[:, :, 0] > 100) > 0.85
