"""What a run was told and what it ran on, written into its folder, so that the folder stands alone."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.domain.labels import Annotation
from core.domain.runs import Run
from core.domain.training import DataVersion, VersionItem
from core.domain.version import VERSION
from core.imaging.masks import encode_rle_box, measure, rasterise_box
from core.storage import annotations, images
from core.storage.store import Store
from core.worker.artefacts import run_folder

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path("/proc/driver/nvidia/version")  # the host's in a container too


@dataclass(frozen=True)
class Source:
    """The git checkout that the program runs from; None where it is none, or git is not installed.

    ``has_changes``: files under version control differ from the commit.
    """

    commit: str | None
    has_changes: bool | None


def freeze(store: Store, run: Run, version: DataVersion, attempt: int, on_photo: Callable[[], None]) -> None:
    """Write ``hardware-a<attempt>.json``, and unless an earlier attempt did the rest of the run's papers.

    ``config.json`` holds what the run was told, its seed included; ``versions.json`` the program, its
    packages and the data version; ``dataset.json`` the labels as COCO: the masks as compressed
    run-length codes, each photo named by its SHA-256, with its split.

    Args:
        on_photo: called after each photo; it may raise to stop the work.

    Raises:
        NotFound: a photo of the data version was deleted since.
        StorageError: the files cannot be written.
    """
    folder = run_folder(run.id)
    _put_json(store, f"{folder}/hardware-a{attempt}.json", hardware())
    if store.blobs.exists(f"{folder}/dataset.json"):
        return
    _put_json(store, f"{folder}/config.json", asdict(run.config))
    _put_json(store, f"{folder}/versions.json", _versions(version))
    _put_json(store, f"{folder}/dataset.json", _coco(store, version, on_photo))  # last: where it is, all are


def find_source(root: Path = ROOT) -> Source:
    """Look up which commit of the program this is. Never fails.

    Args:
        root: the folder that is the checkout; one inside another checkout is not.
    """
    answer = _git(root, "rev-parse", "--show-toplevel", "HEAD")
    top, _, commit = (answer or "").partition("\n")
    if not commit or Path(top).resolve() != root.resolve():
        return Source(None, None)
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return Source(commit, None if changes is None else bool(changes))


def hardware() -> dict[str, Any]:
    """Describe the machine as this process may use it; sizes in bytes."""
    import torch

    return {
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": torch.get_num_threads(),
        "gpus": [_gpu(torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": driver_version(DRIVER.read_text()) if DRIVER.exists() else None,
    }


def driver_version(text: str) -> str | None:
    """Find the version of NVIDIA's driver in what its kernel module says of itself."""
    found = re.search(r"NVRM version:.*?\s(\d+\.[\d.]+)\s", text)
    return found[1] if found else None


def _gpu(properties: Any) -> dict[str, Any]:
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [
        value.strip() for key, _, value in (line.partition(":") for line in lines) if "model name" in key
    ]
    return names[0] if names else platform.processor()  # an ARM kernel does not name it


def _git(root: Path, *arguments: str) -> str | None:
    """Ask git about a folder; None where there is no answer. Variables of an outer git stay away."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _put_json(store: Store, key: str, value: Any) -> None:
    store.blobs.put(key, json.dumps(value, indent=1, ensure_ascii=False).encode())


def _versions(version: DataVersion) -> dict[str, Any]:
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    source = find_source()
    return {
        "maskwright": VERSION,
        "git_commit": source.commit,
        "git_has_changes": source.has_changes,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "data_version": {"id": version.id, "hash": version.hash},
        "packages": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
    }


def _coco(store: Store, version: DataVersion, on_photo: Callable[[], None]) -> dict[str, Any]:
    photos: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for number, item in enumerate(version.items, start=1):
        photo, drawn = _photo(store, item, number)
        photos.append(photo)
        size_hw = (photo["height"], photo["width"])
        for annotation in drawn:
            regions.append(_region(annotation, size_hw, number, len(regions) + 1))
        on_photo()
    return {
        "info": {"description": "Labels as this run knew them", "version": version.hash},
        "categories": [
            {"id": c.category_id, "name": c.name, "color": c.color}
            for c in version.categories + version.ignored
        ],
        "images": photos,
        "annotations": regions,
    }


def _photo(store: Store, item: VersionItem, number: int) -> tuple[dict[str, Any], tuple[Annotation, ...]]:
    with store.read() as connection:
        image = images.read(connection, item.image_id, even_deleted=True)
        drawn = annotations.read(connection, item.image_id, item.rev).annotations if item.rev else ()
    width, height = image.size_wh
    return {
        "id": number,
        "file_name": image.name,
        "width": width,
        "height": height,
        "sha256": item.sha256,
        "image_id": item.image_id,
        "rev": item.rev,
        "split": item.split,
        "group": item.group,
    }, drawn


def _region(annotation: Annotation, size_hw: tuple[int, int], image: int, number: int) -> dict[str, Any]:
    box, corner_xy = rasterise_box(annotation.ops, size_hw)
    measured = measure(annotation.ops, size_hw)
    return {
        "id": number,
        "image_id": image,
        "category_id": annotation.category_id,
        "segmentation": {"size": list(size_hw), "counts": encode_rle_box(box, corner_xy, size_hw)},
        "area": measured.area,
        "bbox": list(measured.bbox_xywh),
        "iscrowd": 0,
    }
