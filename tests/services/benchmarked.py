"""A small benchmark, and the end of its runs without a training."""

from core.domain.images import Project
from core.domain.runs import Epoch
from core.storage import lifecycle, processes, projects, reservations, runs, tables
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from tests.builders import add_image, project_with, square


def labelled(store: Store, name: str = "Cars") -> Project:
    """Six photos in train and valid, and one in test."""
    project = project_with(store, "dent", name=name)
    for seed in range(6):
        add_image(store, project, seed, square(1, 10 + seed), split="train" if seed < 4 else "valid")
    add_image(store, project, 9, square(1, 30), split="test")
    return projects.get(store, project.id)


def finish(store: Store, miou: dict[str, list[float]], *, accuracy: float = 0.9) -> None:
    """End the queued runs one after the other, each with epochs of these figures, by its name."""
    while (claim := lifecycle.claim(store, RUNS, "here", Room(1))) is not None:
        run = runs.get(store, claim.work_id)
        lifecycle.start(store, RUNS, claim, processes.this_process())
        for number, value in enumerate(miou[run.name], start=1):
            metrics = {
                "val_miou_foreground": value,
                "val_dice_foreground": value / 2,
                "val_any_dice": None,
                "val_pixel_accuracy": accuracy,
            }
            row = Epoch(run.id, number, 1, metrics, {}, f"runs/{run.id}/{number}.pt", tables.now())
            runs.add_epoch(store, claim, row, [])
        lifecycle.succeed(store, RUNS, claim)
        reservations.release(store, claim)


FIGURES = {
    "Nets: Tiny, seed 0": [0.1, 0.4, 0.3],
    "Nets: Tiny, seed 1": [0.2, 0.5],
    "Nets: Fast, seed 0": [0.7],
    "Nets: Fast, seed 1": [0.6],
}
