"""Our presets run to their end on real photos: `python -m tests.bench.ours PRESET DATA [--test]`.

Labels are imported, the preset is trained by a worker on one thread, and what it reached is read from the
rows that the worker left. docs/benchmarks/our_presets.json keeps each row, our_presets.md shows them.
`--test` scores the photos kept for testing too: once per preset, when nothing about it is to change. With
`--home` the run stays in a folder, and can be scored there later without being trained again.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.domain import intervals
from core.domain.presets import PRESETS
from core.domain.runs import Run, WorkState
from core.domain.scores import score
from core.services import evaluation, projects, training
from core.services.home import Store, open_home
from core.storage import images, runs
from tests.bench.processes import ROOT, fresh_home
from tests.bench.report import machine_line

NAME = "our_presets"
SPLITS = ("train", "valid", "test")
LEAK_FREE = "claim_clean.json"  # beside the photos: those without a near neighbour in train

INTRODUCTION = """\
# Our presets, run to their end

Written by `python -m tests.bench.ours PRESET DATA`. One row is one run with seed 0 on one thread of a
processor, from photos to exported models. CPU minutes are all that its worker took: preparing the photos,
training, measuring all validation photos after each epoch, exporting. Figures are foreground mIoU at the
photos' own sizes. The best epoch is chosen on valid, so that figure is a little too good; test is measured
once, for that epoch. *Leak-free* are the photos of valid of which train shows no near neighbour.
"""

Row = dict[str, Any]


def main() -> None:
    """Train and measure one preset on one folder of labels."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ours", description=__doc__)
    parser.add_argument("preset", choices=[k for k, p in PRESETS.items() if p.origin == "Ours"])
    parser.add_argument("data", help="a folder of the real photos, such as car_parts")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="to try a change")
    parser.add_argument("--test", action="store_true", help="score the photos kept for testing, once")
    parser.add_argument("--home", type=Path, help="a new folder that keeps the run; by default none does")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="the folder to write")
    given = parser.parse_args()
    folder = Path(os.environ.get("MASKWRIGHT_TEST_DATA", ROOT.parent / "shared" / "data")) / given.data
    changes = dict(change.split("=", 1) for change in given.set)
    path = given.out / f"{NAME}.json"
    rows: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    key = f"{given.data} {given.preset}" + "".join(f",{change}" for change in given.set)
    is_kept = given.home is not None and given.home.exists()
    if given.home:
        os.environ["MASKWRIGHT_HOME"] = str(given.home)
    with contextlib.nullcontext() if given.home else fresh_home():
        store = open_home()
        run = kept_run(store, given.data) if is_kept else trained(store, given.preset, changes, folder)
        rows[key] = rows[key] if is_kept else measured(store, run, folder)
        if given.test:
            rows[key]["test"] = tested(store, run)
    print(json.dumps(rows[key]), flush=True)
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=1, ensure_ascii=False) + "\n")
    (given.out / f"{NAME}.md").write_text(table(rows))


def trained(store: Store, preset: str, changes: dict[str, str], folder: Path) -> Run:
    """Import a folder of labels and train a preset on them; give its succeeded run."""
    report = projects.import_into(store, folder.name, folder)
    print(f"{folder.name}: {report.images}", flush=True)
    project = projects.by_name(store, folder.name)
    run = training.start_run(store, project.id, training.configure(preset, {**changes, "threads": 1}))
    _work(store)
    run = training.get_run(store, run.id)
    assert run.state is WorkState.SUCCEEDED, run.error
    return run


def kept_run(store: Store, data: str) -> Run:
    """Give the run that an earlier call left in its home."""
    (run,) = runs.list_of(store, projects.by_name(store, data).id)
    assert run.state is WorkState.SUCCEEDED, run.error
    return run


def tested(store: Store, run: Run) -> float:
    """Score the best epoch of a run on the photos kept for testing: foreground mIoU."""
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    assert best is not None
    job = evaluation.evaluate(store, run, best.epoch, "test")
    _work(store)
    result = evaluation.job(store, job.id).result
    assert result is not None, evaluation.job(store, job.id).error
    return float(result["miou_foreground"])


