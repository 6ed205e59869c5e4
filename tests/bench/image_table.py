"""From 10,000 photos in the database to the rows of the Review page's table, beside reading them alone."""

import time
from collections.abc import Sequence

import sqlalchemy as sa

from core.domain.images import Project
from core.domain.runs import Run
from core.domain.training import TrainingConfig, VersionItem
from core.imaging.confusion import pack_confusion
from core.services import confusions
from core.services.confusions import Choice
from core.services.home import Store, open_home
from core.storage import projects, runs, tables, versions
from core.storage.store import new_id
from pages.components.results import table_rows
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.intervals import drawn_matrices
from tests.bench.processes import fresh_home

PHOTOS = 10_000
CLASSES = 9  # background is one of them
CHOICES = {
    "worst IoU first": Choice(),
    "by a class, with a class": Choice("class", class_index=3, shows=2),
    "of a cell of the confusion matrix": Choice("cell", cell=(1, 2)),
}


def measure(*, is_quick: bool) -> list[Figure]:
    """Take the first look at an epoch and reading its rows in turns; then the later looks."""
    with fresh_home():
        store = open_home()
        run = fill(store)
        turns = 3 if is_quick else 11
        first: list[float] = []
        reading: list[float] = []
        for _ in range(1 + turns):
            first.append(_seconds(store, run))
            started = time.perf_counter()
            runs.records(store, run.id, 1)
            reading.append(time.perf_counter() - started)
        again = {what: _later(store, run, choice, turns) for what, choice in CHOICES.items()}
    how = (
        f"{CLASSES} classes, SQLite: rows read, matrices unpacked, every score, sorted, rows as a data frame"
    )
    figures = [
        median_figure(
            f"photo table of {PHOTOS:,} photos, first look at an epoch",
            first[1:],
            "s",
            how,
            ratio=median_ratio(first[1:], reading[1:]),
            against="reading and unpacking the matrices",
            goal="under 1 s",
        )
    ]
    later = "the same with what was read kept, as the page keeps it: whether it still holds, sorted, rows"
    return figures + [
        median_figure(f"the same again, {what}", [1000 * s for s in seconds], "ms", later)
        for what, seconds in again.items()
    ]


def fill(store: Store) -> Run:
    """Write a project of photos and what one epoch made of them; there are no files."""
    project = projects.create(store, "Ten thousand")
    with store.write() as connection:
        for number in range(1, CLASSES):
            projects.add_category(connection, project.id, f"class {number}")
    project = projects.get(store, project.id)
    ids = [new_id() for _ in range(PHOTOS)]
    items = [VersionItem(image_id, f"{n:064x}", 1, "valid") for n, image_id in enumerate(ids)]
    version = versions.freeze(store, project.id, project.categories, items)
    run = runs.create(store, project.id, version.id, TrainingConfig(epochs=1), "measured")
    with store.write() as connection:
        connection.execute(sa.insert(tables.image), _image_rows(project, ids))
        connection.execute(sa.insert(tables.confusion), _confusion_rows(run, ids))
        connection.execute(
            sa.insert(tables.epoch).values(
                run_id=run.id,
                epoch=1,
                attempt=1,
                metrics={},
                durations={},
                checkpoint="",
                created_at=tables.now(),
            )
        )
        connection.execute(sa.update(tables.run).values(epochs_done=1, state="succeeded"))
    return runs.get(store, run.id)


def _image_rows(project: Project, ids: Sequence[str]) -> list[dict[str, object]]:
    return [
        {
            "id": image_id,
            "project_id": project.id,
            "sha256": f"{number:064x}",
            "width": 4000,
            "height": 3000,
            "phash": f"{number:016x}",
            "name": f"claim_{number // 8:04d}/photo_{number:05d}.jpg",
            "media_type": "image/jpeg",
            "has_full": False,
            "has_view": True,
            "split": "valid",
            "state": "done",
            "rev": 1,
            "category_ids": [1, 2],
            "annotation_count": 2,
            "is_deleted": False,
            "created_at": tables.now(),
        }
        for number, image_id in enumerate(ids)
    ]


def _confusion_rows(run: Run, ids: Sequence[str]) -> list[dict[str, object]]:
    folder = f"runs/{run.id}/predictions/epoch_001"
    return [
        {
            "run_id": run.id,
            "epoch": 1,
            "split": "valid",
            "image_id": image_id,
            "matrix": pack_confusion(matrix),
            "prediction": f"{folder}/{image_id}.png",
            "confidence": f"{folder}/{image_id}-confidence.png",
        }
        for image_id, matrix in zip(ids, drawn_matrices(PHOTOS, CLASSES), strict=True)
    ]


def _seconds(store: Store, run: Run) -> float:
    started = time.perf_counter()
    confusions.state(store, run, runs.epochs(store, run.id)[0])
    photos = confusions.read(store, run, 1)
    assert photos is not None
    table_rows(photos, confusions.places(photos, Choice()), Choice())
    return time.perf_counter() - started


def _later(store: Store, run: Run, choice: Choice, turns: int) -> list[float]:
    photos, epoch = confusions.read(store, run, 1), runs.epochs(store, run.id)[0]
    assert photos is not None
    spent: list[float] = []
    for _ in range(1 + turns):
        started = time.perf_counter()
        confusions.state(store, run, epoch)
        table_rows(photos, confusions.places(photos, choice), choice)
        spent.append(time.perf_counter() - started)
    return spent[1:]
