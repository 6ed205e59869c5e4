"""Every preset trains an epoch on real photos, in a worker's process, and gives a model that predicts."""

import io
import json
import math
import os
import shutil
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.domain.presets import PRESETS
from core.domain.runs import Run, WorkState
from core.models.registry import ENCODERS
from core.services import evaluation, prediction, predictors, projects, training, workers
from core.storage import lifecycle
from core.storage.store import Store
from tests.bench.report import machine_line
from tests.builders import empty_store

pytestmark = pytest.mark.slow

COUNTS = {"train": 40, "valid": 10}
LABELS = "_annotations.coco.json"
OURS = ("MASKWRIGHT_DATABASE_URL", "MASKWRIGHT_BLOBS", "MASKWRIGHT_RAY_ADDRESS", "MLFLOW_TRACKING_URI")
FIGURES = ("train_loss", "val_loss", "val_miou_foreground", "val_dice_foreground", "val_pixel_accuracy")


@dataclass
class Spent:
    """What the process of a run had used when it was last looked at; it is gone afterwards."""

    cpu_seconds: float = 0.0
    peak_megabytes: float = 0.0

    def look(self, store: Store) -> None:
        """Read both of the process that trains now, where the system tells."""
        for work in lifecycle.active(store, lifecycle.RUNS):
            if work.process is not None:
                with suppress(OSError):  # it has just left, or the system tells nothing
                    self._read(Path(f"/proc/{work.process.pid}"))

    def _read(self, folder: Path) -> None:
        status = (folder / "status").read_text().splitlines()
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]  # user, system
        peaks = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")]
        self.peak_megabytes = max([self.peak_megabytes, *peaks])
        self.cpu_seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def cars(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Store, str]]:
    """A project of the first photos of each split, on a home with a worker."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as environment:
        for name in OURS:
            environment.delenv(name, raising=False)
        environment.setenv("MASKWRIGHT_HOME", str(home))
        store, source = empty_store(home), tmp_path_factory.mktemp("part")
        for split, count in COUNTS.items():
            copy_first(shared_data / "car_damage" / split, source / split, count)
        report = projects.import_into(store, "Cars", source)
        assert report.images == {**COUNTS, "test": 0, "unsplit": 0}
        worker = workers.start(store)
        yield store, projects.by_name(store, "Cars").id
        workers.stop(worker)


@pytest.fixture(scope="module")
def records() -> Generator[dict[str, Any]]:
    """What each preset took; kept for the documentation where MASKWRIGHT_BENCH_OUT names a folder."""
    found: dict[str, Any] = {}
    yield found
    if folder := os.environ.get("MASKWRIGHT_BENCH_OUT"):
        path = Path(folder) / "preset_runs.json"
        former = json.loads(path.read_text())["presets"] if path.exists() else {}
        known = {**former, **found}
        kept = {
            "machine": machine_line(),
            "date": datetime.now(UTC).date().isoformat(),
            "photos": [COUNTS["train"], COUNTS["valid"]],
            "presets": {key: known[key] for key in PRESETS if key in known},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def copy_first(source: Path, target: Path, count: int) -> None:
    """Copy the first photos of a COCO file, with their labels."""
    document = json.loads((source / LABELS).read_text())
    document["images"] = document["images"][:count]
    chosen = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in chosen]
    target.mkdir(parents=True)
    (target / LABELS).write_text(json.dumps(document))
    for image in document["images"]:
        shutil.copy(source / image["file_name"], target)


def changes_of(preset: str) -> dict[str, str | int]:
    """Give what makes one epoch of a preset short, and possible without a network."""
    config = PRESETS[preset].config
    changes: dict[str, str | int] = {"epochs": 1}
    if ENCODERS[config.encoder].packaged is None:
        changes["encoder_weights"] = "none"
    if config.epoch_images:
        changes["epoch_images"] = COUNTS["train"]
    return changes


def trained(store: Store, project_id: str, preset: str, spent: Spent) -> Run:
    """Train to the end, and give the finished run."""
    run = training.start_run(store, project_id, training.configure(preset, changes_of(preset)))
    return workers.wait(
        store,
        lambda: training.get_run(store, run.id),
        evaluation.is_over,
        lambda _: spent.look(store),
        lane="run",
    )


def predicts(store: Store, run: Run, epoch: int, photo: Path) -> bool:
    """Predict a foreign photo; tell whether its mask has its size and shows classes that there are."""
    found = prediction.predict_photo(store, run, epoch, photo.name, photo.read_bytes())
    with Image.open(photo) as picture, Image.open(io.BytesIO(prediction.mask_png(store, found))) as mask:
        classes = {0, *range(1, 1 + len(training.data_version(store, run).categories))}
        return mask.size == picture.size and set(np.unique(np.asarray(mask)).tolist()) <= classes


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_and_predicts(
    cars: tuple[Store, str], records: dict[str, Any], shared_data: Path, preset: str
) -> None:
    (store, project_id), spent = cars, Spent()

    run = trained(store, project_id, preset, spent)

    assert (run.state, run.error) == (WorkState.SUCCEEDED, "")
    (epoch,) = evaluation.epochs(store, run.id)
    figures = {name: epoch.metrics[name] for name in FIGURES}
    assert all(value is not None and math.isfinite(value) for value in figures.values()), figures
    assert all(0 <= (figures[name] or 0) <= 1 for name in FIGURES if not name.endswith("loss")), figures
    assert store.blobs.exists(epoch.checkpoint) and epoch.checkpoint_bytes
    assert predictors.is_ready(store, run.id, epoch.epoch), "it was not exported"
    assert predicts(store, run, epoch.epoch, next((shared_data / "car_damage" / "test").glob("*.jpg")))
    assert run.started_at is not None and run.ended_at is not None
    for key, _ in store.blobs.list(f"runs/{run.id}/"):  # else all presets' weights need 10 GB
        store.blobs.delete(key)
    records[preset] = {
        "seconds": (run.ended_at - run.started_at).total_seconds(),
        "cpu_seconds": spent.cpu_seconds,
        "peak_megabytes": spent.peak_megabytes,
        **{name.removeprefix("val_"): figures[name] for name in FIGURES[1:]},
        "train_loss": figures["train_loss"],
    }
