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

    MASKWRIGHT_EMBEDDED_WORKER=0 leaves it out, for a server whose workers run elsewhere.
    """
    store = await to_thread.run_sync(open_home)
    if os.environ.get("MASKWRIGHT_EMBEDDED_WORKER", "1") == "0":
        yield
        return
    process = await to_thread.run_sync(lambda: workers.start(store, embedded=True))
    logger.info("worker process %d started", process.pid)
    try:
        yield
    finally:
        await to_thread.run_sync(workers.stop, process)
