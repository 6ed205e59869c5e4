"""One process for one piece of work: `python -m core.worker run|job ID --attempt N`.

torchrun starts several of it for a run on several devices; the first writes, the others follow.

Exit codes: 0 a verdict is written, 1 it failed, 3 another attempt owns the work, 75 the database or the
file store is out of reach, 76 the database is of another version, 143 after SIGTERM.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import sqlalchemy as sa

from core.domain.errors import AppError, Cancelled, Fenced, OtherVersion, OutOfReach, PeerLost, StorageError
from core.storage import lifecycle
from core.storage.lifecycle import Claim
from core.storage.patience import patiently
from core.storage.settings import Settings
from core.storage.store import Store, open_store
from core.worker import ranks
from core.worker.heartbeat import (
    BEAT_SECONDS,
    EXIT_FENCED,
    EXIT_OTHER_VERSION,
    EXIT_OUT_OF_REACH,
    PAUSE_SECONDS,
    Heartbeat,
    Sign,
    Silence,
)
from core.worker.logs import LogCopy

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
    parser.add_argument("--capture", action="store_true", help="write all output into the home's log")
    arguments = parser.parse_args()
    starter = os.dup(2)  # whoever started this process reads it, even where the log is elsewhere
    if arguments.capture:
        _capture(arguments.id)
    _log_to_stderr()
    signal.signal(signal.SIGTERM, terminate)
    if ranks.is_one_of_several():
        ranks.die_with_parent()
    try:
        store = open_store(migrate=False)
    except OutOfReach:
        logger.exception("the database is out of reach")
        return EXIT_OUT_OF_REACH
    except AppError as error:
        os.write(starter, f"{error}\n".encode())
        if isinstance(error, OtherVersion):  # it was upgraded since this was claimed
            return EXIT_OTHER_VERSION
        raise
    claim = Claim(arguments.id, arguments.attempt)
    return follow(store, claim) if ranks.rank() else carry_out(store, arguments.kind, claim)


def carry_out(store: Store, kind: str, claim: Claim, *, beat_seconds: float = BEAT_SECONDS) -> int:
    """Own the row, do the work with a heartbeat, write the verdict; give the exit code."""
    logger.info("%s %s, attempt %d", kind, claim.work_id, claim.attempt)
    with contextlib.ExitStack() as last:
        try:
            return _carry_out(store, kind, claim, beat_seconds, last)
        except StorageError:
            logger.exception("no verdict could be written")
            return EXIT_OUT_OF_REACH


def _carry_out(store: Store, kind: str, claim: Claim, beat_seconds: float, last: contextlib.ExitStack) -> int:
    table = TABLES[kind]
    try:
        lifecycle.start(store, table, claim, ranks.leader())
        with Heartbeat(store, table, claim, beat_seconds=beat_seconds) as heartbeat:
            if kind == "run":  # its copy is to hold the verdict, too
                last.enter_context(LogCopy(store, claim.work_id))
            values = _work(kind)(store, claim, heartbeat)
            patiently(lambda: lifecycle.succeed(store, table, claim, values), check=heartbeat.check)
        logger.info("succeeded")
        return 0
    except Fenced:
        logger.warning("another attempt owns this %s", kind)
        return EXIT_FENCED
    except Cancelled:
        logger.info("cancelled")
        return 0 if patiently(lambda: lifecycle.stopped(store, table, claim)) else EXIT_FENCED
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        others = "one of its processes was lost, or " if ranks.is_one_of_several() else ""
        return _interrupted(store, table, claim, f"{others}it was stopped from outside", EXIT_TERMINATED)
    except PeerLost:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun is about to send it
        logger.exception("another process of this training is gone")
        return _interrupted(store, table, claim, "one of its processes was lost", EXIT_FAILED)
    except OutOfReach as error:
        logger.exception("out of reach")
        return _interrupted(store, table, claim, str(error), EXIT_OUT_OF_REACH)
    except Exception as error:
        logger.exception("failed")
        sentence = _sentence(error)
        is_ours = patiently(lambda: lifecycle.fail(store, table, claim, sentence))
        return EXIT_FAILED if is_ours else EXIT_FENCED


def follow(store: Store, claim: Claim) -> int:
    """Train as one of several processes that is not the first; write nothing but why it failed."""
    try:
        _work("run")(store, claim, Silence())
        return 0
    except (Fenced, Cancelled):
        return 0
    except Terminated:
        return EXIT_TERMINATED
    except (PeerLost, OutOfReach):
        logger.exception("this process cannot go on")
        return EXIT_FAILED
    except Exception as error:
        logger.exception("failed")
        lifecycle.fail(store, lifecycle.RUNS, claim, _sentence(error))
        return EXIT_FAILED


def _interrupted(store: Store, table: sa.Table, claim: Claim, reason: str, code: int) -> int:
    """Leave without a verdict; whoever finds the row says the same when the database is away.

    SIGTERM is a shutdown, no crash; but torchrun sends it to the others when one of its processes died.
    An outage is no crash either.
    """
    is_shutdown = code == EXIT_TERMINATED and not ranks.is_one_of_several()
    is_away = code == EXIT_OUT_OF_REACH
    is_crash, pause = not (is_shutdown or is_away), PAUSE_SECONDS if is_away else 0.0
    with contextlib.suppress(StorageError):
        lifecycle.interrupt(store, table, claim, reason, is_crash=is_crash, pause_seconds=pause)
    logger.warning("interrupted: %s", reason)
    return code


def _work(kind: str) -> Callable[[Store, Claim, Sign], dict[str, Any]]:
    """Give what carries this kind out and returns the columns of its verdict; only a run loads torch here."""
    if kind == "run":
        from core.worker.run import train

        return train
    from core.worker.handlers import handle

    return handle


def _capture(work_id: str) -> None:
    """Send what this process and its libraries say where the local launcher would have sent it."""
    log = Settings().home.resolve() / "logs" / f"{work_id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _sentence(error: Exception) -> str:
    if isinstance(error, AppError):
        return str(error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
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
