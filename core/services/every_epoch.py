"""Every kept checkpoint of a run on photos that it was not chosen by: curves of a test, and its warnings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.errors import NotFound
from core.domain.labels import Category, Split
from core.domain.runs import Job, Run
from core.domain.scores import Scores, score
from core.domain.splitting import count_near_duplicates, leak_warnings
from core.services import checkpoints, evaluation, storage_need
from core.services.home import Store
from core.storage import images, jobs, runs, versions


@dataclass(frozen=True)
class MeasuredEpoch:
    """One checkpoint on a split. ``valid``: its foreground mIoU on the validation photos.

    ``scores`` are of the added-up confusion matrices of all ``images``, background first.
    """

    epoch: int
    images: int
    scores: Scores
    valid: float | None
    is_best_on_valid: bool


@dataclass(frozen=True)
class Need:
    """What measuring takes: the epochs that are left to do, the photos, and the bytes of their pictures.

    ``bytes`` is guessed by the pictures of the run's validation photos; where it has none it is more than
    these usually take, by the photos' size.
    """

    epochs: tuple[int, ...]
    images: int
    bytes: int


def need(store: Store, run: Run, split: Split = "test") -> Need:
    """Say what measuring every kept checkpoint of a run on a split takes, those measured left out."""
    items = versions.get(store, run.data_version_id).split(split)
    counts = runs.measured_counts(store, run.id, split)
    done = {epoch for epoch, count in counts.items() if count >= len(items)}
    left = tuple(e.epoch for e in checkpoints.kept_epochs(store, run.id) if e.epoch not in done)
    found = storage_need.picture_size(store, [run])
    each = found.each_bytes if found else storage_need.guessed_bytes(store, items)
    return Need(left, len(items), round(each * len(items) * len(left)))


def measure(store: Store, run: Run, split: Split = "test") -> Job:
    """Queue the measuring of every kept checkpoint of a run on a split; the same one is not queued twice.

    Raises:
        NotFound: the split is empty, or no checkpoint was kept.
    """
    if not versions.get(store, run.data_version_id).split(split):
        raise NotFound(f"The run “{run.name}” has no labelled photo in {split}.")
    kept = [epoch.epoch for epoch in checkpoints.kept_epochs(store, run.id)]
    if not kept:
        raise NotFound(f"The run “{run.name}” has kept no checkpoint.")
    payload = {"run_id": run.id, "epochs": kept, "split": split}
    return jobs.create(store, "evaluate_every", payload, run.project_id, priority=-1)


def under_way(store: Store, run: Run, split: Split = "test") -> Job | None:
    """Give the newest job that measures a run's checkpoints on a split, None where there never was one."""
    newest = jobs.list_of(store, run.project_id, kind="evaluate_every")
    return next(
        (job for job in newest if (job.payload["run_id"], job.payload["split"]) == (run.id, split)), None
    )


def measured(
    store: Store, run: Run, split: Split = "test", *, epochs: Sequence[int] | None = None
) -> list[MeasuredEpoch]:
    """List the checkpoints of a run that were measured on a split, first to last.

    Args:
        epochs: of these only; without it, of all.
    """
    done = evaluation.epochs(store, run.id)
    best = evaluation.best_epoch(done)
    found: list[MeasuredEpoch] = []
    for number, (total, count) in runs.summed_matrices(store, run.id, split, epochs=epochs).items():
        epoch = next((e for e in done if e.epoch == number), None)
        if epoch is not None:
            is_best = best is not None and best.epoch == number
            valid = epoch.metrics.get(evaluation.METRIC)
            found.append(MeasuredEpoch(number, count, score(total), valid, is_best))
    return found


def class_iou(found: MeasuredEpoch, categories: Sequence[Category]) -> dict[str, float | None]:
    """Map the names of the classes to their IoU, None where it is not defined."""
    values = found.scores.iou[1:]
    return {c.name: None if np.isnan(v) else v for c, v in zip(categories, values, strict=True)}


def warnings(run: Run, found: Sequence[MeasuredEpoch]) -> list[str]:
    """Say what the figures of a test are not good for.

    The best of several epochs on the very photos that it was chosen by is a figure too good: selection
    bias. Its size is the difference to the epoch that the validation photos choose.
    """
    chosen = next((epoch for epoch in found if epoch.is_best_on_valid), None)
    if chosen is None or len(found) < 2:
        return []
    top = max(found, key=lambda e: (np.nan_to_num(e.scores.miou_foreground, nan=-1.0), -e.epoch))
    gap = top.scores.miou_foreground - chosen.scores.miou_foreground
    if not gap > 0:  # the chosen one is among the best, or one of the two has no figure
        return []
    return [
        f"Epoch {top.epoch} of {run.name} is the best here by {gap:.3f}, but choosing it for that makes its "
        f"figure too good. Epoch {chosen.epoch} is the one that the validation photos choose: report its "
        f"{chosen.scores.miou_foreground:.3f}."
    ]


def leaks(store: Store, run: Run) -> list[str]:
    """Say where the photos that a run's figures are of are not apart: from train, and from each other.

    Photos deleted since count too: the run learnt from them, and was measured on them. Near-duplicates are
    told by their perceptual hashes.
    """
    phashes = images.phashes(store, run.project_id)
    items = versions.get(store, run.data_version_id).items
    found = leak_warnings(items, phashes)
    chosen, tested = ([phashes[i.image_id] for i in items if i.split == split] for split in ("valid", "test"))
    if alike := count_near_duplicates(tested, chosen):
        found.append(
            f"Photos in test that look almost like one in valid: {alike} of {len(tested)}. An epoch that is "
            "chosen on valid is chosen for them too."
        )
    return found
