"""The jobs that measure checkpoints on a split of their run's data version: one, or several of a run."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from core.domain.errors import AppError, Conflict, FormatError, NotFound
from core.domain.labels import Split
from core.domain.runs import Epoch, Job, Run
from core.domain.training import DataVersion, VersionItem
from core.imaging.overlay import encode_index_png
from core.storage import runs, versions
from core.storage.store import Store
from core.worker.artefacts import PredictionFiles, evaluation_folder, mask_key
from core.worker.export import checkpoint_file, find_epoch
from core.worker.heartbeat import OnProgress

if TYPE_CHECKING:
    from core.training.evaluation import Evaluation
    from core.training.validation import ImageResult

MEASURING = "Measuring the model"
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
    payload = job.payload
    wanted = _Wanted.of(store, payload)
    epoch = find_epoch(store, wanted.run.id, payload["epoch"])
    measured, masks = _measure(store, wanted, epoch, lambda share: on_progress(share, MEASURING))
    return _result(measured, wanted.version, len(wanted.items)) | {"masks": masks}


def handle_every(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Measure several checkpoints of a run on one split, and keep what each made of each photo.

    Payload: ``{run_id, epochs, split}``. Those measured before are left as they are, so a job that was
    broken off goes on where it was. A checkpoint that is gone or damaged does not keep the others from
    being measured. Result: ``{"measured": [epoch, ...], "failed": {epoch: sentence}}``.

    Raises:
        AppError: none could be measured; the sentence is the first one's.
    """
    payload = job.payload
    wanted = _Wanted.of(store, {**payload, "masks": False})
    numbers: list[int] = payload["epochs"]
    known = runs.measured_counts(store, wanted.run.id, wanted.split)
    done: list[int] = []
    failed: dict[str, str] = {}
    for place, number in enumerate(numbers):
        message = f"Epoch {number}, {place + 1} of {len(numbers)}"

        def on_share(share: float, place: int = place, message: str = message) -> None:
            on_progress((place + share) / len(numbers), message)

        on_share(0.0)
        try:
            if known.get(number, 0) < len(wanted.items):
                _measure(store, wanted, find_epoch(store, wanted.run.id, number), on_share)
            done.append(number)
        except (NotFound, FormatError, Conflict) as error:
            failed[str(number)] = str(error)
    if failed and not done:
        raise AppError(next(iter(failed.values())))
    return {"measured": done, "failed": failed}


@dataclass(frozen=True)
class _Wanted:
    """What is to be measured on, and whether masks at full size are kept."""

    run: Run
    version: DataVersion
    split: Split
    masks: bool

    @property
    def items(self) -> tuple[VersionItem, ...]:
        return self.version.split(self.split)

    @staticmethod
    def of(store: Store, payload: dict[str, Any]) -> "_Wanted":
        run = runs.get(store, payload["run_id"])
        version = versions.get(store, run.data_version_id)
        return _Wanted(run, version, payload["split"], payload["masks"])


def _measure(
    store: Store, wanted: _Wanted, epoch: Epoch, on_share: Callable[[float], None]
) -> tuple["Evaluation", dict[str, str]]:
    """Give the figures, and the keys of the masks by image."""
    from core.training.environment import prepare_process
    from core.training.evaluation import evaluate

    prepare_process(wanted.run.config.threads)
    with ThreadPoolExecutor(2) as executor:
        keeper = _Keeper(store, executor, wanted, epoch.epoch)
        measured = evaluate(
            checkpoint_file(store, epoch),
            wanted.items,
            versions.reader(store, wanted.items),
            wanted.version.categories,
            keeper.keep,
            lambda progress: on_share(progress.batch / progress.batches),
        )
        records = keeper.files.records()
        runs.set_records(store, wanted.run.id, epoch.epoch, wanted.split, records, attempt=epoch.attempt)
    return measured, keeper.masks


class _Keeper:
    """Takes each photo's result as it comes."""

    def __init__(self, store: Store, executor: Executor, wanted: _Wanted, epoch: int) -> None:
        run_id, split = wanted.run.id, wanted.split
        self._blobs = store.blobs
        self._colors = ["#000000", *(c.color for c in wanted.version.categories)]
        self._mask_key = partial(mask_key, run_id, epoch, split) if wanted.masks else None
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
