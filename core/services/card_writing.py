"""A model card as a file: HTML that stands alone, or Markdown. Whatever people typed is escaped."""

import functools
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jinja2

from core.domain.intervals import Interval
from core.domain.labels import SPLITS
from core.services.card_facts import Rate, figure_text
from core.services.evaluation import METRIC
from core.services.model_card import Card
from core.storage.blobs import write_atomically

TEMPLATES = Path(__file__).resolve().parents[2] / "assets"
NOTE_SHOWN = 1_000  # characters: the card is a page

Scheme = Literal["light", "dark"]


def html(card: Card, scheme: Scheme | None = None) -> str:
    """Write a card as one HTML file: nothing is fetched, no script runs, every name is escaped.

    Args:
        scheme: None follows the reader's system.
    """
    template = _templates(True).get_template("model_card.html.jinja")
    return template.render(card=card, scheme=scheme, **_WORDS).lstrip()


def markdown(card: Card) -> str:
    """Write a card as Markdown, without pictures; names cannot become links, tags or table cells."""
    return _templates(False).get_template("model_card.md.jinja").render(card=card, **_WORDS)


def write(path: Path, text: str) -> None:
    """Write a card's text into a file, whole or not at all. Raises StorageError."""
    write_atomically(path, text.encode())


def escape_markdown(value: object) -> str:
    """Write text so that Markdown, with tables or without, shows it as it is, in one line."""
    if hasattr(value, "__html__"):  # marked safe in the template
        return str(value)
    text = re.sub(r"([\\`*_{}\[\]#])", r"\\\1", " ".join(str(value).split()))
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {sign: f"&#{ord(sign)};" for sign in "|~$@"}
    text = text.translate({ord(sign): entity for sign, entity in entities.items()})
    return text.replace("://", "&#58;//").replace("www.", "www&#46;")  # else they become links


@functools.cache
def _templates(is_html: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        finalize=None if is_html else escape_markdown,  # all that a template writes, so nothing is forgotten
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _percent(value: Rate) -> str:
    return "–" if value is None else f"{value:.0%}" if value >= 0.01 or value == 0 else "<1%"


def _shortened(text: str) -> str:
    left = len(text) - NOTE_SHOWN
    return text if left <= 0 else f"{text[:NOTE_SHOWN]}… ({left:,} more characters in the history)"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_WORDS: dict[str, Any] = {
    "figure": figure_text,
    "ends": _ends,
    "percent": _percent,
    "shortened": _shortened,
    "moment": _moment,
    "splits": SPLITS,
    "metric": METRIC,
}
