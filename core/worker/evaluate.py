"""The job that measures a checkpoint on a split of its run's data version."""

from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from core.domain.runs import Job
from core.domain.training import DataVersion
from core.imaging.overlay import encode_index_png
from core.storage import runs, versions
from core.storage.store import Store
from core.worker.artefacts import PredictionFiles, evaluation_folder, mask_key
from core.worker.export import checkpoint_file, find_epoch
from core.worker.heartbeat import OnProgress

if TYPE_CHECKING:
    from core.training.evaluation import Evaluation
    from core.training.validation import ImageResult

FIGURES = ("miou_foreground", "dice_foreground", "pixel_accuracy")


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Measure a checkpoint at the photos' own sizes, and keep what it made of each.

    Payload: ``{run_id, epoch, split, masks}``. The records replace those of the same checkpoint and
    split. Result: ``{"images", "miou_foreground", "dice_foreground", "pixel_accuracy", "iou":
    {category name: value or None}, "masks": {image id: blob key}}``; with ``masks`` each key is a
    palette PNG whose indices are class indices.

    Raises:
        NotFound: the epoch or a photo was deleted since.
        NotEnoughLabels: the split is empty.
    """
    from core.training.environment import prepare_process
    from core.training.evaluation import evaluate

    payload = job.payload
    run = runs.get(store, payload["run_id"])
    epoch = find_epoch(store, run.id, payload["epoch"])
    version = versions.get(store, run.data_version_id)
    items = version.split(payload["split"])
    prepare_process(run.config.threads)
    with ThreadPoolExecutor(2) as executor:
        keeper = _Keeper(store, executor, run.id, epoch.epoch, payload["split"], version, payload["masks"])
        measured = evaluate(
            checkpoint_file(store, epoch),
            items,
            versions.reader(store, items),
            version.categories,
            keeper.keep,
            lambda progress: on_progress(progress.batch / progress.batches, "Measuring the model"),
        )
        runs.set_records(store, run.id, epoch.epoch, payload["split"], keeper.files.records())
    return _result(measured, version, len(items)) | {"masks": keeper.masks}


class _Keeper:
    """Takes each photo's result as it comes."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        run_id: str,
        epoch: int,
        split: str,
        version: DataVersion,
        masks: bool,
    ) -> None:
        self._blobs = store.blobs
        self._colors = ["#000000", *(c.color for c in version.categories)]
        self._mask_key = partial(mask_key, run_id, epoch, split) if masks else None
        self.files = PredictionFiles(store.blobs, executor, evaluation_folder(run_id, epoch, split))
        self.masks: dict[str, str] = {}

    def keep(self, result: "ImageResult") -> None:
        self.files.add(result)
        if self._mask_key is not None:
            key = self._mask_key(result.image_id)
            self._blobs.put(key, encode_index_png(result.label_map, self._colors))
            self.masks[result.image_id] = key


def _result(measured: "Evaluation", version: DataVersion, images: int) -> dict[str, Any]:
    return {
        "images": images,
        **{name: measured.metrics[f"val_{name}"] for name in FIGURES},
        "iou": {c.name: measured.metrics[f"val_iou/{c.category_id}"] for c in version.categories},
    }
