"""Real photos of damaged cars: train, measure against a second implementation, look at foreign photos."""

import io
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from core.domain.images import ImageFilter
from core.imaging.overlay import DISPLAY_SIDE
from core.services import evaluation, pictures, projects, training
from core.storage.store import Store
from tests.acceptance.command_line import CommandLine

pytestmark = pytest.mark.acceptance

EPOCHS = 3
COUNTS = {"train": 60, "valid": 20}
LABELS = "_annotations.coco.json"
METRICS = {f"{split}_loss" for split in ("train", "val")} | {
    f"val_{name}" for name in ("miou_foreground", "dice_foreground", "pixel_accuracy")
}
PYCOCOTOOLS_ON_NUMPY_2 = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@dataclass(frozen=True)
class Trained:
    """What the tests of this file share."""

    source: Path  # the COCO folder that was imported
    imported: dict[str, Any]  # what `import --json` printed
    run: dict[str, Any]  # the run as `runs --json` prints it


@pytest.fixture(scope="module")
def trained(cli: CommandLine, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of three epochs on a small part of the real data."""
    source = tmp_path_factory.mktemp("part")
    for split, count in COUNTS.items():
        copy_part(shared_data / "car_damage" / split, source / split, count)
    imported = cli.json("import", source, "--project", "Cars")
    once_each = ("--set", "epoch_images=0")
    answer = cli.json("train", "--project", "Cars", "--epochs", str(EPOCHS), *once_each, "--wait")
    assert answer["state"] == "succeeded", answer
    (run,) = cli.json("runs", "--project", "Cars")
    return Trained(source, imported, run)


def copy_part(source: Path, target: Path, count: int) -> None:
    """Copy some photos with their labels: by turns one for each class, so that rare ones occur too."""
    document = json.loads((source / LABELS).read_text())
    showing: dict[int, list[int]] = {}
    for annotation in document["annotations"]:
        showing.setdefault(annotation["category_id"], []).append(annotation["image_id"])
    turns = [ids[turn] for turn in range(count) for ids in showing.values() if turn < len(ids)]
    chosen = set(list(dict.fromkeys(turns))[:count])
    document["images"] = [image for image in document["images"] if image["id"] in chosen]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in chosen]
    target.mkdir(parents=True)
    (target / LABELS).write_text(json.dumps(document))
    for image in document["images"]:
        shutil.copy(source / image["file_name"], target)


def test_an_import_tells_what_it_took(trained: Trained) -> None:
    documents = {split: json.loads((trained.source / split / LABELS).read_text()) for split in COUNTS}

    taken = trained.imported
    assert taken["images"] == {**COUNTS, "test": 0, "unsplit": 0}
    assert taken["annotations"] == {
        **{split: len(document["annotations"]) for split, document in documents.items()},
        "test": 0,
        "unsplit": 0,
    }
    assert len(taken["categories"]) == 8 and "car" not in taken["categories"]
    assert taken["refused"] == []


def test_every_epoch_has_its_metrics_and_its_checkpoint(cli: CommandLine, trained: Trained) -> None:
    epochs = trained.run["epochs"]

    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    for epoch in epochs:
        assert set(epoch["metrics"]) >= METRICS
        assert all(math.isfinite(epoch["metrics"][name]) for name in METRICS)
        assert sum(name.startswith("val_iou/") for name in epoch["metrics"]) == 8
    folder = cli.home / "blobs" / "runs" / trained.run["run"]
    assert [path.name for path in sorted(folder.glob("*.pt"))] == [f"epoch_00{n}-a1.pt" for n in (1, 2, 3)]


@PYCOCOTOOLS_ON_NUMPY_2
def test_reported_figures_are_those_of_a_second_implementation(
    cli: CommandLine, trained: Trained, tmp_path: Path
) -> None:
    reported = cli.json("evaluate", trained.run["run"], "--epoch", "last", "--masks", tmp_path / "masks")

    names = {int(index): name for index, name in reported["class_index"].items()}
    found_in = {Path(mask["image"]).name: Path(mask["file"]) for mask in reported["masks"]}
    iou = measured_iou(trained.source / "valid", names, found_in)
    assert reported["images"] == len(found_in) == COUNTS["valid"]
    assert set(reported["iou"]) == set(names.values())
    for name, value in reported["iou"].items():
        assert value == (None if math.isnan(iou[name]) else pytest.approx(iou[name], abs=1e-6)), name
    mean = np.nanmean(list(iou.values()))
    assert reported["miou_foreground"] == pytest.approx(mean, abs=1e-6)
    at_training = trained.run["epochs"][EPOCHS - 1]["metrics"]
    assert at_training["val_miou_foreground"] == pytest.approx(mean, abs=1e-6)
    assert at_training["val_dice_foreground"] == pytest.approx(reported["dice_foreground"], abs=1e-6)


def measured_iou(folder: Path, names: dict[int, str], found_in: dict[str, Path]) -> dict[str, float]:
    """Measure IoU per class from the files alone: polygons painted in file order, PNG indices."""
    coco = COCO(folder / LABELS)
    index_of = {name: index for index, name in names.items()}
    both, either = np.zeros(len(names) + 1), np.zeros(len(names) + 1)
    for image in coco.dataset["images"]:
        truth = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            name = coco.cats[annotation["category_id"]]["name"]
            truth[coco.annToMask(annotation) > 0] = index_of[name]
        with Image.open(found_in[image["file_name"]]) as mask:
            found = np.asarray(mask)
        assert found.shape == truth.shape
        for index in names:
            both[index] += np.sum((truth == index) & (found == index))
            either[index] += np.sum((truth == index) | (found == index))
    return {name: both[i] / either[i] if either[i] else math.nan for i, name in names.items()}


def test_photos_of_another_source_are_seen_beside_their_truth(
    cli: CommandLine, trained: Trained, shared_data: Path
) -> None:
    taken = cli.json("import", shared_data / "seed_custom", "--project", "Cars")
    assert sum(taken["images"].values()) == 9
    store = cli.store()
    run = training.get_run(store, trained.run["run"])
    project = projects.by_name(store, "Cars")
    photos = [
        image for image in projects.list_images(store, project.id, ImageFilter()) if image.split is None
    ]

    looks = {image.name.rpartition("/")[2]: evaluation.look(store, run, EPOCHS, image.id) for image in photos}

    assert sorted(looks) == sorted(f"{number}.jpg" for number in range(5, 14))
    for name, look in looks.items():
        is_damaged = name != "8.jpg"
        assert look.is_any_damage == is_damaged, name  # the class of these masks is not the model's
        figures = (look.picture.iou, look.picture.dice, look.any_iou, look.any_dice)
        assert all(0 <= figure <= 1 for figure in figures if figure is not None), name
        assert not is_damaged or None not in figures, name
        for link in (look.picture.prediction_link, look.picture.confidence_link):
            with Image.open(pictures.stored_file(store, key_of(link))) as picture:
                picture.load()
            assert picture.mode == "L" and max(picture.size) <= DISPLAY_SIDE
        labels = np.asarray(Image.open(io.BytesIO(truth_of(store, look.truth_link))))
        assert labels.any() == is_damaged, name
    assert any(look.any_iou for look in looks.values())


def key_of(link: str) -> str:
    """Give the blob that a link names."""
    return urlsplit(link).path.removeprefix("file/")


def truth_of(store: Store, link: str) -> bytes:
    """Draw the truth that a link names."""
    address = urlsplit(link)
    return pictures.truth_png(store, address.path.removeprefix("truth/"), dict(parse_qsl(address.query)))