def measured(store: Store, run: Run, folder: Path) -> Row:
    """Read what a run reached and what it took: straight after ``trained``, in the same process."""
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    assert best is not None and run.started_at and run.ended_at
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    row: Row = {
        "cpu_minutes": (used.ru_utime + used.ru_stime) / 60,
        "minutes": (run.ended_at - run.started_at).total_seconds() / 60,
        "epochs": run.epochs_done,
        "best_epoch": best.epoch,
        "photos": {split: len(training.data_version(store, run).split(split)) for split in SPLITS},
        "valid": best.metrics[evaluation.METRIC],
        "valid_any_dice": best.metrics["val_any_dice"],
        "classes": classes_of(store, run, best.metrics),
        "curve": [epoch.metrics[evaluation.METRIC] for epoch in evaluation.epochs(store, run.id)],
        "machine": machine_line(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if (clean := folder / LEAK_FREE).exists():
        row["leak_free"] = leak_free(store, run, best.epoch, clean)
    return row


def classes_of(store: Store, run: Run, metrics: dict[str, float | None]) -> dict[str, float | None]:
    """Map each class's name to its IoU on the validation photos."""
    categories = training.data_version(store, run).categories
    return {c.name: metrics.get(f"val_iou/{c.category_id}") for c in categories}


def leak_free(store: Store, run: Run, epoch: int, clean: Path) -> dict[str, Any]:
    """Give what an epoch reached on the photos of valid that a file names: with its interval, per class.

    ``photos_with`` counts the photos that show a class; ``valid_same_classes`` is the mean over these classes
    on all of valid, with which ``miou`` can be compared: a few photos do not show every class.
    """
    wanted = set(json.loads(clean.read_text())["valid"])
    names = {i.id: i.name for i in images.list_page(store, run.project_id, images.ImageFilter())}
    records = runs.records(store, run.id, epoch)
    chosen = np.stack([r.confusion for r in records if names[r.image_id].rsplit("/", 1)[-1] in wanted])
    assert len(chosen) == len(wanted), "all of them were validated on"
    found, everywhere = score(chosen.sum(axis=0)), score(np.sum([r.confusion for r in records], axis=0))
    interval = intervals.bootstrap(intervals.count(chosen)).of.miou_foreground
    shown = (chosen.sum(axis=2) > 0).sum(axis=0)
    categories = training.data_version(store, run).categories
    return {
        "photos": len(chosen),
        "miou": found.miou_foreground,
        "interval": [interval.low, interval.high] if interval else None,
        "classes": {c.name: found.iou[i] if shown[i] else None for i, c in enumerate(categories, 1)},
        "photos_with": {c.name: int(shown[i]) for i, c in enumerate(categories, 1)},
        "valid_same_classes": float(np.mean([everywhere.iou[i] for i in np.flatnonzero(shown) if i])),
    }


def _work(store: Store) -> None:
    """Have a worker do all that is queued."""
    environment = {**os.environ, "MASKWRIGHT_HOME": str(store.home), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "core", "worker", "--once"], cwd=ROOT, env=environment, check=True)


def table(rows: dict[str, Row]) -> str:
    """Write the rows as a Markdown page."""
    lines = [
        INTRODUCTION,
        "| photos | preset | train / valid / test | CPU min | best epoch | valid | leak-free | test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, row in sorted(rows.items()):
        data, preset = key.split()
        photos = " / ".join(f"{count:,}" for count in row["photos"].values())
        leak = of_the_clean(row["leak_free"]) if "leak_free" in row else "–"
        test = f"**{row['test']:.3f}**" if "test" in row else "–"
        lines.append(
            f"| `{data}` | `{preset}` | {photos} | {row['cpu_minutes']:.1f} | "
            f"{row['best_epoch']} of {row['epochs']} | **{row['valid']:.3f}** | {leak} | {test} |"
        )
    lines += ["", "IoU per class on valid:", ""]
    for key, row in sorted(rows.items()):
        shown = ", ".join(f"{n} {'–' if v is None else f'{v:.2f}'}" for n, v in row["classes"].items())
        lines.append(f"- `{key}`: {shown}.")
    lines.append("")
    for key, row in sorted(rows.items()):
        lines.append(f"`{key}`: {row['date']}, {row['machine']}.  ")
    return "\n".join(lines) + "\n"


def of_the_clean(row: dict[str, Any]) -> str:
    """Write what was reached on leak-free photos, its interval, and what it compares with."""
    low, high = row["interval"]
    return (
        f"{row['miou']:.3f}, 95 % interval {low:.2f}–{high:.2f} ({row['photos']} photos; "
        f"their classes on all of valid: {row['valid_same_classes']:.3f})"
    )


if __name__ == "__main__":
    main()
