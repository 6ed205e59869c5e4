"""Our presets run to their end on real photos: `python -m tests.bench.ours PRESET DATA [--test]`.

Labels are imported, the preset is trained by a worker on one thread, and what it reached is read from the
rows that the worker left. docs/benchmarks/our_presets.json keeps each row, our_presets.md shows them.
`--test` scores the photos kept for testing too: once per preset, when nothing about it is to change.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

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
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="the folder to write")
    given = parser.parse_args()
    folder = Path(os.environ.get("MASKWRIGHT_TEST_DATA", ROOT.parent / "shared" / "data")) / given.data
    changes = dict(change.split("=", 1) for change in given.set)
    with fresh_home():
        row = measured(open_home(), given.preset, changes, folder, is_tested=given.test)
    path = given.out / f"{NAME}.json"
    rows: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    tried = "".join(f",{change}" for change in given.set)
    rows[f"{given.data} {given.preset}{tried}"] = row
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=1, ensure_ascii=False) + "\n")
    (given.out / f"{NAME}.md").write_text(table(rows))


def measured(store: Store, preset: str, changes: dict[str, str], folder: Path, *, is_tested: bool) -> Row:
    """Train a preset on the labels of a folder, and read what it reached."""
    report = projects.import_into(store, folder.name, folder)
    print(f"{folder.name}: {report.images}", flush=True)
    project = projects.by_name(store, folder.name)
    run = training.start_run(store, project.id, training.configure(preset, {**changes, "threads": 1}))
    cpu_seconds = _work(store)
    run = training.get_run(store, run.id)
    assert run.state is WorkState.SUCCEEDED and run.started_at and run.ended_at, run.error
    best = evaluation.best_epoch(evaluation.epochs(store, run.id))
    assert best is not None
    row: Row = {
        "cpu_minutes": cpu_seconds / 60,
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
        row["leak_free"], row["leak_free_photos"] = leak_free(store, run, best.epoch, clean)
    if is_tested:
        job = evaluation.evaluate(store, run, best.epoch, "test")
        _work(store)
        row["test"] = (evaluation.job(store, job.id).result or {})["miou_foreground"]
    print(json.dumps(row), flush=True)
    return row


def classes_of(store: Store, run: Run, metrics: dict[str, float | None]) -> dict[str, float | None]:
    """Map each class's name to its IoU on the validation photos."""
    categories = training.data_version(store, run).categories
    return {c.name: metrics.get(f"val_iou/{c.category_id}") for c in categories}


def leak_free(store: Store, run: Run, epoch: int, clean: Path) -> tuple[float, int]:
    """Give the foreground mIoU on the photos of valid that a file names, and how many they are."""
    wanted = set(json.loads(clean.read_text())["valid"])
    names = {i.id: i.name for i in images.list_page(store, run.project_id, images.ImageFilter())}
    chosen = [
        record.confusion
        for record in runs.records(store, run.id, epoch)
        if names[record.image_id].rsplit("/", 1)[-1] in wanted
    ]
    assert len(chosen) == len(wanted), "all of them were validated on"
    return score(np.sum(chosen, axis=0)).miou_foreground, len(chosen)


def _work(store: Store) -> float:
    """Have a worker do all that is queued; give the processor seconds of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "MASKWRIGHT_HOME": str(store.home), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "core", "worker", "--once"], cwd=ROOT, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
        leak = f"{row['leak_free']:.3f} ({row['leak_free_photos']} photos)" if "leak_free" in row else "–"
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


if __name__ == "__main__":
    main()
