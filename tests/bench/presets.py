"""Networks on one short budget of processor time: `python -m tests.bench.presets [NAME...]`.

Each row trains the preset "fast" with another network. The steps are timed first, and the epochs are cut
so that training ends when the budget does, with its schedule run to the end; then the photos kept for
testing are measured. docs/benchmarks/presets.json keeps a row as soon as it is there, and a row of the
same code and settings is not measured again. presets.md and the list in docs/recipes.md are written anew.
"""

import argparse
import ast
import hashlib
import json
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.domain.presets import PRESETS, Preset
from core.domain.training import TrainingConfig, VersionItem
from core.models.registry import ENCODERS, MODELS
from core.services import projects, training
from core.services.home import open_home
from core.storage import versions
from core.training.environment import PROCESS_ENV, prepare_process
from core.training.sampling import side_of_epoch
from tests.bench.processes import ROOT, fresh_home
from tests.bench.report import machine_line

if TYPE_CHECKING:
    from core.training.dataset import TrainingData
    from core.training.learner import Learner
    from core.training.metrics import Metrics

PRESET = "fast"
TIMED_BATCHES = 2  # of each size, after one that warms up
VALID_PHOTOS = 2  # measured after each epoch; nothing is chosen by them, so all but these are learnt from
CODE = ("core/models", "core/training", "core/imaging")
LITE0 = "tu-tf_efficientnet_lite0"
BEGIN, END = "<!-- written by `make bench-presets` -->", "<!-- end -->"

# Architecture -> encoder: one whose weights are installed wherever the architecture takes it.
ROWS = {
    "pspnet": LITE0,
    "fpn_light": LITE0,
    "linknet": LITE0,
    "deeplabv3plus": LITE0,
    "segformer": LITE0,
    "unet": LITE0,
    "lraspp": "mobilenet_v3_large",
    "fpn": LITE0,
    "manet": LITE0,
    "panoptic_deeplab": LITE0,
    "unetplusplus": LITE0,
    "upernet": LITE0,
    "pan": LITE0,
    "hrnet_ocr": "tu-hrnet_w18_small",
    "aspp_unet": "none",
    "custom_unet2": "none",
    "basnet": "resnet34",
    "fcn_resnet50": "resnet50",
    "deeplabv3_resnet50": "resnet50",
}

INTRODUCTION = """\
# What the networks learn in a few minutes

Written by `make bench-presets`. One row is one training with seed 0; how far another seed moves it was not
measured, so small differences mean nothing. A budget this short says how soon a network learns, not how far
it gets: published recipes train for many times as long, most of them from weights that a machine without
a network does not have. All rows train the preset `fast` with another network (its size, loss, augmentation,
rates and schedule), cut to the budget; only the encoder and the start weights differ. Those rates serve the
preset's own network, `fpn_light`; others may want other ones. CPU-minutes are those of the training steps, of
all threads. The photos to measure on are never learnt from and nothing is chosen
by them: the last epoch is measured, once, at the photos' own sizes.
"""

Row = dict[str, Any]
Rows = dict[str, Row]


def main() -> None:
    """Measure the rows that are missing, one after the other, and keep each as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.presets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--budget", type=float, default=4.0, help="CPU-minutes of training for each row")
    parser.add_argument("--data", default="car_parts", help="a folder of the real photos")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure rows anew that are there")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the tables anew")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="the folder to write")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in ROWS]:
        parser.error(f"there is no {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    if not given.tables:
        _measure_all(given)
    write_tables(given.out)


def _measure_all(given: argparse.Namespace) -> None:
    shared = Path(os.environ.get("MASKWRIGHT_TEST_DATA", ROOT.parent / "shared" / "data"))
    os.environ.update(PROCESS_ENV)  # as the worker's processes have it, before torch is imported
    fresh = multiprocessing.get_context("spawn")
    path, code = given.out / "presets.json", code_digest()
    with fresh_home():
        projects.import_into(open_home(), given.data, shared / given.data)
        for name in given.names or ROWS:
            key, settings = f"{given.data} {given.budget:g} {name}", asdict(config_of(name, given.threads))
            known = read_rows(path).get(key, {})
            if (known.get("settings"), known.get("code")) == (settings, code) and not given.again:
                print(f"{name}: there already", flush=True)
                continue
            print(f"{name} ...", flush=True)
            with ProcessPoolExecutor(1, mp_context=fresh) as alone:
                row = alone.submit(measured, name, given.data, given.budget, given.threads).result()
            kept = read_rows(path) | {key: {**row, "settings": settings, "code": code}}
            given.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            write_tables(given.out)
            print(f"  {_line(key, row)}", flush=True)


def read_rows(path: Path) -> Rows:
    """Give the rows that are kept in a file; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def code_digest() -> str:
    """Name the code that a figure depends on: another name where more than words about it changed."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).glob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            if isinstance(node, documented) and ast.get_docstring(node) is not None:
                del node.body[0]
        digest.update(f"{path.name} {ast.dump(tree)}".encode())
    return digest.hexdigest()[:16]


def config_of(name: str, threads: int) -> TrainingConfig:
    """Give a row's configuration, epochs not cut yet."""
    encoder = ROWS[name]
    weights = "imagenet" if ENCODERS[encoder].packaged else "none"
    changes = {"model": name, "encoder": encoder, "encoder_weights": weights, "threads": threads}
    few = {"valid_share": 0.01, "max_valid_images": VALID_PHOTOS}
    return training.configure(PRESET, {**changes, **few})


