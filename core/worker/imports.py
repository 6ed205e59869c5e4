"""The job that brings photos and labels from files into a project."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from core.domain.errors import AppError, Cancelled, FormatError, OutOfReach
from core.domain.mask_classes import meanings_from_json
from core.domain.runs import Job
from core.formats.looking import Question, Wanted, take
from core.storage import uploads
from core.storage.store import Store
from core.worker.heartbeat import OnProgress


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Import what lies at ``path``; the same photos twice are the same photos, so it may be repeated.

    Payload: ``{path, format, classes, project_id, is_temporary, upload}``. A temporary import's ``path``
    is its ``upload`` or one file in it; ``upload`` is a place of core.storage.uploads, which is deleted
    once there is a verdict. ``classes`` says what the values of masks mean. The result is the report as
    JSON; where a person has to say more first it is ``{"question": ...}``, and the upload stays for the
    import that brings the answer.

    Raises:
        AppError: the files are not what they should be, or the upload is gone.
        OutOfReach: the database or the blob store did not answer for long; the upload stays.
        Cancelled: the user asked to stop; what came in before stays.
    """
    payload = job.payload
    run = partial(_import, store, payload, on_progress)
    if not payload.get("is_temporary", False):
        return run(Path(payload["path"]))
    place = payload.get("upload", payload["path"])
    try:
        result = _import_upload(store, place, payload["path"], run, on_progress)
    except OutOfReach:
        raise
    except (AppError, Cancelled):
        uploads.delete(store, place)
        raise
    if "question" not in result:
        uploads.delete(store, place)
    return result


def _import_upload(
    store: Store,
    place: str,
    path: str,
    run: Callable[[Path], dict[str, Any]],
    on_progress: OnProgress,
) -> dict[str, Any]:
    with uploads.opened(store, place, lambda: on_progress(0.0, "fetching the upload")) as folder:
        return run(folder / Path(path).relative_to(place))


def _import(store: Store, payload: dict[str, Any], on_progress: OnProgress, path: Path) -> dict[str, Any]:
    is_upload = bool(payload.get("is_temporary", False))
    classes = payload.get("classes")
    wanted = Wanted(payload.get("format", "auto"), meanings_from_json(classes) if classes else None)
    on_progress(0.0, "looking at the files")
    result = take(
        store,
        payload["project_id"],
        path,
        wanted,
        is_upload=is_upload,
        on_progress=lambda done, total: on_progress(done / max(total, 1), f"{done} of {total} photos"),
    )
    if not isinstance(result, Question):
        return result.to_json()
    if not is_upload:
        raise FormatError(result.sentence())
    return {"question": result.to_json()}
