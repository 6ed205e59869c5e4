"""The job that brings photos and labels from files into a project."""

import shutil
from pathlib import Path
from typing import Any

from core.domain.errors import AppError, Cancelled
from core.domain.runs import Job
from core.formats.ingest import import_path
from core.storage.store import Store
from core.worker.heartbeat import OnProgress


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Import what lies at ``path``; the same photos twice are the same photos, so it may be repeated.

    Payload: ``{path, format, project_id, is_temporary, upload}``; a temporary import's ``upload``
    (else its ``path``) inside the home's uploads folder is deleted once there is a verdict. The result
    is the report as JSON.

    Raises:
        AppError: the files are not what they should be.
        Cancelled: the user asked to stop; what came in before stays.
    """
    try:
        result = _import(store, job, on_progress)
    except (AppError, Cancelled):
        _delete_upload(store, job)
        raise
    _delete_upload(store, job)
    return result


def _import(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    report = import_path(
        store,
        job.payload["project_id"],
        Path(job.payload["path"]),
        format=job.payload.get("format", "auto"),
        is_upload=job.payload.get("is_temporary", False),
        on_progress=lambda done, total: on_progress(done / max(total, 1), f"{done} of {total} photos"),
    )
    return report.to_json()


def _delete_upload(store: Store, job: Job) -> None:
    if not job.payload.get("is_temporary", False):
        return
    upload = Path(job.payload.get("upload", job.payload["path"]))
    if store.home.resolve() / "uploads" not in upload.resolve().parents:
        return  # whatever the payload says, only uploads are ours to delete
    if upload.is_dir():
        shutil.rmtree(upload, ignore_errors=True)
    else:
        upload.unlink(missing_ok=True)
