"""Workers as they report themselves, without a worker."""

from typing import Any

from core.domain.runs import Gpu, WorkerInfo
from core.domain.version import VERSION
from core.storage import tables


def worker_report(host: str, gpus: int = 0, **changes: Any) -> WorkerInfo:
    """Make the report of a worker of this version with so many GPUs, or one without any."""
    moment = tables.now()
    values: dict[str, Any] = {
        "version": VERSION,
        "lanes": ("run", "job"),
        "slots": gpus or 1,
        "gpus": tuple(Gpu(f"{host}-{n}", "NVIDIA T4", 16 << 30, 4 << 30, 0.5) for n in range(gpus)),
        "largest": gpus or 64,
        "usage": {},
        "note": "",
        "started_at": moment,
        "heartbeat_at": moment,
    }
    return WorkerInfo(host=host, **(values | changes))
