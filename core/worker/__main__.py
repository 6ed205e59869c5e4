"""One process for one piece of work: `python -m core.worker run|job ID --attempt N`.

Exit codes: 0 a verdict is written, 1 it failed, 3 another attempt owns the work, 143 after SIGTERM.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from core.domain.errors import AppError, Cancelled, Fenced
from core.storage import lifecycle
from core.storage.lifecycle import Claim
from core.storage.processes import this_process
from core.storage.store import Store, open_store
from core.worker.heartbeat import BEAT_SECONDS, EXIT_FENCED, Heartbeat

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_TERMINATED = 128 + signal.SIGTERM
TABLES = {"run": lifecycle.RUNS, "job": lifecycle.JOBS}


class Terminated(BaseException):
    """SIGTERM arrived: a shutdown, or a cancel that took too long."""


def main() -> int:
    """Read the command line and carry the work out; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m core.worker", description=__doc__)
    parser.add_argument("kind", choices=TABLES)
    parser.add_argument("id")
    parser.add_argument("--attempt", type=int, required=True)
    arguments = parser.parse_args()
    _log_to_stderr()
    signal.signal(signal.SIGTERM, terminate)
    store = open_store(migrate=False)
    return carry_out(store, arguments.kind, Claim(arguments.id, arguments.attempt))


def carry_out(store: Store, kind: str, claim: Claim, *, beat_seconds: float = BEAT_SECONDS) -> int:
    """Own the row, do the work with a heartbeat, write the verdict; give the exit code."""
    table = TABLES[kind]
    logger.info("%s %s, attempt %d", kind, claim.work_id, claim.attempt)
    try:
        lifecycle.start(store, table, claim, this_process())
        with Heartbeat(store, table, claim, beat_seconds=beat_seconds) as heartbeat:
            values = _work(kind)(store, claim, heartbeat)
        lifecycle.succeed(store, table, claim, values)
        logger.info("succeeded")
        return 0
    except Fenced:
        logger.warning("another attempt owns this %s", kind)
        return EXIT_FENCED
    except Cancelled:
        logger.info("cancelled")
        return 0 if lifecycle.stopped(store, table, claim) else EXIT_FENCED
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        lifecycle.interrupt(store, table, claim, "it was stopped from outside", is_shutdown=True)
        logger.warning("stopped from outside")
        return EXIT_TERMINATED
    except Exception as error:
        logger.exception("failed")
        return EXIT_FAILED if lifecycle.fail(store, table, claim, _sentence(error)) else EXIT_FENCED


def _work(kind: str) -> Callable[[Store, Claim, Heartbeat], dict[str, Any]]:
    """Give what carries this kind out and returns the columns of its verdict; only a run loads torch here."""
    if kind == "run":
        from core.worker.run import train

        return train
    from core.worker.handlers import handle

    return handle


def _sentence(error: Exception) -> str:
    if isinstance(error, AppError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The memory ran out. Choose a smaller size or a smaller batch."
    return f"{type(error).__name__}: {error}: see the log."


def terminate(_number: int, _frame: FrameType | None) -> None:
    """Take SIGTERM as an exception of the main thread."""
    raise Terminated


def _log_to_stderr() -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it only looks at the database's revision here


if __name__ == "__main__":
    sys.exit(main())
