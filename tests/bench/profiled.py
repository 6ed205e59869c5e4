"""Where the time of a call goes, by function, without the measured code knowing of it."""

import cProfile
import pstats
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def shares(work: Callable[[], T], parts: Mapping[str, Sequence[str]]) -> tuple[dict[str, float], T]:
    """Run something and give the seconds spent in some of its functions, with all that these call.

    Args:
        work: what to run; only this thread is watched.
        parts: a name for each part, and the functions that make it up as "file.py:function", none
            of which may call another. "~:name" is a built-in.

    Returns:
        Seconds by part and what ``work`` gave.

    Raises:
        RuntimeError: a part was never called, so its name is out of date.
    """
    profile = cProfile.Profile()
    result = profile.runcall(work)
    seconds: dict[str, float] = {}
    found: dict[str, float] = {}
    for (file, _, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        key = f"{file.rsplit('/', 1)[-1]}:{name}"
        found[key] = found.get(key, 0.0) + row[3]
    for part, functions in parts.items():
        if unknown := [function for function in functions if function not in found]:
            raise RuntimeError(f"Nothing called {', '.join(unknown)}.")
        seconds[part] = sum(found[function] for function in functions)
    return seconds, result
