"""What the Curves page builds for 200 runs of 200 epochs with 20 figures each, in seconds of one core."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import plotly.io
import plotly.tools
import sqlalchemy as sa

from core.domain.runs import Run
from core.services import curves, projects, training
from core.services.curves import TRAIN, VALID
from core.services.home import Store, open_home
from core.storage import runs, tables, versions
from pages.components import charts
from tests.bench.figures import Figure, median_figure
from tests.bench.processes import fresh_home

RUNS, EPOCHS = 200, 200
CLASSES = ("dent", "scratch", "crack")
FIRST_SHOWN = ("miou_foreground", "loss", "dice_foreground")
FIGURES = (
    *(f"{part}_{name}" for part in ("train", "val") for name in (*FIRST_SHOWN, "pixel_accuracy")),
    *("val_any_iou", "val_any_dice"),
    *(f"{name}/{n}" for name in ("train_iou", "val_iou", "val_dice") for n in range(1, len(CLASSES) + 1)),
    "learning_rate",
)  # fmt: skip
GOAL = "under 1 s"


def measure(*, is_quick: bool) -> list[Figure]:
    """Build the data and the charts for one run among all, and for all of them over each other."""
    with fresh_home():
        store = open_home()
        project_id = fill(store)
        one, all_of_them = 1, RUNS
        steps: dict[str, Callable[[], Any]] = {
            "list of 200 runs": lambda: training.list_runs(store, project_id),
            "epochs of 200 runs, 40,000 rows": lambda: read(store, project_id, all_of_them),
            "data of 20 figures, 200 runs": lambda: every_array(store, project_id),
            "charts, 1 of 200 runs": lambda: build(store, project_id, one),
            "charts, 200 runs over each other": lambda: build(store, project_id, all_of_them),
        }
        spent = {what: seconds(step, 3 if is_quick else 9) for what, step in steps.items()}
    how = {
        "list of 200 runs": "rows and configurations",
        "epochs of 200 runs, 40,000 rows": "list, one query, JSON decoded",
        "data of 20 figures, 200 runs": "the same, and all 20 figures as arrays",
        "charts, 1 of 200 runs": "list, epochs, 3 charts and that of the classes, as Streamlit sends them",
        "charts, 200 runs over each other": "the same for all runs: 1,203 lines in 3 charts",
    }
    return [
        median_figure(what, [1000 * s for s in values], "ms", how[what], goal=GOAL)
        for what, values in spent.items()
    ]


def fill(store: Store) -> str:
    """Write the runs and their epochs; give the project's id."""
    project = projects.create(store, "Two hundred runs")
    for name in CLASSES:
        projects.add_category(store, project.id, name)
    project = projects.get(store, project.id)
    version = versions.freeze(store, project.id, project.categories, [])
    rng, began = np.random.default_rng(0), tables.now()
    rows: list[dict[str, Any]] = []
    for number in range(RUNS):
        config = training.configure("fast", {"epochs": EPOCHS})
        run = runs.create(store, project.id, version.id, config, f"Run {number + 1}")
        for epoch, values in enumerate(rng.random((EPOCHS, len(FIGURES))).tolist(), start=1):
            rows.append(
                {
                    "run_id": run.id,
                    "epoch": epoch,
                    "attempt": 1,
                    "metrics": dict(zip(FIGURES, values, strict=True)),
                    "durations": {"train": 30.0, "validate": 5.0},
                    "checkpoint": f"runs/{run.id}/epoch_{epoch:03d}-a1.pt",
                    "checkpoint_bytes": 10_000_000,
                    "created_at": began + timedelta(seconds=36 * epoch),
                }
            )
    with store.write() as connection:
        connection.execute(sa.insert(tables.epoch), rows)
        connection.execute(sa.update(tables.run).values(epochs_done=EPOCHS, state="succeeded"))
    return project.id


def read(store: Store, project_id: str, count: int) -> tuple[list[Run], list[curves.Curve]]:
    """List the runs and read the epochs of the newest."""
    listed = training.list_runs(store, project_id)
    facts = {id_: curves.version_facts(store, id_) for id_ in {run.data_version_id for run in listed}}
    return listed, curves.read(store, listed[:count], facts)


def every_array(store: Store, project_id: str) -> int:
    """Make all figures of all runs ready to draw."""
    _, drawn = read(store, project_id, RUNS)
    made = [curves.values(c, name, part) for c in drawn for name, keys in c.keys.items() for part in keys]
    return len(made)


def build(store: Store, project_id: str, count: int) -> int:
    """Do what the page does up to the message that the browser gets; give its length."""
    listed, drawn = read(store, project_id, count)
    labels = curves.labels(listed)
    tells = {curve.run.id: charts.tell_best(curve, labels[curve.run.id]) for curve in drawn}
    look = charts.Look("epoch", (VALID, TRAIN), 0.0, charts.run_colors(listed), labels, tells)
    built = [charts.metric_figure(drawn, name, look) for name in FIRST_SHOWN]
    built += [charts.class_figure(drawn[0], "iou/*", look)] if count == 1 else []
    checked = [plotly.tools.return_figure_from_figure_or_data(b, validate_figure=True) for b in built]
    return sum(len(plotly.io.to_json(figure, validate=False)) for figure in checked)


def seconds(step: Callable[[], Any], repeats: int) -> list[float]:
    """Give the time that a step takes of one core; the first time only warms up."""
    spent: list[float] = []
    for _ in range(repeats + 1):
        started = time.process_time()
        step()
        spent.append(time.process_time() - started)
    return spent[1:]
