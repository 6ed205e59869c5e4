"""The job that looks for a learning rate: a hundred steps on the photos that a training would see."""

from dataclasses import replace
from typing import Any

from core.domain.runs import Job
from core.domain.training import config_from_json
from core.storage import versions
from core.storage.settings import Settings
from core.storage.store import Store
from core.training.environment import prepare_process
from core.training.learner import build_learner
from core.training.rate_finder import RULE, find_learning_rate
from core.worker.calibrate import memory_advice, spoken_memory_errors
from core.worker.heartbeat import OnProgress
from core.worker.prepared import prepared
from core.worker.run import start_files

PREPARING_SHARE = 0.3  # of the progress


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Search on a frozen data version, with the weights that a training would start from.

    Payload: ``{project_id, data_version_id, config, steps}``. Result: ``{"points": [[rate of the decoder,
    loss], ...], "smoothed": [loss, ...], "suggestion": rate or None, "rule": how it is chosen}``. It is
    done in one process, uncompiled, whatever the configuration says.

    Raises:
        NotFound: the data version, a photo, or what to start from was deleted since.
        AppError: the training could not begin either; the sentence says why.
    """
    payload = job.payload
    config = replace(config_from_json(payload["config"]), devices=1, compile=False)
    version = versions.get(store, payload["data_version_id"])
    prepare_process(config.threads or Settings().threads, is_deterministic=config.deterministic)

    def on_photo(done: int, total: int) -> None:
        on_progress(PREPARING_SHARE * done / total, "Preparing the photos")

    def on_step(done: int, total: int) -> None:
        share = PREPARING_SHARE + (1 - PREPARING_SHARE) * done / total
        on_progress(share, f"Step {done} of {total}")

    with spoken_memory_errors(memory_advice(config)):
        data = prepared(store, version, config, on_photo)
        start = start_files(store, config)
        learner = build_learner(config, data, start=start.checkpoint, weights=start.weights)
        search = find_learning_rate(learner, payload["steps"], on_step)
    return {
        "points": [list(point) for point in search.points],
        "smoothed": list(search.smoothed),
        "suggestion": search.suggestion,
        "rule": RULE,
    }
