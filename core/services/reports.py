"""What the command line prints: JSON values and lines for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.domain.errors import ImageError
from core.domain.runs import Run
from core.formats.ingest import ImportReport
from core.services import evaluation, training, workers
from core.services.home import Store
from core.storage import images, runs, versions
from core.storage.blobs import write_atomically


def import_lines(report: ImportReport) -> list[str]:
    """Say what an import took and what it refused."""
    value = report.to_json()
    lines = [
        f"{value['images'][split]} photos with {value['annotations'][split]} annotations in {split}"
        for split in ("train", "valid", "test", "unsplit")
        if value["images"][split]
    ]
    lines.append(f"Categories: {', '.join(value['categories']) or 'none'}")
    if value["already_there"]:
        lines.append(f"{value['already_there']} photos were there already.")
    lines += value["notes"]
    return lines + [f"Refused {r['file']}: {r['reason']}" for r in value["refused"]]


def runs_json(store: Store, project_id: str) -> list[dict[str, Any]]:
    """List a project's runs, newest first, with epochs, metrics and the champion's epoch."""
    chosen = evaluation.champion(store, project_id)
    waiting = {waiting.run.id: waiting.reason for waiting in training.queue(store)}
    return [
        {
            "run": run.id,
            "name": run.name,
            "preset": run.config.preset,
            "state": run.state.value,
            "error": run.error,
            "attempt": run.attempt,
            "priority": run.priority,
            "host": run.host,
            "machine": run.machine,
            "device": run.device,
            "waiting": waiting.get(run.id, ""),
            "start_from": run.config.start_from,
            "data_version": run.data_version_id,
            "config": asdict(run.config),
            "epochs": [
                {
                    "epoch": e.epoch,
                    "metrics": e.metrics,
                    "durations": e.durations,
                    "has_checkpoint": bool(e.checkpoint),
                }
                for e in runs.epochs(store, run.id)
            ],
            "champion_epoch": chosen.epoch if chosen and chosen.run_id == run.id else None,
        }
        for run in training.list_runs(store, project_id)
    ]


def run_lines(listed: Sequence[dict[str, Any]]) -> list[str]:
    """Give one line a run."""
    lines: list[str] = []
    for run in listed:
        figures = [e["metrics"].get(evaluation.METRIC) for e in run["epochs"]]
        best = max((f for f in figures if f is not None), default=None)
        champion = f", champion epoch {run['champion_epoch']}" if run["champion_epoch"] else ""
        score = f", best mIoU {best:.3f}" if best is not None else ""
        where = f" on {run['machine']}" if run["machine"] else ""
        reason = f". {run['waiting']}" if run["waiting"] else ""
        epochs = f"{len(figures)} epochs{score}{champion}"
        lines.append(f"{run['run']}  {run['name']}: {run['state']}{where}, {epochs}{reason}")
    return lines or ["No runs yet."]


def workers_json(store: Store) -> list[dict[str, Any]]:
    """List the workers with what they offer, what they use, and what each carries out."""
    under_way = workers.under_way(store)
    return [
        {
            "host": worker.info.host,
            "is_here": worker.is_here,
            "seconds_since": round(worker.seconds_since, 1),
            "version": worker.info.version,
            "is_current": worker.is_current,
            "lanes": list(worker.info.lanes),
            "slots": worker.info.slots,
            "largest": worker.info.largest,
            "gpus": [asdict(gpu) for gpu in worker.info.gpus],
            "usage": worker.info.usage,
            "note": worker.info.note,
            "runs": [run.id for run in under_way.runs.get(worker.info.host, [])],
            "jobs": [job.id for job in under_way.jobs.get(worker.info.host, [])],
        }
        for worker in workers.list_all(store)
    ]


def worker_lines(listed: Sequence[dict[str, Any]]) -> list[str]:
    """Give one line a worker."""
    lines: list[str] = []
    for worker in listed:
        seen = "here" if worker["is_here"] else f"away for {worker['seconds_since']:.0f} s"
        gpus = ", ".join(gpu["name"] for gpu in worker["gpus"]) or f"{worker['usage'].get('cpus', '?')} CPUs"
        work = f"{len(worker['runs'])} runs and {len(worker['jobs'])} jobs under way"
        note = f". {worker['note']}" if worker["note"] else ""
        version = f"version {worker['version']}{'' if worker['is_current'] else ' (restart it)'}"
        lines.append(f"{worker['host']}: {seen}, {version}, {gpus}, {work}{note}")
    return lines or ["No worker is running. Start one: python -m core worker"]


def evaluation_json(
    store: Store, run: Run, epoch: int, split: str, result: dict[str, Any], masks: Path | None
) -> dict[str, Any]:
    """Give what `evaluate` prints; copies the masks out when a folder was named."""
    classes = versions.get(store, run.data_version_id).categories
    value: dict[str, Any] = {
        "run": run.id,
        "epoch": epoch,
        "split": split,
        **{key: result[key] for key in ("images", "miou_foreground", "dice_foreground", "pixel_accuracy")},
        "iou": result["iou"],
        "class_index": {str(i): c.name for i, c in enumerate(classes, start=1)},
    }
    if masks is not None:
        value["masks"] = _copy_masks(store, run, result["masks"], masks)
    return value


def evaluation_lines(value: dict[str, Any]) -> list[str]:
    """Say how good a checkpoint is."""
    figures = [
        f"{name} {'not defined' if value[key] is None else format(value[key], '.4f')}"
        for name, key in (
            ("foreground mIoU", "miou_foreground"),
            ("foreground Dice", "dice_foreground"),
            ("pixel accuracy", "pixel_accuracy"),
        )
    ]
    head = f"Epoch {value['epoch']} on {value['images']} photos of {value['split']}: {', '.join(figures)}"
    classes = [
        f"  IoU {name}: {'not in these photos' if iou is None else format(iou, '.4f')}"
        for name, iou in value["iou"].items()
    ]
    return [head, *classes]


def prediction_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """Give one line a photo: how many single damages of each class, and its share of the image."""
    lines: list[str] = []
    for result in results:
        counts = Counter(finding["category"] for finding in result["findings"])
        found = [
            f"{name} × {counts[name]}, {share:.1%}" for name, share in result["share"].items() if share > 0
        ]
        lines.append(f"{result['photo']}: {'; '.join(found) or 'no damage found'} ({result['overlay']})")
    return lines


def progress_line(run: Run, reason: str = "") -> str:
    """Say where a run is, and while it waits, for what."""
    progress = run.progress
    if reason:
        return f"{run.state.value}. {reason}"
    if run.state.value != "running" or not progress:
        return f"{run.state.value}, {run.epochs_done} of {run.config.epochs} epochs"
    return f"{progress.get('phase', 'running')}, {run.epochs_done} of {run.config.epochs} epochs done"


def unique_stems(photos: Sequence[Path]) -> list[str]:
    """Give a file name's stem for each photo; equal stems get their folder as prefix, then a number."""
    counts = Counter(photo.stem for photo in photos)
    taken: set[str] = set()
    stems: list[str] = []
    for photo in photos:
        stem = photo.stem if counts[photo.stem] == 1 else f"{photo.parent.name}_{photo.stem}".lstrip("_")
        unique, number = stem, 2
        while unique in taken:
            unique, number = f"{stem}_{number}", number + 1
        taken.add(unique)
        stems.append(unique)
    return stems


def read_photo(path: Path) -> bytes:
    """Read a photo's file.

    Raises:
        ImageError: it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.") from error


def _copy_masks(store: Store, run: Run, keys: dict[str, str], folder: Path) -> list[dict[str, str]]:
    with store.read() as connection:
        names = [images.read(connection, image_id, even_deleted=True).name for image_id in keys]
    written: list[dict[str, str]] = []
    stems = unique_stems([Path(name) for name in names])
    for name, stem, key in zip(names, stems, keys.values(), strict=True):
        path = folder / f"{stem}.png"
        write_atomically(path, store.blobs.get(key))
        written.append({"image": name, "file": str(path)})
    return written
