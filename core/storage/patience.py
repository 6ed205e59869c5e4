"""Waiting until a database or a file store that is out of reach answers again."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from core.domain.errors import OutOfReach

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
T = TypeVar("T")


def patiently(call: Callable[[], T], seconds: float = 600.0, check: Callable[[], None] | None = None) -> T:
    """Repeat a call while it raises OutOfReach; give what it gives.

    A transaction whose commit was cut off may have been done all the same, so the call must do no harm
    when it is done twice.

    Args:
        seconds: when to give up; the pauses between two tries double from 1 to 15 seconds.
        check: called before each further try and once a second in the pauses; what it raises ends it all.

    Raises:
        OutOfReach: still so after that time.
    """
    started, pause, is_told = time.monotonic(), FIRST_PAUSE_SECONDS, False
    while True:
        try:
            result = call()
        except OutOfReach as error:
            left = started + seconds - time.monotonic()
            if left <= 0:
                raise
            if not is_told:
                logger.warning("%s It is tried again for %.0f seconds.", error, left)
                is_told = True
            _wait(min(pause, left), check)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            if is_told:
                logger.info("In reach again after %.0f seconds.", time.monotonic() - started)
            return result


def _wait(seconds: float, check: Callable[[], None] | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if check:
            check()
        time.sleep(min(1.0, left))
    if check:
        check()
