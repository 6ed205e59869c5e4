"""What kind of errors a checkpoint makes: queued as a job, then read per class and per photo."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.analysis import (
    ANY,
    Analysis,
    ClassCounts,
    Kind,
    analysis_key,
    fingerprint,
    mean_defined,
    unpack,
)
from core.domain.errors import NotFound
from core.domain.labels import Category, Split
from core.domain.runs import Job, Run
from core.services.home import Store
from core.storage import images, jobs, runs

WORST = 12  # photos of a kind of error


@dataclass(frozen=True)
class ClassRow:
    """One class over all photos; ``class_index`` is ``ANY`` for all damage as one class."""

    class_index: int
    name: str
    color: str
    counts: ClassCounts


@dataclass(frozen=True)
class Means:
    """Means over the classes that are defined, each class counting the same; None without any."""

    iou: float | None
    boundary_iou: float | None
    surface_dice: float | None
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class WorstPhoto:
    """A photo with much of one kind of error: in pixels at display size, and as a share of the photo.

    ``part`` is its share of all such pixels; ``iou`` is that of the class on this photo.
    """

    image_id: str
    name: str
    pixels: int
    share: float
    part: float
    iou: float | None


def analyse(store: Store, run: Run, epoch: int, split: Split = "valid") -> Job:
    """Queue the counting of a checkpoint's errors; the same is not queued twice.

    Raises:
        NotFound: the checkpoint was not measured on that split.
    """
    _fingerprint(store, run, epoch, split)
    payload = {"run_id": run.id, "epoch": epoch, "split": split}
    return jobs.create(store, "analyse", payload, run.project_id)


def under_way(store: Store, run: Run, epoch: int, split: Split = "valid") -> Job | None:
    """Give the newest job that counts a checkpoint's errors, None where there never was one."""
    wanted = {"run_id": run.id, "epoch": epoch, "split": split}
    found = iter(jobs.list_of(store, run.project_id, kind="analyse"))
    return next((job for job in found if job.payload == wanted), None)


def find(store: Store, run: Run, epoch: int, split: Split = "valid") -> Analysis | None:
    """Read what was counted of a checkpoint; None where nothing was since it was measured last.

    Raises:
        NotFound: the checkpoint was not measured on that split.
    """
    key = analysis_key(run.id, epoch, split, _fingerprint(store, run, epoch, split))
    try:
        return unpack(store.blobs.get(key))
    except NotFound:
        return None


def class_rows(found: Analysis, categories: Sequence[Category]) -> list[ClassRow]:
    """List the classes that truth or prediction shows, the lowest IoU first.

    Args:
        categories: of the run's data version.
    """
    rows = [
        ClassRow(index, category.name, category.color, found.total(index))
        for index, category in enumerate(categories, start=1)
    ]
    return sorted(
        (row for row in rows if row.counts.errors.union), key=lambda row: row.counts.errors.iou or 0
    )


def any_damage(found: Analysis) -> ClassRow:
    """Give all damage as one class: which kind it was taken for does not matter then."""
    return ClassRow(ANY, "Any damage", "#808080", found.total(ANY))


def means(rows: Sequence[ClassRow]) -> Means:
    """Give the means over classes."""
    counts = [row.counts for row in rows]
    return Means(
        mean_defined(c.errors.iou for c in counts),
        mean_defined(c.boundaries.iou for c in counts),
        mean_defined(c.boundaries.surface_dice for c in counts),
        mean_defined(c.objects.recall for c in counts),
        mean_defined(c.objects.precision for c in counts),
    )


def worst_photos(
    store: Store, run: Run, found: Analysis, class_index: int, kind: Kind, *, limit: int = WORST
) -> list[WorstPhoto]:
    """List the photos with the most pixels of one kind of error in a class, the most first.

    Photos deleted from their project since are left out: there is nothing to look at.
    """
    names = {image.id: image.name for image in images.list_page(store, run.project_id, images.ImageFilter())}
    total = found.total(class_index).errors.pixels(kind)
    worst: list[WorstPhoto] = []
    for image in found.images:
        errors = image.classes.get(class_index, ClassCounts()).errors
        pixels = errors.pixels(kind)
        if pixels and image.image_id in names:
            share = pixels / max(1, sum(image.everything.pixels))
            name = names[image.image_id]
            worst.append(WorstPhoto(image.image_id, name, pixels, share, pixels / total, errors.iou))
    return sorted(worst, key=lambda photo: (-photo.pixels, photo.image_id))[:limit]


def _fingerprint(store: Store, run: Run, epoch: int, split: Split) -> str:
    records = runs.records(store, run.id, epoch, split)
    if not records:
        raise NotFound(f"Epoch {epoch} of “{run.name}” was not measured on {split} photos.")
    return fingerprint((record.image_id, record.prediction, record.confusion) for record in records)
