"""The sample job: draw the sample project's photos and take them in."""

import tempfile
from pathlib import Path
from typing import Any

from core.domain.runs import Job
from core.formats.ingest import ingest
from core.formats.sample import sample_dataset
from core.storage.store import Store
from core.worker.heartbeat import OnProgress


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Fill a project with the sample photos; payload ``{project_id}``. Gives the import report."""
    on_progress(0.0, "drawing")
    with tempfile.TemporaryDirectory() as folder:
        dataset = sample_dataset(Path(folder))
        report = ingest(
            store,
            job.payload["project_id"],
            dataset,
            author="sample",
            on_progress=lambda done, total: on_progress(done / total, f"{done} of {total} photos"),
        )
    return report.to_json()
