"""The jobs of the light lane: one function per kind."""

import importlib
from collections.abc import Callable
from typing import Any

from core.domain.errors import pick
from core.domain.runs import Job
from core.storage import jobs
from core.storage.lifecycle import Claim
from core.storage.store import Store
from core.worker import analyse, evaluate, export, imports, samples, suggest, usefulness
from core.worker.heartbeat import OnProgress, Sign

Handler = Callable[[Store, Job, OnProgress], dict[str, Any]]


def _of(module: str) -> Handler:
    """Name the handler of a file that imports torch at its top, without importing it."""

    def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
        return importlib.import_module(f"core.worker.{module}").handle(store, job, on_progress)

    return handle


HANDLERS: dict[str, Handler] = {
    "import": imports.handle,
    "sample": samples.handle,
    "evaluate": evaluate.handle,
    "evaluate_every": evaluate.handle_every,
    "analyse": analyse.handle,
    "export": export.handle,
    "suggest": suggest.handle,
    "score_unlabelled": usefulness.handle,
    "calibrate": _of("calibrate"),
    "find_rate": _of("rates"),
    "predict": _of("predict"),
}


def handle(store: Store, claim: Claim, heartbeat: Sign) -> dict[str, Any]:
    """Carry out one job; give the columns of its verdict.

    Raises:
        UnknownChoice: there is no handler of this kind.
        Cancelled, Fenced: at the handler's next sign of progress.
    """
    job = jobs.get(store, claim.work_id)
    handler = pick(HANDLERS, job.kind, kind="job")

    def on_progress(share: float, message: str) -> None:
        heartbeat.report({"share": share, "message": message})
        heartbeat.check()

    result = handler(store, job, on_progress)
    return {"result": result, "progress": {"share": 1.0, "message": ""}}
