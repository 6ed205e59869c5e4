"""Cells of CSV files, which people open in spreadsheets."""

from typing import TypeVar

FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes
T = TypeVar("T")


def safe(value: T) -> T | str:
    """Keep text, such as a name that somebody typed, from being computed: an apostrophe goes before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value
