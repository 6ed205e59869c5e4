"""How spans, sizes and moments are put into words, the same on every page."""

from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

GIB = 1 << 30
MIB = 1 << 20


def duration(seconds: float) -> str:
    """Say a time span: "45 s", "12 min", "3 h 20 min", "4 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{round(minutes / 1440)} days"


def size(bytes_: float) -> str:
    """Say a size in binary units: "29 MB", "1.2 GB", "80 GB"."""
    if bytes_ < GIB:
        return f"{bytes_ / MIB:.0f} MB"
    gib = bytes_ / GIB
    return f"{gib:.1f} GB" if gib < 10 else f"{gib:.0f} GB"


def used_of(used: float, total: float) -> str:
    """Say how much of something is used: "3.1 of 7.8 GB"."""
    return f"{size(used).removesuffix(' GB') if used >= GIB else size(used)} of {size(total)}"


def clock(moment: datetime) -> str:
    """Say a time of day where the visitor is: "14:02:10"."""
    return _local(moment).strftime("%H:%M:%S")


def day_and_clock(moment: datetime) -> str:
    """Say a moment where the visitor is, with its day unless that is today: "3 Nov 14:02"."""
    here = _local(moment)
    is_today = here.date() == datetime.now(here.tzinfo).date()
    return here.strftime("%H:%M") if is_today else f"{here.day} {here.strftime('%b %H:%M')}"


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many there are: "1 photo", "1,200 photos"; ``many`` is a plural that s does not make."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def plain(text: str) -> str:
    """Keep a name from being read as Markdown, or as an e-mail address."""
    escaped = text.translate({ord(sign): f"\\{sign}" for sign in "\\`*_[]{}$:<>#"})
    return escaped.replace("@", "@\u2060")  # a word joiner, which no address holds and nobody sees


def _local(moment: datetime) -> datetime:
    zone = st.context.timezone
    return moment.astimezone(ZoneInfo(zone) if zone else None)
