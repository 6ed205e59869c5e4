"""How soon a run starts, stops, and goes on after it was killed; beside what importing torch alone takes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.domain.runs import Run
from core.services import projects, training
from core.services.home import open_home
from core.storage import lifecycle, runs
from core.storage.lifecycle import RUNS
from core.storage.store import Store
from core.worker.processes import stop
from tests.bench.figures import Figure, median_figure, median_ratio
from tests.bench.processes import ROOT, fresh_home

SMALL = {"size": 64, "encoder_weights": "none", "max_train_images": 16, "max_valid_images": 4}
LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.02
IMPORTS = "import torch, lightning.fabric, segmentation_models_pytorch"


def measure(*, is_quick: bool) -> list[Figure]:
    """Queue, kill and cancel small runs under a real worker."""
    started: list[float] = []
    resumed: list[float] = []
    cancelled: list[float] = []
    imports: list[float] = []
    with fresh_home() as home:
        store = open_home()
        projects.create_sample(store, "Sample", lambda _done, _total: None)
        with (home / "bench.log").open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-m", "core", "worker"], cwd=ROOT, stderr=log)
        try:
            for _ in range(1 if is_quick else 5):
                imports.append(_import_seconds())
                run = _queue(store)
                started.append(_seconds_until(lambda run=run: _epochs(store, run) > 0))
                imports.append(_import_seconds())
                _kill(store)
                known = _epochs(store, run)
                resumed.append(_seconds_until(lambda run=run, known=known: _epochs(store, run) > known))
                training.cancel(store, run.id)
                cancelled.append(_seconds_until(lambda run=run: runs.get(store, run.id).state.is_final))
        finally:
            worker.terminate()
            worker.wait()
    return [
        median_figure(
            "run queued to its first epoch kept",
            started,
            "s",
            "16 photos of 64 px; worker warm, photos of the version decoded in the first repeat only",
            ratio=median_ratio(started, imports[::2]),
            against="a bare import of torch, Fabric and the models",
        ),
        median_figure(
            "run killed to its next epoch kept",
            resumed,
            "s",
            "SIGKILL to the process group; noticed, queued, started again, from the last epoch on",
            ratio=median_ratio(resumed, imports[1::2]),
            against="a bare import of torch, Fabric and the models",
        ),
        median_figure("cancel to stopped", cancelled, "s", "heard by the heartbeat, which beats every 2 s"),
    ]


def _queue(store: Store) -> Run:
    (project,) = projects.list_all(store)
    config = training.configure("fast", {**SMALL, "epochs": 10_000, "keep": "best:1"})
    return training.start_run(store, project.id, config)


def _epochs(store: Store, run: Run) -> int:
    return runs.get(store, run.id).epochs_done


def _kill(store: Store) -> None:
    for work in lifecycle.active(store, RUNS):
        for process in work.processes:
            stop(process, 0)


def _seconds_until(is_true: Callable[[], bool]) -> float:
    started = time.perf_counter()
    while not is_true():
        if time.perf_counter() - started > LIMIT_SECONDS:
            raise RuntimeError(f"This took too long; see {Path(os.environ['MASKWRIGHT_HOME']) / 'logs'}.")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - started


def _import_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, check=True)
    return time.perf_counter() - started
