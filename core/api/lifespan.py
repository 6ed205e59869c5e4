"""What lives as long as the server: the embedded worker process."""

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread

from core.services import workers
from core.services.home import open_home

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncGenerator[None]:
    """Start the embedded worker with the server and end it with it; runs under way go on.

    MASKWRIGHT_EMBEDDED_WORKER says what it serves: 1 (or nothing said) all, "job" no trainings, for a
    server whose trainings run elsewhere, 0 that there is none.
    """
    store = await to_thread.run_sync(open_home)
    lanes = workers.embedded_lanes(os.environ.get("MASKWRIGHT_EMBEDDED_WORKER", "1"))
    if not lanes:
        yield
        return
    process = await to_thread.run_sync(lambda: workers.start(store, embedded=True, lanes=lanes))
    logger.info("worker process %d started", process.pid)
    try:
        yield
    finally:
        await to_thread.run_sync(workers.stop, process)
