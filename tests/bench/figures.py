"""One measured figure, and what repeating something tells about it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    ``value`` is a median with ``low`` and ``high`` as the smallest and largest of ``repeats``.
    ``ratio`` is ``value`` beside the limit or baseline that ``against`` names, measured in the same
    process and in turns with it; ``goal`` says what is aimed at, empty where nothing is.
    """

    what: str
    value: float
    unit: str
    how: str
    low: float
    high: float
    repeats: int
    ratio: float | None = None
    against: str = ""
    goal: str = ""


def median_figure(
    what: str,
    values: Sequence[float],
    unit: str,
    how: str,
    *,
    ratio: float | None = None,
    against: str = "",
    goal: str = "",
) -> Figure:
    """Give the figure of some repeats."""
    return Figure(
        what,
        statistics.median(values),
        unit,
        how,
        min(values),
        max(values),
        len(values),
        ratio,
        against,
        goal,
    )


def median_ratio(values: Sequence[float], limits: Sequence[float]) -> float:
    """Give the median of each value divided by the limit measured beside it."""
    return statistics.median(value / limit for value, limit in zip(values, limits, strict=True))