def measured(name: str, project: str, budget_minutes: float, threads: int) -> Row:
    """Train one row and measure it; call it in a process of its own, which nothing else shares.

    Args:
        project: labelled photos; those in test are measured and not learnt from.
        budget_minutes: processor time of the training steps, of all threads.
    """
    prepare_process(threads)
    store, started = open_home(), time.perf_counter()
    run = training.start_run(
        store, projects.by_name(store, project).id, config_of(name, threads), priority=-1
    )
    version = training.data_version(store, run)
    from core.training.dataset import prepare_data
    from core.training.learner import build_learner

    read = versions.reader(store, version.items)
    data = prepare_data(version, run.config, read, store.home / "cache", lambda done, total: None)
    config = _cut(run.config, data, 60 * budget_minutes)
    learner = build_learner(config, data)
    seconds = _train(learner)
    peak_megabytes = peak_of(os.getpid())
    found = _measured(learner, version.split("test"))
    figures = ("miou_foreground", "dice_foreground", "pixel_accuracy")
    return {
        **{figure: found[f"val_{figure}"] for figure in figures},
        "cpu_minutes": seconds / 60,
        "images_seen": config.epochs * learner.batches * config.batch_size,
        "epochs": config.epochs,
        "peak_megabytes": peak_megabytes,
        "minutes": (time.perf_counter() - started) / 60,
        "parameters": sum(p.numel() for p in learner.network.module.parameters()),
        "photos": [len(data.train), len(version.split("test"))],
        "classes": len(data.categories),
        "machine": machine_line(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def peak_of(pid: int) -> float:
    """Give the most memory that a process has held so far, in MB (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def _cut(config: TrainingConfig, data: "TrainingData", seconds: float) -> TrainingConfig:
    """Choose how many images an epoch draws, so that all steps take about so much processor time."""
    sides = [side_of_epoch(config, epoch) for epoch in range(1, config.epochs + 1)]
    areas, costs = [], []
    for epoch in (1, config.epochs):
        areas.append(side_of_epoch(config, epoch) ** 2)
        costs.append(_seconds_per_image(config, data, epoch))
    per_image = float(np.interp(np.square(sides), areas, costs).sum())
    batches = max(1, math.floor(seconds / per_image / config.batch_size))
    return replace(config, epoch_images=batches * config.batch_size)


def _seconds_per_image(config: TrainingConfig, data: "TrainingData", epoch: int) -> float:
    """Time steps of an epoch's size by the processor's clock, on a network that is thrown away."""
    from core.training.dataset import batches
    from core.training.learner import build_learner
    from core.training.loop import train_step
    from core.training.optimisation import set_modes

    wanted = (1 + TIMED_BATCHES) * config.batch_size
    learner = build_learner(replace(config, epoch_images=wanted, deterministic=True), data)
    set_modes(learner.network.module, config, epoch)
    started = 0.0
    for number, batch in enumerate(batches(data.train, learner.config, epoch)):
        train_step(learner, batch)
        if number == 0:
            started = time.process_time()
    return (time.process_time() - started) / (TIMED_BATCHES * config.batch_size)


def _train(learner: "Learner") -> float:
    """Train all epochs; give the processor seconds of the steps, with drawing their batches."""
    from core.training.loop import fit
    from core.training.progress import Progress

    spent, started = 0.0, time.process_time()

    def on_batch(progress: Progress) -> None:
        nonlocal spent, started
        now = time.process_time()
        spent += now - started if progress.phase == "train" else 0.0
        started = now

    for _ in fit(learner, range(learner.config.epochs), on_batch, lambda epoch, image: None):
        started = time.process_time()
    return spent


def _measured(learner: "Learner", items: tuple[VersionItem, ...]) -> "Metrics":
    """Measure the trained network on photos at their own sizes."""
    from core.training.metrics import Totals, validation_metrics
    from core.training.validation import validate

    totals = Totals(learner.network.card.num_classes)
    for result in validate(learner.network, items, learner.data.read_item, lambda progress: None, epoch=0):
        totals.add(result.confusion, result.loss, 1)
    return validation_metrics(totals, learner.data.categories)


def write_tables(folder: Path) -> None:
    """Write presets.md of what is kept in a folder, and the list of presets in docs/recipes.md beside it."""
    lines = [INTRODUCTION]
    rows = read_rows(folder / "presets.json")
    for group in dict.fromkeys(key.rpartition(" ")[0] for key in rows):
        lines += _budget_table(group, {key: row for key, row in rows.items() if key.startswith(f"{group} ")})
    runs = read_rows(folder / "preset_runs.json")
    if runs:
        lines += _run_table(runs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "presets.md").write_text("\n".join(lines) + "\n")
    recipes = folder.parent / "recipes.md"
    if recipes.exists():
        before, _, rest = recipes.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        recipes.write_text("\n".join([before + BEGIN, *_preset_list(), END + after]))


def _budget_table(group: str, rows: Rows) -> list[str]:
    data, budget = group.split(" ")
    first = next(iter(rows.values()))
    train, test = first["photos"]
    lines = [
        f"## {budget} CPU-minutes on `{data}`",
        "",
        f"{train} photos to learn from, {test} to measure on, {first['classes']} classes and background, "
        f"{PRESETS[PRESET].config.size} px.",
        "",
        "| network | encoder | start weights | mIoU foreground | Dice | pixel accuracy | CPU min "
        "| photos shown | parameters | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    ranked = sorted(rows, key=lambda key: -(rows[key]["miou_foreground"] or 0.0))
    lines += [_row(key, rows[key]) for key in ranked]
    by_machine: dict[str, list[str]] = {}
    for key in ranked:
        row = rows[key]
        by_machine.setdefault(f"{row['date']}, {row['machine']}", []).append(f"`{key.split()[-1]}`")
    return [*lines, "", *(f"{', '.join(names)}: {line}.  " for line, names in by_machine.items()), ""]


def _row(key: str, row: Row) -> str:
    settings = row["settings"]
    encoder = ENCODERS[settings["encoder"]].title if settings["encoder"] != "none" else "–"
    start = "ImageNet" if settings["encoder_weights"] == "imagenet" else "random"
    name = key.split()[-1]
    return (
        f"| {MODELS[name].title} `{name}` | {encoder} | {start} | "
        f"**{_figure(row['miou_foreground'])}** | {_figure(row['dice_foreground'])} | "
        f"{_figure(row['pixel_accuracy'])} | {row['cpu_minutes']:.1f} | {row['images_seen']:,} | "
        f"{row['parameters'] / 1e6:.1f} M | {row['peak_megabytes'] / 1024:.1f} GB |"
    )


def _run_table(kept: Row) -> list[str]:
    lines = [
        "## One epoch of every preset",
        "",
        f"{kept['photos'][0]} photos of car damage to learn from, {kept['photos'][1]} to measure on; random "
        "weights where none are installed. It says what a preset costs here, not what it can learn: the mIoU "
        "of one such epoch means nothing. Time and memory are of the worker's whole process, from its start "
        "to the exported model; seconds by the clock depend on what else ran, and on the number of threads.",
        "",
        "| preset | network | size | batch | seconds | CPU seconds | peak memory | mIoU foreground |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, row in kept["presets"].items():
        config = PRESETS[key].config
        lines.append(
            f"| `{key}` | {MODELS[config.model].title} | {config.size} | {config.batch_size} | "
            f"{row['seconds']:.0f} | {row['cpu_seconds']:.0f} | {row['peak_megabytes'] / 1024:.1f} GB | "
            f"{_figure(row['miou_foreground'])} |"
        )
    return [*lines, "", f"{kept['date']}, {kept['machine']}."]


def _preset_list() -> list[str]:
    lines = ["", "| preset | what | network | size | batch | loss | optimiser | start weights |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    origin = ""
    for key, preset in PRESETS.items():
        if preset.origin != origin:
            origin = preset.origin
            lines.append(f"| **{origin}** | | | | | | | |")
        lines.append(_preset_row(key, preset))
    return [*lines, ""]


def _preset_row(key: str, preset: Preset) -> str:
    config = preset.config
    on = "" if config.encoder == "none" else f" on {ENCODERS[config.encoder].title}"
    rates = dict.fromkeys(f"{r:g}" for r in (config.encoder_learning_rate, config.decoder_learning_rate))
    how = f"{config.optimizer}, {' and '.join(rates)}, {config.schedule}"
    return (
        f"| `{key}` | {preset.description} | {MODELS[config.model].title}{on} | {config.size} | "
        f"{config.batch_size} | {config.loss} | {how} | {preset.start} |"
    )


def _line(key: str, row: Row) -> str:
    return (
        f"{key}: mIoU {_figure(row['miou_foreground'])} after {row['cpu_minutes']:.1f} CPU-minutes and "
        f"{row['images_seen']:,} photos shown"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
